//! Audio of more than one window through the command: every window decoded, segments in order and inside the audio, and
//! not more errors than the reference implementation makes on the same file. Silence and noise: no words.

use std::path::Path;

use serde_json::Value;
use undertone_runner::normalise::{basic, word_errors};

mod common;

/// Mel frames in a window, and in a second.
const WINDOW_FRAMES: u64 = 3000;
const FRAMES_PER_SECOND: f64 = 100.0;

struct Long {
    stem: &'static str,
    language: &'static str,
    /// The reference implementation's result: the file in `vectors/transcripts`.
    reference: Option<&'static str>,
}

const FILES: &[Long] = &[
    Long { stem: "meeting-3min", language: "en", reference: Some("long-unconditioned") },
    Long { stem: "noisy-90s", language: "en", reference: Some("long-unconditioned") },
    Long { stem: "pauses-4min", language: "en", reference: Some("long-pauses-thresholds") },
    Long { stem: "spanish-60s", language: "es", reference: Some("long-spanish-words") },
    Long { stem: "german-60s", language: "de", reference: None },
];

fn transcribe(device: &str, extra: &[&str], files: &[&str], into: &Path) {
    let mut command = common::undertone();
    command.args(["transcribe", "--device", device, "-f", "json", "-o"]).arg(into).args(extra);
    common::stdout_of(command.args(files.iter().map(|file| common::root().join("speech").join(file))));
}

/// Errors in percent of the true words.
fn error_rate(stem: &str, found: &str) -> f64 {
    let truth = common::json(&common::root().join(format!("speech/long/{stem}.json")));
    let segments = truth["segments"].as_array().unwrap();
    let text: Vec<&str> = segments.iter().map(|segment| segment["text"].as_str().unwrap()).collect();
    let (errors, words) = word_errors(&basic(&text.join(" ")), &basic(found));
    100.0 * errors as f64 / words as f64
}

fn reference_text(file: &str, vectors: &str) -> String {
    let all = common::json(&common::root().join(format!("tests/vectors/transcripts/{vectors}.json")));
    let results = all["results"].as_array().unwrap();
    let result = results.iter().find(|result| result["file"] == file).unwrap();
    result["text"].as_str().unwrap().to_string()
}

/// Order and bounds.
fn check_segments(name: &str, result: &Value) {
    let duration = result["duration"].as_f64().unwrap();
    let segments = result["segments"].as_array().unwrap();
    assert!(!segments.is_empty(), "{name}: no segments");
    let mut last_end = 0.0;
    for (index, segment) in segments.iter().enumerate() {
        let (start, end) = (segment["start"].as_f64().unwrap(), segment["end"].as_f64().unwrap());
        let seek = segment["seek"].as_u64().unwrap();
        assert_eq!(segment["id"].as_u64(), Some(index as u64), "{name}");
        assert!(start <= end && end <= duration + 1e-6, "{name}: {segment} in {duration} s");
        assert!(start + 1e-6 >= last_end, "{name}: {segment} after {last_end} s");
        // A part that was passed by is decoded again: windows need not be in the order of their segments. A segment
        // begins in its window, or with the pause up to a second before.
        assert!(seek as f64 / 100.0 <= start + 1.0, "{name}: {segment}");
        last_end = end;
    }
}

/// No window left out: each begins inside the one before it or at its end, and the last reaches the audio's end. Holds
/// where every window has text, as in these recordings without the text before as prompt (the reference
/// implementation's too).
fn check_windows(name: &str, result: &Value) {
    let frames = result["duration"].as_f64().unwrap() * FRAMES_PER_SECOND;
    let mut last_seek = 0;
    for segment in result["segments"].as_array().unwrap() {
        let seek = segment["seek"].as_u64().unwrap();
        assert!(seek <= last_seek + WINDOW_FRAMES, "{name}: nothing between frames {last_seek} and {seek}");
        last_seek = seek;
    }
    assert!((last_seek + WINDOW_FRAMES) as f64 >= frames - 1.0, "{name}: frames {last_seek} … are the last");
}

/// No more words are wrong than in the reference implementation's text, give or take.
fn check_words(stem: &str, result: &Value, vectors: &str, how: &str) {
    let rate = error_rate(stem, result["text"].as_str().unwrap());
    let reference = error_rate(stem, &reference_text(&format!("long/{stem}.flac"), vectors));
    println!("{stem} {how}: word error rate {rate:.1} %, reference implementation {reference:.1} %");
    assert!(rate <= reference + 5.0, "{stem} {how}: {rate:.1} %, reference {reference:.1} %");
}

/// The results of a language's recordings, transcribed by one command.
fn results(device: &str, language: &str, extra: &[&str]) -> Vec<(&'static Long, Value)> {
    let home = tempfile::tempdir().unwrap();
    let files: Vec<&Long> = FILES.iter().filter(|file| file.language == language).collect();
    let paths: Vec<String> = files.iter().map(|file| format!("long/{}.flac", file.stem)).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    transcribe(device, &[&["--language", language], extra].concat(), &paths, home.path());
    let result = |file: &Long| common::json(&home.path().join(format!("{}.json", file.stem)));
    files.into_iter().map(|file| (file, result(file))).collect()
}

#[test]
fn long_recordings() {
    // The windows of the reference implementation, which decodes silence too, and was greedy.
    let as_reference = ["--beam-size", "1", "--batch", "1", "--no-previous-text", "--no-fallback", "--decode-all"];
    for device in ["cpu", "host"] {
        for language in ["en", "es", "de"] {
            for (file, result) in results(device, language, &as_reference) {
                check_segments(file.stem, &result);
                check_windows(file.stem, &result);
                if let Some(vectors) = file.reference {
                    check_words(file.stem, &result, vectors, &format!("on {device}"));
                }
            }
        }
    }
}

#[test]
fn cut_at_pauses_and_decoded_together() {
    for device in ["cpu", "host"] {
        for (file, result) in results(device, "en", &[]) {
            check_segments(file.stem, &result);
            assert!(result["run"]["batch"].as_u64() > Some(1), "{}", file.stem);
            // The reference implementation went window by window.
            check_words(file.stem, &result, file.reference.unwrap(), &format!("on {device}, cut at pauses"));
        }
    }
}

#[test]
fn with_the_text_before_as_whisper_does_by_default() {
    let home = tempfile::tempdir().unwrap();
    transcribe("cpu", &["--language", "en", "--condition-on-previous-text"], &["long/meeting-3min.flac"], home.path());
    let result = common::json(&home.path().join("meeting-3min.json"));
    check_segments("meeting-3min", &result);
    check_words("meeting-3min", &result, "long-conditioned", "on cpu, conditioned");
}

#[test]
fn silence_and_noise_have_no_words() {
    let home = tempfile::tempdir().unwrap();
    transcribe("cpu", &[], &["silence-20s.flac", "noise-20s.flac"], home.path());
    for stem in ["silence-20s", "noise-20s"] {
        let result = common::json(&home.path().join(format!("{stem}.json")));
        assert_eq!(
            (result["text"].as_str(), result["segments"].as_array().map(Vec::len)),
            (Some(""), Some(0)),
            "{stem}"
        );
        assert!((result["duration"].as_f64().unwrap() - 20.0).abs() < 1e-3, "{stem}");
    }
}
