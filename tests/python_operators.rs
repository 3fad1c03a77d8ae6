//! ONNX's conformance cases through the EP: what it claims of any graph, it computes as the CPU provider does. What is
//! checked is in `python/check_operators.py`.

mod common;

use common::python;

#[test]
fn operators() {
    let packages = python::packages(&["onnxruntime==1.32.0", "onnx==1.23.2", "numpy"]);
    let output = common::run(python::script("check_operators.py", &packages).arg(common::ep_library()));
    let printed = common::text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", common::text(&output.stderr));
    println!("{printed}");
}
