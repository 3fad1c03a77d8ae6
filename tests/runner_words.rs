//! Word times against openai/whisper's own on the same model and audio: words, times, probabilities. The expected files
//! name the call that made them.

mod common;

use std::path::{Path, PathBuf};

use common::{ep_library, reference, root, weights};
use serde::Deserialize;
use undertone_models::{ConvertOptions, convert};
use undertone_runner::decoder::{OrtModel, WithoutCache};
use undertone_runner::speech_model::SpeechModel;
use undertone_runner::tokenizer::Tokenizer;
use undertone_runner::{
    Device, Engine, EngineOptions, Layout, Model, Precision, PromptOptions, Segment, TranscribeOptions, Transcriber,
    Transcription, WordOptions, audio,
};

#[derive(Deserialize)]
struct Expected {
    call: serde_json::Value,
    results: Vec<ExpectedFile>,
}

#[derive(Deserialize)]
struct ExpectedFile {
    file: String,
    language: String,
    segments: Vec<Segment>,
}

fn transcriber(model: &Path, device: Device) -> Transcriber {
    let mut options = EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"));
    options.device = device;
    options.ep_library = (device != Device::Cpu).then(ep_library);
    options.precision = Precision::F32;
    Transcriber::load(&Model::from_directory(model, None).unwrap(), &options).unwrap()
}

/// What differs between two results.
#[derive(Debug, Default)]
struct Differences {
    words: usize,
    /// Words whose start or end is more than 0.02 s from the expected.
    times: Vec<String>,
    /// Words whose probability is more than 0.001 from the expected.
    probabilities: Vec<String>,
    /// Recordings with other words.
    texts: Vec<String>,
}

fn compare(found: &Transcription, expected: &ExpectedFile, differences: &mut Differences) {
    let words = |segments: &[Segment]| segments.iter().flat_map(|s| s.words.clone()).collect::<Vec<_>>();
    let (found, wanted) = (words(&found.segments), words(&expected.segments));
    differences.words += wanted.len();
    if !found.iter().map(|word| &word.word).eq(wanted.iter().map(|word| &word.word)) {
        let text = |words: &[undertone_runner::Word]| words.iter().map(|w| w.word.as_str()).collect::<String>();
        differences.texts.push(format!("{}:\n  {}\n  {}", expected.file, text(&wanted), text(&found)));
        return;
    }
    for (found, wanted) in found.iter().zip(&wanted) {
        let place = format!("{} '{}' {:.2}–{:.2}", expected.file, wanted.word, wanted.start, wanted.end);
        if (found.start - wanted.start).abs() > 0.0201 || (found.end - wanted.end).abs() > 0.0201 {
            differences.times.push(format!("{place}: {:.2}–{:.2}", found.start, found.end));
        }
        if (found.probability - wanted.probability).abs() > 1e-3 {
            differences.probabilities.push(format!("{place}: {} {}", wanted.probability, found.probability));
        }
    }
}

/// Transcribes what a file of expected results names, with its call.
fn check(vectors: &Path, speech: &Path, transcriber: &mut Transcriber) -> Differences {
    let expected: Expected = serde_json::from_slice(&std::fs::read(vectors).unwrap()).unwrap();
    let options = |file: &ExpectedFile| TranscribeOptions {
        language: Some(file.language.clone()),
        prompt: PromptOptions {
            condition_on_previous_text: expected.call["condition_on_previous_text"] != false,
            ..PromptOptions::default()
        },
        words: WordOptions { word_timestamps: true, ..WordOptions::default() },
        ..TranscribeOptions::greedy()
    };
    let mut differences = Differences::default();
    for file in &expected.results {
        let audio = audio::read_file(&speech.join(&file.file)).unwrap();
        let found = transcriber.transcribe(&audio, &options(file), &mut ()).unwrap();
        nested(&found);
        compare(&found, file, &mut differences);
    }
    differences
}

/// Words are in order, in their segments, in the audio, and together they are the text.
fn nested(result: &Transcription) {
    let mut last = 0.0;
    for segment in &result.segments {
        assert!(last <= segment.start && segment.end <= result.duration, "{segment:?}");
        last = segment.start;
        for word in &segment.words {
            assert!(last <= word.start && word.start <= word.end && word.end <= segment.end, "{segment:?}");
            assert!((0.0..=1.0).contains(&word.probability), "{word:?}");
            last = word.end;
        }
        assert_eq!(segment.words.iter().map(|word| word.word.as_str()).collect::<String>(), segment.text);
        last = segment.end;
    }
}

/// Nothing differs, on ONNX Runtime's CPU provider and on the execution provider's host device in f32.
fn equal(model: &Path, recordings: &Path, vectors: &[PathBuf]) {
    for device in [Device::Cpu, Device::Host] {
        let mut transcriber = transcriber(model, device);
        for vectors in vectors {
            let differences = check(vectors, recordings, &mut transcriber);
            eprintln!("{device}, {}: {} words", vectors.display(), differences.words);
            assert!(differences.words > 0);
            let Differences { times, probabilities, texts, .. } = &differences;
            assert!(times.is_empty() && probabilities.is_empty() && texts.is_empty(), "{device}: {differences:#?}");
        }
    }
}

#[test]
fn words_of_the_reference_model_are_openai_whispers() {
    let vectors = ["words-short.json", "long-spanish-words.json"];
    let vectors = vectors.map(|name| root().join("tests/vectors/transcripts").join(name));
    equal(&reference(), &root().join("speech"), &vectors);
}

/// The decoder in one graph, and without its cache: the same words as of the two graphs with it.
#[test]
fn words_of_a_merged_and_a_cacheless_decoder() {
    let vectors = root().join("tests/vectors/transcripts/words-short.json");
    let engine = Engine::new(&EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"))).unwrap();
    let layouts = [(Layout::Merged, true), (Layout::Merged, false), (Layout::Split, false)];
    for (layout, cache) in layouts {
        let model = Model::with_layout(&reference(), None, Some(layout)).unwrap();
        let loaded = OrtModel::load(&model, &engine).unwrap();
        let loaded: Box<dyn SpeechModel> = if cache { Box::new(loaded) } else { Box::new(WithoutCache::new(loaded)) };
        let tokenizer = Tokenizer::load(&reference()).unwrap();
        let mut transcriber = Transcriber::with_model(loaded, tokenizer, model.config().clone());
        let differences = check(&vectors, &root().join("speech"), &mut transcriber);
        assert!(differences.words > 0);
        let Differences { times, probabilities, texts, .. } = &differences;
        assert!(
            times.is_empty() && probabilities.is_empty() && texts.is_empty(),
            "{layout:?}, cache {cache}: {differences:#?}"
        );
    }
}

/// OpenAI's own weights on people's recordings, which lie beside the repository; without them this says so.
fn equal_with(weights: Option<PathBuf>, name: &str) {
    let (Some(source), shared) = (weights, root().join("../shared")) else { return };
    if !shared.join("vectors/real").is_dir() || !shared.join("speech-real").is_dir() {
        return weights::not_run("word times of real speech", "there is no ../shared/speech-real");
    }
    let home = tempfile::tempdir().unwrap();
    let model = home.path().join(name);
    convert(&source, &model, &ConvertOptions::default(), &mut |_, _| ()).unwrap();
    let vectors = ["words.json", "long-conditioned-words.json"];
    let vectors = vectors.map(|file| shared.join("vectors/real").join(name).join(file));
    equal(&model, &shared.join("speech-real"), &vectors);
}

#[test]
fn words_of_base_are_openai_whispers() {
    equal_with(weights::base(), "base");
}

#[test]
fn words_of_tiny_en_are_openai_whispers() {
    equal_with(weights::tiny_en(), "tiny.en");
}
