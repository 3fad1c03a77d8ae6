//! What a section of a plan was, beside its times: its kinds, sizes, device, precision, work and bytes.

use undertone_boundary::profile::{Event, Part};
use undertone_kernels::{DeviceKind, Precision};

use crate::{
    graph::ValueId,
    memory::{Location, Values},
    ops::{Prepared, ProductOp, Role},
    plan::layout::PlanStep,
};

/// A section: one step, or several together, which are noted as one of the last one's kind.
pub(super) fn noted(
    values: &Values<'_, '_>,
    steps: &[PlanStep],
    prepared: &[Option<Prepared>],
    nanoseconds: u64,
) -> Option<(&'static str, Part)> {
    let last = steps.last()?;
    let shapes: Vec<String> = steps
        .iter()
        .map(|step| {
            let joined = steps.len() > 1 && step.op.role() == Role::Norm;
            if joined { "norm".to_owned() } else { shape(values, step) }
        })
        .collect();
    let kind = last.op.kind();
    let part = Part {
        kind: kind.to_owned(),
        shape: shapes.join(", "),
        kernel: steps.iter().any(is_kernel),
        calls: 1,
        nanoseconds,
        bytes: steps.iter().zip(prepared).map(|(step, prepared)| bytes(values, step, prepared.as_ref())).sum(),
    };
    Some((kind, part))
}

/// Whether a step is arithmetic on tensors.
fn is_kernel(step: &PlanStep) -> bool {
    !matches!(step.op.role(), Role::Movement | Role::Nothing)
}

/// What a section was, beside its times.
pub(super) fn described(
    event: Event,
    part: &Part,
    values: &Values<'_, '_>,
    steps: &[PlanStep],
    prepared: &[Option<Prepared>],
) -> Event {
    let size = |value: ValueId| (values.shape(value).elements() * values.tensor(value).dtype.size()) as u64;
    let is_constant = |value: ValueId| matches!(values.tensor(value).location, Location::Constant(_));
    let made: Vec<ValueId> = steps.iter().map(|step| step.output).collect();
    let mut read: Vec<ValueId> = steps.iter().filter(|step| !step.op.reads_shape_only()).flat_map(operands).collect();
    read.sort_unstable();
    read.dedup();
    let used: Vec<(DeviceKind, Precision)> =
        steps.iter().zip(prepared).filter_map(|(step, prepared)| kernel(values, step, prepared.as_ref())).collect();
    let flops = steps.iter().map(|step| {
        let input = |index: usize| step.inputs.get(index).copied().flatten().map(|value| *values.shape(value));
        step.op.operator().flops(&input, Some(*values.shape(step.output))).unwrap_or(0.0)
    });
    Event {
        nodes: steps.iter().flat_map(|step| step.nodes.iter().cloned()).collect(),
        kinds: steps
            .iter()
            .filter(|step| is_kernel(step) || !part.kernel)
            .map(|step| step.op.kind().to_owned())
            .collect(),
        shape: part.shape.clone(),
        kernel: part.kernel,
        device: used
            .iter()
            .map(|(device, _)| *device)
            .max_by_key(|device| *device != DeviceKind::Host)
            .map_or_else(|| DeviceKind::Host.to_string(), |device| device.to_string()),
        precision: used
            .iter()
            .map(|(_, precision)| *precision)
            .min_by_key(|precision| width(*precision))
            .map_or_else(String::new, |precision| precision.to_string()),
        nanoseconds: part.nanoseconds,
        flops: flops.sum(),
        bytes_in: read.iter().filter(|value| !made.contains(value) && !is_constant(**value)).map(|v| size(*v)).sum(),
        // What the section's own steps read stays in it.
        bytes_out: made.iter().filter(|value| !read.contains(value)).map(|value| size(*value)).sum(),
        bytes_weights: part.bytes,
        ..event
    }
}

fn operands(step: &PlanStep) -> impl Iterator<Item = ValueId> {
    step.inputs.iter().copied().flatten()
}

/// What a product or attention was prepared for; without a kernel of its own a product is the host's, in f32.
fn kernel(values: &Values<'_, '_>, step: &PlanStep, prepared: Option<&Prepared>) -> Option<(DeviceKind, Precision)> {
    match prepared {
        Some(Prepared::Linear(kernel)) => Some((kernel.device(), kernel.precision())),
        Some(Prepared::Conv1d(kernel)) => Some((kernel.device(), kernel.precision())),
        Some(Prepared::Attention(attention)) => {
            let Some(ProductOp::Attention(spec)) = step.op.product() else { return None };
            let [_, _, queries, width] = spec.q.sizes(values.shape(operands(step).next()?)).ok()?;
            let kernel = attention.for_width(width).ok()?;
            Some((kernel.device(), kernel.precision_for(queries)))
        }
        None => step.op.product().map(|_| (DeviceKind::Host, Precision::F32)),
    }
}

/// Bits of an operand.
fn width(precision: Precision) -> u8 {
    match precision {
        Precision::Int8 => 8,
        Precision::Bf16 => 16,
        Precision::F32 => 32,
    }
}

/// Weights at their packed width; a cache's keys and values as they lie.
fn bytes(values: &Values<'_, '_>, step: &PlanStep, prepared: Option<&Prepared>) -> u64 {
    let lying = |value: ValueId| match values.cached(value) {
        Some(cache) => cache.bytes(),
        None => values.shape(value).elements() * values.tensor(value).dtype.size(),
    };
    let bytes = match prepared {
        Some(Prepared::Linear(kernel)) => kernel.weight_bytes(),
        Some(Prepared::Conv1d(kernel)) => kernel.weight_bytes(),
        Some(Prepared::Attention(_)) => step.inputs[1..3].iter().flatten().map(|value| lying(*value)).sum(),
        None => 0,
    };
    bytes as u64
}

fn shape(values: &Values<'_, '_>, step: &PlanStep) -> String {
    let dims = |value: ValueId| values.shape(value).iter().map(usize::to_string).collect::<Vec<_>>().join("x");
    let input = |index: usize| step.inputs.get(index).copied().flatten();
    match step.op.product() {
        Some(ProductOp::Linear(linear)) => {
            let rows = input(0).map_or(0, |x| values.shape(x).elements() / linear.inputs.max(1));
            format!("{rows}x{}x{}", linear.inputs, linear.outputs)
        }
        Some(ProductOp::Attention(attention)) => {
            let (q, keys) = (input(0).map(dims).unwrap_or_default(), input(1).map(|value| *values.shape(value)));
            let length = keys.and_then(|keys| keys.get(attention.k.length_axis()).copied());
            format!("{q} over {} keys", length.unwrap_or(0))
        }
        Some(ProductOp::Conv1d(_) | ProductOp::MatMul) | None => dims(step.output),
    }
}
