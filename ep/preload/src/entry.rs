//! The function that programs call: ONNX Runtime's entry point.

#![allow(unsafe_code, reason = "exports ONNX Runtime's entry point")]

use std::{
    ffi::{CStr, c_char, c_void},
    ptr,
    sync::{Mutex, OnceLock, PoisonError},
};

use ort_sys::{OrtApi, OrtApiBase};

use crate::{
    real, say, sessions,
    settings::{SWITCH, Settings},
    table,
};

/// The version of ONNX Runtime, 1.*N*, that first has what the provider needs.
const OLDEST: u32 = 23;

/// What programs get in ONNX Runtime's place.
static OURS: OrtApiBase = OrtApiBase { GetApi: get_api, GetVersionString: version };
/// The one that they would have got.
static REAL: OnceLock<&'static OrtApiBase> = OnceLock::new();

/// In ONNX Runtime's place: who called is the return address, which says which ONNX Runtime the caller is linked with.
///
/// # Safety
/// None: it takes nothing.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OrtGetApiBase() -> *const OrtApiBase {
    core::arch::naked_asm!("mov rdi, [rsp]", "jmp {base}", base = sym base)
}

/// In ONNX Runtime's place: who called is the return address, which says which ONNX Runtime the caller is linked with.
///
/// # Safety
/// None: it takes nothing.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OrtGetApiBase() -> *const OrtApiBase {
    core::arch::naked_asm!("mov x0, x30", "b {base}", base = sym base)
}

/// In ONNX Runtime's place, on processors where the caller is not asked for.
///
/// # Safety
/// None: it takes nothing.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OrtGetApiBase() -> *const OrtApiBase {
    base(ptr::null())
}

extern "C" fn base(caller: *const c_void) -> *const OrtApiBase {
    let answered = std::panic::catch_unwind(|| {
        let real = real::base(caller, OrtGetApiBase as *const c_void);
        // SAFETY: NULL, or ONNX Runtime's static.
        match (unsafe { real.as_ref() }, settings()) {
            (Some(base), Some(settings)) if prepare(base, settings) => &raw const OURS,
            _ => real,
        }
    });
    answered.unwrap_or(ptr::null())
}

/// The environment; `None` where nothing is to be changed.
fn settings() -> Option<&'static Settings> {
    static SETTINGS: OnceLock<Option<Settings>> = OnceLock::new();
    let read = || {
        Settings::read().unwrap_or_else(|error| {
            say(&error.to_string());
            None
        })
    };
    SETTINGS.get_or_init(read).as_ref()
}

/// Whether sessions of this ONNX Runtime are to be changed, and can be.
fn prepare(base: &'static OrtApiBase, settings: &'static Settings) -> bool {
    // SAFETY: a static string of ONNX Runtime's.
    let found = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy();
    if minor_version(&found).is_none_or(|minor| minor < OLDEST) {
        say(&format!("{SWITCH} changes nothing: ONNX Runtime {found} is too old, 1.{OLDEST} or newer is needed"));
        return false;
    }
    // SAFETY: this version has the table, which is static.
    let Some(api) = (unsafe { (base.GetApi)(OLDEST).as_ref() }) else { return false };
    if !ptr::eq(*REAL.get_or_init(|| base), base) {
        say(&format!("this process has two ONNX Runtimes: sessions of the second, {found}, are as without {SWITCH}"));
        return false;
    }
    sessions::prepare(api, settings);
    true
}

/// *N* of a version `1.N.…`.
fn minor_version(version: &str) -> Option<u32> {
    let mut parts = version.split('.');
    (parts.next()? == "1").then(|| parts.next()?.parse().ok())?
}

unsafe extern "system" fn version() -> *const c_char {
    // SAFETY: as ONNX Runtime's own function; the program got here through it.
    REAL.get().map_or(ptr::null(), |base| unsafe { (base.GetVersionString)() })
}

unsafe extern "system" fn get_api(version: u32) -> *const OrtApi {
    /// Addresses of ONNX Runtime's tables, and of those in their place.
    static TABLES: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());
    let answered = std::panic::catch_unwind(|| {
        // SAFETY: as ONNX Runtime's own function.
        let real = REAL.get().map_or(ptr::null(), |base| unsafe { (base.GetApi)(version) });
        if real.is_null() {
            return real;
        }
        let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, ours)) = tables.iter().find(|(known, _)| *known == real as usize) {
            return *ours as *const OrtApi;
        }
        // SAFETY: ONNX Runtime is 1.23 or newer (`prepare`), and has one table for all versions that it knows.
        let ours = unsafe { table::with_sessions(real) };
        tables.push((real as usize, ours as usize));
        ours
    });
    answered.unwrap_or(ptr::null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (version, minor) in
            [("1.23.2", Some(23)), ("1.32.0", Some(32)), ("1.9", Some(9)), ("2.1.0", None), ("", None)]
        {
            assert_eq!(minor_version(version), minor, "{version}");
        }
    }
}
