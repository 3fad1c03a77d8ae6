//! What a session does, event by event, for whoever wants to see it on a line of time: ONNX Runtime's own profile
//! ([`profiler`]), and the file of the EP option `trace` ([`file`]).
//!
//! [`crate::plan::profile`] takes the times. While nobody listens a run looks at one number.

pub mod file;
pub mod profiler;

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use undertone_kernels::trace::Stage;

/// Most events that a listener keeps, as ONNX Runtime's own profile does: a million.
const MOST_EVENTS: usize = 1_000_000;

/// Who is told of a session's events.
#[derive(Default)]
pub struct Trace {
    listening: AtomicUsize,
    listeners: Mutex<Vec<Arc<Listener>>>,
}

/// Keeps events until somebody takes them.
#[derive(Default)]
pub struct Listener(Mutex<Kept>);

/// Events in the order in which their runs ended.
#[derive(Default)]
pub struct Kept {
    /// At most [`MOST_EVENTS`].
    pub events: Vec<Arc<Event>>,
    /// How many came after those.
    pub lost: usize,
}

/// Something that took a while.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub track: Track,
    /// The thread that ONNX Runtime called the fused node on.
    pub thread: u32,
    pub begin: Instant,
    pub end: Instant,
    /// What else is known of it, by name.
    pub about: Vec<(&'static str, Cow<'static, str>)>,
}

/// The line that an event is drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// A whole run of a fused node, on its thread.
    Node,
    /// A step of it, on its thread.
    Step,
    /// A stage of a kernel on an NPU or its simulator, beside it.
    Npu(Stage),
}

impl Track {
    /// Its name; a thread's own has none.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Track::Node | Track::Step => None,
            Track::Npu(Stage::Packing) => Some("NPU packing"),
            Track::Npu(Stage::Queue) => Some("NPU queue"),
            Track::Npu(Stage::Dispatch) => Some("NPU dispatch"),
        }
    }

    /// What a trace calls the thread of such an event: the stages of an NPU have lines of their own, whose numbers no
    /// thread has.
    pub fn line(self, thread: u32) -> i32 {
        const FIRST: i32 = 2_000_000_000;
        match self {
            Track::Node | Track::Step => i32::try_from(thread).unwrap_or(0),
            Track::Npu(Stage::Packing) => FIRST,
            Track::Npu(Stage::Queue) => FIRST + 1,
            Track::Npu(Stage::Dispatch) => FIRST + 2,
        }
    }
}

/// A run whose events are wanted.
#[derive(Clone, Copy)]
pub struct Traced<'t> {
    trace: &'t Trace,
    /// The thread that ONNX Runtime called.
    pub thread: u32,
}

/// A panic elsewhere leaves lists whole, so a poisoned lock is as good as another.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trace {
    /// A run that begins on this thread, if somebody listens.
    pub fn of_this_thread(&self) -> Option<Traced<'_>> {
        (self.listening.load(Ordering::Relaxed) > 0).then(|| Traced { trace: self, thread: thread_number() })
    }

    /// Tells `listener` of all events from now on.
    pub fn listen(&self, listener: &Arc<Listener>) {
        let mut listeners = lock(&self.listeners);
        listeners.push(Arc::clone(listener));
        self.listening.store(listeners.len(), Ordering::Relaxed);
    }

    /// Tells `listener` of no more events.
    pub fn leave(&self, listener: &Arc<Listener>) {
        let mut listeners = lock(&self.listeners);
        listeners.retain(|known| !Arc::ptr_eq(known, listener));
        self.listening.store(listeners.len(), Ordering::Relaxed);
    }
}

impl Traced<'_> {
    /// Tells all listeners.
    pub fn note(self, events: Vec<Event>) {
        let events: Vec<_> = events.into_iter().map(Arc::new).collect();
        for listener in lock(&self.trace.listeners).iter() {
            let mut kept = lock(&listener.0);
            let room = MOST_EVENTS.saturating_sub(kept.events.len()).min(events.len());
            kept.events.extend_from_slice(&events[..room]);
            kept.lost += events.len() - room;
        }
    }
}

impl Listener {
    /// What it has kept since the last time.
    pub fn take(&self) -> Kept {
        std::mem::take(&mut lock(&self.0))
    }
}

/// The system's number of this thread, as ONNX Runtime's trace has it; 0 where that is not known.
fn thread_number() -> u32 {
    thread_local! {
        static NUMBER: u32 = std::fs::read_link("/proc/thread-self")
            .ok()
            .and_then(|path| path.file_name()?.to_str()?.parse().ok())
            .unwrap_or(0);
    }
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str) -> Event {
        let (begin, end) = (Instant::now(), Instant::now());
        Event { name: name.to_owned(), track: Track::Step, thread: 1, begin, end, about: Vec::new() }
    }

    #[test]
    fn listeners_hear_what_happens_while_they_listen() {
        let (trace, [a, b]) = (Trace::default(), [(); 2].map(|()| Arc::new(Listener::default())));
        assert!(trace.of_this_thread().is_none());
        trace.listen(&a);
        trace.of_this_thread().unwrap().note(vec![event("first")]);
        trace.listen(&b);
        trace.of_this_thread().unwrap().note(vec![event("second")]);
        trace.leave(&a);
        trace.of_this_thread().unwrap().note(vec![event("third")]);
        trace.leave(&b);
        assert!(trace.of_this_thread().is_none());
        let names =
            |listener: &Listener| listener.take().events.iter().map(|event| event.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&a), ["first", "second"]);
        assert_eq!(names(&b), ["second", "third"]);
        assert!(names(&a).is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn threads_have_numbers_of_their_own() {
        let here = thread_number();
        let there = std::thread::spawn(thread_number).join().unwrap();
        assert!(here > 0 && there > 0 && here != there && thread_number() == here);
    }
}
