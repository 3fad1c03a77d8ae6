//! OpenAI's own weights, out of a CTranslate2 folder, converted: what the command writes of people speaking is what openai/whisper
//! writes. The weights come through pip, the recordings and openai/whisper's tokens lie beside the repository (`../shared`); where
//! either is missing, this says so and does not run.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::weights;
use serde_json::Value;
use undertone_models::{ConvertOptions, Converted, WeightFormat, convert, recognise};
use undertone_runner::{EngineOptions, Model, TranscribeOptions, Transcriber, audio};

/// Recordings that are compared: the first of one window that openai/whisper itself did not doubt. (A second window of less than a
/// second is decoded by it, and not by us.)
const RECORDINGS: usize = 6;

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

/// File and tokens by openai/whisper of short recordings.
fn expected(shared: &Path, model: &str) -> BTreeMap<String, Vec<u32>> {
    let vectors = common::json(&shared.join(format!("vectors/real/{model}/greedy.json")));
    let sure = |segment: &Value| {
        segment["seek"] == 0
            && segment["avg_logprob"].as_f64() > Some(-0.8)
            && segment["compression_ratio"].as_f64() < Some(2.2)
    };
    let results = vectors["results"].as_array().unwrap().iter();
    results
        .filter(|result| result["segments"].as_array().unwrap().iter().all(sure))
        .map(|result| (result["file"].as_str().unwrap().to_owned(), tokens(result)))
        .take(RECORDINGS)
        .collect()
}

fn tokens(result: &Value) -> Vec<u32> {
    let segments = result["segments"].as_array().unwrap().iter();
    let tokens = segments.flat_map(|segment| segment["tokens"].as_array().unwrap());
    tokens.map(|token| token.as_u64().unwrap() as u32).collect()
}

/// The tokens of each recording as the reference made them: at temperature 0, every window to its end.
fn transcribed(model: &Path, shared: &Path, files: &[&String]) -> Vec<Vec<u32>> {
    let model = Model::open(model.to_str().unwrap(), None).unwrap();
    let mut transcriber = Transcriber::load(&model, &EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"))).unwrap();
    let greedy = TranscribeOptions {
        no_speech_threshold: Some(0.6),
        logprob_threshold: Some(-1.0),
        ..TranscribeOptions::greedy()
    };
    let tokens = |file: &&String| -> Vec<u32> {
        let audio = audio::read_file(&shared.join("speech-real").join(file)).unwrap();
        let result = transcriber.transcribe(&audio, &greedy, &mut ()).unwrap();
        result.segments.into_iter().flat_map(|segment| segment.tokens).collect()
    };
    files.iter().map(tokens).collect()
}

#[test]
fn tiny_en_converted_writes_what_openai_whisper_writes() {
    let (Some(source), Some(shared)) = (weights::tiny_en(), shared()) else { return };
    let home = tempfile::tempdir().unwrap();
    let expected = expected(&shared, "tiny.en");
    assert_eq!(expected.len(), RECORDINGS);
    let files: Vec<&String> = expected.keys().collect();
    // f16 is what the source stores: nothing is lost, so neither is a token.
    for format in [None, Some(WeightFormat::F32)] {
        let made = converted(&source, home.path(), format);
        assert_eq!(made.weights, format.unwrap_or(WeightFormat::F16));
        let found = transcribed(&made.directory, &shared, &files);
        for ((file, expected), found) in expected.iter().zip(found) {
            assert_eq!(found, *expected, "{file} with {format:?}");
        }
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
