//! Linear steps: their rows, and a residual of whatever shape.

use undertone_kernels::{
    Context, Linear,
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

/// The shape of a linear layer's result, widened by its residual if that has more rows.
pub fn shape(machine: &Machine<'_, '_>, step: &PlanStep, inputs: usize, outputs: usize) -> Computed<Shape> {
    let product = infer::linear(machine.shape(operand(step, 0)?), inputs, outputs)?;
    let Some(residual) = step.inputs.get(1).copied().flatten() else { return Ok(product) };
    let residual = machine.shape(residual);
    if *residual == product {
        return Ok(product);
    }
    movement::broadcast_shape(&[&product, residual])
        .ok_or_else(|| format!("a residual of {residual:?} added to {product:?}"))
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
    let x: &[f32] = machine.data(operand(step, 0)?)?;
    let rows = x.len() / inputs.max(1);
    let Some(residual) = step.inputs.get(1).copied().flatten() else {
        let made = kernel.run(context, rows, x, None, target.elements(rows * outputs)?);
        return made.map_err(|error| error.to_string());
    };
    if machine.shape(residual) != shape || rows * outputs != shape.elements() {
        return broadcast_residual(machine, step, (inputs, outputs, kernel), context, shape, target);
    }
    kernel
        .run(context, rows, x, Some(machine.data(residual)?), target.elements(rows * outputs)?)
        .map_err(|error| error.to_string())
}

/// A residual of another shape than the layer's result, which no exported Whisper has: added by itself, with broadcasting.
fn broadcast_residual(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    (inputs, outputs, kernel): (usize, usize, &dyn Linear),
    context: &mut Context<'_>,
    shape: &Shape,
    target: &mut Target<'_>,
) -> Computed<()> {
    let x_id = operand(step, 0)?;
    let x: &[f32] = machine.data(x_id)?;
    let rows = x.len() / inputs.max(1);
    let mut y = vec![0.0; rows * outputs];
    kernel.run(context, rows, x, None, &mut y).map_err(|error| error.to_string())?;
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
