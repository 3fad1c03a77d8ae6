//! Transcribers that take turns: as many transcriptions run at once as there are of them.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use undertone_runner::Transcriber;

/// How long a waiting thread sleeps before it looks for signals.
const EVERY: Duration = Duration::from_millis(50);

/// Transcribers of one model.
pub struct Pool {
    free: Mutex<Vec<Transcriber>>,
    returned: Condvar,
}

impl Pool {
    /// Of at least one.
    pub fn new(transcribers: Vec<Transcriber>) -> Self {
        Self { free: Mutex::new(transcribers), returned: Condvar::new() }
    }

    /// Waits for a transcriber that is free. `None` if `stop` says so while there is none.
    pub fn take(&self, stop: &mut dyn FnMut() -> bool) -> Option<Taken<'_>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(transcriber) = free.pop() {
                return Some(Taken { pool: self, transcriber: Some(transcriber) });
            }
            free = self.returned.wait_timeout(free, EVERY).unwrap_or_else(PoisonError::into_inner).0;
            if free.is_empty() {
                // Looking for signals needs Python's lock, and who holds that may be waiting for this one.
                drop(free);
                if stop() {
                    return None;
                }
                free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// A transcriber that nobody else uses; it goes back when this is dropped.
pub struct Taken<'a> {
    pool: &'a Pool,
    transcriber: Option<Transcriber>,
}

impl Taken<'_> {
    /// Itself.
    pub fn get(&self) -> Option<&Transcriber> {
        self.transcriber.as_ref()
    }

    /// Itself, to compute with.
    pub fn get_mut(&mut self) -> Option<&mut Transcriber> {
        self.transcriber.as_mut()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend(self.transcriber.take());
        self.pool.returned.notify_one();
    }
}
