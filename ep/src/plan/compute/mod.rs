//! Carries out sections and single steps: shape, memory, and then the kernel or the host's plain functions.

mod attention;
mod section;

pub use section::run as section;
use undertone_kernels::{Context, Device, host::HostDevice};

use super::{
    caches::{self, Caches},
    cross,
    layout::PlanStep,
    machine::Machine,
};
use crate::{
    graph::{DataType, ValueId},
    memory::{Destination, Location, Shape},
    ops::{Computed, Prepared, StepRun},
};

/// What the steps of a session are carried out with, beside what each was prepared with.
#[derive(Clone, Copy)]
pub struct Tools<'p> {
    /// Carries out layers together.
    pub device: &'p dyn Device,
    /// Keeps what stays in the EP.
    pub caches: Caches,
}

/// Most elements of an integer tensor that is computed when only shapes are wanted.
const SHAPE_ELEMENTS: usize = 4096;

/// Carries out `step`. The error says what the operands lack, in words.
fn step<'io>(
    machine: &mut Machine<'_, 'io>,
    step: &PlanStep,
    prepared: Option<&Prepared>,
    caches: Caches,
    context: &mut Context<'_>,
) -> Computed<()> {
    if machine.is_valid(step) || caches::append(machine, step.output, context)? {
        return Ok(());
    }
    let former = machine.former_sizes(step);
    let shape = step.op.operator().shape(machine.operands(step))?;
    if step.inputs.first().is_some_and(|source| is_viewed(machine, step, *source)) {
        machine.values.view(step.output, machine.operands(step).value(0)?, shape);
        machine.note_change(step, None);
        return Ok(());
    }
    let mut destination = machine.begin(step.output, shape)?;
    let written = compute(machine, step, prepared, caches.host, context, shape, &mut destination);
    machine.values.finish(destination);
    written?;
    machine.note_change(step, former);
    if let Some(layer) = step.cross {
        cross::keep_scores(machine, step, layer, caches.host, context)?;
    }
    Ok(caches.take_in(machine, step.output, context)?)
}

/// As [`step`], when only shapes and the integers that shapes are made of are wanted. `shape` is the result's.
pub fn step_for_shapes(
    machine: &mut Machine<'_, '_>,
    step: &PlanStep,
    shape: Shape,
    context: &mut Context<'_>,
) -> Computed<()> {
    let small = machine.values.tensor(step.output).dtype != DataType::F32 && shape.elements() <= SHAPE_ELEMENTS;
    let reads_data = !step.op.reads_shape_only();
    let known = |value: &ValueId| machine.values.tensor(*value).location != Location::Unknown;
    if step.inputs.first().is_some_and(|source| is_viewed(machine, step, *source)) {
        machine.values.view(step.output, machine.operands(step).value(0)?, shape);
        return Ok(());
    }
    if !small || (reads_data && !step.inputs.iter().flatten().all(known)) {
        machine.values.note(step.output, shape);
        return Ok(());
    }
    let Ok(mut destination) = machine.begin(step.output, shape) else {
        machine.values.note(step.output, shape);
        return Ok(());
    };
    let written = compute(machine, step, None, HostDevice::new(), context, shape, &mut destination);
    machine.values.finish(destination);
    written
}

fn is_viewed(machine: &Machine<'_, '_>, step: &PlanStep, source: Option<ValueId>) -> bool {
    source.is_some_and(|source| {
        let (from, to) = (machine.values.tensor(source).dtype, machine.values.tensor(step.output).dtype);
        step.op.operator().is_view(from, to) && machine.has_no_home(step.output)
    })
}

fn compute<'io>(
    machine: &Machine<'_, 'io>,
    step: &PlanStep,
    prepared: Option<&Prepared>,
    host: HostDevice,
    context: &mut Context<'_>,
    shape: Shape,
    destination: &mut Destination<'io>,
) -> Computed<()> {
    let (operands, dtype) = (machine.operands(step), machine.values.tensor(step.output).dtype);
    step.op.operator().run(&mut StepRun { operands, prepared, host, dtype, shape, destination }, context)
}
