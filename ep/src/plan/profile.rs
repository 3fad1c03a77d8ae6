//! How long each step of a plan takes and what it must read, noted while somebody asks for it: as sums over steps that
//! are alike ([`start`], [`end`]), or as events on a line of time ([`crate::trace`]).
//!
//! A clock is read after every step; between runs nothing is kept but sums. While nobody asks, a run looks at one flag
//! and one number.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use undertone_boundary::profile::{Part, Profile};
use undertone_kernels::{
    DeviceKind, Precision,
    trace::{self, Span, Stage},
};

use super::layout::PlanStep;
use crate::{
    graph::ValueId,
    memory::Values,
    ops::{Prepared, ProductOp, Role},
    trace::{Event, Traced, Track},
};

static RECORDING: AtomicBool = AtomicBool::new(false);
static PROFILE: Mutex<Option<Notes>> = Mutex::new(None);

#[derive(Default)]
struct Notes {
    /// All but the steps.
    profile: Profile,
    /// Steps that are alike, together: by kind and shape.
    steps: BTreeMap<(&'static str, String), Part>,
}

/// Notes every run from now on; what was noted before is forgotten.
pub fn start() {
    *PROFILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Notes::default());
    RECORDING.store(true, Ordering::Relaxed);
}

/// Notes no more, and gives what was noted; `None` if nobody asked for it.
pub fn end() -> Option<Profile> {
    RECORDING.store(false, Ordering::Relaxed);
    let Notes { profile, steps } = PROFILE.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    Some(Profile { steps: steps.into_values().collect(), ..profile })
}

/// One run's notes: the time after each section. What the sections are is written down when the run is over, so that
/// noting takes a look at a clock and leaves the caches to the run.
pub struct Recorder<'t> {
    times: Vec<Instant>,
    /// Whom to tell of each step, and after each section how much the NPU device has noted.
    traced: Option<(Traced<'t>, Vec<usize>)>,
}

impl<'t> Recorder<'t> {
    /// For a run of so many sections that begins now, if somebody asks.
    pub fn new(traced: Option<Traced<'t>>, sections: usize) -> Option<Self> {
        (traced.is_some() || RECORDING.load(Ordering::Relaxed)).then(|| {
            let traced = traced.map(|traced| {
                trace::start();
                (traced, Vec::with_capacity(sections + 1))
            });
            let mut times = Vec::with_capacity(sections + 2);
            times.push(Instant::now());
            Self { times, traced }
        })
    }

    /// A section was carried out, or what comes after the last of them: the choice of the next token, if that was asked
    /// for.
    pub fn carried_out(&mut self) {
        self.times.push(Instant::now());
        self.note_spans();
    }

    /// A section had nothing to do.
    pub fn passed_over(&mut self) {
        self.times.extend(self.times.last().copied());
        self.note_spans();
    }

    fn note_spans(&mut self) {
        if let Some((_, noted)) = &mut self.traced {
            noted.push(trace::noted());
        }
    }

    /// The run is over. `sections` are the steps of each, and what they run with.
    pub fn finish<'s>(
        mut self,
        values: &Values<'_, '_>,
        sections: impl Iterator<Item = (&'s [PlanStep], &'s [Option<Prepared>])> + Clone,
    ) {
        let begun = Instant::now();
        if let Some((traced, noted)) = self.traced.take() {
            traced.note(events(&self.times, &noted, traced.thread, values, sections.clone()));
        }
        if !RECORDING.load(Ordering::Relaxed) {
            return;
        }
        let mut notes = PROFILE.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(notes) = notes.as_mut() else { return };
        let times = std::mem::take(&mut self.times);
        let mut times = times.windows(2).map(|pair| (pair[1] - pair[0]).as_nanos() as u64);
        notes.profile.runs += 1;
        for ((steps, prepared), nanoseconds) in sections.zip(&mut times) {
            if let Some((kind, part)) = noted(values, steps, prepared, nanoseconds) {
                notes.add(kind, part);
            }
        }
        for nanoseconds in times {
            let (kind, shape) = ("choice".to_owned(), String::new());
            notes.add("choice", Part { kind, shape, kernel: true, calls: 1, nanoseconds, bytes: 0 });
        }
        notes.profile.noting += begun.elapsed().as_nanos() as u64;
    }
}

impl Drop for Recorder<'_> {
    /// A run that failed leaves nothing noted for the thread's next one.
    fn drop(&mut self) {
        if self.traced.is_some() {
            trace::take();
        }
    }
}

/// A run's events: its sections that took time, and the stages of those on an NPU.
fn events<'s>(
    times: &[Instant],
    noted: &[usize],
    thread: u32,
    values: &Values<'_, '_>,
    sections: impl Iterator<Item = (&'s [PlanStep], &'s [Option<Prepared>])>,
) -> Vec<Event> {
    let spans = trace::take();
    let mut events = Vec::with_capacity(noted.len() + spans.len());
    let mut from = 0;
    let mut sections = sections;
    for (time, to) in times.windows(2).zip(noted) {
        let ([begin, end], of_section) = ([time[0], time[1]], &spans[from..*to]);
        from = *to;
        match sections.next() {
            _ if begin == end => (),
            Some((steps, prepared)) => {
                let Some((kind, part)) = self::noted(values, steps, prepared, (end - begin).as_nanos() as u64) else {
                    continue;
                };
                let about = about(kind, part, values, steps, prepared, of_section);
                let name = steps.last().map(|step| step.name.clone()).unwrap_or_default();
                events.push(Event { name, track: Track::Step, thread, begin, end, about });
            }
            // Nobody asked for a choice.
            None if (end - begin).as_micros() == 0 => (),
            None => {
                let about = vec![("kind", "choice".into()), ("device", DeviceKind::Host.word().into())];
                events.push(Event { name: "choice".to_owned(), track: Track::Step, thread, begin, end, about });
            }
        }
        events.extend(of_section.iter().map(|span| stage(span, thread)));
    }
    events
}

/// What is known of a section, in words and numbers.
fn about(
    kind: &'static str,
    part: Part,
    values: &Values<'_, '_>,
    steps: &[PlanStep],
    prepared: &[Option<Prepared>],
    spans: &[Span],
) -> Vec<(&'static str, Cow<'static, str>)> {
    let mut about: Vec<(&str, Cow<'_, str>)> = vec![("kind", kind.into()), ("shape", part.shape.into())];
    let computed = prepared.iter().flatten().map(|prepared| match prepared {
        Prepared::Linear(kernel) => kernel.precision(),
        Prepared::Conv1d(kernel) => kernel.precision(),
        Prepared::Attention(kernel) => kernel.precision(),
    });
    if part.kernel {
        // What is no product is computed in fp32.
        let precision = computed.last().unwrap_or(Precision::F32);
        let device = spans.first().map_or(DeviceKind::Host, |span| span.device);
        about.extend([("precision", precision.word().into()), ("device", device.word().into())]);
    }
    let flops = steps.iter().filter_map(|step| {
        let operand = |index: usize| step.inputs.get(index).copied().flatten().map(|value| *values.shape(value));
        step.op.operator().flops(&operand, Some(*values.shape(step.output)))
    });
    let flops: f64 = flops.sum();
    if flops > 0.0 {
        about.push(("gflop", format!("{:.6}", flops / 1e9).into()));
    }
    if part.bytes > 0 {
        about.push(("bytes_read", part.bytes.to_string().into()));
    }
    if steps.len() > 1 {
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        about.push(("steps", names.join(", ").into()));
    }
    about
}

/// A stage of a kernel on an NPU.
fn stage(span: &Span, thread: u32) -> Event {
    let Span { stage, what, device, commands, bytes, begin, end } = span;
    let mut about: Vec<(&str, Cow<'_, str>)> = vec![("device", device.word().into())];
    if *stage != Stage::Packing {
        about.push(("commands", commands.to_string().into()));
    }
    if *bytes > 0 {
        about.push(("dma_bytes", bytes.to_string().into()));
    }
    Event { name: what.clone(), track: Track::Npu(*stage), thread, begin: *begin, end: *end, about }
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
        kernel: steps.iter().any(|step| !matches!(step.op.role(), Role::Movement | Role::Nothing)),
        calls: 1,
        nanoseconds,
        bytes: steps.iter().zip(prepared).map(|(step, prepared)| bytes(values, step, prepared.as_ref())).sum(),
    };
    Some((kind, part))
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
