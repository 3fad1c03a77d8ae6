//! How long each step of a plan takes and what it must read, noted while somebody asks for it.
//!
//! A clock is read after every step; between runs nothing is kept but sums. While nobody asks, a run looks at one flag.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use undertone_boundary::profile::{Part, Profile};

use super::layout::PlanStep;
use crate::{
    graph::ValueId,
    memory::Values,
    ops::{Prepared, ProductOp, Role},
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
pub struct Recorder {
    times: Vec<Instant>,
}

impl Recorder {
    /// For a run of so many sections that begins now, if somebody asks.
    pub fn new(sections: usize) -> Option<Self> {
        RECORDING.load(Ordering::Relaxed).then(|| {
            let mut times = Vec::with_capacity(sections + 2);
            times.push(Instant::now());
            Self { times }
        })
    }

    /// A section was carried out, or what comes after the last of them: the choice of the next token, if that was asked
    /// for.
    pub fn carried_out(&mut self) {
        self.times.push(Instant::now());
    }

    /// A section had nothing to do.
    pub fn passed_over(&mut self) {
        self.times.extend(self.times.last().copied());
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
        let mut times = self.times.windows(2).map(|pair| (pair[1] - pair[0]).as_nanos() as u64);
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
