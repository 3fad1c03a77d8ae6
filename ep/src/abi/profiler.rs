//! `OrtEpProfilerImpl` and the functions that make profiling events, with the members of 1.25: how the EP's kernels get
//! into the trace that ONNX Runtime writes.

use std::ffi::{c_char, c_int};

use ort_sys::OrtStatusPtr;

use super::{LATER_MEMBERS, Later, OrtEpApi};

/// `OrtProfilingEventCategory`, a C enum.
pub type OrtProfilingEventCategory = c_int;
/// Work of a kernel.
pub const ORT_PROFILING_EVENT_CATEGORY_KERNEL: OrtProfilingEventCategory = 2;

/// First ONNX Runtime (1.*N*) that takes events of EPs into its trace.
pub const PROFILING_VERSION: u32 = 25;

/// Notes what a session does while ONNX Runtime profiles it.
#[repr(C)]
pub struct OrtEpProfilerImpl {
    pub ort_version_supported: u32,
    pub Release: unsafe extern "system" fn(this: *mut OrtEpProfilerImpl),
    /// `offset` is nanoseconds since ONNX Runtime began to profile.
    pub StartProfiling: unsafe extern "system" fn(this: *mut OrtEpProfilerImpl, offset: i64) -> OrtStatusPtr,
    pub StartEvent:
        Option<unsafe extern "system" fn(this: *mut OrtEpProfilerImpl, correlation_id: u64) -> OrtStatusPtr>,
    pub StopEvent: Option<
        unsafe extern "system" fn(
            this: *mut OrtEpProfilerImpl,
            correlation_id: u64,
            event: *const OrtProfilingEvent,
        ) -> OrtStatusPtr,
    >,
    pub EndProfiling: unsafe extern "system" fn(
        this: *mut OrtEpProfilerImpl,
        container: *mut OrtProfilingEventsContainer,
    ) -> OrtStatusPtr,
    pub later: [Later; LATER_MEMBERS],
}

opaque! {
    OrtProfilingEvent,
    OrtProfilingEventsContainer,
}

/// ONNX Runtime's table for EPs up to the functions of profiling.
#[repr(C)]
pub struct OrtEpApiOfProfiling {
    pub head: OrtEpApi,
    pub not_called: [Later; 62],
    pub CreateProfilingEvent: unsafe extern "system" fn(
        category: OrtProfilingEventCategory,
        process_id: i32,
        thread_id: i32,
        event_name: *const c_char,
        timestamp_us: i64,
        duration_us: i64,
        arg_keys: *const *const c_char,
        arg_values: *const *const c_char,
        num_args: usize,
        out: *mut *mut OrtProfilingEvent,
    ) -> OrtStatusPtr,
    pub ReleaseProfilingEvent: unsafe extern "system" fn(event: *mut OrtProfilingEvent),
    pub not_called_either: [Later; 5],
    pub ProfilingEventsContainer_AddEvents: unsafe extern "system" fn(
        container: *mut OrtProfilingEventsContainer,
        events: *const *const OrtProfilingEvent,
        num_events: usize,
    ) -> OrtStatusPtr,
}
