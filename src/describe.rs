//! What the execution provider's library says of itself, through the one C function that it exports for that. Loads the library;
//! does not register it with ONNX Runtime.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};

/// The JSON of `onnxruntime_ep_xdna_describe`.
///
/// # Errors
///
/// If the library does not load, or is not this execution provider.
pub fn describe(library: &Path) -> Result<serde_json::Value> {
    let what = || format!("the execution provider library {}", library.display());
    // SAFETY: the person, or the layout of the installation, named this file as the execution provider to load.
    let loaded =
        unsafe { libloading::Library::new(library) }.map_err(|error| anyhow!("cannot load {}: {error}", what()))?;
    // SAFETY: the signature is the documented one of this symbol; the string it returns is static and ends with a zero.
    let text = unsafe {
        let function: libloading::Symbol<unsafe extern "C" fn() -> *const c_char> = loaded
            .get(b"onnxruntime_ep_xdna_describe\0")
            .map_err(|_| anyhow!("{} is another one: it does not describe itself", what()))?;
        let pointer = function();
        if pointer.is_null() { String::new() } else { CStr::from_ptr(pointer).to_string_lossy().into_owned() }
    };
    serde_json::from_str(&text).with_context(|| format!("{} describes itself in broken JSON", what()))
}
