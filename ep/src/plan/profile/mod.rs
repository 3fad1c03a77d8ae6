//! How long each step of a plan takes and what it must read, noted while somebody asks for it: as sums over steps that
//! are alike and one after another ([`start`], [`end`]), or as events on a line of time ([`crate::trace`]).
//!
//! A clock is read after every step; what the steps were is written down between runs. While nobody asks, a run looks at
//! one flag and one number.

mod line;
mod section;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use undertone_boundary::profile::{Event, MOST_EVENTS, NpuTime, Part, Profile};
use undertone_kernels::{DeviceKind, trace};

use self::section::{described, noted};
use super::layout::PlanStep;
use crate::{memory::Values, npu, ops::Prepared, trace::Traced};

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

/// One run's notes: the time of each section. What the sections are is written down when the run is over, so that
/// noting takes a look at a clock and leaves the caches to the run.
pub struct Recorder<'t> {
    /// The end of what was carried out last, or the run's beginning.
    last: Instant,
    /// What NPUs had done by then, where the plan has one and sums are asked for: what they do next is a section's.
    npu: Option<NpuTime>,
    sections: Vec<Noted>,
    /// Whom to tell of each step, and after each section how much the NPU device has noted.
    traced: Option<(Traced<'t>, Vec<usize>)>,
}

/// A section's time.
struct Noted {
    begun: Instant,
    end: Instant,
    npu: Option<NpuTime>,
}

impl Noted {
    fn nanoseconds(&self) -> u64 {
        (self.end - self.begun).as_nanos() as u64
    }
}

impl<'t> Recorder<'t> {
    /// For a run of so many sections that begins now, if somebody asks.
    pub fn new(traced: Option<Traced<'t>>, sections: usize, beside_npu: bool) -> Option<Self> {
        let recording = RECORDING.load(Ordering::Relaxed);
        (traced.is_some() || recording).then(|| {
            let traced = traced.map(|traced| {
                trace::start();
                (traced, Vec::with_capacity(sections + 1))
            });
            let npu = (recording && beside_npu).then(npu::time);
            Self { last: Instant::now(), npu, sections: Vec::with_capacity(sections + 1), traced }
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
        self.sections.push(Noted { begun, end, npu });
        self.note_spans();
        // To ask the NPUs takes a while, which is nobody's.
        self.last = if self.npu.is_some() { Instant::now() } else { end };
    }

    /// A section had nothing to do.
    pub fn passed_over(&mut self) {
        self.sections.push(Noted { begun: self.last, end: self.last, npu: None });
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
            traced.note(line::events(&self.sections, &noted, traced.thread, values, sections.clone()));
        }
        if !RECORDING.load(Ordering::Relaxed) {
            return;
        }
        let mut notes = PROFILE.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(notes) = notes.as_mut() else { return };
        let mut times = self.sections.iter();
        let run = notes.profile.runs;
        notes.profile.runs += 1;
        for ((steps, prepared), time) in sections.zip(&mut times) {
            if let Some((kind, part)) = noted(values, steps, prepared, time.nanoseconds()) {
                if notes.profile.events.len() < MOST_EVENTS && part.nanoseconds > 0 {
                    let start = time.begun.saturating_duration_since(notes.begun).as_nanos() as u64;
                    let event = Event { run, start, npu: time.npu.filter(|npu| npu.commands > 0), ..Event::default() };
                    notes.profile.events.push(described(event, &part, values, steps, prepared));
                }
                notes.add(kind, part);
            }
        }
        for time in times {
            let (kind, nanoseconds) = ("choice".to_owned(), time.nanoseconds());
            if nanoseconds > 0 && notes.profile.events.len() < MOST_EVENTS {
                let start = time.begun.saturating_duration_since(notes.begun).as_nanos() as u64;
                let (kinds, device) = (vec![kind.clone()], DeviceKind::Host.to_string());
                let event = Event { run, kinds, kernel: true, device, start, nanoseconds, ..Event::default() };
                notes.profile.events.push(event);
            }
            notes.add("choice", Part { kind, shape: String::new(), kernel: true, calls: 1, nanoseconds, bytes: 0 });
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
