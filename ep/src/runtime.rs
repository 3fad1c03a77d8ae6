//! ONNX Runtime as this EP sees it: its function tables, in the version that both sides know, and calls of them.

#![allow(unsafe_code, reason = "calls ONNX Runtime's functions and releases its statuses")]

use std::ffi::{CStr, c_char};

use ort_sys::{OrtApi, OrtApiBase, OrtStatus, OrtStatusPtr};

use crate::abi::{NEWEST_VERSION, OLDEST_VERSION, OrtEpApi, OrtEpApiOfProfiling, PROFILING_VERSION};

/// The negotiated interface. The tables are static data of the library that loaded this EP.
#[derive(Clone, Copy)]
pub struct Runtime {
    pub api: &'static OrtApi,
    pub ep_api: &'static OrtEpApi,
    /// The version, 1.*N*, of both; no function or member of a later one may be used.
    pub version: u32,
}

/// The library that loads this EP has no plugin interface that can compile nodes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "ONNX Runtime {found} is too old: its plugin interface cannot compile nodes; install ONNX Runtime 1.{oldest} or newer"
)]
pub struct TooOld {
    /// Its version.
    pub found: String,
    /// What 1.*N* it takes.
    pub oldest: u32,
}

/// A function of ONNX Runtime failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ONNX Runtime's {function} failed: {message}")]
pub struct OrtError {
    pub function: &'static str,
    pub message: String,
}

impl Runtime {
    /// Agrees on a version.
    ///
    /// # Errors
    /// ONNX Runtime is older than 1.23, or has no table for EPs.
    ///
    /// # Safety
    /// `base` is what ONNX Runtime passed, not NULL.
    pub unsafe fn negotiate(base: *const OrtApiBase) -> Result<Self, TooOld> {
        // SAFETY: as the caller promises.
        let base = unsafe { &*base };
        // SAFETY: returns a static string.
        let found = unsafe { text((base.GetVersionString)()) };
        let too_old = || TooOld { found: found.clone(), oldest: OLDEST_VERSION };

        // A version that ONNX Runtime does not have makes it print a complaint, so start with the one that it says it
        // is.
        let newest = minor_version(&found).unwrap_or(NEWEST_VERSION).min(NEWEST_VERSION);
        let (api, version) = (OLDEST_VERSION..=newest)
            .rev()
            // SAFETY: NULL or a static table that has at least the members of this version.
            .find_map(|version| Some((unsafe { (base.GetApi)(version).as_ref() }?, version)))
            .ok_or_else(too_old)?;
        // SAFETY: a member of every table since 1.22; the result is NULL or a static table that begins as `OrtEpApi`
        // does.
        let ep_api = unsafe { (api.GetEpApi)().cast::<OrtEpApi>().as_ref() }.ok_or_else(too_old)?;
        Ok(Self { api, ep_api, version })
    }

    /// The functions for events of EPs in ONNX Runtime's profile, if it is new enough to have them.
    pub fn profiling(self) -> Option<&'static OrtEpApiOfProfiling> {
        // SAFETY: the same static table, of a version that has these members.
        (self.version >= PROFILING_VERSION).then(|| unsafe { &*(&raw const *self.ep_api).cast() })
    }
}

/// *N* of a version `1.N.…`.
fn minor_version(version: &str) -> Option<u32> {
    let mut parts = version.split('.');
    (parts.next()? == "1").then(|| parts.next()?.parse().ok())?
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
        $crate::runtime::check($api, stringify!($function), ($api.$function)($($argument),*))
    };
}
pub(crate) use ort_call;

#[cfg(test)]
mod tests {
    use super::minor_version;

    #[test]
    fn the_minor_version_is_the_second_number() {
        assert_eq!(minor_version("1.23.2"), Some(23));
        assert_eq!(minor_version("1.32.0"), Some(32));
        assert_eq!(minor_version("1.9"), Some(9));
        for odd in ["", "1", "2.1.0", "1.x.0", "nightly"] {
            assert_eq!(minor_version(odd), None, "{odd}");
        }
    }
}
