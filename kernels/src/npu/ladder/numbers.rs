//! Questions of numbers: what a core is asked, and how far its answers may be from this machine's.

use super::{Fact, Figures, Wrong};
use crate::{
    npu::question::Question,
    numbers::{bf16_bits, from_bf16},
    reference::noise::noise,
};

const VALUES: usize = Question::VALUES;
/// Adding it leaves the nearest whole number in the lowest bits.
const MAGIC: f32 = 12_582_912.0;

const REPORT: &str =
    "The kernels' arithmetic rests on it (kernels/aie/README.md, Arithmetic): report versions and numbers.";
const WHOLE: &str = "exp2 finds the nearest whole number by adding 1.5 · 2^23, and is wrong where the adder cuts off: \
     report it; floats.h needs another way to the whole number.";
const PRODUCT: &str = "aie::mul(float, float) is not good enough here. If products of three bf16 parts, above, \
     passed: CXXFLAGS=-DUNDERTONE_SPLIT_PRODUCTS=1 before kernels/aie/build.sh has the kernels use those. Report \
     versions and numbers.";

/// A question, and what this machine says.
pub(super) struct Numbers {
    pub name: &'static str,
    pub advice: &'static str,
    pub question: Question,
    /// a and b.
    operands: [Vec<u32>; 2],
    host: fn(f32, f32) -> f32,
    bound: Bound,
    /// Whether it is asked how long it takes.
    pub timed: bool,
}

/// How far an answer may be from the host's.
#[derive(Clone, Copy)]
enum Bound {
    /// Not at all, bit by bit.
    Equal,
    /// So much of the result's magnitude; other bits than the host's are told.
    Relative(f64),
    /// So much of the largest of 1 and the operands' magnitudes; other bits are told.
    OfOperands(f64),
    /// So much of the result's magnitude, which is all that it promises.
    Near(f64),
    /// The same, and nothing rests on it: more is told.
    Hoped(f64),
    /// As far as it is: nothing rests on it, other bits are told.
    None,
}

/// The answer that is farthest from the host's.
struct Worst {
    operands: [f32; 2],
    meant: f32,
    found: f32,
}

impl Numbers {
    /// The words of the question.
    pub fn data(&self) -> Vec<u32> {
        let words = self.operands.concat();
        match self.question {
            // The upper halves, two in a word; the sums that they are added to are 0.
            Question::Mac => words.chunks_exact(2).map(|pair| pair[0] >> 16 | pair[1] & 0xffff_0000).collect(),
            _ => words,
        }
    }

    /// Holds an answer against the host's: a fact, if there is one to tell.
    pub fn hold(&self, said: &[u8], figures: &mut Figures) -> Result<Fact, Wrong> {
        let (mut other, mut error, mut worst) = (0, 0.0, None);
        for (index, found) in self.results(said).into_iter().enumerate() {
            let [x, y] = [&self.operands[0], &self.operands[1]].map(|words| f32::from_bits(words[index]));
            let meant = (self.host)(x, y);
            if meant.to_bits() == found.to_bits() || meant.is_nan() && found.is_nan() {
                continue;
            }
            other += 1;
            let measure = match self.bound {
                Bound::OfOperands(_) => f64::from(x).abs().max(f64::from(y).abs()).max(1.0),
                _ => f64::from(meant).abs().max(f64::from(f32::MIN_POSITIVE)),
            };
            // What is no number is as far off as can be.
            let distance = (f64::from(found) - f64::from(meant)).abs() / measure;
            let distance = if distance.is_nan() { f64::INFINITY } else { distance };
            if worst.is_none() || distance > error {
                (error, worst) = (distance, Some(Worst { operands: [x, y], meant, found }));
            }
        }
        let figure = match self.bound {
            Bound::Relative(_) | Bound::Near(_) | Bound::Hoped(_) => "largest_relative_error",
            Bound::OfOperands(_) => "largest_error",
            Bound::Equal | Bound::None => "other_bits",
        };
        let value = if figure == "other_bits" { f64::from(other) } else { error };
        // A report is JSON, which has no infinity.
        if value.is_finite() {
            figures.insert(figure.to_owned(), value);
        }
        let Some(Worst { operands: [x, y], meant, found }) = worst else { return Ok(None) };
        let words = format!(
            "{other} of {VALUES} differ from this machine's bits; of {x:e} and {y:e} comes {found:e} ({:#010x}), not \
             {meant:e} ({:#010x})",
            found.to_bits(),
            meant.to_bits()
        );
        match self.bound {
            Bound::Near(most) | Bound::Hoped(most) if error <= most => Ok(None),
            Bound::Relative(most) | Bound::OfOperands(most) if error <= most => Ok(Some(words)),
            Bound::Hoped(_) | Bound::None => Ok(Some(words)),
            Bound::Equal | Bound::Relative(_) | Bound::OfOperands(_) | Bound::Near(_) => Err(Wrong::Found(words)),
        }
    }

    /// The results of an answer.
    fn results(&self, said: &[u8]) -> Vec<f32> {
        match self.question {
            Question::ToBf16 => {
                let results = said.chunks_exact(2).take(VALUES);
                results.map(|bf16| from_bf16(u16::from_le_bytes([bf16[0], bf16[1]]))).collect()
            }
            Question::ToInt8 => said.iter().take(VALUES).map(|byte| f32::from(*byte as i8)).collect(),
            Question::ToInt32 => words(said).iter().take(VALUES).map(|word| *word as i32 as f32).collect(),
            _ => words(said).iter().take(VALUES).map(|word| f32::from_bits(*word)).collect(),
        }
    }
}

/// Words of bytes.
pub(super) fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

/// 512 values of some, again from the start where they are fewer.
fn values(some: impl IntoIterator<Item = f32>) -> Vec<u32> {
    let some: Vec<u32> = some.into_iter().map(f32::to_bits).collect();
    some.into_iter().cycle().take(VALUES).collect()
}

/// Values from −`size` to `size`.
fn spread(size: f32, seed: u64) -> Vec<u32> {
    values(noise(VALUES, seed).into_iter().map(|value| value * size))
}

/// Integers from −`size` to `size`, as words.
fn integers(size: f32) -> Vec<u32> {
    noise(VALUES, 24).into_iter().map(|value| (value * size) as i32 as u32).collect()
}

/// All pairs of zeros, infinities, what is no number, and what is smaller than every normal one.
fn odd_pairs() -> [Vec<u32>; 2] {
    const ODD: [f32; 10] =
        [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, -1e-45, f32::MIN_POSITIVE, f32::MAX, 0.5];
    [values(ODD.into_iter().flat_map(|x| [x; ODD.len()])), values(ODD.into_iter().cycle().take(ODD.len() * ODD.len()))]
}

/// All questions, in the order in which kernels rest on each other.
pub(super) fn all() -> Vec<Numbers> {
    let question = |name, question, operands, bound, host: fn(f32, f32) -> f32| Numbers {
        name,
        advice: REPORT,
        question,
        operands,
        host,
        bound,
        timed: false,
    };
    let timed = |numbers: Numbers| Numbers { timed: true, ..numbers };
    let (near, exact, low) = (2f64.powi(-10), 2f64.powi(-20), 2f64.powi(-14));
    let one = |words: Vec<u32>| [words, vec![0; VALUES]];
    // Between two whole numbers, but not in their middle; and in their middle.
    let away = |x: f32| if (x.fract().abs() - 0.5).abs() < 0.01 { x + 0.1 } else { x };
    let between = || values(noise(VALUES, 21).into_iter().map(|value| away(value * 125.0)));
    let middle = values((-100..100).map(|whole| whole as f32 + 0.5));
    // Of fp32 bf16 keeps the upper half; what it leaves is no half of a last place, or exactly one.
    let no_half: Vec<u32> =
        spread(100.0, 22).into_iter().map(|bits| bits + u32::from(bits & 0xffff == 0x8000)).collect();
    let half = no_half.iter().map(|bits| bits & 0xffff_0000 | 0x8000).collect();
    let exponents = || values(noise(VALUES, 23).into_iter().map(|value| value * 60.0 - 55.0));
    let factors = || [spread(2.0, 29), spread(100.0, 30)];
    let upper = |words: Vec<u32>| words.into_iter().map(|bits| bits & 0xffff_0000).collect();
    let divisors = values(noise(VALUES, 37).into_iter().map(|value| value.abs() * 1500.0 + 0.5));
    let magic = |whole| [whole, values([MAGIC])];
    vec![
        timed(question(
            "fp32 sums",
            Question::Sum,
            [spread(1.0, 25), spread(4.0, 26)],
            Bound::OfOperands(exact),
            |x, y| x + y,
        )),
        Numbers {
            advice: WHOLE,
            ..question(
                "the nearest whole number by adding 1.5 · 2^23",
                Question::Sum,
                magic(between()),
                Bound::Equal,
                |x, y| x + y,
            )
        },
        question("halves, when 1.5 · 2^23 is added", Question::Sum, magic(middle), Bound::None, |x, y| x + y),
        question(
            "fp32 differences",
            Question::Difference,
            [spread(1.0, 27), spread(4.0, 28)],
            Bound::OfOperands(exact),
            |x, y| x - y,
        ),
        timed(question(
            "products of bf16 values",
            Question::Mac,
            factors().map(upper),
            Bound::Relative(low),
            |x, y| x * y,
        )),
        timed(question("products of two bf16 parts", Question::LowProduct, factors(), Bound::Near(low), |x, y| x * y)),
        timed(question(
            "products of three bf16 parts",
            Question::SplitProduct,
            factors(),
            Bound::Hoped(exact),
            |x, y| x * y,
        )),
        Numbers {
            advice: PRODUCT,
            ..timed(question("fp32 products", Question::Product, factors(), Bound::Relative(low), |x, y| x * y))
        },
        timed(question(
            "the larger of two",
            Question::Larger,
            [spread(1.0, 31), spread(1.0, 32)],
            Bound::Equal,
            larger,
        )),
        timed(question(
            "comparison and selection",
            Question::Less,
            [spread(1.0, 33), spread(1.0, 34)],
            Bound::Equal,
            |x, y| f32::from(u8::from(x < y)),
        )),
        timed(question("fp32 to bf16", Question::ToBf16, one(no_half), Bound::Equal, to_bf16)),
        question("fp32 to bf16, in the middle of two", Question::ToBf16, one(half), Bound::None, to_bf16),
        timed(question(
            "int32 to fp32, up to 2^24",
            Question::ToFloat,
            one(integers(16_777_215.0)),
            Bound::Relative(low),
            to_float,
        )),
        question(
            "int32 to fp32, beyond 2^24",
            Question::ToFloat,
            one(integers(2_147_483_000.0)),
            Bound::Relative(low),
            to_float,
        ),
        // No kernel does these two yet. Integers have no negative zero.
        question("fp32 to int32", Question::ToInt32, one(between()), Bound::None, |x, _| 0.0 + x.round_ties_even()),
        question("fp32 to int8", Question::ToInt8, one(spread(200.0, 35)), Bound::None, |x, _| {
            0.0 + x.round_ties_even().clamp(-128.0, 127.0)
        }),
        timed(question("powers of two", Question::Exp2, one(exponents()), Bound::Relative(near), |x, _| {
            alone(undertone_aie::numbers::exp2, x)
        })),
        timed(question(
            "probabilities",
            Question::Probability,
            one(exponents()),
            Bound::Near(2f64.powi(-7)),
            |x, _| f64::from(x).exp2() as f32,
        )),
        timed(question("GELU", Question::Gelu, one(spread(7.0, 36)), Bound::OfOperands(near), |x, _| {
            alone(undertone_aie::numbers::gelu, x)
        })),
        timed(question("reciprocals", Question::Reciprocal, one(divisors), Bound::Relative(near), |x, _| {
            alone(undertone_aie::numbers::reciprocal, x)
        })),
        question("sums of zeros, infinities and denormals", Question::Sum, odd_pairs(), Bound::None, |x, y| x + y),
        question("products of zeros, infinities and denormals", Question::Product, odd_pairs(), Bound::None, |x, y| {
            x * y
        }),
        question("the larger of two, one of which is no number", Question::Larger, odd_pairs(), Bound::None, larger),
    ]
}

fn to_bf16(x: f32, _: f32) -> f32 {
    from_bf16(bf16_bits(x))
}

/// Of an integer's bits.
fn to_float(x: f32, _: f32) -> f32 {
    x.to_bits() as i32 as f32
}

/// As the kernels' maximum: the second if either is no number.
fn larger(x: f32, y: f32) -> f32 {
    if x > y { x } else { y }
}

/// A kernel's own function, compiled for this machine, of one value.
fn alone(function: fn(&[f32]) -> Vec<f32>, x: f32) -> f32 {
    function(&[x]).first().copied().unwrap_or(f32::NAN)
}
