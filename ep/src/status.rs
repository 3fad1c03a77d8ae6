//! Errors on their way to ONNX Runtime: what can go wrong in a callback, and how it becomes an `OrtStatus`.
//!
//! The first line of every status names this EP, so that a person who sees it in another program's log knows whom to
//! ask.

#![allow(unsafe_code, reason = "creates ONNX Runtime's statuses")]

use std::{
    ffi::{CString, c_char},
    ptr,
};

use ort_sys::{OrtApi, OrtApiBase, OrtErrorCode, OrtStatusPtr};

use crate::{
    context::ContextError,
    error::{PlanError, RunError},
    kv::KvError,
    options::OptionsError,
    report::ReportError,
    runtime::{OrtError, TooOld},
    snapshot::SnapshotError,
};

/// No error.
pub const OK: OrtStatusPtr = OrtStatusPtr(ptr::null_mut());

/// Why a callback failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "a field is what its message says of it")]
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
    Plan { node: String, source: PlanError },
    /// A fused node could not be executed.
    #[error("fused node \"{node}\": {source}")]
    Run { node: String, source: RunError },
    /// A run's key-value cache cannot be used.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The partition's report could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// What ONNX Runtime passed breaks its own interface.
    #[error("{callback}: ONNX Runtime passed {what}")]
    Protocol { callback: &'static str, what: &'static str },
    /// The library that loads this EP is too old for it.
    #[error(transparent)]
    TooOld(#[from] TooOld),
    /// A bug in this EP.
    #[error("internal error in {callback}: {message}; this is a bug in the EP")]
    Panic { callback: &'static str, message: String },
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
            Failure::TooOld(_) => OrtErrorCode::ORT_NOT_IMPLEMENTED,
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

    /// With what ONNX Runtime passed, if it has any interface at all.
    ///
    /// # Safety
    /// `base` is NULL or what ONNX Runtime passed.
    pub unsafe fn of(base: *const OrtApiBase) -> Option<Self> {
        // SAFETY: as the caller promises.
        let base = unsafe { base.as_ref() }?;
        // SAFETY: asks for a table; every release has the first version's, whose members all later tables start with.
        let api = unsafe { (base.GetApi)(1).as_ref() }?;
        Some(Self::new(api))
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
