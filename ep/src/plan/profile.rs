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

use serde::Serialize;

use super::{layout::PlanStep, machine::Machine, prepare::Kernel};
use crate::{
    graph::ValueId,
    ops::{Normalisation, Op},
};

static RECORDING: AtomicBool = AtomicBool::new(false);
static PROFILE: Mutex<Option<Profile>> = Mutex::new(None);

/// What was noted since the start, over all runs of all sessions.
#[derive(Debug, Default, Serialize)]
pub struct Profile {
    /// Runs of fused nodes.
    runs: u64,
    /// Nanoseconds from the beginning of a run's first step to the end of its last.
    nanoseconds: u64,
    /// Nanoseconds that went into taking these notes. No step's time has them in it, but the time of a run as its caller sees it has.
    noting: u64,
    /// Steps that are alike, together.
    #[serde(serialize_with = "values")]
    steps: BTreeMap<(&'static str, String), Steps>,
}

/// Steps of one kind and shape.
#[derive(Clone, Debug, Serialize)]
struct Steps {
    kind: &'static str,
    shape: String,
    /// Whether they are kernels: arithmetic on tensors, no shapes, views and moves.
    kernel: bool,
    calls: u64,
    nanoseconds: u64,
    /// Bytes of weights, and of cached keys and values, that they had to read.
    bytes: u64,
}

fn values<S: serde::Serializer>(steps: &BTreeMap<(&str, String), Steps>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(steps.values())
}

/// Notes every run from now on; what was noted before is forgotten.
pub fn start() {
    *PROFILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Profile::default());
    RECORDING.store(true, Ordering::Relaxed);
}

/// Notes no more, and gives what was noted; `None` if nobody asked for it.
pub fn end() -> Option<Profile> {
    RECORDING.store(false, Ordering::Relaxed);
    PROFILE.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// One run's notes: the time after each section. What the sections are is written down when the run is over, so that noting takes a
/// look at a clock and leaves the caches to the run.
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

    /// A section was carried out, or what comes after the last of them: the choice of the next token, if that was asked for.
    pub fn carried_out(&mut self) {
        self.times.push(Instant::now());
    }

    /// A section had nothing to do.
    pub fn passed_over(&mut self) {
        self.times.extend(self.times.last().copied());
    }

    /// The run is over. `sections` are the steps and kernels of each.
    pub fn finish<'s>(
        self,
        machine: &Machine<'_, '_>,
        sections: impl Iterator<Item = (&'s [PlanStep], &'s [Option<Kernel>])>,
    ) {
        let begun = Instant::now();
        let mut profile = PROFILE.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(profile) = profile.as_mut() else { return };
        let mut times = self.times.windows(2).map(|pair| (pair[1] - pair[0]).as_nanos() as u64);
        profile.runs += 1;
        for ((steps, kernels), nanoseconds) in sections.zip(&mut times) {
            if let Some(noted) = noted(machine, steps, kernels, nanoseconds) {
                profile.add(noted);
            }
        }
        for nanoseconds in times {
            let (kind, shape) = ("choice", String::new());
            profile.add(Steps { kind, shape, kernel: true, calls: 1, nanoseconds, bytes: 0 });
        }
        profile.noting += begun.elapsed().as_nanos() as u64;
    }
}

impl Profile {
    fn add(&mut self, steps: Steps) {
        self.nanoseconds += steps.nanoseconds;
        match self.steps.get_mut(&(steps.kind, steps.shape.clone())) {
            Some(alike) => {
                alike.calls += 1;
                alike.nanoseconds += steps.nanoseconds;
                alike.bytes += steps.bytes;
            }
            None => {
                self.steps.insert((steps.kind, steps.shape.clone()), steps);
            }
        }
    }
}

/// A section: one step, or several together, which are noted as one of the last one's kind.
fn noted(machine: &Machine<'_, '_>, steps: &[PlanStep], kernels: &[Option<Kernel>], nanoseconds: u64) -> Option<Steps> {
    let last = steps.last()?;
    let each = || steps.iter().zip(kernels).map(|(step, kernel)| (step, kernel.as_ref()));
    let shapes: Vec<String> = each()
        .map(|(step, _)| match step.op {
            Op::Normalisation(Normalisation::LayerNorm { .. }) if steps.len() > 1 => "norm".to_owned(),
            _ => shape(machine, step),
        })
        .collect();
    Some(Steps {
        kind: last.op.kind(),
        shape: shapes.join(", "),
        kernel: each().any(|(_, kernel)| kernel.is_some()),
        calls: 1,
        nanoseconds,
        bytes: each().map(|(step, kernel)| bytes(machine, step, kernel)).sum(),
    })
}

/// Weights at their packed width; a cache's keys and values as they lie.
fn bytes(machine: &Machine<'_, '_>, step: &PlanStep, kernel: Option<&Kernel>) -> u64 {
    let lying = |value: ValueId| match machine.cached(value) {
        Some(cache) => cache.bytes(),
        None => machine.shape(value).elements() * machine.tensor(value).dtype.size(),
    };
    let bytes = match kernel {
        Some(Kernel::Linear(kernel)) => kernel.weight_bytes(),
        Some(Kernel::Conv1d(kernel)) => kernel.weight_bytes(),
        Some(Kernel::Attention(_)) => step.inputs[1..3].iter().flatten().map(|value| lying(*value)).sum(),
        _ => 0,
    };
    bytes as u64
}

fn shape(machine: &Machine<'_, '_>, step: &PlanStep) -> String {
    let dims = |value: ValueId| machine.shape(value).iter().map(usize::to_string).collect::<Vec<_>>().join("x");
    let input = |index: usize| step.inputs.get(index).copied().flatten();
    match &step.op {
        Op::Linear(linear) => {
            let rows = input(0).map_or(0, |x| machine.shape(x).elements() / linear.inputs.max(1));
            format!("{rows}x{}x{}", linear.inputs, linear.outputs)
        }
        Op::Attention(attention) => {
            let (q, keys) = (input(0).map(dims).unwrap_or_default(), input(1).map(|value| *machine.shape(value)));
            let length = keys.and_then(|keys| keys.get(attention.k.length_axis()).copied());
            format!("{q} over {} keys", length.unwrap_or(0))
        }
        _ => dims(step.output),
    }
}
