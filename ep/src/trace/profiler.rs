//! The EP's kernels in ONNX Runtime's own profile: what it calls a profiler of an EP, from 1.25 on.

#![allow(unsafe_code, reason = "implements ONNX Runtime's profiler callbacks")]

use std::{
    ffi::{CString, c_char},
    ptr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ort_sys::OrtStatusPtr;

use super::{Event, Listener, Trace, Track};
use crate::{
    abi::{
        NO_LATER_MEMBERS, ORT_PROFILING_EVENT_CATEGORY_KERNEL, OrtEpApiOfProfiling, OrtEpProfilerImpl,
        OrtProfilingEvent, OrtProfilingEventsContainer,
    },
    guard::{guard, guard_release},
    runtime::{OrtError, Runtime, check},
    status::{Failure, StatusMaker},
};

/// Events that are handed over together.
const TOGETHER: usize = 4096;

/// Notes a session's events from the time when ONNX Runtime begins to profile to the time when it ends. ONNX Runtime
/// holds it by its first member.
#[repr(C)]
struct Profiler {
    table: OrtEpProfilerImpl,
    runtime: Runtime,
    trace: Arc<Trace>,
    listener: Arc<Listener>,
    /// When ONNX Runtime began to profile.
    begin: Mutex<Option<Instant>>,
}

/// A profiler of a session for ONNX Runtime to own; NULL where it takes no events of EPs.
pub fn create(runtime: Runtime, trace: &Arc<Trace>) -> *mut OrtEpProfilerImpl {
    if runtime.profiling().is_none() {
        return ptr::null_mut();
    }
    let table = OrtEpProfilerImpl {
        ort_version_supported: runtime.version,
        Release: release,
        StartProfiling: start_profiling,
        StartEvent: None,
        StopEvent: None,
        EndProfiling: end_profiling,
        later: NO_LATER_MEMBERS,
    };
    let (trace, listener, begin) = (Arc::clone(trace), Arc::default(), Mutex::default());
    Box::into_raw(Box::new(Profiler { table, runtime, trace, listener, begin })).cast()
}

impl Profiler {
    /// # Safety
    /// `container` is the one of a call of `EndProfiling`.
    unsafe fn hand_over(&self, container: *mut OrtProfilingEventsContainer) -> Result<(), OrtError> {
        self.trace.leave(&self.listener);
        let begin = self.begin.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(begin), Some(api)) = (begin, self.runtime.profiling()) else { return Ok(()) };
        let kept = self.listener.take();
        // Whole runs of fused nodes are in ONNX Runtime's profile already.
        let wanted: Vec<&Event> =
            kept.events.iter().map(|event| &**event).filter(|event| event.track != Track::Node).collect();
        for events in wanted.chunks(TOGETHER) {
            let mut made = Made { api, handles: Vec::with_capacity(events.len()) };
            for event in events {
                made.add(self.runtime, event, begin)?;
            }
            // SAFETY: as the caller promises; ONNX Runtime copies the events.
            unsafe {
                let handles = made.handles.as_ptr().cast();
                let status = (api.ProfilingEventsContainer_AddEvents)(container, handles, made.handles.len());
                check(self.runtime.api, "ProfilingEventsContainer_AddEvents", status)?;
            }
        }
        Ok(())
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        self.trace.leave(&self.listener);
    }
}

/// Events of ONNX Runtime, released in the end.
struct Made<'a> {
    api: &'a OrtEpApiOfProfiling,
    handles: Vec<*mut OrtProfilingEvent>,
}

impl Made<'_> {
    fn add(&mut self, runtime: Runtime, event: &Event, begin: Instant) -> Result<(), OrtError> {
        let c_string = |text: &str| CString::new(text.replace('\0', "")).unwrap_or_default();
        let name = match event.track.name() {
            // ONNX Runtime has no names for lines.
            Some(track) => c_string(&format!("{track}: {}", event.name)),
            None => c_string(&event.name),
        };
        let texts: Vec<[CString; 2]> =
            event.about.iter().map(|(name, value)| [c_string(name), c_string(value)]).collect();
        let [keys, values] =
            [0, 1].map(|which| texts.iter().map(|pair| pair[which].as_ptr()).collect::<Vec<*const c_char>>());
        // Both ends are rounded down, so that what lies within another in time does so in the trace.
        let microseconds = |time: Instant| time.saturating_duration_since(begin).as_micros() as i64;
        let (from, to) = (microseconds(event.begin), microseconds(event.end));
        let mut handle = ptr::null_mut();
        // SAFETY: all strings and lists live until the call is over; ONNX Runtime copies them.
        unsafe {
            let status = (self.api.CreateProfilingEvent)(
                ORT_PROFILING_EVENT_CATEGORY_KERNEL,
                std::process::id() as i32,
                event.track.line(event.thread),
                name.as_ptr(),
                from,
                to - from,
                keys.as_ptr(),
                values.as_ptr(),
                texts.len(),
                &mut handle,
            );
            check(runtime.api, "CreateProfilingEvent", status)?;
        }
        self.handles.push(handle);
        Ok(())
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for handle in &self.handles {
            // SAFETY: made above, and not used again.
            unsafe { (self.api.ReleaseProfilingEvent)(*handle) };
        }
    }
}

/// # Safety
/// `this` came from [`create`] and is not yet released.
unsafe fn profiler<'a>(this: *mut OrtEpProfilerImpl) -> &'a Profiler {
    // SAFETY: the table is the first member.
    unsafe { &*this.cast::<Profiler>() }
}

unsafe extern "system" fn release(this: *mut OrtEpProfilerImpl) {
    if !this.is_null() {
        // SAFETY: ONNX Runtime gives back what it got from `create`.
        guard_release(|| drop(unsafe { Box::from_raw(this.cast::<Profiler>()) }));
    }
}

unsafe extern "system" fn start_profiling(this: *mut OrtEpProfilerImpl, offset: i64) -> OrtStatusPtr {
    let now = Instant::now();
    // SAFETY: ONNX Runtime passes the profiler that it was given.
    let profiler = unsafe { profiler(this) };
    guard(StatusMaker::new(profiler.runtime.api), "StartProfiling", || {
        let begin = now.checked_sub(Duration::from_nanos(offset.max(0) as u64)).unwrap_or(now);
        let mut known = profiler.begin.lock().unwrap_or_else(PoisonError::into_inner);
        if known.replace(begin).is_none() {
            profiler.trace.listen(&profiler.listener);
        }
        Ok(())
    })
}

unsafe extern "system" fn end_profiling(
    this: *mut OrtEpProfilerImpl,
    container: *mut OrtProfilingEventsContainer,
) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes the profiler that it was given.
    let profiler = unsafe { profiler(this) };
    guard(StatusMaker::new(profiler.runtime.api), "EndProfiling", || {
        // SAFETY: ONNX Runtime passes the container for this profiler's events.
        unsafe { profiler.hand_over(container) }.map_err(Failure::from)
    })
}
