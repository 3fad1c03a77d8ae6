//! How long each step of a plan takes and what it must read, noted while somebody asks for it.
//!
//! A clock is read after every step; what the steps were is written down between runs. While nobody asks, a run looks at
//! one flag.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use undertone_boundary::profile::{Event, MOST_EVENTS, NpuTime, Part, Profile};
use undertone_kernels::{DeviceKind, Precision};

use super::layout::PlanStep;
use crate::{
    graph::ValueId,
    memory::{Location, Values},
    npu,
    ops::{Prepared, ProductOp, Role},
};

static RECORDING: AtomicBool = AtomicBool::new(false);
static PROFILE: Mutex<Option<Notes>> = Mutex::new(None);

struct Notes {
    begun: Instant,
    /// All but the steps.
    profile: Profile,
    /// Steps that are alike, together: by kind and shape.
    steps: BTreeMap<(&'static str, String), Part>,
}

/// Notes every run from now on; what was noted before is forgotten.
pub fn start() {
    let notes = Notes { begun: Instant::now(), profile: Profile::default(), steps: BTreeMap::new() };
    *PROFILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(notes);
    RECORDING.store(true, Ordering::Relaxed);
}

/// Notes no more, and gives what was noted; `None` if nobody asked for it.
pub fn end() -> Option<Profile> {
    RECORDING.store(false, Ordering::Relaxed);
    let Notes { profile, steps, .. } = PROFILE.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    Some(Profile { steps: steps.into_values().collect(), ..profile })
}

/// One run's notes: the time after each section. What the sections are is written down when the run is over, so that
/// noting takes a look at a clock and leaves the caches to the run.
pub struct Recorder {
    /// The end of what was carried out last, or the run's beginning.
    last: Instant,
    /// What NPUs had done by then, where the plan has one: what they do next is a section's.
    npu: Option<NpuTime>,
    sections: Vec<Noted>,
}

/// A section's time.
struct Noted {
    begun: Instant,
    nanoseconds: u64,
    npu: Option<NpuTime>,
}

impl Recorder {
    /// For a run of so many sections that begins now, if somebody asks.
    pub fn new(sections: usize, beside_npu: bool) -> Option<Self> {
        RECORDING.load(Ordering::Relaxed).then(|| {
            let sections = Vec::with_capacity(sections + 1);
            let npu = beside_npu.then(npu::time);
            Self { last: Instant::now(), npu, sections }
        })
    }

    /// A section was carried out, or what comes after the last of them: the choice of the next token, if that was asked
    /// for.
    pub fn carried_out(&mut self) {
        let (begun, end) = (self.last, Instant::now());
        let npu = self.npu.as_mut().map(|before| {
            let now = npu::time();
            let since = |now: u64, before: u64| now.saturating_sub(before);
            let spent = NpuTime {
                predicted: since(now.predicted, before.predicted),
                commands: since(now.commands, before.commands),
                packing: since(now.packing, before.packing),
            };
            *before = now;
            spent
        });
        self.sections.push(Noted { begun, nanoseconds: (end - begun).as_nanos() as u64, npu });
        // To ask the NPUs takes a while, which is nobody's.
        self.last = if self.npu.is_some() { Instant::now() } else { end };
    }

    /// A section had nothing to do.
    pub fn passed_over(&mut self) {
        self.sections.push(Noted { begun: self.last, nanoseconds: 0, npu: None });
    }

    /// The run is over. `sections` are the steps of each, and what they run with.
    pub fn finish<'s>(
        self,
        values: &Values<'_, '_>,
        sections: impl Iterator<Item = (&'s [PlanStep], &'s [Option<Prepared>])>,
    ) {
        let begun = Instant::now();
        let mut notes = PROFILE.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(notes) = notes.as_mut() else { return };
        let mut times = self.sections.iter();
        let run = notes.profile.runs;
        notes.profile.runs += 1;
        for ((steps, prepared), time) in sections.zip(&mut times) {
            if let Some((kind, part)) = noted(values, steps, prepared, time.nanoseconds) {
                if notes.profile.events.len() < MOST_EVENTS && time.nanoseconds > 0 {
                    let start = (time.begun - notes.begun).as_nanos() as u64;
                    let event = Event { run, start, npu: time.npu.filter(|npu| npu.commands > 0), ..Event::default() };
                    notes.profile.events.push(described(event, &part, values, steps, prepared));
                }
                notes.add(kind, part);
            }
        }
        for Noted { begun, nanoseconds, .. } in times {
            let kind = "choice".to_owned();
            if *nanoseconds > 0 && notes.profile.events.len() < MOST_EVENTS {
                let (kinds, start) = (vec![kind.clone()], (*begun - notes.begun).as_nanos() as u64);
                let device = DeviceKind::Host.to_string();
                let event =
                    Event { run, kinds, kernel: true, device, start, nanoseconds: *nanoseconds, ..Event::default() };
                notes.profile.events.push(event);
            }
            let part = Part { kind, shape: String::new(), kernel: true, calls: 1, nanoseconds: *nanoseconds, bytes: 0 };
            notes.add("choice", part);
        }
        notes.profile.noting += begun.elapsed().as_nanos() as u64;
    }
}

impl Notes {
    fn add(&mut self, kind: &'static str, part: Part) {
        self.profile.nanoseconds += part.nanoseconds;
        match self.steps.get_mut(&(kind, part.shape.clone())) {
            Some(alike) => {
                alike.calls += 1;
                alike.nanoseconds += part.nanoseconds;
                alike.bytes += part.bytes;
            }
            None => {
                self.steps.insert((kind, part.shape.clone()), part);
            }
        }
    }
}

/// A section: one step, or several together, which are noted as one of the last one's kind.
fn noted(
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
fn described(
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
