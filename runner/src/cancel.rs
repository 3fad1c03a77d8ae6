//! Ending a transcription from elsewhere: another thread, a signal handler, a window's button.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::observer::Observer;

/// A wish to end early that its clones share. It is an [`Observer`] that watches nothing, so that it goes wherever one
/// is taken, alone or in a pair: `&mut (my_observer, cancel)`.
///
/// ```
/// use undertone_runner::Cancel;
///
/// let cancel = Cancel::new();
/// let elsewhere = cancel.clone();
/// std::thread::spawn(move || elsewhere.cancel()).join().unwrap();
/// assert!(cancel.is_cancelled());
/// ```
///
/// What was transcribed until then is returned as a result whose `run.stopped` says until where.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Nothing is cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends what asks this or one of its clones: at the next decoder step, some milliseconds later. It cannot be taken
    /// back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether [`Self::cancel`] was called on this or one of its clones.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Observer for Cancel {
    fn stop(&mut self) -> bool {
        self.is_cancelled()
    }
}
