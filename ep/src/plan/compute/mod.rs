//! Carries out sections and single steps: shape, memory, and then the kernel or the host's plain functions.

mod section;

pub use section::run as section;
use undertone_kernels::{Context, Device};

use super::{
    layout::PlanStep,
    machine::{Machine, Target},
    prepare::Kernel,
    resident::{self, Keeping},
    tensor::{Place, Shape},
};
use crate::{
    graph::{DataType, ValueId},
    ops::run::{Computed, Operands, Run},
};

/// What the steps of a session are carried out with, beside their kernels.
#[derive(Clone, Copy)]
pub struct Tools<'p> {
    /// Carries out layers together.
    pub device: &'p dyn Device,
    /// Keeps what stays in the EP.
    pub keeping: Keeping,
}

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
    let shape = step.op.operator().shape(Operands::of(machine, step))?;
    if step.inputs.first().is_some_and(|source| is_viewed(machine, step, *source)) {
        machine.view(step.output, Operands::of(machine, step).value(0)?, shape);
        machine.note_change(step, None);
        return Ok(());
    }
    let mut target = machine.begin(step.output, shape)?;
    let written = compute(machine, step, kernel, context, shape, &mut target);
    machine.finish(target);
    written?;
    machine.note_change(step, former);
    Ok(keeping.keep(machine, step.output, context)?)
}

/// As [`step`], when only shapes and the integers that shapes are made of are wanted. `shape` is the result's.
pub fn step_for_shapes(
    machine: &mut Machine<'_, '_>,
    step: &PlanStep,
    shape: Shape,
    context: &mut Context<'_>,
) -> Computed<()> {
    let small = machine.tensor(step.output).dtype != DataType::F32 && shape.elements() <= SHAPE_ELEMENTS;
    let reads_data = !step.op.reads_shape_only();
    let known = |value: &ValueId| machine.tensor(*value).place != Place::Unknown;
    if step.inputs.first().is_some_and(|source| is_viewed(machine, step, *source)) {
        machine.view(step.output, Operands::of(machine, step).value(0)?, shape);
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
    let written = compute(machine, step, None, context, shape, &mut target);
    machine.finish(target);
    written
}

fn is_viewed(machine: &Machine<'_, '_>, step: &PlanStep, source: Option<ValueId>) -> bool {
    source.is_some_and(|source| {
        let (from, to) = (machine.tensor(source).dtype, machine.tensor(step.output).dtype);
        step.op.operator().is_view(from, to) && machine.has_no_home(step.output)
    })
}

fn compute<'io>(
    machine: &Machine<'_, 'io>,
    step: &PlanStep,
    kernel: Option<&Kernel>,
    context: &mut Context<'_>,
    shape: Shape,
    target: &mut Target<'io>,
) -> Computed<()> {
    let (operands, dtype) = (Operands::of(machine, step), machine.tensor(step.output).dtype);
    step.op.operator().run(&mut Run { operands, kernel, dtype, shape, target }, context)
}
