//! The execution provider from Python with stock ONNX Runtime, oldest, middle and newest supported, as a user has it: `pip install
//! onnxruntime numpy` and the built library. What is checked is in `python/check_ep.py` and
//! `python/check_kv_cache.py`; here is only the installing.

use std::path::PathBuf;

mod common;
use common::python;

fn packages(version: &str) -> PathBuf {
    python::packages(&[&format!("onnxruntime=={version}"), "numpy"])
}

fn check(version: &str) {
    let packages = packages(version);
    let root = common::root();
    let printed = common::stdout_of(
        python::script("check_ep.py", &packages)
            .arg(common::ep_library())
            .arg(root.join("models/reference"))
            .arg(root.join("tests/vectors/mel-short-000-en.npy"))
            .arg(version),
    );
    println!("{printed}");
    assert_eq!(printed.lines().filter(|line| line.contains("cosine")).count(), 3, "{printed}");

    let mut kv_cache = python::script("check_kv_cache.py", &packages);
    let printed = common::stdout_of(kv_cache.arg(common::ep_library()).arg(root.join("models/reference")).arg(version));
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
    let readme = std::fs::read_to_string(common::root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```python\n").expect("the README has a Python example");
    let (example, _) = rest.split_once("```").unwrap();
    let placeholder = "/absolute/path/libonnxruntime_ep_xdna.so";
    assert!(example.contains(placeholder), "{example}");
    let example = example.replace(placeholder, common::ep_library().to_str().unwrap());
    let printed = common::stdout_of(python::with(&packages("1.32.0")).arg("-c").arg(example + "print(hidden.shape)"));
    assert_eq!(printed.trim(), "(1, 1500, 192)");
}
