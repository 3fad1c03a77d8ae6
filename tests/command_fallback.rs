//! An execution provider that fails in the middle of a run, in a real ONNX Runtime: with `auto` the window is run again
//! on the CPU provider and the result says so; with a device that was named it is an error.

mod common;

use std::path::Path;

use common::python;

/// The reference model with an encoder that fails on the execution provider.
fn failing_model(directory: &Path) {
    let reference = common::reference();
    for entry in std::fs::read_dir(&reference).unwrap() {
        let name = entry.unwrap().file_name();
        if name != "encoder_model.onnx" {
            std::fs::copy(reference.join(&name), directory.join(&name)).unwrap();
        }
    }
    let packages = python::packages(&["onnxruntime==1.32.0", "onnx==1.23.2", "numpy"]);
    common::stdout_of(
        python::script("failing_encoder.py", &packages)
            .arg(reference.join("encoder_model.onnx"))
            .arg(directory.join("encoder_model.onnx")),
    );
}

#[test]
fn a_run_that_fails_goes_on_with_the_cpu_provider_only_if_that_was_asked() {
    let model = tempfile::tempdir().unwrap();
    failing_model(model.path());
    let speech = common::root().join("speech/short/000-en.flac");
    let transcribe = |device: &str| {
        let mut command = common::undertone();
        command.args(["transcribe", "-f", "json", "--device", device, "--model"]).arg(model.path()).arg(&speech);
        common::run(&mut command)
    };

    let auto = transcribe("auto");
    assert!(auto.status.success(), "{}", common::text(&auto.stderr));
    let result: serde_json::Value = serde_json::from_slice(&auto.stdout).unwrap();
    assert_eq!(result["text"], " The green lion is above the red table.");
    let run = &result["run"];
    let reason = run["fallback"].as_str().unwrap_or_else(|| panic!("the result does not say so: {run}"));
    assert!(reason.contains("Reshape"), "{reason}");
    assert!(common::text(&auto.stderr).contains("cpu"), "{}", common::text(&auto.stderr));

    let host = transcribe("host");
    assert_eq!(host.status.code(), Some(1));
    let error = common::text(&host.stderr);
    assert_eq!(error.lines().filter(|line| line.starts_with("error:")).count(), 1, "{error}");
    assert!(error.contains("encoder_model.onnx") && error.contains("Reshape"), "{error}");
    assert!(host.stdout.is_empty());
}
