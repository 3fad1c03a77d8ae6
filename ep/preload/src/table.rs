//! ONNX Runtime's function table with a few functions in place of its own.

#![allow(unsafe_code, reason = "copies a table of function pointers")]

use std::{
    ffi::c_void,
    mem::{offset_of, size_of},
    ptr,
};

use ort_sys::OrtApi;

use crate::{real, sessions};

/// Functions that a table is taken to have at most: 1.32 has less than half as many.
const MOST: usize = 1024;
const MEMBER: usize = size_of::<*const c_void>();

/// A copy of `table` that makes sessions through [`sessions`]. It is never freed: programs keep it for good.
///
/// The table's length is its version's, which may be newer than what is known here; so all that can be read behind its
/// beginning is copied. What lies behind its end is nobody's business, and is copied along.
///
/// # Safety
/// `table` is ONNX Runtime's, whole and of a version that has all that [`OrtApi`] has up to 1.23.
pub unsafe fn with_sessions(table: *const OrtApi) -> *const OrtApi {
    let members = (real::readable_from(table.cast()) / MEMBER).min(MOST);
    let mut copy: Vec<*const c_void> = vec![ptr::null(); members.max(size_of::<OrtApi>() / MEMBER)];
    // SAFETY: that many members can be read, and there is room for them.
    unsafe { ptr::copy_nonoverlapping(table.cast::<*const c_void>(), copy.as_mut_ptr(), members) };
    for (offset, function) in [
        (offset_of!(OrtApi, CreateSession), sessions::create as *const c_void),
        (offset_of!(OrtApi, CreateSessionFromArray), sessions::create_from_array as *const c_void),
        (
            offset_of!(OrtApi, CreateSessionWithPrepackedWeightsContainer),
            sessions::create_with_container as *const c_void,
        ),
        (
            offset_of!(OrtApi, CreateSessionFromArrayWithPrepackedWeightsContainer),
            sessions::create_from_array_with_container as *const c_void,
        ),
    ] {
        copy[offset / MEMBER] = function;
    }
    Box::leak(copy.into_boxed_slice()).as_ptr().cast()
}
