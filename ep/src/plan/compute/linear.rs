//! Linear steps: their rows, and a residual of whatever shape.

use undertone_kernels::{
    Context, Linear, Scratch,
    host::{elementwise, elementwise::Binary, movement},
};

use super::{
    super::{
        infer::{self, operand},
        layout::PlanStep,
        machine::{Machine, Target},
        tensor::Shape,
    },
    Computed,
};
use crate::{graph::DataType, program::Op};

/// The shape of a linear layer's result, widened by its residual if that has more rows.
pub fn shape(machine: &Machine<'_, '_>, step: &PlanStep, inputs: usize, outputs: usize) -> Computed<Shape> {
    let product = infer::linear(machine.shape(operand(step, 0)?), inputs, outputs)?;
    let Some(residual) = step.inputs.get(1).copied().flatten() else { return Ok(product) };
    let residual = machine.shape(residual);
    if *residual == product {
        return Ok(product);
    }
    movement::broadcast_shape(&[&product, residual])
        .ok_or_else(|| format!("a residual of {residual:?} added to {product:?}").into())
}

/// Carries out a linear step into `target`.
///
/// # Errors
/// If operands do not fit.
pub fn run(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    (inputs, outputs, kernel): (usize, usize, &dyn Linear),
    context: &mut Context<'_>,
    shape: &Shape,
    target: &mut Target<'_>,
) -> Computed<()> {
    let Context { pool, counters, ref mut scratch } = *context;
    let (x, scratch) = real_operand(machine, step, scratch)?;
    let context = &mut Context { pool, counters, scratch };
    let rows = x.len() / inputs.max(1);
    let Some(residual) = step.inputs.get(1).copied().flatten() else {
        return Ok(kernel.run(context, rows, x, None, target.elements(rows * outputs)?)?);
    };
    if machine.shape(residual) != shape || rows * outputs != shape.elements() {
        return broadcast_residual(machine, step, x, (inputs, outputs, kernel), context, shape, target);
    }
    Ok(kernel.run(context, rows, x, Some(machine.data(residual)?), target.elements(rows * outputs)?)?)
}

/// The rows that a linear step multiplies: its first operand, or what a quantised one stands for, and the working memory that is left.
fn real_operand<'r>(
    machine: &'r Machine<'_, '_>,
    step: &PlanStep,
    scratch: &'r mut Scratch,
) -> Computed<(&'r [f32], &'r mut Scratch)> {
    let x = operand(step, 0)?;
    if !matches!(step.op, Op::Linear { quantised: true, .. }) {
        return Ok((machine.data(x)?, scratch));
    }
    let signed = machine.tensor(x).dtype == DataType::I8;
    let real = |byte: u8| if signed { f32::from(byte as i8) } else { f32::from(byte) };
    let [scale] = machine.data::<f32>(operand(step, 2)?)? else {
        return Err("an operand that is quantised row by row".into());
    };
    let zero_point = match step.inputs.get(3).copied().flatten() {
        None => 0.0,
        Some(value) => match machine.data::<u8>(value)? {
            [zero_point] => real(*zero_point),
            _ => return Err("an operand that is quantised row by row".into()),
        },
    };
    let stored: &[u8] = machine.data(x)?;
    let (floats, rest) = scratch.floats_and_rest(stored.len());
    for (float, byte) in floats.iter_mut().zip(stored) {
        *float = (real(*byte) - zero_point) * scale;
    }
    Ok((floats, rest))
}

/// A residual of another shape than the layer's result, which no exported Whisper has: added by itself, with broadcasting.
fn broadcast_residual(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    x: &[f32],
    (inputs, outputs, kernel): (usize, usize, &dyn Linear),
    context: &mut Context<'_>,
    shape: &Shape,
    target: &mut Target<'_>,
) -> Computed<()> {
    let x_id = operand(step, 0)?;
    let rows = x.len() / inputs.max(1);
    let mut y = vec![0.0; rows * outputs];
    kernel.run(context, rows, x, None, &mut y)?;
    let y_shape = infer::linear(machine.shape(x_id), inputs, outputs)?;
    let residual = operand(step, 1)?;
    let out = target.elements(shape.elements())?;
    let isa = undertone_kernels::host::Isa::Portable;
    elementwise::binary_f32(
        isa,
        context,
        Binary::Add,
        &y,
        &y_shape,
        machine.data(residual)?,
        machine.shape(residual),
        shape,
        out,
    );
    Ok(())
}
