//! Rung 5: products by the designs of the layers, first with one core, then with a column, then with all, and by a long
//! stream; and the first part of rung 6: attention on all cores. Each is held against the host's plainest arithmetic.

use super::{Climber, Fact, Figures, Wrong};
use crate::{
    Activation,
    npu::{
        array::{Array, ArrayError},
        design::{Design, DesignError, Kernels},
        engine::Engine,
        problem::Problem,
        stream,
        target::Target,
        trust,
    },
    numbers::{INT8_LIMIT, bf16_bits, from_bf16},
    reference::noise::noise,
};

/// Stages of the long stream: it has 6,000 words on npu1 and 10,000 on npu4, where those of large-v3-turbo have up to
/// 15,072. Its results take 25 and 50 MB.
const LONG_STAGES: usize = 16;

const CORE: &str = "Rung 4 has shown what one core computes. This program is another one: its products, its objects or \
     its queues. Make the bundles again with the pinned versions, and report it.";
const WHOLE: &str = "One core is right. Names of cores above say where it is not: if it is always the same one, the \
     NPU itself may be at fault; compare with xrt-smi validate, and report it.";
const LONG: &str = "The same array is right where its stream is short. Report the lengths, and versions of firmware \
     and XRT.";
const ATTENTION: &str = "The products of the same array are right: it is attention's own code, or its objects. Report \
     it; products can be left to the NPU without attention.";

/// Parts of an array, with what to do if one fails.
const PARTS: [(&str, Part, &str); 3] =
    [("one core", Part::Core, CORE), ("a column", Part::Column, WHOLE), ("the whole array", Part::Whole, WHOLE)];

#[derive(Clone, Copy)]
enum Part {
    Core,
    Column,
    Whole,
}

impl Part {
    /// The shipped design with these cores.
    fn design(self, target: Target, kernels: Kernels) -> Result<Design, DesignError> {
        let tile = Design::shipped(target, kernels)?.tile;
        let cores = match self {
            Part::Core => [1, 1],
            Part::Column => [Target::ROWS, 1],
            Part::Whole => [Target::ROWS, target.columns()],
        };
        Design::of_cores(target, kernels, tile, cores)
    }
}

/// The shipped arrays of a kernel that products are tried on.
pub(in crate::npu) fn designs(target: Target, kernels: Kernels) -> impl Iterator<Item = Design> {
    PARTS.into_iter().filter_map(move |(_, part, _)| part.design(target, kernels).ok())
}

pub(super) fn products<A: Array>(climber: &mut Climber<'_, A>) -> Option<()> {
    let array = climber.array;
    for (name, part, advice) in PARTS {
        for kernels in Kernels::ALL {
            let engine = loaded(climber, name, part, kernels, advice)?;
            let shape = trust::odd_layer(&engine.design);
            climber.check(&format!("{kernels}: whole numbers through {name}"), advice, |figures| {
                Ok(((), whole_numbers(array, &engine, shape, figures)?))
            })?;
            climber.check(&format!("{kernels}: a layer with GELU through {name}"), advice, |figures| {
                let [rows, inputs, outputs] = shape;
                let operands = [noise(rows * inputs, 1), noise(inputs * outputs, 2), noise(outputs, 3)];
                let answers =
                    trust::layer(&engine.design, shape, Activation::Gelu, &operands, &try_out(array, &engine))?;
                let Distance { wrong, .. } = distance(&answers, figures);
                match wrong {
                    true => Err(Wrong::Found(whose(&engine.design, outputs, &answers))),
                    false => Ok(((), None)),
                }
            })?;
        }
    }
    for kernels in Kernels::ALL {
        let engine = loaded(climber, "the whole array", Part::Whole, kernels, LONG)?;
        let design = &engine.design;
        let shape = [LONG_STAGES * design.round_rows(), 8, LONG_STAGES * design.tile.n * design.columns()];
        climber.check(&format!("{kernels}: a long stream"), LONG, |figures| {
            let [rows, inputs, outputs] = shape;
            let problem = Problem::Linear { rows, inputs, outputs };
            figures.insert("stream_words".to_owned(), stream::write(design, &problem)?.len() as f64);
            Ok(((), whole_numbers(array, &engine, shape, figures)?))
        })?;
    }
    Some(())
}

pub(super) fn attention<A: Array>(climber: &mut Climber<'_, A>) -> Option<()> {
    let array = climber.array;
    for kernels in Kernels::ALL {
        let engine = loaded(climber, "the whole array", Part::Whole, kernels, ATTENTION)?;
        climber.check(&format!("{kernels}: attention on the whole array"), ATTENTION, |figures| {
            let answers = trust::attention(&engine.design, &try_out(array, &engine))?;
            match distance(&answers, figures) {
                Distance { wrong: false, .. } => Ok(((), None)),
                Distance { worst, largest, .. } => Err(Wrong::Found(format!(
                    "results are off by {worst} where the largest is {largest}; up to {} is rounding",
                    trust::TOLERANCE * largest
                ))),
            }
        })?;
    }
    Some(())
}

/// The shipped design, or a part of it, open.
fn loaded<A: Array>(
    climber: &mut Climber<'_, A>,
    name: &str,
    part: Part,
    kernels: Kernels,
    advice: &str,
) -> Option<Engine<A>> {
    let array = climber.array;
    climber.check(&format!("{kernels}: {name} is loaded"), advice, |_| {
        let design = part.design(array.target(), kernels).map_err(|error| Wrong::Found(error.to_string()))?;
        Ok((Engine::unseen(array, &design)?, None))
    })
}

fn try_out<'a, A: Array>(
    array: &'a A,
    engine: &'a Engine<A>,
) -> impl Fn(&Problem, &[u8], &[u8]) -> Result<Vec<u8>, ArrayError> + 'a {
    move |problem, a, b| engine.try_out(array, problem, a, b)
}

/// A layer of whole numbers, which each number format holds exactly and whose sums fp32 holds, with scales of 1: results
/// can be told beforehand bit for bit, however cores sum.
fn whole_numbers<A: Array>(
    array: &A,
    engine: &Engine<A>,
    shape: [usize; 3],
    figures: &mut Figures,
) -> Result<Fact, Wrong> {
    let [rows, inputs, outputs] = shape;
    let small =
        |count: usize, seed: u64| -> Vec<f32> { noise(count, seed).iter().map(|x| (x * 7.0).round()).collect() };
    let (mut x, mut weights) = (small(rows * inputs, 4), small(inputs * outputs, 5));
    // The largest magnitude of int8 in each row and in each column: what an integer is worth is then 1.
    (0..rows).for_each(|row| x[row * inputs + row % inputs] = INT8_LIMIT);
    (0..outputs).for_each(|output| weights[output % inputs * outputs + output] = INT8_LIMIT);
    let operands = [x, weights, vec![0.0; outputs]];
    let (got, mut wanted) = trust::layer(&engine.design, shape, Activation::None, &operands, &try_out(array, engine))?;
    wanted.iter_mut().for_each(|value| *value = from_bf16(bf16_bits(*value)));
    if got == wanted {
        return Ok(None);
    }
    let answers = (got, wanted);
    let Distance { wrong, worst, .. } = distance(&answers, figures);
    if wrong || engine.design.kernels == Kernels::Int8 {
        return Err(Wrong::Found(whose(&engine.design, outputs, &answers)));
    }
    Ok(Some(format!("sums of whole numbers are off by up to {worst}: bf16 products are not exact on this NPU")))
}

/// How far results are from what is right.
struct Distance {
    /// Too far.
    wrong: bool,
    worst: f32,
    largest: f32,
}

fn distance((got, wanted): &trust::Answers, figures: &mut Figures) -> Distance {
    let largest = wanted.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let worst = got.iter().zip(wanted).map(|(got, wanted)| (got - wanted).abs()).fold(0f32, f32::max);
    // A NaN anywhere is wrong, too.
    let finite = got.iter().all(|value| value.is_finite());
    if finite && largest > 0.0 {
        figures.insert("largest_error_of_largest_value".to_owned(), f64::from(worst / largest));
    }
    Distance { wrong: !(finite && worst <= trust::TOLERANCE * largest), worst, largest }
}

/// Which cores' results are wrong, in words.
fn whose(design: &Design, outputs: usize, (got, wanted): &trust::Answers) -> String {
    let (rows, columns) = (design.rows(), design.columns());
    let largest = wanted.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    // Of each core: wrong results, those that are zero though they should not be, and all.
    let mut cores = vec![[0usize; 3]; rows * columns];
    for (index, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let (row, column) = (index / outputs / design.tile.m % rows, index % outputs / design.tile.n % columns);
        let [wrong, zero, all] = &mut cores[row * columns + column];
        // So that a NaN is wrong.
        let right = (got - wanted).abs() <= trust::TOLERANCE * largest
            && (design.kernels != Kernels::Int8 || got == wanted || wanted.fract() != 0.0);
        *wrong += usize::from(!right);
        *zero += usize::from(!right && *got == 0.0);
        *all += 1;
    }
    let is_wrong = |core: usize| cores[core][0] > 0;
    let wrong: Vec<usize> = (0..cores.len()).filter(|core| is_wrong(*core)).collect();
    let zeros = wrong.iter().all(|core| cores[*core][0] == cores[*core][1]);
    let what = if zeros { "zeros" } else { "wrong results" };
    let whole_columns: Vec<usize> =
        (0..columns).filter(|column| rows > 1 && (0..rows).all(|row| is_wrong(row * columns + column))).collect();
    let who = match &wrong[..] {
        [] => return "results are off by more than rounding".to_owned(),
        all if all.len() == cores.len() => "each core gives".to_owned(),
        [core] => format!("the core in row {} of cores, column {} gives", core / columns, core % columns),
        some if some.len() == rows * whole_columns.len() => {
            let named: Vec<String> = whole_columns.iter().map(usize::to_string).collect();
            format!("all cores of column {} give", named.join(", "))
        }
        some => {
            let named: Vec<String> =
                some.iter().take(8).map(|core| format!("{}/{}", core / columns, core % columns)).collect();
            format!("{} cores (row/column {}) give", some.len(), named.join(", "))
        }
    };
    let [wrong, all] = [0, 2].map(|part| cores.iter().map(|core| core[part]).sum::<usize>());
    format!("{who} {what}: {wrong} of {all} results")
}
