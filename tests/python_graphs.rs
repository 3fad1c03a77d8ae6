//! Every exported graph of `tests/graphs`, all sizes and layouts: one fused node for an encoder, at most three for a decoder, and
//! the CPU provider's numbers. What is checked is in `python/check_graphs.py`.

mod common;

use common::python;

#[test]
fn exported_graphs() {
    let packages = python::packages(&["onnxruntime==1.32.0", "onnx==1.23.2", "numpy"]);
    let scratch = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("graphs-{}", std::process::id()));
    let mut script = python::script("check_graphs.py", &packages);
    script.arg(common::ep_library()).arg(common::root().join("tests/graphs")).arg(&scratch);
    let output = common::run(&mut script);
    // Some gigabytes of weights: they go whatever the result.
    let _ = std::fs::remove_dir_all(&scratch);
    let printed = common::text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", common::text(&output.stderr));
    println!("{printed}");
    assert_eq!(printed.lines().filter(|line| line.contains("nodes in")).count(), 18, "{printed}");
    assert_eq!(printed.lines().filter(|line| line.contains("as on the CPU provider")).count(), 12, "{printed}");
}
