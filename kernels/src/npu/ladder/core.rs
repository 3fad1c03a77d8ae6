//! Rung 4: what one core computes, beside this machine's bits, and how long it takes. The kernels rest on each of these:
//! what they would not survive fails; what differs and does them no harm is told.

use super::{
    Climber, Fact, Wrong,
    bench::{Bench, Operands, bytes},
};
use crate::{
    npu::{
        access::Transfer,
        array::Array,
        design::Argument,
        question::Question,
        stream::{DmaTask, Step},
        trial::{Trial, TrialKind},
    },
    numbers::{bf16_bits, from_bf16},
    reference::noise::noise,
};

/// How often a question is computed to find out what one turn takes.
const TURNS: u32 = 2001;
/// Times of each, of which the middle one counts.
const TIMES: usize = 5;
const VALUES: usize = Question::VALUES;

/// Widths of loads and stores: those that the kernels use, in bytes.
const WIDTHS: [usize; 3] = [16, 32, 64];

const ALIGNMENT: &str = "The kernels load and store vectors at multiples of their own size: as it is, they read wrong \
     data. Report the offsets.";
const MAGIC: f32 = 12_582_912.0;

pub(super) fn climb<A: Array>(climber: &mut Climber<'_, A>) -> Option<()> {
    let (array, timed) = (climber.array, climber.is_timed());
    let loading = "Rung 3 has shown that streams arrive: this container has a core's program, which Peano made. Make \
         the ladder's bundles again with the pinned versions, and report what build.sh prints.";
    let bench = climber.check("one core is loaded", loading, |_| {
        let bench = Bench::open(array, TrialKind::Core)?;
        // A question that no core knows: its control comes back.
        let asked = Question::Larger.object(1, 0, &[]);
        let said = ask(&bench, &asked)?;
        match said[..12] == asked[..12] {
            true => Ok((bench, None)),
            false => {
                Err(Wrong::Found(format!("it answers {:?} where its question was {:?}", &said[..12], &asked[..12])))
            }
        }
    })?;
    for width in WIDTHS {
        climber.check(&format!("loads of {width} bytes at each offset"), ALIGNMENT, |_| loads(&bench, width))?;
        climber.check(&format!("stores of {width} bytes at each offset"), ALIGNMENT, |_| stores(&bench, width))?;
    }
    for numbers in numbers() {
        climber.check(numbers.name, numbers.advice, |figures| {
            let data: Vec<u32> = numbers.operands.iter().flatten().copied().collect();
            let said = ask(&bench, &numbers.question.object(1, 0, &data))?;
            let (held, fact) = (numbers.hold)(&numbers.operands, &said[Question::CONTROL..]);
            if let Some((name, figure)) = held {
                figures.insert(name.to_owned(), figure);
            }
            let fact = fact.map_err(Wrong::Found)?;
            if timed && numbers.timed {
                time(&bench, numbers.question, &data, array.target().clock(), figures)?;
            }
            Ok(((), fact))
        })?;
    }
    Some(())
}

/// The answer to a question.
fn ask<A: Array>(bench: &Bench<'_, A>, question: &[u8]) -> Result<Vec<u8>, Wrong> {
    let operands = Operands { a: question.to_vec(), b: Vec::new(), c: Question::BYTES };
    let (mut results, _) = bench.run(&stream(bench)?, &operands, (1, bench.commands()), 1)?;
    results.pop().ok_or_else(|| Wrong::Found("no answer came".to_owned()))
}

/// The stream of one question and its answer.
fn stream<A: Array>(bench: &Bench<'_, A>) -> Result<Vec<u32>, Wrong> {
    let trial: &Trial = bench.trial();
    let to = trial.lanes()[0].to;
    let task = |channel, argument, descriptor| Step::Task {
        task: DmaTask { channel, transfer: Transfer::linear(argument, 0, Question::BYTES as u32 / 4), repeats: 0 },
        descriptor,
        token: argument == Argument::C,
    };
    bench.stream(&[task(to, Argument::C, 0), task(trial.a, Argument::A, 1), Step::Wait(to)])
}

/// What a value of a question takes: the difference of many turns and one, so that all else about a command falls out.
/// The clock is the published one; a power mode that lowers it makes cycles look more.
fn time<A: Array>(
    bench: &Bench<'_, A>,
    question: Question,
    data: &[u32],
    clock: f64,
    figures: &mut super::Figures,
) -> Result<(), Wrong> {
    let words = stream(bench)?;
    let mut took = [0.0; 2];
    for (took, turns) in took.iter_mut().zip([1, TURNS]) {
        let operands = Operands { a: question.object(turns, 0, data), b: Vec::new(), c: Question::BYTES };
        let (_, walls) = bench.run(&words, &operands, (1, bench.commands()), TIMES)?;
        *took = super::median_us(walls);
    }
    let each = (took[1] - took[0]) * 1e-6 / f64::from(TURNS - 1) / VALUES as f64;
    figures.insert("ns_per_value".to_owned(), each * 1e9);
    figures.insert("cycles_per_value".to_owned(), each * clock);
    Ok(())
}

/// Offsets as text: the first few.
fn listed(offsets: &[usize]) -> String {
    let shown: Vec<String> = offsets.iter().take(6).map(usize::to_string).collect();
    let more = if offsets.len() > 6 { " and more" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// What wrong offsets mean: those at multiples of the width are needed.
fn offsets(what: &str, width: usize, wrong: &[usize]) -> Result<((), Fact), Wrong> {
    let needed: Vec<usize> = wrong.iter().copied().filter(|offset| offset % width == 0).collect();
    if !needed.is_empty() {
        return Err(Wrong::Found(format!("{what} of {width} bytes are wrong at offsets {} of 64", listed(&needed))));
    }
    let fact = format!("right at multiples of {width}, which is all that kernels use; wrong at {}", listed(wrong));
    Ok(((), (!wrong.is_empty()).then_some(fact)))
}

fn loads<A: Array>(bench: &Bench<'_, A>, width: usize) -> Result<((), Fact), Wrong> {
    let data = words(&bytes(4 * VALUES, 3));
    let question = Question::Loads(width).object(1, 0, &data);
    let said = ask(bench, &question)?;
    let (data, said) = (&question[Question::CONTROL..], &said[Question::CONTROL..]);
    let wrong: Vec<usize> =
        (0..64).filter(|offset| said[offset * width..][..width] != data[*offset..][..width]).collect();
    offsets("loads", width, &wrong)
}

fn stores<A: Array>(bench: &Bench<'_, A>, width: usize) -> Result<((), Fact), Wrong> {
    let data = words(&bytes(64, 4));
    let mut wrong = Vec::new();
    for first in [0, Question::STORES] {
        let question = Question::Stores(width).object(1, first as u32, &data);
        let said = ask(bench, &question)?;
        let vector = &question[Question::CONTROL..][..width];
        for (index, window) in said[Question::CONTROL..].chunks_exact(Question::WINDOW).enumerate() {
            let mut meant = [0; Question::WINDOW];
            meant[first + index..][..width].copy_from_slice(vector);
            if window != meant {
                wrong.push(first + index);
            }
        }
    }
    offsets("stores", width, &wrong)
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

/// What is held: a figure with its name, and a fact, or what is wrong.
type Held = (Option<(&'static str, f64)>, Result<Fact, String>);

/// A question of numbers.
struct Numbers {
    name: &'static str,
    advice: &'static str,
    question: Question,
    /// a and b.
    operands: [Vec<u32>; 2],
    hold: Box<dyn Fn(&[Vec<u32>; 2], &[u8]) -> Held>,
    timed: bool,
}

/// How far a value may be from the truth.
#[derive(Clone, Copy)]
enum Bound {
    /// Not at all, bit by bit.
    Equal,
    /// So much of the truth's magnitude.
    Relative(f64),
    /// So much of the largest of 1 and the operands' magnitudes.
    OfOperands(f64),
    /// As far as it is: nothing rests on it.
    None,
}

/// Holds results against what this machine computes; those with other bits are told if they are within a bound.
fn hold(bound: Bound, host: impl Fn(f32, f32) -> f32 + 'static) -> Box<dyn Fn(&[Vec<u32>; 2], &[u8]) -> Held> {
    Box::new(move |[a, b], said| {
        let (mut other, mut worst, mut at) = (0, 0.0, None);
        for (index, said) in words(&said[..4 * VALUES]).into_iter().enumerate() {
            let (x, y) = (f32::from_bits(a[index]), f32::from_bits(b[index]));
            let (meant, found) = (host(x, y), f32::from_bits(said));
            if meant.to_bits() == said || meant.is_nan() && found.is_nan() {
                continue;
            }
            other += 1;
            let distance = (f64::from(found) - f64::from(meant)).abs();
            let measure = match bound {
                Bound::OfOperands(_) => f64::from(x).abs().max(f64::from(y).abs()).max(1.0),
                _ => f64::from(meant).abs().max(f64::from(f32::MIN_POSITIVE)),
            };
            // What is no number is as far off as can be.
            let error = if found.is_finite() { distance / measure } else { f64::INFINITY };
            if at.is_none() || error > worst {
                (worst, at) = (error, Some((x, y, meant, found)));
            }
        }
        let figure = match bound {
            Bound::Relative(_) => Some(("largest_relative_error", worst)),
            Bound::OfOperands(_) => Some(("largest_error", worst)),
            Bound::Equal | Bound::None => None,
        };
        let Some((x, y, meant, found)) = at else { return (figure, Ok(None)) };
        let words = format!(
            "{other} of {VALUES} differ from this machine's bits; of {x:e} and {y:e} comes {found:e} ({:#010x}), not \
             {meant:e} ({:#010x})",
            found.to_bits(),
            meant.to_bits()
        );
        let harmless = match bound {
            Bound::Equal => false,
            Bound::Relative(most) | Bound::OfOperands(most) => worst <= most,
            Bound::None => true,
        };
        // A report is JSON, which has no infinity.
        let figure = figure.filter(|(_, figure)| figure.is_finite());
        (figure, if harmless { Ok(Some(words)) } else { Err(words) })
    })
}

/// 512 values of some, again from the start where they are fewer.
fn values(some: &[f32]) -> Vec<u32> {
    some.iter().map(|value| value.to_bits()).cycle().take(VALUES).collect()
}

/// Values from −`size` to `size`.
fn spread(size: f32, seed: u64) -> Vec<u32> {
    values(&noise(VALUES, seed).iter().map(|value| value * size).collect::<Vec<_>>())
}

/// Zeros, infinities, what is no number, and what is smaller than every normal one.
const ODD: [f32; 9] =
    [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, -1e-45, f32::MIN_POSITIVE, f32::MAX];

fn odd_pairs() -> [Vec<u32>; 2] {
    let pairs = || ODD.into_iter().flat_map(|x| ODD.map(|y| (x, y)));
    [values(&pairs().map(|(x, _)| x).collect::<Vec<_>>()), values(&pairs().map(|(_, y)| y).collect::<Vec<_>>())]
}

/// As the kernels' maximum: the second if either is no number.
fn larger(x: f32, y: f32) -> f32 {
    if x > y { x } else { y }
}

fn to_bf16(x: f32) -> f32 {
    from_bf16(bf16_bits(x))
}

/// All questions of numbers, in the order in which kernels rest on each other.
fn numbers() -> Vec<Numbers> {
    let report =
        "The kernels' arithmetic rests on it (kernels/aie/README.md, Arithmetic): report versions and numbers.";
    let nothing = || vec![0; VALUES];
    // Between whole numbers, and exactly between two of them.
    let between: Vec<f32> = noise(VALUES, 21)
        .iter()
        .map(|value| value * 125.0)
        .map(|x| if x.fract().abs() == 0.5 { x + 0.1 } else { x })
        .collect();
    let ties: Vec<f32> = (-100..100).map(|whole| whole as f32 + 0.5).collect();
    // Of these bf16 keeps the upper half; what it leaves is no half, or exactly one.
    let no_half: Vec<u32> =
        spread(100.0, 22).iter().map(|bits| if bits & 0xffff == 0x8000 { bits + 1 } else { *bits }).collect();
    let half: Vec<u32> = no_half.iter().map(|bits| bits & 0xffff_0000 | 0x8000).collect();
    let numbers =
        |name, question, operands, hold, timed| Numbers { name, advice: report, question, operands, hold, timed };
    let exponents: Vec<u32> = values(&noise(VALUES, 23).iter().map(|value| value * 60.0 - 55.0).collect::<Vec<_>>());
    let integers =
        |size: f32| -> Vec<u32> { noise(VALUES, 24).iter().map(|value| (value * size) as i32 as u32).collect() };
    let as_integers = |bits: f32| bits.to_bits() as i32;
    vec![
        numbers(
            "fp32 sums",
            Question::Sum,
            [spread(1.0, 25), spread(4.0, 26)],
            hold(Bound::OfOperands(2f64.powi(-20)), |x, y| x + y),
            true,
        ),
        Numbers {
            advice: "exp2 finds the nearest whole number by adding 1.5 · 2^23, and is wrong where the adder cuts off \
                 (issue R5): report it; floats.h needs another way to the whole number.",
            ..numbers(
                "the nearest whole number by adding 1.5 · 2^23",
                Question::Sum,
                [values(&between), values(&[MAGIC])],
                hold(Bound::Equal, |x, y| x + y),
                false,
            )
        },
        numbers(
            "halves, when 1.5 · 2^23 is added",
            Question::Sum,
            [values(&ties), values(&[MAGIC])],
            hold(Bound::None, |x, y| x + y),
            false,
        ),
        numbers(
            "fp32 differences",
            Question::Difference,
            [spread(1.0, 27), spread(4.0, 28)],
            hold(Bound::OfOperands(2f64.powi(-20)), |x, y| x - y),
            false,
        ),
        Numbers {
            advice: "aie::mul(float, float) is not good enough here (issue R2). floats.h has one function for it, \
                 multiply: the form from bf16 parts has to take its place. Report versions and numbers.",
            ..numbers(
                "fp32 products",
                Question::Product,
                [spread(2.0, 29), spread(100.0, 30)],
                hold(Bound::Relative(2f64.powi(-14)), |x, y| x * y),
                true,
            )
        },
        numbers(
            "the larger of two",
            Question::Larger,
            [spread(1.0, 31), spread(1.0, 32)],
            hold(Bound::Equal, larger),
            true,
        ),
        numbers(
            "comparison and selection",
            Question::Less,
            [spread(1.0, 33), spread(1.0, 34)],
            hold(Bound::Equal, |x, y| if x < y { 1.0 } else { 0.0 }),
            true,
        ),
        numbers("fp32 to bf16", Question::ToBf16, [no_half, nothing()], hold(Bound::Equal, |x, _| to_bf16(x)), true),
        numbers(
            "fp32 to bf16, exactly between two",
            Question::ToBf16,
            [half, nothing()],
            hold(Bound::None, |x, _| to_bf16(x)),
            false,
        ),
        numbers(
            "int32 to fp32, up to 2^24",
            Question::ToFloat,
            [integers(16_777_215.0), nothing()],
            hold(Bound::Equal, move |x, _| as_integers(x) as f32),
            true,
        ),
        numbers(
            "int32 to fp32, beyond 2^24",
            Question::ToFloat,
            [integers(2_147_483_000.0), nothing()],
            hold(Bound::Relative(2f64.powi(-20)), move |x, _| as_integers(x) as f32),
            false,
        ),
        numbers(
            "fp32 to int32",
            Question::ToInt32,
            [values(&between), nothing()],
            hold(Bound::None, |x, _| f32::from_bits(x.round_ties_even() as i32 as u32)),
            false,
        ),
        Numbers {
            hold: Box::new(to_int8),
            ..numbers(
                "fp32 to int8",
                Question::ToInt8,
                [spread(200.0, 35), nothing()],
                hold(Bound::None, |x, _| x),
                false,
            )
        },
        numbers(
            "powers of two",
            Question::Exp2,
            [exponents, nothing()],
            hold(Bound::Relative(2f64.powi(-10)), |x, _| core_exp2(x)),
            true,
        ),
        numbers(
            "GELU",
            Question::Gelu,
            [spread(7.0, 36), nothing()],
            hold(Bound::OfOperands(1e-3), |x, _| core_gelu(x)),
            true,
        ),
        numbers(
            "reciprocals",
            Question::Reciprocal,
            [values(&noise(VALUES, 37).iter().map(|value| value.abs() * 1500.0 + 0.5).collect::<Vec<_>>()), nothing()],
            hold(Bound::Relative(2f64.powi(-12)), |x, _| core_reciprocal(x)),
            true,
        ),
        numbers(
            "sums of zeros, infinities and denormals",
            Question::Sum,
            odd_pairs(),
            hold(Bound::None, |x, y| x + y),
            false,
        ),
        numbers(
            "products of zeros, infinities and denormals",
            Question::Product,
            odd_pairs(),
            hold(Bound::None, |x, y| x * y),
            false,
        ),
        numbers("the larger where there is none", Question::Larger, odd_pairs(), hold(Bound::None, larger), false),
    ]
}

/// The kernels' own functions, compiled for this machine.
fn core_exp2(x: f32) -> f32 {
    one(undertone_aie::numbers::exp2, x)
}

fn core_gelu(x: f32) -> f32 {
    one(undertone_aie::numbers::gelu, x)
}

fn core_reciprocal(x: f32) -> f32 {
    one(undertone_aie::numbers::reciprocal, x)
}

fn one(function: fn(&[f32]) -> Vec<f32>, x: f32) -> f32 {
    function(&[x]).first().copied().unwrap_or(f32::NAN)
}

/// 512 bytes, whole numbers brought into int8. No kernel does it yet.
fn to_int8([a, _]: &[Vec<u32>; 2], said: &[u8]) -> Held {
    let meant = a.iter().map(|bits| f32::from_bits(*bits).round_ties_even().clamp(-128.0, 127.0) as i8);
    let wrong: Vec<(f32, i8)> = a
        .iter()
        .zip(meant)
        .zip(said)
        .filter(|((_, meant), said)| *meant as u8 != **said)
        .map(|((bits, _), said)| (f32::from_bits(*bits), *said as i8))
        .collect();
    let fact = wrong.first().map(|(x, said)| format!("{} of {VALUES} differ; {x} became {said}", wrong.len()));
    (None, Ok(fact))
}
