//! The panic guard: what every callback runs in, so that no panic crosses the C boundary.

#[cfg(panic = "abort")]
compile_error!("the EP must be built with panic = \"unwind\": an abort would take down the program that loaded it");

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use ort_sys::OrtStatusPtr;

use crate::status::{Failure, OK, StatusMaker};

/// Runs the body of a callback that returns a status. A failure or panic in it becomes the status.
pub fn guard(
    statuses: StatusMaker,
    callback: &'static str,
    body: impl FnOnce() -> Result<(), Failure>,
) -> OrtStatusPtr {
    // Whatever the body left half-done is behind a failed callback: ONNX Runtime gives up the session or the run.
    let result = catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|payload| Err(Failure::Panic { callback, message: panic_message(payload) }));
    match result {
        Ok(()) => OK,
        Err(failure) => statuses.make(&failure),
    }
}

/// Runs the body of a callback that cannot report an error; a panic in it, which the panic hook has shown, ends it.
pub fn guard_release(body: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(body)) {
        panic_message(payload);
    }
}

/// A panic's message.
pub fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let message = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    };
    // Dropping a payload may itself panic; leaking it cannot.
    std::mem::forget(payload);
    message
}
