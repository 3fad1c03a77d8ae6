//! The execution provider from Python with stock ONNX Runtime, oldest, middle and newest supported, as a user has it: `pip install
//! onnxruntime numpy` and the built library. What is checked is in `python/check_ep.py`; here is only the installing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

mod common;

/// Installs the packages into a folder of their own under the target directory, once.
///
/// A folder and not a virtual environment: Debian's Python comes without the latter.
fn site_packages(python: &str, version: &str) -> PathBuf {
    let tag = common::stdout_of(Command::new(python).args(["-c", "import sys; print(sys.implementation.cache_tag)"]));
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("onnxruntime-{version}-{}", tag.trim()));
    // Renamed into place when it is whole, so that its being there is the stamp.
    if !home.is_dir() {
        let partial = home.with_extension(format!("partial-{}", std::process::id()));
        let _ = fs::remove_dir_all(&partial);
        common::stdout_of(
            Command::new(python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"])
                .arg("--target")
                .arg(&partial)
                .args([format!("onnxruntime=={version}"), "numpy".to_string()]),
        );
        if fs::rename(&partial, &home).is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
    }
    home
}

fn check(version: &str) {
    let python = if Command::new("python3").arg("--version").output().is_ok() { "python3" } else { "python" };
    let packages = site_packages(python, version);
    let root = common::root();
    let printed = common::stdout_of(
        Command::new(python)
            .env("PYTHONPATH", &packages)
            .env("PYTHONNOUSERSITE", "1")
            .env_remove("ORT_DYLIB_PATH")
            .arg(root.join("tests/python/check_ep.py"))
            .arg(common::ep_library())
            .arg(root.join("models/reference"))
            .arg(root.join("tests/vectors/mel-short-000-en.npy"))
            .arg(version),
    );
    println!("{printed}");
    assert_eq!(printed.lines().filter(|line| line.contains("cosine")).count(), 3, "{printed}");
}

#[test]
fn onnxruntime_1_23() {
    check("1.23.2");
}

#[test]
fn onnxruntime_1_26() {
    check("1.26.0");
}

#[test]
fn onnxruntime_1_32() {
    check("1.32.0");
}
