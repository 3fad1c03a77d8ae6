//! Real weights quantised by other tools, as people have them in `onnx/` folders (`python/make_quantised.py`): OpenAI's
//! tiny.en transcribes a person through each, on ONNX Runtime's CPU provider and through the execution provider. The
//! weights and the recording come through pip; where they cannot be had, this says so and does not run.

mod common;

use std::path::Path;

use common::{python, stdout_of, weights};
use undertone_models::{ConvertOptions, WeightFormat, convert};
use undertone_runner::features::Features;
use undertone_runner::mel::LogMel;
use undertone_runner::normalise::basic;
use undertone_runner::{
    Audio, Device, EngineOptions, Model, Precision, TranscribeOptions, Transcriber, Transcription, audio,
};

const WORDS: &str = "ever tried ever failed no matter try again fail again fail better";

fn transcribe(model: &Path, variant: &str, device: Device, audio: &Audio) -> Transcription {
    let mut options = EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"));
    options.device = device;
    options.precision = Precision::F32;
    options.ep_library = (device == Device::Host).then(common::ep_library);
    let model = Model::from_directory(model, Some(variant)).unwrap();
    let mut transcriber = Transcriber::load(&model, &options).unwrap();
    transcriber.transcribe(audio, &TranscribeOptions::default(), &mut ()).unwrap()
}

#[test]
fn every_stored_precision_hears_a_person() {
    let (Some(source), Some(sample)) = (weights::tiny_en(), weights::sample()) else { return };
    let packages = python::packages(&["onnxruntime==1.32.0", "onnx==1.23.2", "onnx-ir==1.1.0", "numpy"]);
    let home = tempfile::tempdir().unwrap();
    let [made, quantised] = ["f32", "quantised"].map(|name| home.path().join(name));
    convert(&source, &made, &ConvertOptions { weights: Some(WeightFormat::F32) }, &mut |_, _| ()).unwrap();
    let audio = audio::read_file(&sample).unwrap();
    let window = Features::of(&LogMel::new(80), &audio.samples).window(0).unwrap();
    let features = home.path().join("features");
    std::fs::write(&features, window.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    stdout_of(python::script("make_quantised.py", &packages).args([&made, &features, &quantised]));
    for variant in ["int8", "uint8", "q4", "bnb4", "encoder=qdq,decoder=f32", "encoder=int8,decoder=q4"] {
        for device in [Device::Cpu, Device::Host] {
            let text = transcribe(&quantised, variant, device, &audio).text;
            assert_eq!(basic(&text).trim(), WORDS, "{variant} on {device}");
        }
    }
}
