//! The runner on the CPU provider against openai/whisper's own results on the same model and audio: tokens, times,
//! scores, languages. The expected files name the call that made them.

mod common;

use common::{reference, root};
use serde::Deserialize;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use undertone_runner::{
    Audio, Clip, EngineOptions, Model, Padding, PromptOptions, SearchOptions, Segment, Task, TranscribeOptions,
    Transcriber, Transcription, audio,
};

#[derive(Deserialize)]
struct Expected {
    results: Vec<ExpectedFile>,
}

#[derive(Deserialize)]
struct ExpectedFile {
    file: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    language: String,
    #[serde(default)]
    segments: Vec<Segment>,
    #[serde(default)]
    probabilities: std::collections::BTreeMap<String, f64>,
}

/// One model for all tests of this file: loading takes longer than a clip.
fn transcriber() -> MutexGuard<'static, Transcriber> {
    static SHARED: OnceLock<Mutex<Transcriber>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        let model = Model::from_directory(&reference(), None).unwrap();
        Mutex::new(Transcriber::load(&model, &EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"))).unwrap())
    });
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn expected(name: &str) -> Vec<ExpectedFile> {
    let path = root().join("tests/vectors/transcripts").join(name);
    let expected: Expected = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(!expected.results.is_empty());
    expected.results
}

fn speech(file: &str) -> Audio {
    audio::read_file(&root().join("speech").join(file)).unwrap()
}

fn transcribe(file: &str, options: &TranscribeOptions) -> Transcription {
    transcriber().transcribe(&speech(file), options, &mut ()).unwrap()
}

/// The call of the expected files: no thresholds.
fn without_thresholds() -> TranscribeOptions {
    TranscribeOptions::greedy()
}

/// At temperature 0 alone: nothing is decoded again, and nothing is left out but silence.
fn with_thresholds() -> TranscribeOptions {
    TranscribeOptions {
        temperatures: vec![0.0],
        shortest_rest: 0.0,
        skip_steady: false,
        ..TranscribeOptions::default()
    }
}

fn unconditioned() -> PromptOptions {
    PromptOptions { condition_on_previous_text: false, ..PromptOptions::default() }
}

fn tokens(segments: &[Segment]) -> Vec<&[u32]> {
    // The reference keeps segments that it has emptied; the runner drops them.
    segments.iter().filter(|s| !s.tokens.is_empty()).map(|s| &s.tokens[..]).collect()
}

/// Tokens, times and scores are those of the reference. Returns whether the tokens are.
fn compare(result: &Transcription, expected: &ExpectedFile, duration: f64) -> bool {
    let same = tokens(&result.segments) == tokens(&expected.segments);
    if !same {
        eprintln!("{}:\n  {:?}\n  {:?}", expected.file, expected.text, result.text);
        return false;
    }
    assert_eq!(result.text, expected.text, "{}", expected.file);
    let kept = expected.segments.iter().filter(|s| !s.tokens.is_empty());
    for (ours, theirs) in result.segments.iter().zip(kept) {
        let place = format!("{} at {}", expected.file, theirs.start);
        assert_eq!(ours.seek, theirs.seek, "{place}");
        assert!((ours.start - theirs.start).abs() < 1e-6, "{place}");
        assert!((ours.end - theirs.end.min(duration)).abs() < 1e-6, "{place}: {} {}", ours.end, theirs.end);
        assert!((ours.avg_logprob - theirs.avg_logprob).abs() < 0.01, "{place}: {}", ours.avg_logprob);
        // Another implementation of deflate finds other matches.
        let ratio = ours.compression_ratio / theirs.compression_ratio;
        assert!((ratio - 1.0).abs() < 0.03, "{place}: {} {}", ours.compression_ratio, theirs.compression_ratio);
        assert!((ours.no_speech_prob - theirs.no_speech_prob).abs() < 0.001, "{place}: {}", ours.no_speech_prob);
    }
    true
}

/// Runs a whole file of expected results; at most `differing` of its recordings may have other tokens.
fn check(name: &str, differing: usize, options: impl Fn(&ExpectedFile) -> TranscribeOptions) {
    let files = expected(name);
    let mut other = Vec::new();
    for file in &files {
        let result = transcribe(&file.file, &options(file));
        assert_eq!(result.language, file.language, "{}", file.file);
        if !compare(&result, file, speech(&file.file).duration()) {
            other.push(&file.file);
        }
    }
    assert!(other.len() <= differing, "{} of {} recordings differ: {other:?}", other.len(), files.len());
}

#[test]
fn short_recordings_with_timestamps() {
    // The language is detected. Numbers of another order of summation may tip a timestamp that is nearly a tie.
    check("greedy-short.json", 0, |_| without_thresholds());
}

#[test]
fn short_recordings_without_timestamps() {
    check("greedy-short-without-timestamps.json", 0, |file| TranscribeOptions {
        without_timestamps: true,
        language: Some(file.language.clone()),
        ..without_thresholds()
    });
}

#[test]
fn beams() {
    let beams = |patience, length_penalty| TranscribeOptions {
        search: SearchOptions { beam_size: Some(5), patience, length_penalty },
        ..without_thresholds()
    };
    check("beam5-short.json", 0, |_| beams(None, None));
    check("beam5-patience2-lengthpenalty-short.json", 0, |_| beams(Some(2.0), Some(0.6)));
}

#[test]
fn translation() {
    check("translate-short.json", 0, |_| TranscribeOptions { task: Task::Translate, ..without_thresholds() });
}

#[test]
fn silence_and_noise_by_the_no_speech_rule() {
    check("silence.json", 0, |_| with_thresholds());
}

#[test]
fn long_recordings_conditioned_on_the_text_before() {
    check("long-conditioned.json", 0, |file| TranscribeOptions {
        language: Some(file.language.clone()),
        ..without_thresholds()
    });
}

#[test]
fn long_recordings_unconditioned() {
    check("long-unconditioned.json", 0, |file| TranscribeOptions {
        language: Some(file.language.clone()),
        prompt: unconditioned(),
        ..without_thresholds()
    });
}

#[test]
fn an_initial_prompt() {
    let prompt =
        PromptOptions { initial_prompt: Some("The meeting starts at nine.".into()), ..PromptOptions::default() };
    check("prompt-short.json", 0, |_| TranscribeOptions { prompt: prompt.clone(), ..without_thresholds() });
}

#[test]
fn clips() {
    let clips = [(30.0, 60.0), (100.0, 130.0)].map(|(start, end)| Clip { start, end: Some(end) });
    check("clip-timestamps.json", 0, |_| TranscribeOptions {
        language: Some("en".to_owned()),
        prompt: unconditioned(),
        clips: clips.to_vec(),
        ..without_thresholds()
    });
}

#[test]
fn long_recording_with_thresholds() {
    check("long-pauses-thresholds.json", 0, |file| TranscribeOptions {
        language: Some(file.language.clone()),
        prompt: unconditioned(),
        ..with_thresholds()
    });
}

#[test]
fn languages() {
    for padding in [Padding::Zero, Padding::Silence] {
        for file in expected("language.json") {
            let best = file.probabilities.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            let result = transcribe(&file.file, &TranscribeOptions { padding, ..TranscribeOptions::default() });
            assert_eq!(&result.language, best, "{} {padding:?}", file.file);
            // The expected ones are of silence, not of zeros in the features.
            for (code, probability) in file.probabilities.iter().filter(|_| padding == Padding::Silence) {
                let ours = result.language_probabilities.get(code).copied().unwrap_or(0.0);
                assert!((ours - probability).abs() < 1e-3, "{} {code}: {ours} {probability}", file.file);
            }
        }
    }
}
