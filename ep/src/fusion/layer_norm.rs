//! Layer norm as exporters wrote it before opset 17 had an operator:
//! `d = x − mean(x)`, then `d / √(mean(d²) + ε) · gain + bias`.

use undertone_kernels::host::elementwise::{Binary, Unary};

use super::{Fusion, StepId, other, two};
use crate::ops::{Normalisation, Op, Reduction};

/// Root: the `Div`.
pub(super) fn layer_norm(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let quotient = fusion.step(root).filter(|step| step.op == Op::Binary(Binary::Div))?;
    let (deviation, denominator) = two(quotient)?;
    let (difference, d) = fusion.maker(deviation).filter(|(_, step)| step.op == Op::Binary(Binary::Sub))?;
    let (x, mean) = two(d)?;
    let (first_mean, mean_step) = fusion.maker(mean)?;
    let (root_step, sqrt) = fusion.maker(denominator).filter(|(_, s)| s.op == Op::Unary(Unary::Sqrt))?;
    let (add, sum) = fusion.maker(sqrt.inputs[0]?).filter(|(_, s)| s.op == Op::Binary(Binary::Add))?;
    let (epsilon, variance) = fusion.scalar_and_other(sum)?;
    let (second_mean, variance_step) = fusion.maker(variance)?;
    let (square, squared) = fusion.maker(variance_step.inputs[0]?)?;
    let to_two = squared.op == Op::Binary(Binary::Pow) && fusion.scalar_and_other(squared) == Some((2.0, deviation));
    let by_itself = squared.op == Op::Binary(Binary::Mul) && two(squared) == Some((deviation, deviation));
    let is_square = to_two || by_itself;
    if !is_square
        || mean_step.inputs[0] != Some(x)
        || !over_last_axis(fusion, &mean_step.op, x)
        || !over_last_axis(fusion, &variance_step.op, x)
    {
        return None;
    }

    let (scale, scaled) = fusion.sole_reader(quotient.outputs[0]).filter(|(_, s)| s.op == Op::Binary(Binary::Mul))?;
    let gain = other(scaled, quotient.outputs[0])?;
    let width = fusion.graph.values[gain].constant.as_ref()?.len();
    let (shift, shifted) = fusion.sole_reader(scaled.outputs[0]).filter(|(_, s)| s.op == Op::Binary(Binary::Add))?;
    let bias = other(shifted, scaled.outputs[0])?;
    if !fusion.is_constant_row(gain, width) || !fusion.is_constant_row(bias, width) {
        return None;
    }
    let absorbed = [first_mean, difference, square, second_mean, add, root_step, root, scale];
    fusion.replace(
        shift,
        &absorbed,
        Op::Normalisation(Normalisation::LayerNorm { epsilon }),
        vec![Some(x), Some(gain), Some(bias)],
    )
}

fn over_last_axis(fusion: &Fusion<'_, '_>, op: &Op, x: usize) -> bool {
    let Op::Reduction(Reduction::Mean { axes: Some(axes), keep_dims: true }) = op else { return false };
    let last = fusion.rank(x).map(|rank| rank as i64 - 1);
    matches!(axes.as_slice(), [axis] if *axis == -1 || Some(*axis) == last)
}
