//! ONNX Runtime as this EP sees it: its function tables, in the version that both sides know.

#![allow(unsafe_code, reason = "asks ONNX Runtime for its function tables")]

use ort_sys::{OrtApi, OrtApiBase};

use crate::{
    abi::{NEWEST_VERSION, OLDEST_VERSION, OrtEpApi},
    status::{Failure, StatusMaker, text},
};

/// The negotiated interface. The tables are static data of the library that loaded this EP.
#[derive(Clone, Copy)]
pub struct Runtime {
    /// ONNX Runtime's functions.
    pub api: &'static OrtApi,
    /// Its functions for EPs.
    pub ep_api: &'static OrtEpApi,
    /// The version, 1.*N*, of both; no function or member of a later one may be used.
    pub version: u32,
}

impl Runtime {
    /// Something to make statuses with, if this ONNX Runtime has any interface at all.
    ///
    /// # Safety
    /// `base` is NULL or what ONNX Runtime passed.
    pub unsafe fn statuses(base: *const OrtApiBase) -> Option<StatusMaker> {
        // SAFETY: as the caller promises.
        let base = unsafe { base.as_ref() }?;
        // SAFETY: asks for a table; every release has the first version's, whose members all later tables start with.
        let api = unsafe { (base.GetApi)(1).as_ref() }?;
        Some(StatusMaker::new(api))
    }

    /// Agrees on a version.
    ///
    /// # Errors
    /// ONNX Runtime is older than 1.23, or has no table for EPs.
    ///
    /// # Safety
    /// `base` is what ONNX Runtime passed, not NULL.
    pub unsafe fn negotiate(base: *const OrtApiBase) -> Result<Self, Failure> {
        // SAFETY: as the caller promises.
        let base = unsafe { &*base };
        // SAFETY: returns a static string.
        let found = unsafe { text((base.GetVersionString)()) };
        let too_old = || Failure::TooOld { found: found.clone(), oldest: OLDEST_VERSION };

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
}

/// *N* of a version `1.N.…`.
fn minor_version(version: &str) -> Option<u32> {
    let mut parts = version.split('.');
    (parts.next()? == "1").then(|| parts.next()?.parse().ok())?
}

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
