//! The execution provider from Python with stock ONNX Runtime, oldest, middle and newest supported, as a user has it:
//! `pip install onnxruntime numpy` and the built library. What is checked is in `python/check_ep.py`,
//! `python/check_kv_cache.py`, `python/check_packed.py`, `python/check_trace.py`, `python/check_unregistering.py` and
//! `python/check_lifetime.py`; here is only the installing.

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

    let mut packed = python::script("check_packed.py", &packages);
    let printed = common::stdout_of(packed.arg(common::ep_library()).arg(root.join("models/reference")).arg(version));
    println!("{printed}");
    assert_eq!(printed.lines().filter(|line| line.contains("bytes for")).count(), 5, "{printed}");

    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut trace = python::script("check_trace.py", &packages);
    trace.arg(common::ep_library()).arg(root.join("models/reference")).arg(folder.path());
    let printed = common::stdout_of(&mut trace);
    println!("{printed}");
    let wanted = if version == "1.23.2" { 3 } else { 6 };
    assert_eq!(printed.lines().filter(|line| line.contains("GFLOP a run")).count(), wanted, "{printed}");

    if cfg!(target_os = "linux") {
        let mut unregistering = python::script("check_unregistering.py", &packages);
        // The C library overwrites what is freed: a factory that was released too early calls into nothing.
        unregistering.env("MALLOC_PERTURB_", "165").arg(common::ep_library());
        let printed = common::stdout_of(unregistering.arg(root.join("models/reference/encoder_model.onnx")));
        assert!(printed.contains("outlive their registration"), "{printed}");
    }
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

/// A thousand sessions in all. What they leave behind is counted by the C library's allocator and Linux.
#[test]
#[cfg(target_os = "linux")]
fn sessions_leave_nothing_behind() {
    for (version, sessions) in [("1.23.2", 400), ("1.32.0", 600)] {
        let packages = python::packages(&[&format!("onnxruntime=={version}"), "onnx==1.23.2", "numpy"]);
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut lifetime = python::script("check_lifetime.py", &packages);
        let printed =
            common::stdout_of(lifetime.arg(common::ep_library()).arg(folder.path()).arg(sessions.to_string()));
        println!("{printed}");
        assert!(printed.contains("bytes left by each"), "{printed}");
    }
}

/// What the Python example of a document prints at its end.
fn example(document: &str, print: &str) -> String {
    let text = std::fs::read_to_string(common::root().join(document)).unwrap();
    let placeholder = "/absolute/path/libonnxruntime_ep_xdna.so";
    // Other examples are of the Python package.
    let mut examples = text.split("```python\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
    let example = examples.find(|example| example.contains(placeholder)).expect("it has an example of the provider");
    let example = example.replace(placeholder, common::ep_library().to_str().unwrap());
    common::stdout_of(python::with(&packages("1.32.0")).arg("-c").arg(example + print)).trim().to_owned()
}

#[test]
fn the_documents_examples_run() {
    assert_eq!(example("README.md", "print(hidden.shape)"), "(1, 1500, 192)");
    assert_eq!(example("docs/kv-cache.md", "print(len(tokens), logits.shape)"), "20 (1, 1, 51865)");
}
