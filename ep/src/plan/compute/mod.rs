//! Carries out sections and single steps: shape, memory, and then the kernel or the host's plain functions.

mod attention;
mod floating;
mod linear;
mod plain;
mod section;

pub use section::run as section;
use undertone_kernels::{Context, Device};

use super::{
    fault::Fault,
    infer::{self, operand},
    layout::{PlanStep, is_view},
    machine::{Machine, Target},
    prepare::Kernel,
    resident::{self, Keeping},
    tensor::{Place, Shape},
};
use crate::{
    graph::{DataType, ValueId},
    program::Op,
};

/// What the steps of a session are carried out with, beside their kernels.
#[derive(Clone, Copy)]
pub struct Tools<'p> {
    /// Carries out layers together.
    pub device: &'p dyn Device,
    /// Keeps what stays in the EP.
    pub keeping: Keeping,
}

/// What a step's work gives, or why it gives nothing.
type Computed<T> = Result<T, Fault>;

/// Most elements of an integer tensor that is computed when only shapes are wanted.
const SHAPE_ELEMENTS: usize = 4096;

/// Carries out `step`.
///
/// # Errors
/// What the operands lack, in words.
fn step<'io>(
    machine: &mut Machine<'_, 'io>,
    step: &PlanStep,
    kernel: Option<&Kernel>,
    keeping: Keeping,
    context: &mut Context<'_>,
) -> Computed<()> {
    if machine.stands(step) || resident::append(machine, step.output, context)? {
        return Ok(());
    }
    let former = machine.former_sizes(step);
    let shape = match kernel {
        Some(Kernel::Linear { inputs, outputs, .. }) => linear::shape(machine, step, *inputs, *outputs),
        Some(Kernel::Conv1d { shape, .. }) => conv_shape(machine, step, *shape).map(|(_, out)| out),
        _ => infer::shape(machine, step).map_err(Fault::from),
    }?;
    if step.inputs.first().is_some_and(|source| is_viewed(machine, step, *source)) {
        machine.view(step.output, operand(step, 0)?, shape);
        machine.note_change(step, None);
        return Ok(());
    }
    let mut target = machine.begin(step.output, shape)?;
    let written = compute(machine, step, kernel, context, &shape, &mut target);
    machine.finish(target);
    written?;
    machine.note_change(step, former);
    Ok(keeping.keep(machine, step.output, context)?)
}

/// As [`step`], when only shapes and the integers that shapes are made of are wanted. `shape` is the result's, where the
/// operation alone does not tell.
pub fn step_for_shapes(
    machine: &mut Machine<'_, '_>,
    step: &PlanStep,
    shape: Option<Shape>,
    context: &mut Context<'_>,
) -> Computed<()> {
    let shape = shape.map_or_else(|| infer::shape(machine, step), Ok)?;
    let small = machine.tensor(step.output).dtype != DataType::F32 && shape.elements() <= SHAPE_ELEMENTS;
    let reads_data = !matches!(step.op, Op::Shape { .. });
    let known = |value: &ValueId| machine.tensor(*value).place != Place::Unknown;
    if step.inputs.first().is_some_and(|source| is_viewed(machine, step, *source)) {
        machine.view(step.output, operand(step, 0)?, shape);
        return Ok(());
    }
    if !small || (reads_data && !step.inputs.iter().flatten().all(known)) {
        machine.note(step.output, shape);
        return Ok(());
    }
    let Ok(mut target) = machine.begin(step.output, shape) else {
        machine.note(step.output, shape);
        return Ok(());
    };
    let written = compute(machine, step, None, context, &shape, &mut target);
    machine.finish(target);
    written
}

fn is_viewed(machine: &Machine<'_, '_>, step: &PlanStep, source: Option<ValueId>) -> bool {
    source.is_some_and(|source| {
        let (from, to) = (machine.tensor(source).dtype, machine.tensor(step.output).dtype);
        is_view(&step.op, from, to) && machine.has_no_home(step.output)
    })
}

fn compute(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    kernel: Option<&Kernel>,
    context: &mut Context<'_>,
    shape: &Shape,
    target: &mut Target<'_>,
) -> Computed<()> {
    match (&step.op, kernel) {
        (Op::Linear { .. }, Some(Kernel::Linear { inputs, outputs, kernel })) => {
            linear::run(machine, step, (*inputs, *outputs, &***kernel), context, shape, target)
        }
        (Op::Attention { .. }, Some(Kernel::Attention(kernel))) => {
            attention::run(machine, step, kernel, context, target)
        }
        (Op::Conv1d(_), Some(Kernel::Conv1d { shape: weights, kernel })) => {
            let ([batch, length], _) = conv_shape(machine, step, *weights)?;
            let x = machine.data(operand(step, 0)?)?;
            Ok(kernel.run(context, batch, length, x, target.elements(shape.elements())?)?)
        }
        (op, Some(Kernel::Host(isa))) => floating::run(machine, step, op, *isa, context, shape, target)
            .unwrap_or_else(|| plain::run(machine, step, shape, target)),
        _ => plain::run(machine, step, shape, target),
    }
}

fn conv_shape(machine: &Machine<'_, '_>, step: &PlanStep, weights: [usize; 3]) -> Computed<([usize; 2], Shape)> {
    let Op::Conv1d(conv) = &step.op else { return Err("it is no convolution".into()) };
    Ok(infer::convolution(machine.shape(operand(step, 0)?), conv, weights)?)
}
