//! The execution provider from Python with stock ONNX Runtime, oldest, middle and newest supported, as a user has it: `pip install
//! onnxruntime numpy` and the built library. What is checked is in `python/check_ep.py`; here is only the installing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

mod common;

/// Installs the packages into a folder of their own under the target directory, once.
///
/// A folder and not a virtual environment: Debian's Python comes without the latter.
fn site_packages(python: &str, version: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // A test that failed while it installed has left nothing in place.
    let _lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Python with that version of ONNX Runtime, in the repository.
fn python(version: &str) -> Command {
    let python = if Command::new("python3").arg("--version").output().is_ok() { "python3" } else { "python" };
    let mut command = Command::new(python);
    command.env("PYTHONPATH", site_packages(python, version)).env("PYTHONNOUSERSITE", "1").current_dir(common::root());
    command
}

fn check(version: &str) {
    let root = common::root();
    let printed = common::stdout_of(
        python(version)
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

#[test]
fn the_readme_s_example_runs() {
    let readme = fs::read_to_string(common::root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```python\n").expect("the README has a Python example");
    let (example, _) = rest.split_once("```").unwrap();
    let placeholder = "/absolute/path/libonnxruntime_ep_xdna.so";
    assert!(example.contains(placeholder), "{example}");
    let example = example.replace(placeholder, common::ep_library().to_str().unwrap());
    let printed = common::stdout_of(python("1.32.0").arg("-c").arg(example + "print(hidden.shape)"));
    assert_eq!(printed.trim(), "(1, 1500, 192)");
}
