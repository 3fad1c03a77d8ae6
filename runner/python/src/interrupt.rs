//! Ctrl-C while Rust computes: Python notes the signal, and its handler runs when Python is asked.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// How often Python is asked.
const EVERY: Duration = Duration::from_millis(50);

/// Asks Python now and then whether a signal's handler raised something.
pub struct Signals {
    asked: Instant,
    raised: Option<PyErr>,
}

impl Signals {
    pub fn new() -> Self {
        Self { asked: Instant::now(), raised: None }
    }

    /// Whether to stop. Called without Python's lock, as often as one likes.
    pub fn stop(&mut self) -> bool {
        if self.raised.is_none() && self.asked.elapsed() >= EVERY {
            self.asked = Instant::now();
            self.raised = Python::attach(|py| py.check_signals()).err();
        }
        self.raised.is_some()
    }

    /// What the handler raised.
    pub fn raised(self) -> PyResult<()> {
        self.raised.map_or(Ok(()), Err)
    }
}

/// Does `work`, which knows nothing of signals, on a thread of its own. After Ctrl-C the thread is left to itself.
pub fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> PyResult<T> + Send + 'static,
) -> PyResult<T> {
    let (sender, receiver) = mpsc::channel();
    // Nobody may be waiting any more.
    thread::spawn(move || drop(sender.send(work())));
    py.detach(move || {
        loop {
            match receiver.recv_timeout(EVERY) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => Python::attach(|py| py.check_signals())?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(PyRuntimeError::new_err(
                        "a thread of undertone ended without a result: this is a defect",
                    ));
                }
            }
        }
    })
}
