//! Ctrl-C. While there is nothing to keep, it ends the program at once; while recordings are transcribed, the first one
//! asks for an orderly end, which keeps what there is, and the second ends the program all the same.

use std::process;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::output::say;

/// The exit code of a program that Ctrl-C ended, as shells know it.
pub const EXIT_CODE: u8 = 130;

const IDLE: u8 = 0;
const BUSY: u8 = 1;
const ASKED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(IDLE);

/// Takes Ctrl-C over, and on Unix also what `kill` and a closed terminal send.
pub fn watch() {
    take(|| {
        if let Err(state) = STATE.compare_exchange(BUSY, ASKED, Ordering::SeqCst, Ordering::SeqCst) {
            if state == IDLE {
                say("stopped before anything more was transcribed");
            }
            process::exit(EXIT_CODE.into());
        }
    });
}

/// As [`watch`], and the program ends at once, after `last`.
pub fn end_after(last: impl Fn() + Send + 'static) {
    take(move || {
        last();
        process::exit(EXIT_CODE.into());
    });
}

fn take(handler: impl FnMut() + Send + 'static) {
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::debug!("Ctrl-C ends the program at once: {error}");
    }
}

/// Holds off Ctrl-C until it is dropped: there is work whose results are to be kept.
pub struct Work(());

impl Work {
    /// Work begins.
    pub fn begin() -> Self {
        let _ = STATE.compare_exchange(IDLE, BUSY, Ordering::SeqCst, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = STATE.compare_exchange(BUSY, IDLE, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// Whether the program is to end.
pub fn asked() -> bool {
    STATE.load(Ordering::SeqCst) == ASKED
}
