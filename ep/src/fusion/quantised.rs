//! Products that `onnxruntime.quantization.quantize_dynamic` has rewritten to integers, turned back into one product with the
//! real values that its constants stand for:
//!
//! `Cast(MatMulInteger(quantize(x), w, zero_x, zero_w)) · (scale_x · scale_w)` is `x · ((w − zero_w) · scale_w)`.
//!
//! The EP then quantises in its own way (per row instead of per tensor), or computes in bf16 or f32, as its `precision` says.

use undertone_kernels::{Activation, host::elementwise::Binary};

use super::{Fusion, StepId, other};
use crate::{
    graph::{DataType, ValueId},
    lower::ConvAttributes,
    program::{Conv, Op, QuantisedPart, Step, Weights},
};

struct Match {
    x: ValueId,
    weights: Weights,
    last: StepId,
    absorbed: Vec<StepId>,
    result: ValueId,
}

/// Matches from the integer product to the multiplication by both scales.
fn product(fusion: &Fusion<'_, '_>, root: StepId, part: QuantisedPart) -> Option<Match> {
    let integer = fusion.step(root).filter(|step| step.op == Op::QuantisedPart(part))?;
    let quantised = integer.inputs[0]?;
    let weights = integer.inputs[1].filter(|value| fusion.graph.values[*value].constant.is_some())?;
    let (_, quantise) = fusion.maker(quantised)?;
    if quantise.op != Op::QuantisedPart(QuantisedPart::DynamicQuantizeLinear)
        || quantise.outputs.first() != Some(&quantised)
        || integer.inputs.get(2).copied().flatten() != quantise.outputs.get(2).copied()
    {
        return None;
    }
    let (cast, real) = fusion.sole_reader(integer.outputs[0])?;
    let (last, scaled) = fusion
        .sole_reader(real.outputs[0])
        .filter(|(_, s)| real.op == Op::Cast { to: DataType::F32 } && s.op == Op::Binary(Binary::Mul))?;
    let (scales, both) =
        fusion.sole_maker(other(scaled, real.outputs[0])?).filter(|(_, step)| step.op == Op::Binary(Binary::Mul))?;
    let scale = other(both, *quantise.outputs.get(1)?)?;
    fusion.graph.values[scale].constant.as_ref()?;
    let zero_point = integer.inputs.get(3).copied().flatten();
    Some(Match {
        x: quantise.inputs[0]?,
        weights: Weights { value: weights, transposed: false, quantised: Some((scale, zero_point)) },
        last,
        absorbed: vec![root, cast, scales],
        result: scaled.outputs[0],
    })
}

/// Root: `MatMulInteger`.
pub(super) fn linear(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let found = product(fusion, root, QuantisedPart::MatMulInteger)?;
    if fusion.graph.values[found.weights.value].constant.as_ref()?.shape.len() != 2 {
        return None;
    }
    let op = Op::Linear { weights: found.weights, bias: None, scale: 1.0, activation: Activation::None };
    fusion.replace(found.last, &found.absorbed, op, vec![Some(found.x)]);
    Some(())
}

/// Root: `ConvInteger`, with the bias that is added as `[1, channels, 1]`.
pub(super) fn convolution(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let mut found = product(fusion, root, QuantisedPart::ConvInteger)?;
    let node = fusion.step(root)?.nodes[0];
    let attributes = ConvAttributes::read(&fusion.graph.nodes[node]).ok()?;
    let Op::Conv1d(mut conv) = attributes.op(found.weights, None) else { return None };
    let [channels, _, _] = fusion.graph.values[found.weights.value].constant.as_ref()?.shape[..] else { return None };
    if let Some((add, sum)) = fusion.sole_reader(found.result)
        && let Some(bias) = bias(fusion, sum, found.result, channels)
    {
        conv = Conv { bias: Some(bias), ..conv };
        found.absorbed.push(found.last);
        found.last = add;
    }
    fusion.replace(found.last, &found.absorbed, Op::Conv1d(conv), vec![Some(found.x)]);
    Some(())
}

fn bias(fusion: &Fusion<'_, '_>, sum: &Step, product: ValueId, channels: usize) -> Option<ValueId> {
    let addend = other(sum, product).filter(|_| sum.op == Op::Binary(Binary::Add))?;
    let constant = fusion.graph.values[addend].constant.as_ref()?;
    (constant.shape == [1, channels, 1] || constant.shape == [channels, 1]).then_some(addend)
}
