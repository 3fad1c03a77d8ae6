//! Where the command finds what it loads at run time: ONNX Runtime's library, the execution provider's, and the small
//! model that is used where no other can be had. It looks in the layouts of `cargo run` and of an installation; it
//! downloads nothing and loads nothing.
//!
//! | thing | `cargo run` and tests | installed |
//! |---|---|---|
//! | ONNX Runtime | the file that `build.rs` found | `lib/` beside `bin/`, or beside the command |
//! | execution provider | `deps/` beside the command, or beside it | `lib/` beside `bin/`, or beside the command |
//! | reference model | `models/reference` of the source | `share/undertone/models/reference` beside `bin/` |

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

/// What the execution provider's file is called on this system.
pub const EP_LIBRARY: &str = if cfg!(windows) {
    "onnxruntime_ep_xdna.dll"
} else if cfg!(target_os = "macos") {
    "libonnxruntime_ep_xdna.dylib"
} else {
    "libonnxruntime_ep_xdna.so"
};

/// The folder for packed models when none is named, if this system has one for such files.
pub fn packed_folder() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("undertone").join("packed"))
}

/// ONNX Runtime's shared library: the named one, the installation's, or the one of the build.
///
/// # Errors
/// If `named` is not a file, or no library is found anywhere.
pub fn ort_library(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = named {
        return existing(path, "ONNX Runtime library", "ORT_DYLIB_PATH");
    }
    let directory = command_directory();
    let installed = [directory.join("../lib"), directory];
    if let Some(path) = installed.iter().find_map(|directory| first_file(directory, is_ort_library)) {
        return Ok(absolute(&path));
    }
    let built = PathBuf::from(env!("UNDERTONE_ORT_DYLIB"));
    if built.is_file() {
        return Ok(built);
    }
    Err(anyhow!(
        "no ONNX Runtime library in lib/ beside the command: set ORT_DYLIB_PATH to a libonnxruntime of version 1.24 or newer"
    ))
}

/// The execution provider's shared library: the named one, the build's, or the installation's.
///
/// # Errors
/// If `named` is not a file, or no library is found anywhere.
pub fn ep_library(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = named {
        return existing(path, "execution provider library", "UNDERTONE_EP_LIBRARY");
    }
    let directory = command_directory();
    // Cargo keeps the freshest one in deps/: `cargo test` builds it there without copying it up.
    [directory.join("deps"), directory.clone(), directory.join("../lib")]
        .iter()
        .map(|directory| directory.join(EP_LIBRARY))
        .find(|path| path.is_file())
        .map(|path| absolute(&path))
        .ok_or_else(|| {
            anyhow!(
                "no {EP_LIBRARY} beside the command or in ../lib: build it (`cargo build --release`), set UNDERTONE_EP_LIBRARY \
                 to it, or use --device cpu, which does without"
            )
        })
}

/// The directory of the small model that knows synthesised speech only.
///
/// # Errors
/// If neither the installation nor the source tree holds it.
pub fn reference_model() -> Result<PathBuf> {
    let installed = command_directory().join("../share/undertone/models/reference");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join("reference");
    [installed, source]
        .iter()
        .find(|path| path.join("config.json").is_file())
        .map(|path| absolute(path))
        .ok_or_else(|| anyhow!("the reference model is not installed: name a model with --model or UNDERTONE_MODEL"))
}

fn existing(path: &Path, what: &str, variable: &str) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(absolute(path));
    }
    let state = if path.exists() { "is not a file" } else { "does not exist" };
    bail!("{what} {} {state}: correct or unset {variable}", path.display())
}

/// The directory of the running command, links resolved: it may be started through one from elsewhere.
fn command_directory() -> PathBuf {
    let path = env::current_exe().and_then(|path| path.canonicalize()).unwrap_or_default();
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// An absolute path without `..`, as ONNX Runtime wants it for a library.
fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

fn is_ort_library(name: &str) -> bool {
    if cfg!(windows) {
        name.eq_ignore_ascii_case("onnxruntime.dll")
    } else if cfg!(target_os = "macos") {
        name.starts_with("libonnxruntime.") && name.ends_with(".dylib")
    } else {
        name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")
    }
}

/// The first file by name that `accepted` takes.
fn first_file(directory: &Path, accepted: fn(&str) -> bool) -> Option<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    names
        .iter()
        .filter(|name| name.to_str().is_some_and(accepted))
        .map(|name| directory.join(name))
        .find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_library_that_is_missing_is_named_in_the_error() {
        let error = ort_library(Some(Path::new("no/such.so"))).unwrap_err().to_string();
        assert!(error.contains("no/such.so") && error.contains("ORT_DYLIB_PATH"), "{error}");
        let error = ep_library(Some(Path::new("."))).unwrap_err().to_string();
        assert!(error.contains("is not a file") && error.contains("UNDERTONE_EP_LIBRARY"), "{error}");
    }

    #[test]
    fn the_build_s_library_and_the_source_s_model_are_found() {
        assert!(ort_library(None).unwrap().is_file());
        assert!(reference_model().unwrap().join("encoder_model.onnx").is_file());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn library_names_are_told_from_their_neighbours() {
        assert!(is_ort_library("libonnxruntime.so") && is_ort_library("libonnxruntime.so.1.23.2"));
        assert!(!is_ort_library("libonnxruntime_providers_shared.so") && !is_ort_library("libonnxruntime_ep_xdna.so"));
    }
}
