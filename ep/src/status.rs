//! Errors on their way to ONNX Runtime: what can go wrong in a callback, and how it becomes an `OrtStatus`.
//!
//! The first line of every status names this EP, so that a person who sees it in another program's log knows whom to
//! ask.

#![allow(unsafe_code, reason = "creates and releases ONNX Runtime's statuses")]

use std::{
    ffi::{CStr, CString, c_char},
    ptr,
};

use ort_sys::{OrtApi, OrtErrorCode, OrtStatus, OrtStatusPtr};

use crate::{
    context::ContextError,
    kv::KvError,
    options::OptionsError,
    plan::{PlanError, RunError},
    report::ReportError,
    snapshot::SnapshotError,
};

/// No error.
pub const OK: OrtStatusPtr = OrtStatusPtr(ptr::null_mut());

/// A function of ONNX Runtime failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ONNX Runtime's {function} failed: {message}")]
pub struct OrtError {
    /// Its name.
    pub function: &'static str,
    /// What it said.
    pub message: String,
}

/// Why a callback failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A function of ONNX Runtime failed.
    #[error(transparent)]
    Ort(#[from] OrtError),
    /// The session's options cannot be followed.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The graph could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A packed model cannot be written or read.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A fused node could not be prepared.
    #[error("fused node \"{node}\": {source}")]
    Plan {
        /// Its name.
        node: String,
        /// Why.
        source: PlanError,
    },
    /// A fused node could not be executed.
    #[error("fused node \"{node}\": {source}")]
    Run {
        /// Its name.
        node: String,
        /// Why.
        source: RunError,
    },
    /// A run's key-value cache cannot be used.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The partition's report could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// What ONNX Runtime passed breaks its own interface.
    #[error("{callback}: ONNX Runtime passed {what}")]
    Protocol {
        /// The callback.
        callback: &'static str,
        /// What it passed.
        what: &'static str,
    },
    /// The library that loads this EP is too old for it.
    #[error(
        "ONNX Runtime {found} is too old: its plugin interface cannot compile nodes; install ONNX Runtime 1.{oldest} or newer"
    )]
    TooOld {
        /// Its version.
        found: String,
        /// What 1.*N* it takes.
        oldest: u32,
    },
    /// A bug in this EP.
    #[error("internal error in {callback}: {message}; this is a bug in the EP")]
    Panic {
        /// The callback.
        callback: &'static str,
        /// The panic's message.
        message: String,
    },
}

impl Failure {
    fn code(&self) -> OrtErrorCode {
        match self {
            Failure::Options(_) | Failure::Kv(_) => OrtErrorCode::ORT_INVALID_ARGUMENT,
            // What the program passed, not this EP: it may go on with other inputs. After ORT_EP_FAIL ONNX Runtime's
            // Python module makes the session anew without this EP, for good.
            Failure::Run { source: RunError::Input { .. } | RunError::Step { .. }, .. } => {
                OrtErrorCode::ORT_INVALID_ARGUMENT
            }
            Failure::TooOld { .. } => OrtErrorCode::ORT_NOT_IMPLEMENTED,
            _ => OrtErrorCode::ORT_EP_FAIL,
        }
    }
}

/// Turns failures into statuses: all that the panic guard needs of ONNX Runtime.
#[derive(Clone, Copy, Debug)]
pub struct StatusMaker {
    create: unsafe extern "system" fn(code: OrtErrorCode, message: *const c_char) -> OrtStatusPtr,
}

impl StatusMaker {
    /// With the given table's `CreateStatus`, which every version has as its first member.
    pub fn new(api: &OrtApi) -> Self {
        Self { create: api.CreateStatus }
    }

    /// The status that reports `failure`.
    pub fn make(self, failure: &Failure) -> OrtStatusPtr {
        let mut text = format!("{}: {failure}", crate::NAME);
        text.retain(|character| character != '\0');
        let text = CString::new(text).unwrap_or_default();
        // SAFETY: `create` is ONNX Runtime's function; it copies the NUL-terminated text.
        unsafe { (self.create)(failure.code(), text.as_ptr()) }
    }
}

/// Turns what `function` returned into a result, and releases the status.
///
/// # Errors
/// The status was one of an error.
///
/// # Safety
/// `status` must have just been returned by a function of `api`.
pub unsafe fn check(api: &OrtApi, function: &'static str, status: OrtStatusPtr) -> Result<(), OrtError> {
    if status.0.is_null() {
        return Ok(());
    }
    let pointer: *mut OrtStatus = status.0;
    // SAFETY: the status is alive until released below; its message is NUL-terminated and lives as long.
    let message = unsafe { text((api.GetErrorMessage)(pointer)) };
    // SAFETY: the caller owns the status and does not use it again.
    unsafe { (api.ReleaseStatus)(pointer) };
    Err(OrtError { function, message })
}

/// A copy of a C string; empty for NULL.
///
/// # Safety
/// `pointer` is NULL or a NUL-terminated string.
pub unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// Calls a function of ONNX Runtime's table and turns its status into a `Result<(), OrtError>`.
macro_rules! ort_call {
    ($api:expr, $function:ident($($argument:expr),* $(,)?)) => {
        $crate::status::check($api, stringify!($function), ($api.$function)($($argument),*))
    };
}
pub(crate) use ort_call;
