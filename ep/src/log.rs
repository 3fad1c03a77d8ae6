//! What the EP tells the program of its session, through ONNX Runtime's log.

#![allow(unsafe_code, reason = "calls ONNX Runtime's logger")]

use std::ffi::CString;

use ort_sys::{OrtLogger, OrtLoggingLevel, os_char};

use crate::runtime::{Runtime, ort_call};

/// A session's log.
pub struct Log {
    runtime: Runtime,
    /// NULL, or ONNX Runtime's, as long as the session's EP lives.
    logger: *const OrtLogger,
}

impl Log {
    /// Writes to `logger`, which is NULL or lives as long as this does.
    pub fn new(runtime: Runtime, logger: *const OrtLogger) -> Self {
        Self { runtime, logger }
    }

    /// Writes a warning. One that the log does not take is lost.
    pub fn warn(&self, message: &str) {
        if self.logger.is_null() {
            return;
        }
        let message = CString::new(format!("{}: {message}", crate::NAME)).unwrap_or_default();
        let place: Vec<os_char> = b"undertone\0".iter().map(|letter| *letter as os_char).collect();
        let level = OrtLoggingLevel::ORT_LOGGING_LEVEL_WARNING;
        // SAFETY: the logger is alive; the strings are NUL-terminated, and ONNX Runtime copies them.
        let written = unsafe {
            ort_call!(
                self.runtime.api,
                Logger_LogMessage(self.logger, level, message.as_ptr(), place.as_ptr(), 0, c"".as_ptr())
            )
        };
        drop(written);
    }
}
