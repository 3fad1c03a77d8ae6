//! The runner on the execution provider's devices: what the report counts, what is refused, and falling back.

mod common;

use std::path::PathBuf;
use undertone_bench::{self as bench, BenchError, BenchOptions};
use undertone_runner::{
    Device, Engine, EngineError, EngineOptions, Model, Precision, TranscribeOptions, Transcriber, Transcription, audio,
};

fn model() -> Model {
    Model::from_directory(&common::reference(), None).unwrap()
}

fn options(device: Device) -> EngineOptions {
    let mut options = EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"));
    options.device = device;
    options.precision = Precision::F32;
    options.ep_library = Some(common::ep_library());
    options
}

fn transcribe(options: &EngineOptions) -> Transcription {
    let mut transcriber = Transcriber::load(&model(), options).unwrap();
    let audio = audio::read_file(&common::root().join("speech/short/001-en.flac")).unwrap();
    transcriber.transcribe(&audio, &TranscribeOptions::default(), &mut ()).unwrap()
}

/// One test: the counts are of the process, and others running at the same time would be counted too.
#[test]
fn the_report_says_what_was_executed_and_where() {
    let cpu = transcribe(&options(Device::Cpu));
    assert_eq!((cpu.run.device.as_str(), cpu.run.precision.as_str()), ("cpu", "f32"));
    assert_eq!((cpu.run.fused_nodes_executed, cpu.run.kernel_calls.len()), (0, 0));
    assert!(cpu.run.cpu_nodes.unwrap() > 300, "{:?}", cpu.run.cpu_nodes);
    assert!(cpu.run.ort_version.starts_with("1."));
    assert!(cpu.run.encoder_ms > 0.0 && cpu.run.decoder_ms > 0.0 && cpu.run.mel_ms > 0.0);
    assert!(cpu.run.realtime_factor > 0.0 && cpu.run.tokens > 5);

    let host = transcribe(&options(Device::Host));
    assert_eq!(host.text, cpu.text);
    assert_eq!(host.run.device, "host");
    assert!(host.run.cpu_nodes < cpu.run.cpu_nodes);
    assert!(host.run.kernel_calls["host"] > 0);
    // One encoder run, and at least one fused node in each decoder run: detection, the first step, and one for each
    // token but the first.
    assert!(host.run.fused_nodes_executed > host.run.tokens, "{:?}", host.run);
    assert_eq!(host.run.fallback, None);

    // The CPU provider stays alone also when the execution provider is registered in the process.
    let again = transcribe(&options(Device::Cpu));
    assert_eq!((again.run.fused_nodes_executed, again.run.cpu_nodes), (0, cpu.run.cpu_nodes));

    let auto = transcribe(&options(Device::Auto));
    assert_eq!((auto.text, auto.run.device.as_str(), auto.run.fallback), (cpu.text, "host", None));

    let results =
        bench::run(&model(), &[options(Device::Cpu), options(Device::Host)], &BenchOptions { tokens: 5, runs: 1 })
            .unwrap();
    assert_eq!(results.iter().map(|r| r.device.as_str()).collect::<Vec<_>>(), ["cpu", "host"]);
    assert!(
        results
            .iter()
            .all(|r| r.encoder_ms > Some(0.0) && r.decoder_ms_per_token > Some(0.0) && r.realtime_factor > Some(0.0))
    );
}

#[test]
fn an_npu_that_is_not_there_is_an_error_with_the_providers_words() {
    // An NPU has no fp32: that would be said first.
    let options = EngineOptions { precision: Precision::Int8, ..options(Device::Npu) };
    let error = Transcriber::load(&model(), &options).err().unwrap().to_string();
    assert!(error.contains("on device 'npu'") && error.contains("encoder_model.onnx"), "{error}");
    assert!(error.contains("no NPU"), "{error}");
    assert!(!error.contains("onnxruntime_src") && error.lines().count() == 1, "{error}");
}

#[test]
fn missing_libraries_are_errors_and_with_auto_a_reported_fallback() {
    let nowhere = PathBuf::from("no/such/libonnxruntime_ep_xdna.so");
    let without = |device| EngineOptions { ep_library: None, ..options(device) };
    let missing = |device| EngineOptions { ep_library: Some(nowhere.clone()), ..options(device) };
    assert!(matches!(Engine::new(&without(Device::Host)), Err(EngineError::NoEpPath(Device::Host))));
    let error = Engine::new(&missing(Device::Host)).err().unwrap();
    // Where another test has registered the real one, the process keeps that.
    assert!(matches!(error, EngineError::NoEp(_) | EngineError::Another { .. }), "{error}");
    let result = transcribe(&without(Device::Auto));
    assert_eq!(result.run.device, "cpu");
    assert!(result.run.fallback.unwrap().contains("needs the execution provider's library"));
    assert_eq!(result.run.fused_nodes_executed, 0);
    let other = EngineOptions { ort_library: "elsewhere/libonnxruntime.so".into(), ..options(Device::Cpu) };
    assert!(matches!(Engine::new(&other), Err(EngineError::Another { .. } | EngineError::NoOrt(_))));
}

#[test]
fn a_bench_of_no_or_too_many_tokens_is_refused() {
    for tokens in [0, 445, usize::MAX] {
        let asked = bench::run(&model(), &[options(Device::Cpu)], &BenchOptions { tokens, runs: 1 });
        assert!(matches!(asked, Err(BenchError::Tokens { most: 444, .. })), "{tokens}");
    }
}
