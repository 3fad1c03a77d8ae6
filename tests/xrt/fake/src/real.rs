//! The C library's own functions, below the ones that this library puts in their place.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::sync::OnceLock;

use libc::{off_t, size_t};

/// Looks up the next definition of a function after this library's, once.
macro_rules! next {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        pub unsafe fn $name($($argument: $type),*) -> $result {
            static NEXT: OnceLock<usize> = OnceLock::new();
            let address = *NEXT.get_or_init(|| find(concat!(stringify!($name), "\0")));
            // SAFETY: the C library defines this name with this signature; `find` never gives a null address.
            let function: unsafe extern "C" fn($($type),*) -> $result = unsafe { std::mem::transmute(address) };
            // SAFETY: the caller keeps the C function's contract.
            unsafe { function($($argument),*) }
        }
    )*};
}

fn find(name: &'static str) -> usize {
    let Ok(name) = CStr::from_bytes_with_nul(name.as_bytes()) else { std::process::abort() };
    // SAFETY: the name ends with a null byte.
    let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if address.is_null() {
        // Without the function below there is nothing that this library could do in its place; a panic must not cross
        // into C.
        eprintln!("undertone-fake-npu: the C library has no {name:?}");
        std::process::abort();
    }
    address as usize
}

next! {
    open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int;
    open64(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int;
    openat(folder: c_int, path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int;
    openat64(folder: c_int, path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int;
    fopen(path: *const c_char, mode: *const c_char) -> *mut c_void;
    fopen64(path: *const c_char, mode: *const c_char) -> *mut c_void;
    opendir(path: *const c_char) -> *mut c_void;
    stat(path: *const c_char, out: *mut c_void) -> c_int;
    stat64(path: *const c_char, out: *mut c_void) -> c_int;
    lstat(path: *const c_char, out: *mut c_void) -> c_int;
    lstat64(path: *const c_char, out: *mut c_void) -> c_int;
    fstatat(folder: c_int, path: *const c_char, out: *mut c_void, flags: c_int) -> c_int;
    fstatat64(folder: c_int, path: *const c_char, out: *mut c_void, flags: c_int) -> c_int;
    statx(folder: c_int, path: *const c_char, flags: c_int, mask: libc::c_uint, out: *mut c_void) -> c_int;
    access(path: *const c_char, mode: c_int) -> c_int;
    faccessat(folder: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int;
    readlink(path: *const c_char, out: *mut c_char, size: size_t) -> libc::ssize_t;
    realpath(path: *const c_char, out: *mut c_char) -> *mut c_char;
    close(fd: c_int) -> c_int;
    ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int;
    mmap(address: *mut c_void, length: size_t, protection: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void;
    munmap(address: *mut c_void, length: size_t) -> c_int;
}
