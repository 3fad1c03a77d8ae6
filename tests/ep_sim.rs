//! The simulated NPU through a real ONNX Runtime: the encoder's output against f32, and who computed what, by the
//! counts of the code that computed it.

mod common;
mod ep_host;

use std::sync::{Mutex, PoisonError};

use common::python;
use ep_host::{Sizes, assert_close, counter, cpu_session, cpu_session_of, ep_builder, ep_session, inputs, run};

const WINDOW: Sizes = Sizes { batch: 1, tokens: 1, past: 0, use_cache: false };

fn calls() -> [u64; 2] {
    ["kernel_calls.sim", "kernel_calls.host"].map(counter)
}

/// The counts are of the process: tests that look at them go one after another.
static COUNTS: Mutex<()> = Mutex::new(());

#[test]
fn the_encoder_s_products_and_attention_are_the_simulator_s() {
    let _alone = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut reference = cpu_session("encoder_model");
    let window = inputs(&reference, WINDOW);
    let expected = run(&mut reference, &window).unwrap();
    for target in ["npu1", "npu4"] {
        for (precision, least) in [("bf16", 0.999), ("int8", 0.99)] {
            let options = [("device", "sim"), ("target", target), ("precision", precision)];
            let mut session = ep_session("encoder_model", &options).unwrap();
            let before = calls();
            let got = run(&mut session, &window).unwrap();
            let after = calls();
            assert_close(&got, &expected, least, &format!("{target} {precision}"));
            // 18 linear layers, 3 attentions, 2 convolutions; layer norms and the like are the host's.
            assert_eq!(after[0] - before[0], 23, "{target} {precision}");
            assert!(after[1] > before[1], "{target} {precision}");
        }
    }

    // A decoder's step has few rows, and stays where it is cheaper.
    let options = [("device", "sim"), ("precision", "int8")];
    let mut decoder = ep_session("decoder_with_past_model", &options).unwrap();
    let step = inputs(&decoder, Sizes { past: 4, ..WINDOW });
    let before = calls();
    run(&mut decoder, &step).unwrap();
    let after = calls();
    assert_eq!(after[0], before[0]);
    assert!(after[1] > before[1]);
}

/// The real graph of whisper-tiny's encoder, its weights seeded noise.
#[test]
fn an_encoder_of_whisper_tiny_s_geometry_is_near_f32() {
    let _alone = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let home = tempfile::tempdir().unwrap();
    let packages = python::packages(&["onnx==1.23.2", "numpy"]);
    let mut materialize = python::with(&packages);
    materialize.arg(common::root().join("tests/graphs/materialize.py")).arg("whisper-tiny").arg(home.path());
    common::stdout_of(&mut materialize);
    let encoder = home.path().join("encoder_model.onnx");
    let mut reference = cpu_session_of(&encoder);
    let window = inputs(&reference, WINDOW);
    let expected = run(&mut reference, &window).unwrap();
    for (target, precision, least) in [("npu1", "int8", 0.999), ("npu4", "bf16", 0.9999)] {
        let options = [("device", "sim"), ("target", target), ("precision", precision)];
        let mut session = ep_builder(&options).unwrap().commit_from_file(&encoder).unwrap();
        let before = calls();
        let got = run(&mut session, &window).unwrap();
        assert_close(&got, &expected, least, &format!("{target} {precision}"));
        // Two convolutions; four layers of six products and attention.
        assert_eq!(calls()[0] - before[0], 2 + 4 * 7, "{target} {precision}");
    }
}

#[test]
fn packed_models_and_f32_are_not_the_simulator_s() {
    let error = ep_session("encoder_model", &[("device", "sim"), ("precision", "f32")]).err().unwrap().to_string();
    assert!(error.contains("int8 and bf16") && error.contains("device=\"sim\""), "{error}");

    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("packed.onnx");
    let builder = ep_host::ep_builder(&[("device", "sim")]).unwrap();
    let builder = builder.with_config_entry("ep.context_enable", "1").unwrap();
    let mut builder = builder.with_config_entry("ep.context_file_path", path.to_str().unwrap()).unwrap();
    let error = builder.commit_from_file(ep_host::reference("encoder_model")).err().unwrap().to_string();
    assert!(error.contains("packed models are of the host device's weights"), "{error}");
    assert!(!path.exists());
}
