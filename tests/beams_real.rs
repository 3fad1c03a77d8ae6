//! Beam search with OpenAI's own weights on people speaking: tokens, times and scores are openai/whisper's, on the CPU
//! provider and on the host device in f32. Weights and recordings are found as in `converted_real`; where they are
//! missing, this says so and does not run. Of base's recordings every third is compared, all of them with
//! `UNDERTONE_ALL_RECORDINGS=1`.

mod common;

use std::path::Path;

use common::weights;
use serde::Deserialize;
use serde_json::Value;
use undertone_runner::{
    Device, EngineOptions, Model, Precision, SearchOptions, Segment, TranscribeOptions, Transcriber, audio,
};

#[derive(Deserialize)]
struct Expected {
    file: String,
    language: String,
    segments: Vec<Segment>,
}

/// A file of results: the recordings, and how they were searched.
fn expected(path: &Path) -> (Vec<Expected>, SearchOptions) {
    let mut vectors = common::json(path);
    let number = |name: &str| vectors["call"].get(name).and_then(Value::as_f64);
    let search = SearchOptions {
        beam_size: number("beam_size").map(|size| size as usize),
        patience: number("patience"),
        length_penalty: number("length_penalty"),
    };
    assert!(search.beam_size.is_some());
    (serde_json::from_value(vectors["results"].take()).unwrap(), search)
}

/// Compares a model's beams on both devices with the results in `folder`, of every `step`th recording.
fn check(model: &Path, folder: &str, counts: [usize; 2], step: usize) {
    let shared = common::root().join("../shared");
    if !shared.join("vectors/real").is_dir() || !shared.join("speech-real").is_dir() {
        weights::not_run("beams on real speech", "there is no ../shared/speech-real");
        return;
    }
    let step = if std::env::var_os("UNDERTONE_ALL_RECORDINGS").is_some() { 1 } else { step };
    for device in [Device::Cpu, Device::Host] {
        let mut engine = EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"));
        engine.device = device;
        engine.precision = Precision::F32;
        engine.ep_library = Some(common::ep_library());
        let model = Model::open(model.to_str().unwrap(), None).unwrap();
        let mut transcriber = Transcriber::load(&model, &engine).unwrap();
        for (name, count) in ["beam5.json", "beam5-patience2-lengthpenalty.json"].into_iter().zip(counts) {
            let (recordings, search) = expected(&shared.join("vectors/real").join(folder).join(name));
            assert_eq!(recordings.len(), count, "{folder}/{name}");
            for expected in recordings.iter().step_by(step) {
                let audio = audio::read_file(&shared.join("speech-real").join(&expected.file)).unwrap();
                let options = TranscribeOptions {
                    search,
                    language: Some(expected.language.clone()),
                    ..TranscribeOptions::greedy()
                };
                let result = transcriber.transcribe(&audio, &options, &mut ()).unwrap();
                let place = format!("{} by {name} on {device}", expected.file);
                let kept: Vec<&Segment> = expected.segments.iter().filter(|s| !s.tokens.is_empty()).collect();
                assert_eq!(tokens(&result.segments.iter().collect::<Vec<_>>()), tokens(&kept), "{place}");
                for (ours, theirs) in result.segments.iter().zip(kept) {
                    assert!((ours.start - theirs.start).abs() < 1e-6, "{place}: {} {}", ours.start, theirs.start);
                    let end = theirs.end.min(audio.duration());
                    assert!((ours.end - end).abs() < 1e-6, "{place}: {} {end}", ours.end);
                    let scores = [ours.avg_logprob - theirs.avg_logprob, ours.no_speech_prob - theirs.no_speech_prob];
                    assert!(scores.iter().all(|difference| difference.abs() < 1e-3), "{place}: {scores:?}");
                }
            }
        }
    }
}

fn tokens<'a>(segments: &[&'a Segment]) -> Vec<&'a [u32]> {
    segments.iter().map(|segment| &segment.tokens[..]).collect()
}

#[test]
fn base_writes_what_openai_whisper_writes() {
    let Some(model) = weights::base_onnx() else { return };
    check(&model, "base", [18, 6], 3);
}

#[test]
fn tiny_en_writes_what_openai_whisper_writes() {
    let Some(model) = weights::tiny_en_onnx() else { return };
    check(&model, "tiny.en", [12, 6], 2);
}
