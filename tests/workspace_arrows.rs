//! Who may depend on whom among the workspace's crates. The whole list stands here: a new arrow is a decision about the
//! architecture, not a line in a manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

mod common;

/// (from, to, kind); `""` is an ordinary dependency.
const ARROWS: &[(&str, &str, &str)] = &[
    ("undertone", "undertone-runner", ""),
    ("undertone", "undertone-models", ""),
    ("undertone-runner", "undertone-models", ""),
    // The Python package: the library as a Python module.
    ("undertone-python", "undertone-runner", ""),
    ("undertone-python", "undertone-models", ""),
    // The features of the whole workspace, so that no library is built again for the command or the wheel alone.
    ("undertone", "undertone-features", ""),
    ("undertone-python", "undertone-features", ""),
    // All that measures, for `undertone bench` and `undertone npu plan`: models through the runner, kernels directly.
    ("undertone", "undertone-bench", ""),
    ("undertone-bench", "undertone-runner", ""),
    ("undertone-bench", "undertone-kernels", ""),
    ("undertone-bench", "undertone-boundary", ""),
    // The ladder of `undertone npu bring-up`: the NPU through the kernels, models through the runner as `bench` runs them.
    ("undertone", "undertone-bring-up", ""),
    ("undertone-bring-up", "undertone-kernels", ""),
    ("undertone-bring-up", "undertone-bench", ""),
    ("undertone-bring-up", "undertone-runner", ""),
    ("undertone-bring-up", "undertone-boundary", ""),
    // Names, options, JSON and C types of the provider's library: one definition for who writes and who reads them.
    ("undertone", "undertone-boundary", ""),
    ("undertone-runner", "undertone-boundary", ""),
    ("onnxruntime-ep-xdna", "undertone-boundary", ""),
    // What puts the provider into programs that cannot ask for it: its name, and its counters.
    ("undertone-preload", "undertone-boundary", ""),
    // Of the same: number formats and devices by name, what was counted.
    ("undertone-kernels", "undertone-boundary", ""),
    // Only so that `cargo test` builds the library that the tests load through ONNX Runtime.
    ("undertone", "onnxruntime-ep-xdna", "dev"),
    // Only so that `cargo test` builds it, too.
    ("undertone", "undertone-preload", "dev"),
    ("onnxruntime-ep-xdna", "undertone-kernels", ""),
    // With the feature `xrt`; the binding needs nothing of XRT before it runs.
    ("undertone-kernels", "xrt-sys", ""),
    // The code of the NPU's cores, compiled for this machine: the simulator's exact mode.
    ("undertone-kernels", "undertone-aie", ""),
    // The NPU that tests pretend executes commands with the simulator.
    ("undertone-fake-npu", "undertone-kernels", ""),
    // Tests of the device and of the binding above that NPU.
    ("undertone-xrt-tests", "undertone-kernels", ""),
    ("undertone-xrt-tests", "xrt-sys", "dev"),
];

#[test]
fn dependencies_point_one_way() {
    let text = common::stdout_of(
        Command::new(env!("CARGO"))
            .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
            .current_dir(common::root()),
    );
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let members: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let mut found = BTreeSet::new();
    for package in packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if members.contains(to) {
                let kind = dependency["kind"].as_str().unwrap_or("");
                found.insert((package["name"].as_str().unwrap(), to, kind));
            }
        }
    }
    let allowed: BTreeSet<_> = ARROWS.iter().copied().collect();
    assert_eq!(found, allowed, "left: what the manifests say; right: what is allowed");
}

#[test]
fn the_command_and_the_wheel_need_no_library_with_other_features() {
    let whole = libraries(&["--workspace", "--edges=normal,dev"]);
    for member in ["undertone", "undertone-python"] {
        for (name, forms) in libraries(&["--package", member, "--edges=normal"]) {
            // A library that build scripts need too has two forms here, and one in the list of the whole workspace.
            let known = whole.get(&name).is_some_and(|known| !known.is_disjoint(&forms));
            assert!(
                known,
                "{member} has {name} {forms:?}, the workspace {:?}: see features/Cargo.toml",
                whole.get(&name)
            );
        }
    }
}

/// Each library of these members with the sets of features that they ask for.
fn libraries(arguments: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--offline", "--prefix=none", "--format={p}\t{f}"]).args(arguments);
    let mut libraries = BTreeMap::<_, BTreeSet<_>>::new();
    for line in common::stdout_of(tree.current_dir(common::root())).lines().filter(|line| !line.is_empty()) {
        let (name, features) = line.split_once('\t').unwrap();
        let features = features.trim_end_matches(" (*)").to_owned();
        libraries.entry(name.to_owned()).or_default().insert(features);
    }
    assert!(libraries.len() > 100, "{libraries:?}");
    libraries
}

#[test]
fn nothing_outside_the_execution_provider_speaks_of_its_code() {
    // The runner and the command load the provider's library through ONNX Runtime, like any other program.
    let mut files = Vec::new();
    for directory in ["src", "runner/src"] {
        rust_files(&common::root().join(directory), &mut files);
    }
    assert!(files.len() > 5, "the sources have moved: {files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for name in ["onnxruntime_ep_xdna::", "undertone_kernels::"] {
            assert!(!text.contains(name), "{} uses {name}", file.display());
        }
    }
}

fn rust_files(directory: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
