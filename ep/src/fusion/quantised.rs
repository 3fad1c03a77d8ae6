//! Products that `onnxruntime.quantization.quantize_dynamic` has rewritten to integers, turned back into one product
//! with the real values that its constants stand for:
//!
//! `Cast(MatMulInteger(quantize(x), w, zero_x, zero_w)) · (scale_x · scale_w)` is `x · ((w − zero_w) · scale_w)`.
//!
//! The EP then quantises in its own way (per row instead of per tensor), or computes in bf16 or f32, as its `precision`
//! says.
//!
//! Where `x` is quantised outside of the group (with `claim=matmul`, or around the body that the product is in), a
//! matrix product takes the quantised `x` with its scale and zero point, and computes with the real values that they
//! stand for.

use undertone_kernels::host::elementwise::Binary;

use super::{Fusion, StepId, other, two};
use crate::{
    graph::{DataType, ValueId},
    ops::{Conv, Linear, Op, QuantisedPart, View, Weights},
    program::Step,
};

/// Whose the quantisation of a product's operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantising {
    /// It is taken in where it is in the graph.
    Within,
    /// It stays with whoever quantises now.
    Apart,
}

struct Match {
    x: ValueId,
    /// Scale and zero point of `x`, where it is quantised apart.
    quantised: Option<(ValueId, Option<ValueId>)>,
    weights: Weights,
    last: StepId,
    absorbed: Vec<StepId>,
    result: ValueId,
}

/// Matches from the integer product to the multiplication by both scales.
fn product(fusion: &Fusion<'_, '_>, root: StepId, part: QuantisedPart) -> Option<Match> {
    let integer = fusion.step(root).filter(|step| step.op == Op::QuantisedPart(part))?;
    let operand = integer.inputs[0]?;
    let weights = integer.inputs[1].filter(|value| fusion.graph.values[*value].constant.is_some())?;
    let zero_point = integer.input(2);
    let quantise = match fusion.quantising {
        Quantising::Within => quantisation(fusion, operand),
        Quantising::Apart => None,
    };
    if quantise.is_some_and(|quantise| zero_point != quantise.outputs.get(2).copied()) {
        return None;
    }
    let (cast, real) = fusion.sole_reader(integer.outputs[0])?;
    let (last, scaled) = fusion
        .sole_reader(real.outputs[0])
        .filter(|(_, s)| real.op == Op::View(View::Cast { to: DataType::F32 }) && s.op == Op::Binary(Binary::Mul))?;
    let (scales, both) =
        fusion.sole_maker(other(scaled, real.outputs[0])?).filter(|(_, step)| step.op == Op::Binary(Binary::Mul))?;
    let is_constant = |value: &ValueId| fusion.graph.values[*value].constant.is_some();
    let (scale_x, scale) = match (two(both)?, quantise) {
        ((a, b), Some(quantise)) => {
            let scale_x = *quantise.outputs.get(1)?;
            (scale_x, if a == scale_x { b } else { a })
        }
        ((a, b), None) if is_constant(&a) => (b, a),
        ((a, b), None) => (a, b),
    };
    if !is_constant(&scale) || is_constant(&scale_x) || other(both, scale) != Some(scale_x) {
        return None;
    }
    // A scale for each row would be another product. Before 1.24 ONNX Runtime tells no rank of a scalar: the run looks
    // again.
    let single = |value: ValueId| fusion.graph.values[value].shape.as_ref().is_none_or(Vec::is_empty);
    if quantise.is_none() && !(single(scale_x) && zero_point.is_none_or(single)) {
        return None;
    }
    let weights_zero_point = integer.input(3);
    Some(Match {
        x: quantise.map_or(Some(operand), |quantise| quantise.inputs[0])?,
        quantised: quantise.is_none().then_some((scale_x, zero_point)),
        weights: Weights { quantised: Some((scale, weights_zero_point)), ..Weights::plain(weights) },
        last,
        absorbed: vec![root, cast, scales],
        result: scaled.outputs[0],
    })
}

/// The step that quantises an operand.
fn quantisation<'f>(fusion: &'f Fusion<'_, '_>, operand: ValueId) -> Option<&'f Step> {
    let (_, step) = fusion.maker(operand)?;
    let quantises = step.op == Op::QuantisedPart(QuantisedPart::DynamicQuantizeLinear);
    (quantises && step.outputs.first() == Some(&operand)).then_some(step)
}

/// Root: `MatMulInteger`.
pub(super) fn linear(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let found = product(fusion, root, QuantisedPart::MatMulInteger)?;
    let [rows, columns] = fusion.graph.values[found.weights.value].constant.as_ref()?.shape[..] else { return None };
    let Match { x, weights, quantised, last, absorbed, .. } = found;
    let op = Op::Linear(Linear { quantised: quantised.is_some(), ..Linear::new(weights, [rows, columns]) });
    let inputs = match quantised {
        Some((scale, zero_point)) => vec![Some(x), None, Some(scale), zero_point],
        None => vec![Some(x)],
    };
    fusion.replace(last, &absorbed, op, inputs)
}

/// Root: `ConvInteger`, with the bias that is added as `[1, channels, 1]`.
pub(super) fn convolution(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let mut found = product(fusion, root, QuantisedPart::ConvInteger).filter(|found| found.quantised.is_none())?;
    let node = fusion.step(root)?.nodes[0];
    let shape = &fusion.graph.values[found.weights.value].constant.as_ref()?.shape;
    let sizes @ [channels, _, _] = shape.as_slice().try_into().ok()?;
    let mut conv = Conv::of(&fusion.graph.nodes[node], found.weights, sizes, None).ok()?;
    if let Some((add, sum)) = fusion.sole_reader(found.result)
        && let Some(bias) = bias(fusion, sum, found.result, channels)
    {
        conv = Conv { bias: Some(bias), ..conv };
        found.absorbed.push(found.last);
        found.last = add;
    }
    fusion.replace(found.last, &found.absorbed, Op::Conv1d(conv), vec![Some(found.x)])
}

fn bias(fusion: &Fusion<'_, '_>, sum: &Step, product: ValueId, channels: usize) -> Option<ValueId> {
    let addend = other(sum, product).filter(|_| sum.op == Op::Binary(Binary::Add))?;
    let constant = fusion.graph.values[addend].constant.as_ref()?;
    (constant.shape == [1, channels, 1] || constant.shape == [channels, 1]).then_some(addend)
}
