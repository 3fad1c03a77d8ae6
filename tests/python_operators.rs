//! Single operators through the EP: what it claims of any graph, it computes as the CPU provider does. What is checked
//! is in `python/check_operators.py` (ONNX's conformance cases), `python/check_opsets.py` (older definitions of the
//! same operators) and `python/check_fused_operators.py` (ONNX Runtime's own operators).

mod common;

use common::python;

fn check(script: &str) {
    let packages = python::packages(&["onnxruntime==1.32.0", "onnx==1.23.2", "numpy"]);
    let output = common::run(python::script(script, &packages).arg(common::ep_library()));
    let printed = common::text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", common::text(&output.stderr));
    println!("{printed}");
}

#[test]
fn operators() {
    check("check_operators.py");
}

#[test]
fn operators_of_older_opsets() {
    check("check_opsets.py");
}

#[test]
fn fused_operators() {
    check("check_fused_operators.py");
}
