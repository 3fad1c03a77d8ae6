//! How far a context's commands are: a count that only grows, and waiting for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Errno;

/// A timeline synchronisation object.
#[derive(Default)]
pub struct Timeline {
    reached: Mutex<u64>,
    moved: Condvar,
}

/// How often a waiting call looks whether the device is still there.
const LOOK: Duration = Duration::from_millis(20);

impl Timeline {
    fn lock(&self) -> MutexGuard<'_, u64> {
        // The count is whole at any time: a panic elsewhere does not spoil it.
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that everything up to `point` is done.
    pub fn signal(&self, point: u64) {
        let mut reached = self.lock();
        *reached = point.max(*reached);
        self.moved.notify_all();
    }

    /// How far it is.
    pub fn reached(&self) -> u64 {
        *self.lock()
    }

    /// Waits for a point; without a limit for ever. `gone` is asked now and then whether the device was lost.
    ///
    /// # Errors
    /// `ETIME` if it takes longer, `ENODEV` if the device is lost.
    pub fn wait(&self, point: u64, until: Option<Instant>, gone: impl Fn() -> bool) -> Result<(), Errno> {
        let mut reached = self.lock();
        loop {
            if *reached >= point {
                return Ok(());
            }
            if gone() {
                return Err(libc::ENODEV);
            }
            let now = Instant::now();
            let left = until.map_or(LOOK, |until| until.saturating_duration_since(now));
            if left.is_zero() {
                return Err(libc::ETIME);
            }
            (reached, _) = self.moved.wait_timeout(reached, left.min(LOOK)).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends() {
        let timeline = Timeline::default();
        assert_eq!(timeline.wait(0, None, || false), Ok(()));
        assert_eq!(timeline.wait(1, Some(Instant::now()), || false), Err(libc::ETIME));
        assert_eq!(timeline.wait(1, None, || true), Err(libc::ENODEV));
        std::thread::scope(|scope| {
            scope.spawn(|| timeline.signal(3));
            assert_eq!(timeline.wait(2, None, || false), Ok(()));
        });
        timeline.signal(1);
        assert_eq!(timeline.reached(), 3);
    }
}
