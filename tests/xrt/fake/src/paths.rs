//! Functions of the C library that take a path: those of the pretended device lead into the test's folder (`tree`), all
//! others to where they always led.
//!
//! The variadic ones are defined with their optional argument: on the 64-bit Linux ABIs it travels like a fixed one.
#![allow(unsafe_code)]
// Each function is the C library's of that name, with its contract.
#![allow(missing_docs, clippy::missing_safety_doc)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;

use libc::{mode_t, size_t, ssize_t};

use crate::{interpose, real, tree, world};

/// A path, and where it leads.
struct Path {
    given: *const c_char,
    moved: Option<CString>,
}

impl Path {
    /// # Safety
    /// As the C library's functions: null, or a string.
    unsafe fn new(given: *const c_char) -> Self {
        if given.is_null() {
            return Self { given, moved: None };
        }
        world::begin();
        // SAFETY: not null, so a string.
        let text = unsafe { CStr::from_ptr(given) };
        let moved = tree::moved(text.to_bytes()).and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
        Self { given, moved }
    }

    fn as_ptr(&self) -> *const c_char {
        self.moved.as_ref().map_or(self.given, |path| path.as_ptr())
    }

    /// Takes note of an opened device node.
    fn opened(&self, fd: c_int) -> c_int {
        if fd >= 0 && self.moved.as_deref().is_some_and(|path| path.to_bytes().ends_with(tree::NODE.as_bytes())) {
            interpose::opened(fd);
        }
        fd
    }
}

/// Defines functions that only need their path moved.
macro_rules! moved {
    ($($name:ident($($before:ident: $before_type:ty,)* @path $(, $after:ident: $after_type:ty)*) -> $result:ty;)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            $($before: $before_type,)* path: *const c_char $(, $after: $after_type)*
        ) -> $result {
            // SAFETY: the caller gives a string or null, as this C function asks.
            let path = unsafe { Path::new(path) };
            // SAFETY: the same arguments, and a string that outlives the call.
            unsafe { real::$name($($before,)* path.as_ptr() $(, $after)*) }
        }
    )*};
}

moved! {
    fopen(@path, mode: *const c_char) -> *mut c_void;
    fopen64(@path, mode: *const c_char) -> *mut c_void;
    opendir(@path) -> *mut c_void;
    stat(@path, out: *mut c_void) -> c_int;
    stat64(@path, out: *mut c_void) -> c_int;
    lstat(@path, out: *mut c_void) -> c_int;
    lstat64(@path, out: *mut c_void) -> c_int;
    fstatat(folder: c_int, @path, out: *mut c_void, flags: c_int) -> c_int;
    fstatat64(folder: c_int, @path, out: *mut c_void, flags: c_int) -> c_int;
    statx(folder: c_int, @path, flags: c_int, mask: c_uint, out: *mut c_void) -> c_int;
    access(@path, mode: c_int) -> c_int;
    faccessat(folder: c_int, @path, mode: c_int, flags: c_int) -> c_int;
    readlink(@path, out: *mut c_char, size: size_t) -> ssize_t;
}

/// Defines functions that open.
macro_rules! opening {
    ($($name:ident($($before:ident: $before_type:ty,)* @path, $flags:ident);)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            $($before: $before_type,)* path: *const c_char, $flags: c_int, mode: mode_t
        ) -> c_int {
            // SAFETY: the caller gives a string or null, as this C function asks.
            let path = unsafe { Path::new(path) };
            // SAFETY: the same arguments, and a string that outlives the call.
            path.opened(unsafe { real::$name($($before,)* path.as_ptr(), $flags, mode) })
        }
    )*};
}

opening! {
    open(@path, flags);
    open64(@path, flags);
    openat(folder: c_int, @path, flags);
    openat64(folder: c_int, @path, flags);
}

/// `open` as fortified programs call it, when they create nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __open_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the same contract; without O_CREAT the mode is not read.
    unsafe { open(path, flags, 0) }
}

/// The same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __open64_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the same contract; without O_CREAT the mode is not read.
    unsafe { open64(path, flags, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn realpath(path: *const c_char, out: *mut c_char) -> *mut c_char {
    // SAFETY: the caller gives a string or null, as this C function asks.
    let path = unsafe { Path::new(path) };
    // SAFETY: the same arguments, and a string that outlives the call.
    let result = unsafe { real::realpath(path.as_ptr(), out) };
    if path.moved.is_some() && !result.is_null() {
        // SAFETY: a success gives a string.
        let text = unsafe { CStr::from_ptr(result) };
        if let Some(seen) = tree::seen(text.to_bytes()).map(<[u8]>::len) {
            let skip = text.to_bytes().len() - seen;
            // SAFETY: the string's end, with its null byte, moves to its beginning: both lie in the same string.
            unsafe { std::ptr::copy(result.add(skip), result, seen + 1) };
        }
    }
    result
}

/// `realpath` as fortified programs call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __realpath_chk(path: *const c_char, out: *mut c_char, _size: size_t) -> *mut c_char {
    // SAFETY: the same contract; the size is at least PATH_MAX, or the compiler would have refused.
    unsafe { realpath(path, out) }
}
