//! What follows a linear layer and is done in its epilogue: a bias, a scalar factor (attention's `1/√64` on q), GELU, a
//! residual.

use undertone_kernels::{
    Activation,
    host::elementwise::{Binary, Unary},
};

use super::{
    Fusion, StepId, other,
    sizes::{Entry, entries},
};
use crate::{
    graph::ValueId,
    ops::{Gelu, Linear, Op, View},
    program::Step,
};

/// Root: a linear layer; takes in one reader.
pub(super) fn epilogue(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let step = fusion.step(root)?;
    let Op::Linear(linear) = step.op.clone() else { return None };
    let Linear { bias, scale, outputs, activation: Activation::None, .. } = linear else { return None };
    let inputs = without_residual(step)?;
    let product = step.outputs[0];
    let (reader, next) = fusion.sole_reader(product)?;
    let op = match next.op {
        Op::Binary(Binary::Add) if bias.is_none() && scale == 1.0 => {
            let addend = other(next, product)?;
            if !fusion.is_constant_row(addend, outputs) {
                return None;
            }
            Linear { bias: Some(addend), ..linear }
        }
        Op::Binary(Binary::Mul) => {
            let (factor, _) = fusion.scalar_and_other(next)?;
            Linear { scale: scale * factor, ..linear }
        }
        Op::Binary(Binary::Div) if next.inputs[0] == Some(product) => {
            let (divisor, _) = fusion.scalar_and_other(next)?;
            Linear { scale: scale / divisor, ..linear }
        }
        Op::Gelu(gelu) if next.inputs[0] == Some(product) => {
            let bias = match next.input(1) {
                Some(addend) if bias.is_none() && scale == 1.0 && fusion.is_constant_row(addend, outputs) => {
                    Some(addend)
                }
                Some(_) => return None,
                None => bias,
            };
            let activation = match gelu {
                Gelu::Exact => Activation::Gelu,
                Gelu::Tanh => Activation::GeluTanh,
            };
            Linear { bias, activation, ..linear }
        }
        Op::Unary(Unary::Gelu) => Linear { activation: Activation::Gelu, ..linear },
        _ => return None,
    };
    // The fused step stands where the reader stood; the root moves on with it.
    fusion.replace(reader, &[root], Op::Linear(op), inputs)?;
    epilogue(fusion, reader);
    Some(())
}

/// Root: a linear layer between two reshapes, the first of which makes two axes of its operand's and the second gives
/// them back: ONNX Runtime writes a product and a sum so where all sizes are known. The layer takes any axes.
pub(super) fn flattened(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let is_reshape = |step: &Step| matches!(step.op, Op::View(View::Reshape { .. }));
    let step = fusion.step(root)?;
    let Op::Linear(linear) = step.op.clone() else { return None };
    let mut inputs = without_residual(step).filter(|_| !linear.quantised)?;
    let rows = inputs[0]?;
    let (flatten, before) = fusion.maker(rows).filter(|(_, step)| is_reshape(step))?;
    let (restore, behind) = fusion.sole_reader(step.outputs[0]).filter(|(_, step)| is_reshape(step))?;
    let x = before.input(0)?;
    let last = fusion.rank(x)?.checked_sub(1)?;
    let (two, all) = (entries(fusion, before.input(1)?)?, entries(fusion, behind.input(1)?)?);
    let flattens = two.len() == 2 && two[1].is(fusion, x, last);
    let leading = all.iter().take(last).enumerate().all(|(axis, entry)| entry.is(fusion, x, axis));
    if !flattens || all.len() != last + 1 || !leading || all[last] != Entry::Known(linear.outputs as i64) {
        return None;
    }
    let absorbed: Vec<StepId> = (fusion.uses[rows] == 1).then_some(flatten).into_iter().chain([root]).collect();
    inputs[0] = Some(x);
    fusion.replace(restore, &absorbed, Op::Linear(linear), inputs)
}

/// Root: an addition of a linear layer's result and another activation of the same rank. If their shapes turn out to
/// differ at run time, the plan adds with broadcasting.
pub(super) fn residual(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let sum = fusion.step(root).filter(|step| step.op == Op::Binary(Binary::Add))?;
    for product in sum.inputs.iter().flatten().copied() {
        let Some((linear, step)) = fusion.sole_maker(product) else { continue };
        let Op::Linear(_) = step.op else { continue };
        let Some(mut inputs) = without_residual(step) else { continue };
        let addend = other(sum, product)?;
        let same_rank = fusion.rank(addend).is_some() && fusion.rank(addend) == fusion.rank(product);
        if fusion.graph.values[addend].constant.is_some() || !same_rank {
            continue;
        }
        let op = step.op.clone();
        inputs.resize(inputs.len().max(2), None);
        inputs[1] = Some(addend);
        return fusion.replace(root, &[linear], op, inputs);
    }
    None
}

/// The operands of a linear layer that has no residual yet.
fn without_residual(step: &Step) -> Option<Vec<Option<ValueId>>> {
    step.input(1).is_none().then(|| step.inputs.clone())
}
