//! Every exported graph of `tests/graphs`, all sizes and layouts: one fused node for an encoder, at most three for a
//! decoder, and the CPU provider's numbers; then other exporters' graphs, front ends before an encoder, inputs that a
//! graph is not defined for, and what reports say of work. What is checked is in `python/check_graphs.py`,
//! `check_exporters.py`, `check_front_ends.py`, `check_inputs.py` and `check_report.py`.

mod common;

use std::path::Path;

use common::python;

/// Runs a script on the EP and `arguments`; what it prints.
fn check(script: &str, arguments: &[&Path]) -> String {
    check_both(script, arguments).0
}

/// The same with what it writes to standard error.
fn check_both(script: &str, arguments: &[&Path]) -> (String, String) {
    let packages = python::packages(&["onnxruntime==1.32.0", "onnx==1.23.2", "numpy"]);
    let mut script = python::script(script, &packages);
    let output = common::run(script.arg(common::ep_library()).args(arguments));
    let printed = common::text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", common::text(&output.stderr));
    println!("{printed}");
    (printed, common::text(&output.stderr))
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
    let foreign = python::packages_alone(&["onnx-asr==0.12.0"]).join("onnx_asr/preprocessors/data");
    let encoder = common::root().join("models/reference/encoder_model.onnx");
    let printed = check("check_front_ends.py", &[&encoder, &foreign]);
    assert_eq!(printed.lines().filter(|line| line.contains("features differ by")).count(), 16, "{printed}");
    assert_eq!(printed.lines().filter(|line| line.contains("as on the CPU provider")).count(), 29, "{printed}");
}

#[test]
fn inputs_that_a_graph_is_not_defined_for() {
    let printed = check("check_inputs.py", &[&common::reference()]);
    assert_eq!(printed.lines().filter(|line| line.contains("refused as invalid arguments")).count(), 4, "{printed}");
}

#[test]
fn work_that_is_left_to_others() {
    let (_, log) = check_both("check_report.py", &[]);
    let warned = |part: &str| part.matches("are left to other providers").count();
    let percent = |part: &str| part.split("\"g\" ").nth(1).map(|rest| rest[..rest.find(" %").unwrap()].to_owned());
    let parts: Vec<_> = log.split("# ").skip(1).map(|part| (part.lines().next().unwrap(), part)).collect();
    let found: Vec<_> = parts.iter().map(|(name, part)| (*name, warned(part), percent(part))).collect();
    let all = |name| (name, 1, Some("100".to_owned()));
    let half = ("one_of_two", 1, Some("50".to_owned()));
    let none = |name| (name, 0, None);
    let wanted = [all("four_bits"), all("einsum"), all("integers"), half, none("whole"), none("folded")];
    assert_eq!(found, wanted, "{log}");
}
