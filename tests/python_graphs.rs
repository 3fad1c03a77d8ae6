//! Every exported graph of `tests/graphs`, all sizes and layouts: one fused node for an encoder, at most three for a
//! decoder, and the CPU provider's numbers; then other exporters' graphs, front ends before an encoder, and inputs that
//! a graph is not defined for. What is checked is in `python/check_graphs.py`, `check_exporters.py`,
//! `check_front_ends.py` and `check_inputs.py`.

mod common;

use std::path::Path;

use common::python;

/// Runs a script on the EP and `arguments`, with a folder for its files, which goes whatever the result.
fn check(script: &str, arguments: &[&Path]) -> String {
    let packages = python::packages(&["onnxruntime==1.32.0", "onnx==1.23.2", "numpy"]);
    let mut script = python::script(script, &packages);
    let output = common::run(script.arg(common::ep_library()).args(arguments));
    let printed = common::text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", common::text(&output.stderr));
    println!("{printed}");
    printed
}

/// The same with `tests/graphs` and a folder for weights.
fn check_graphs(script: &str) -> String {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    check(script, &[&common::root().join("tests/graphs"), scratch.path()])
}

#[test]
fn exported_graphs() {
    let printed = check_graphs("check_graphs.py");
    assert_eq!(printed.lines().filter(|line| line.contains("nodes in")).count(), 18, "{printed}");
    assert_eq!(printed.lines().filter(|line| line.contains("as on the CPU provider")).count(), 12, "{printed}");
}

#[test]
fn graphs_of_other_exporters() {
    let printed = check_graphs("check_exporters.py");
    assert_eq!(printed.lines().filter(|line| line.contains("as on the CPU provider")).count(), 20, "{printed}");
}

#[test]
fn front_ends() {
    let printed = check("check_front_ends.py", &[&common::root().join("models/reference/encoder_model.onnx")]);
    assert_eq!(printed.lines().filter(|line| line.contains("features differ by")).count(), 16, "{printed}");
}

#[test]
fn inputs_that_a_graph_is_not_defined_for() {
    let printed = check("check_inputs.py", &[&common::reference()]);
    assert_eq!(printed.lines().filter(|line| line.contains("refused as invalid arguments")).count(), 4, "{printed}");
}
