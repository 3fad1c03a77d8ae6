//! What an NPU device does for this thread, while somebody wants to know: packing, waiting for the array, the array at
//! work.
//!
//! Nothing is noted, and no clock is read, unless the thread has asked for it.

use std::{cell::RefCell, time::Instant};

use crate::DeviceKind;

/// What the time went into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Operands are brought into the form that the array reads, or results out of it.
    Packing,
    /// Commands wait for the array, which others use.
    Queue,
    /// The array executes commands.
    Dispatch,
}

/// One stage of one kernel's execution.
#[derive(Clone, Debug)]
pub struct Span {
    /// The stage.
    pub stage: Stage,
    /// The operator, and its problems.
    pub what: String,
    /// The simulator or the NPU.
    pub device: DeviceKind,
    /// Commands given to the array.
    pub commands: usize,
    /// Bytes that its DMAs moved; 0 where that is not counted, or nothing was moved.
    pub bytes: u64,
    /// When it began.
    pub begin: Instant,
    /// When it ended.
    pub end: Instant,
}

thread_local! {
    static SPANS: RefCell<Option<Vec<Span>>> = const { RefCell::new(None) };
}

/// This thread's work is noted from now on.
pub fn start() {
    SPANS.set(Some(Vec::new()));
}

/// How much was noted since [`start`].
pub fn noted() -> usize {
    SPANS.with_borrow(|spans| spans.as_ref().map_or(0, Vec::len))
}

/// Notes no more, and gives what was noted since [`start`].
pub fn take() -> Vec<Span> {
    SPANS.take().unwrap_or_default()
}

/// Notes spans that `make` makes, if this thread's work is noted.
pub(crate) fn note<const COUNT: usize>(make: impl FnOnce() -> [Span; COUNT]) {
    SPANS.with_borrow_mut(|spans| {
        if let Some(spans) = spans {
            spans.extend(make());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thread_that_asked_notes() {
        let span = || {
            let (begin, end) = (Instant::now(), Instant::now());
            let (stage, device) = (Stage::Queue, DeviceKind::Sim);
            [Span { stage, what: "linear".to_owned(), device, commands: 1, bytes: 0, begin, end }]
        };
        note::<1>(|| unreachable!("nobody asked"));
        start();
        note(span);
        std::thread::scope(|scope| scope.spawn(|| note::<1>(|| unreachable!("another thread"))).join()).unwrap();
        assert_eq!(noted(), 1);
        assert_eq!(take().len(), 1);
        assert_eq!((noted(), take().len()), (0, 0));
    }
}
