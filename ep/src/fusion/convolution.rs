//! What belongs to a 1-D convolution: GELU after it, the transposition to `[batch, length, channels]` behind the last
//! one, and channels kept last between two of them, so that nothing is transposed in between.

use undertone_kernels::{Activation, host::elementwise::Unary};

use super::{Fusion, StepId};
use crate::ops::{Conv, Movement, Op};

fn conv_at(fusion: &Fusion<'_, '_>, id: StepId) -> Option<Conv> {
    let Op::Conv1d(conv) = &fusion.step(id)?.op else { return None };
    Some(conv.clone())
}

/// Root: a GELU of a convolution's result.
pub(super) fn epilogue(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let gelu = fusion.step(root).filter(|step| step.op == Op::Unary(Unary::Gelu))?;
    let (convolution, step) = fusion.sole_maker(gelu.inputs[0]?)?;
    let inputs = step.inputs.clone();
    let conv = conv_at(fusion, convolution).filter(|conv| conv.activation == Activation::None)?;
    let op = Op::Conv1d(Conv { activation: Activation::Gelu, ..conv });
    fusion.replace(root, &[convolution], op, inputs)
}

/// Root: a transposition of the last two axes of a convolution's result.
pub(super) fn output_transpose(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let transpose =
        fusion.step(root).filter(|step| step.op == Op::Movement(Movement::Transpose { perm: vec![0, 2, 1] }))?;
    let (convolution, step) = fusion.sole_maker(transpose.inputs[0]?)?;
    let inputs = step.inputs.clone();
    let conv = conv_at(fusion, convolution).filter(|conv| !conv.output_channels_last)?;
    fusion.replace(root, &[convolution], Op::Conv1d(Conv { output_channels_last: true, ..conv }), inputs)
}

/// Root: a convolution whose operand only it reads and another convolution makes.
pub(super) fn between(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let second = conv_at(fusion, root).filter(|conv| !conv.input_channels_last)?;
    let inputs = fusion.step(root)?.inputs.clone();
    let (maker, step) = fusion.sole_maker(inputs[0]?)?;
    let first_inputs = step.inputs.clone();
    let first = conv_at(fusion, maker).filter(|conv| !conv.output_channels_last)?;
    fusion.replace(maker, &[], Op::Conv1d(Conv { output_channels_last: true, ..first }), first_inputs)?;
    fusion.replace(root, &[], Op::Conv1d(Conv { input_channels_last: true, ..second }), inputs)
}
