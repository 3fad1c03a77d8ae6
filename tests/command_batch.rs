//! Recordings transcribed together by one call of the command: each one's segments are those that it gets alone, and a
//! file that cannot be read costs the others nothing.

use std::path::Path;

use serde_json::Value;

mod common;

/// Short ones of three languages, two with more than one window, silence, and one that is too short for a frame.
const FILES: [&str; 9] = [
    "short/000-en.flac",
    "short/006-de.flac",
    "long/german-60s.flac",
    "short/004-en.flac",
    "silence-20s.flac",
    "short/005-en.flac",
    "long/spanish-60s.flac",
    "short/001-en.flac",
    "short/002-en.flac",
];

fn transcribe(device: &str, extra: &[&str], into: &Path) -> Vec<Value> {
    let mut command = common::undertone();
    // Chance makes another text of the last digit's difference.
    command.args(["transcribe", "--no-fallback", "--device", device, "--precision", "f32", "-f", "json", "-o"]);
    command.arg(into).args(extra);
    common::stdout_of(command.args(FILES.map(|file| common::root().join("speech").join(file))));
    let stem = |file: &str| Path::new(file).file_stem().unwrap().to_str().unwrap().to_owned();
    FILES.iter().map(|file| common::json(&into.join(format!("{}.json", stem(file))))).collect()
}

/// What has to be the same: everything of a segment but its scores, which may differ in their last digits.
fn segments(result: &Value) -> Vec<[&Value; 5]> {
    let segments = result["segments"].as_array().unwrap();
    segments.iter().map(|s| ["seek", "start", "end", "tokens", "text"].map(|key| &s[key])).collect()
}

fn check_same(together: &[Value], alone: &[Value], what: &str) {
    for ((file, together), alone) in FILES.iter().zip(together).zip(alone) {
        assert_eq!(segments(together), segments(alone), "{file}, {what}");
        for key in ["language", "duration", "text"] {
            assert_eq!(together[key], alone[key], "{file}, {what}");
        }
        let score = |result: &Value| result["segments"][0]["avg_logprob"].as_f64().unwrap_or(0.0);
        assert!((score(together) - score(alone)).abs() < 1e-3, "{file}, {what}");
        assert_eq!(together["run"]["tokens"], alone["run"]["tokens"], "{file}, {what}");
    }
}

#[test]
fn recordings_together_as_each_alone() {
    for device in ["cpu", "host"] {
        for extra in [&["--condition-on-previous-text"][..], &["--no-previous-text"]] {
            let what = format!("{device} {extra:?}");
            let home = tempfile::tempdir().unwrap();
            let together = transcribe(device, extra, &home.path().join("together"));
            let alone = transcribe(device, &[extra, &["--batch", "1"]].concat(), &home.path().join("alone"));
            check_same(&together, &alone, &what);
            let most = |results: &[Value], key: &str| results.iter().map(|r| r["run"][key].as_u64().unwrap()).max();
            assert_eq!((most(&alone, "batch"), most(&alone, "recordings")), (Some(1), Some(1)), "{what}");
            assert!(most(&together, "batch") > Some(1) && most(&together, "recordings") > Some(1), "{what}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_costs_only_itself() {
    let speech = |file: &str| common::root().join("speech").join(file);
    let mut command = common::undertone();
    command.args(["transcribe", "--device", "cpu", "--batch", "4"]);
    command.args([speech("short/000-en.flac"), speech("manifest.txt"), speech("short/001-en.flac")]);
    let output = common::run(&mut command);
    assert_eq!(output.status.code(), Some(1));
    let (text, errors) = (common::text(&output.stdout), common::text(&output.stderr));
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(errors.contains("manifest.txt") && errors.contains("2 recordings: "), "{errors}");
}

#[test]
fn batches_of_none_or_too_many_are_not_understood() {
    for batch in ["0", "257", "-1", "many"] {
        let mut command = common::undertone();
        let output = common::run(command.args(["transcribe", "--batch", batch, "a.wav"]));
        assert_eq!(output.status.code(), Some(2), "{batch}");
    }
}
