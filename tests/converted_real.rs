//! OpenAI's own weights, out of a CTranslate2 folder, converted: what the command writes of people speaking is what
//! openai/whisper writes, token for token. The weights come through pip, the recordings and openai/whisper's tokens lie
//! beside the repository (`../shared`); where either is missing, this says so and does not run. Of base's recordings
//! every fifth is compared, all of them with `UNDERTONE_ALL_RECORDINGS=1`.

mod common;

use std::path::{Path, PathBuf};

use common::weights;
use serde_json::Value;
use undertone_models::{ConvertOptions, Converted, WeightFormat, convert, recognise};
use undertone_runner::{EngineOptions, Model, TranscribeOptions, Transcriber, audio};

/// Converted into a folder that goes away.
fn converted(source: &Path, home: &Path, weights: Option<WeightFormat>) -> Converted {
    assert!(recognise(source).is_some());
    let out = home.join(format!("{weights:?}"));
    convert(source, &out, &ConvertOptions { weights }, &mut |_, _| ()).unwrap()
}

fn shared() -> Option<PathBuf> {
    let shared = common::root().join("../shared");
    if shared.join("vectors/real").is_dir() && shared.join("speech-real").is_dir() {
        return Some(shared);
    }
    weights::not_run("comparison with openai/whisper on real speech", "there is no ../shared/speech-real");
    None
}

/// What openai/whisper made of a recording.
struct Expected {
    file: String,
    language: String,
    tokens: Vec<u32>,
}

/// The recordings of a file of results, and the options of the call that made them.
fn expected(shared: &Path, file: &str) -> (Vec<Expected>, TranscribeOptions) {
    let vectors = common::json(&shared.join("vectors/real").join(file));
    // What the call does not name has openai/whisper's default.
    let threshold = |name: &str, default: f64| match vectors["call"].get(name) {
        None => Some(default),
        Some(value) => value.as_f64(),
    };
    let options = TranscribeOptions {
        no_speech_threshold: threshold("no_speech_threshold", 0.6),
        logprob_threshold: threshold("logprob_threshold", -1.0),
        without_timestamps: vectors["call"]["without_timestamps"] == true,
        ..TranscribeOptions::greedy()
    };
    let of = |result: &Value| Expected {
        file: result["file"].as_str().unwrap().to_owned(),
        language: result["language"].as_str().unwrap().to_owned(),
        tokens: tokens(result),
    };
    (vectors["results"].as_array().unwrap().iter().map(of).collect(), options)
}

fn tokens(result: &Value) -> Vec<u32> {
    let segments = result["segments"].as_array().unwrap().iter();
    let tokens = segments.flat_map(|segment| segment["tokens"].as_array().unwrap());
    tokens.map(|token| token.as_u64().unwrap() as u32).collect()
}

/// Some of the recordings, spread over all sources and languages, or all.
fn chosen(expected: Vec<Expected>) -> Vec<Expected> {
    let step = if std::env::var_os("UNDERTONE_ALL_RECORDINGS").is_some() { 1 } else { 5 };
    expected.into_iter().step_by(step).collect()
}

/// Transcribes each recording on ONNX Runtime's CPU provider and compares the tokens.
fn check(model: &Path, shared: &Path, expected: &[Expected], options: &TranscribeOptions) {
    let model = Model::open(model.to_str().unwrap(), None).unwrap();
    let mut transcriber = Transcriber::load(&model, &EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"))).unwrap();
    for Expected { file, language, tokens } in expected {
        let audio = audio::read_file(&shared.join("speech-real").join(file)).unwrap();
        let options = TranscribeOptions { language: Some(language.clone()), ..options.clone() };
        let result = transcriber.transcribe(&audio, &options, &mut ()).unwrap();
        let found: Vec<u32> = result.segments.into_iter().flat_map(|segment| segment.tokens).collect();
        assert_eq!(found, *tokens, "{file}");
    }
}

#[test]
fn tiny_en_converted_writes_what_openai_whisper_writes() {
    let (Some(source), Some(shared)) = (weights::tiny_en(), shared()) else { return };
    let home = tempfile::tempdir().unwrap();
    let (expected, options) = expected(&shared, "tiny.en/greedy.json");
    assert_eq!(expected.len(), 97);
    let made = converted(&source, home.path(), None);
    // f16 is what the source stores: nothing is lost.
    assert_eq!(made.weights, WeightFormat::F16);
    check(&made.directory, &shared, &expected, &options);
    let made = converted(&source, home.path(), Some(WeightFormat::F32));
    assert_eq!(made.weights, WeightFormat::F32);
    check(&made.directory, &shared, &expected[..6], &options);
}

#[test]
fn base_converted_writes_what_openai_whisper_writes() {
    let (Some(source), Some(shared)) = (weights::base(), shared()) else { return };
    let home = tempfile::tempdir().unwrap();
    let model = converted(&source, home.path(), None).directory;
    for (file, recordings) in [("base/greedy.json", 178), ("base/without-timestamps.json", 30)] {
        let (expected, options) = expected(&shared, file);
        assert_eq!(expected.len(), recordings, "{file}");
        check(&model, &shared, &chosen(expected), &options);
    }
}

#[test]
fn files_that_a_source_lacks_are_as_with_it() {
    let Some(source) = weights::tiny_en() else { return };
    let home = tempfile::tempdir().unwrap();
    let whole = converted(&source, home.path(), Some(WeightFormat::Int8)).directory;
    // The weights alone, as a folder: tokenizer and configurations are then of the model's kind.
    let bare = home.path().join("bare");
    std::fs::create_dir(&bare).unwrap();
    std::fs::copy(source.join("model.bin"), bare.join("model.bin")).unwrap();
    let made = converted(&bare, &home.path().join("made"), Some(WeightFormat::Int8)).directory;
    for name in ["config.json", "generation_config.json", "preprocessor_config.json"] {
        assert_eq!(common::json(&made.join(name)), common::json(&whole.join(name)), "{name}");
    }
    let [own, made] = [whole, made].map(|folder| common::json(&folder.join("tokenizer.json")));
    assert_eq!(made["model"]["vocab"], own["model"]["vocab"]);
    assert_eq!(made["model"]["merges"], own["model"]["merges"]);
    for part in ["pre_tokenizer", "post_processor", "decoder"] {
        assert_eq!(made[part], own[part], "{part}");
    }
}
