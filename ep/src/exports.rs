//! What the library exports: ONNX Runtime's two entry points, and those of its own for programs that want to know what
//! was executed, and how fast.

#![allow(unsafe_code, reason = "exports C functions")]

use std::{
    cell::RefCell,
    ffi::{CStr, CString, c_char},
    ptr,
};

use ort_sys::{OrtApiBase, OrtLogger, OrtStatusPtr};
use undertone_boundary::{
    check_exports,
    exports::{BUNDLES, COUNTER, DESCRIBE, NPU, PROFILE},
};

use crate::{
    abi::OrtEpFactory,
    factory::Factory,
    guard::guard,
    npu, plan,
    runtime::Runtime,
    statistics,
    status::{Failure, OK, StatusMaker},
};

check_exports!(
    COUNTER => onnxruntime_ep_xdna_counter,
    DESCRIBE => onnxruntime_ep_xdna_describe,
    PROFILE => onnxruntime_ep_xdna_profile,
    NPU => onnxruntime_ep_xdna_npu,
    BUNDLES => onnxruntime_ep_xdna_bundles,
);

/// Called by ONNX Runtime when the library is registered. The EP's name is its own, whatever it is registered as.
///
/// # Safety
/// Called by ONNX Runtime with what its interface prescribes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CreateEpFactories(
    _registered_name: *const c_char,
    base: *const OrtApiBase,
    _logger: *const OrtLogger,
    factories: *mut *mut OrtEpFactory,
    factories_max: usize,
    factory_count: *mut usize,
) -> OrtStatusPtr {
    if !factory_count.is_null() {
        // SAFETY: room for one number.
        unsafe { *factory_count = 0 };
    }
    // SAFETY: as the caller promises.
    let Some(statuses) = (unsafe { StatusMaker::of(base) }) else {
        // Nothing to report with, so report no factory.
        return OK;
    };
    guard(statuses, "CreateEpFactories", || {
        if factories.is_null() || factory_count.is_null() || factories_max == 0 {
            return Err(Failure::Protocol { callback: "CreateEpFactories", what: "no room for a factory" });
        }
        // SAFETY: `base` is not NULL, or there were no statuses; there is room for one factory and one number.
        unsafe {
            let runtime = Runtime::negotiate(base)?;
            *factories = Factory::into_raw(runtime);
            *factory_count = 1;
        }
        Ok(())
    })
}

/// Called by ONNX Runtime when the library is unregistered.
///
/// # Safety
/// `factory` is what `CreateEpFactories` wrote, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ReleaseEpFactory(factory: *mut OrtEpFactory) -> OrtStatusPtr {
    // SAFETY: as the caller promises.
    unsafe { Factory::release(factory) };
    OK
}

/// The library's [`COUNTER`].
///
/// # Safety
/// `name` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxruntime_ep_xdna_counter(name: *const c_char) -> u64 {
    if name.is_null() {
        return u64::MAX;
    }
    // SAFETY: as the caller promises.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().ok().and_then(statistics::counter).unwrap_or(u64::MAX)
}

/// The library's [`DESCRIBE`].
#[unsafe(no_mangle)]
pub extern "C" fn onnxruntime_ep_xdna_describe() -> *const c_char {
    std::panic::catch_unwind(|| statistics::description().as_ptr()).unwrap_or(ptr::null())
}

/// The library's [`PROFILE`].
#[unsafe(no_mangle)]
pub extern "C" fn onnxruntime_ep_xdna_profile(on: bool) -> *const c_char {
    answer(|| {
        if on {
            plan::profile::start();
            return None;
        }
        plan::profile::end().and_then(|profile| serde_json::to_string(&profile).ok())
    })
}

/// The library's [`NPU`].
#[unsafe(no_mangle)]
pub extern "C" fn onnxruntime_ep_xdna_npu() -> *const c_char {
    answer(|| serde_json::to_string(&npu::statistics()).ok())
}

/// The library's [`BUNDLES`].
///
/// # Safety
/// `folder` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxruntime_ep_xdna_bundles(folder: *const c_char) -> *const c_char {
    // SAFETY: as the caller promises.
    let folder = (!folder.is_null()).then(|| unsafe { CStr::from_ptr(folder) }.to_str());
    answer(|| {
        let folder = match folder {
            Some(folder) => folder.ok()?.into(),
            None => undertone_boundary::bundles::folder()?,
        };
        serde_json::to_string(&undertone_kernels::npu::bundles_in(&folder).ok()?).ok()
    })
}

/// The text that `make` gives, kept for the caller; NULL for none, or where it panics.
fn answer(make: impl FnOnce() -> Option<String> + std::panic::UnwindSafe) -> *const c_char {
    thread_local! {
        static ANSWER: RefCell<CString> = RefCell::default();
    }
    let text = std::panic::catch_unwind(make).ok().flatten().and_then(|text| CString::new(text).ok());
    text.map_or(ptr::null(), |text| {
        ANSWER.with_borrow_mut(|kept| {
            *kept = text;
            kept.as_ptr()
        })
    })
}
