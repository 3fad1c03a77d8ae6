//! The execution provider's library as the runner calls it beside ONNX Runtime: what it is, what it counted, and how
//! long its steps took. `kv_cache` has its functions for a cache.
#![allow(unsafe_code)]

use libloading::{Library, Symbol};
use serde::de::DeserializeOwned;
use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use undertone_boundary::bundles::Contents;
use undertone_boundary::counters::Counter;
use undertone_boundary::description::Description;
use undertone_boundary::exports::{BUNDLES, COUNTER, DESCRIBE, Export, NPU, PROFILE};
use undertone_boundary::profile::Profile;

/// The library, loaded. What it counts is of this process and only grows.
pub(crate) struct EpLibrary(Library);

impl EpLibrary {
    /// Opens the library at `path`; one that ONNX Runtime has registered is the same copy in memory.
    ///
    /// # Errors
    /// The loader's words, or that the library is another one.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        // SAFETY: the caller chose this file to be loaded as the execution provider anyway.
        let library = Self(unsafe { Library::new(path) }.map_err(|e| e.to_string())?);
        match library.function(&COUNTER) {
            Some(_) => Ok(library),
            None => Err(format!("it does not export {}", COUNTER.symbol)),
        }
    }

    /// A function of it; `None` where the library has none of that name.
    pub(crate) fn function<F>(&self, export: &Export<F>) -> Option<Symbol<'_, F>> {
        // SAFETY: the execution provider exports its functions by these names with these types.
        unsafe { self.0.get(export.symbol) }.ok()
    }

    /// A counter, or `None` where the library knows none of that name.
    pub(crate) fn counter(&self, counter: Counter) -> Option<u64> {
        let name = CString::new(counter.word()).ok()?;
        // SAFETY: `name` is zero-terminated and lives until the call returns; the function only reads it.
        let value = unsafe { self.function(&COUNTER)?(name.as_ptr()) };
        (value != u64::MAX).then_some(value)
    }

    /// What the library's NPUs did: JSON; `None` where the library has none to speak of.
    pub(crate) fn npu(&self) -> Option<String> {
        text(self.function(&NPU)?())
    }

    /// What a folder of bundles holds that the library can use; nothing if the folder can't be read.
    ///
    /// # Errors
    /// That it does not tell, or tells something else.
    pub(crate) fn bundles(&self, folder: &Path) -> Result<Option<Contents>, String> {
        let bundles = self.function(&BUNDLES).ok_or("it does not read bundles: it is older than this command")?;
        let folder = CString::new(folder.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: `folder` is zero-terminated and lives until the call returns; the function only reads it.
        text(unsafe { bundles(folder.as_ptr()) }).map(|answer| read(&answer)).transpose()
    }

    /// What the library says it is.
    ///
    /// # Errors
    /// That it says nothing, or something else.
    pub(crate) fn description(&self) -> Result<Description, String> {
        let described = self.function(&DESCRIBE).and_then(|describe| text(describe()));
        read(&described.ok_or("it does not describe itself")?)
    }

    /// Starts (`true`) or ends noting what each step of a run takes; the end gives what was noted.
    pub(crate) fn profile(&self, on: bool) -> Option<Profile> {
        read(&text(self.function(&PROFILE)?(on))?).ok()
    }
}

/// A copy of a string of the library's, which may be valid only until this thread's next call.
fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: the functions above return NULL or a zero-terminated string that lives until the next call.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| format!("its answer is not understood: {e}"))
}
