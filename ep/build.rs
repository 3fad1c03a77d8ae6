//! Gives the EP a mark of its own code, `EP_BUILD`: packed models are read only by the code that wrote them, whatever
//! its version number. And has the library stay in the process once it is loaded.

use std::{
    env, fs,
    hash::{DefaultHasher, Hasher as _},
    path::{Path, PathBuf},
};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut hasher = DefaultHasher::new();
    for folder in ["src", "../kernels/src", "../boundary/src"].map(|folder| here.join(folder)) {
        println!("cargo:rerun-if-changed={}", folder.display());
        add(&folder, &mut hasher);
    }
    println!("cargo:rustc-env=EP_BUILD={:016x}", hasher.finish());
    // ONNX Runtime unloads a library that is unregistered, though sessions may still call into it.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}

/// Names and contents of all files in a folder, in an order of their own.
fn add(folder: &Path, hasher: &mut DefaultHasher) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        hasher.write(path.file_name().unwrap_or_default().as_encoded_bytes());
        if path.is_dir() {
            add(&path, hasher);
        } else {
            hasher.write(&fs::read(&path).unwrap_or_default());
        }
    }
}
