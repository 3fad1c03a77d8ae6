//! Audio that cannot be what it claims to be, and audio that is odd but valid, through the built command: a one-line
//! error that names the file, or a result; never a panic, never part of an output.

use std::fs;
use std::path::{Path, PathBuf};

mod common;
use common::bad::{self, wav};

/// Runs `transcribe` on the file and returns the error line after the checks that all bad input shares.
fn error_of(input: &Path) -> String {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let mut command = common::undertone();
    command.args(["transcribe", "--device", "cpu", "--output-format", "all", "--output-dir"]).arg(&out).arg(input);
    let line = bad::error_line(&mut command);
    assert!(line.contains(&*input.to_string_lossy()), "the file is not named: {line}");
    assert_eq!(bad::files_in(&out), 0, "something was left behind");
    line
}

fn file(home: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = home.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_holds_no_sound_says_why() {
    let home = tempfile::tempdir().unwrap();
    let text = b"This is no audio.\nNot at all, whatever its name says.\n";
    for (path, word) in [
        (PathBuf::from("no/such/file.wav"), "no such file"),
        (home.path().to_owned(), "is a directory"),
        (file(&home, "empty.wav", b""), "is empty"),
        (file(&home, "none.wav", &wav(16_000, 1, &[])), "no audio"),
        (file(&home, "text.wav", text), "is not audio"),
    ] {
        let line = error_of(&path);
        assert!(line.contains(word), "{}: {line}", path.display());
    }
}

/// What is there is transcribed, and what is missing is told, in both places; with `--strict` it is an error.
#[test]
fn a_truncated_flac() {
    let home = tempfile::tempdir().unwrap();
    let whole = fs::read(common::root().join("speech/short/000-en.flac")).unwrap();
    error_of(&file(&home, "head.flac", &whole[..20]));
    let half = file(&home, "half.flac", &whole[..whole.len() / 2]);
    let out = home.path().join("out");
    let command = || {
        let mut command = common::undertone();
        command.args(["transcribe", "--device", "cpu", "--quiet", "--output-format", "json", "--output-dir"]);
        // Only what is wrong with the sound is to be told, not that half a sentence is doubtful.
        command.arg(&out).arg("--no-fallback").arg(&half);
        command
    };
    let output = common::run(&mut command());
    let said = common::text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.lines().any(|line| line.starts_with("warning:") && line.contains("half.flac")), "{said}");
    let result = common::json(&out.join("half.json"));
    let missing = |warning: &&serde_json::Value| warning["what"].as_str().unwrap().contains("missing");
    let warnings: Vec<_> = result["run"]["warnings"].as_array().unwrap().iter().filter(missing).collect();
    let [warning] = warnings[..] else { panic!("{}", result["run"]) };
    assert_eq!(warning["from"], result["duration"]);
    assert!(warning["to"].as_f64() > warning["from"].as_f64(), "{warning}");
    let line = bad::error_line(command().arg("--strict"));
    assert!(line.contains("half.flac") && line.contains("cut short"), "{line}");
}

#[test]
fn noise_under_every_name() {
    let home = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = (0..4096).map(|_| random.u8(..)).collect();
    for name in ["x.wav", "x.flac", "x.mp3", "x.ogg", "x.m4a", "x"] {
        error_of(&file(&home, name, &noise));
    }
}

#[test]
fn very_short_audio_is_valid() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let mut command = common::undertone();
    command.args(["transcribe", "--device", "cpu", "--output-format", "json", "--output-dir"]).arg(&out);
    let lengths = [1usize, 199, 200, 399, 401];
    for length in lengths {
        let samples: Vec<i16> = (0..length).map(|i| ((i * 37) % 200) as i16 - 100).collect();
        command.arg(file(&home, &format!("{length}.wav"), &wav(16_000, 1, &samples)));
    }
    common::stdout_of(&mut command);
    for length in lengths {
        let result = common::json(&out.join(format!("{length}.json")));
        let duration = length as f64 / 16_000.0;
        assert!((result["duration"].as_f64().unwrap() - duration).abs() < 1e-6, "{length}: {}", result["duration"]);
        for segment in result["segments"].as_array().unwrap() {
            assert!(segment["end"].as_f64().unwrap() <= duration + 1e-6, "{length}: {segment}");
        }
    }
}

#[test]
fn eight_channels_of_192_khz() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let speech = undertone_runner::audio::read_file(&common::root().join("speech/short/000-en.flac")).unwrap();
    // Each sample twelve times in eight channels: crude, but the same speech.
    let wide: Vec<i16> =
        speech.samples.iter().flat_map(|sample| std::iter::repeat_n((sample * 32_767.0) as i16, 12 * 8)).collect();
    let wide = file(&home, "wide.wav", &wav(192_000, 8, &wide));
    let mut command = common::undertone();
    command.args(["transcribe", "--device", "cpu", "--output-format", "json", "--output-dir"]).arg(&out);
    common::stdout_of(command.arg(&wide));
    let result = common::json(&out.join("wide.json"));
    assert!((result["duration"].as_f64().unwrap() - speech.duration()).abs() < 1e-3, "{}", result["duration"]);
    assert!(result["text"].as_str().unwrap().contains("green lion"), "{}", result["text"]);
}

#[test]
fn a_bad_file_does_not_cost_the_others() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let bad = file(&home, "bad.wav", b"no");
    let good = common::root().join("speech/short/000-en.flac");
    let mut command = common::undertone();
    command.args(["transcribe", "--device", "cpu", "--output-dir"]).arg(&out).arg(&bad).arg(&good);
    let output = common::run(&mut command);
    assert_eq!(output.status.code(), Some(1));
    let errors: Vec<String> =
        common::text(&output.stderr).lines().filter(|l| l.starts_with("error:")).map(str::to_string).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("bad.wav"), "{errors:?}");
    assert!(fs::read_to_string(out.join("000-en.txt")).unwrap().contains("green lion"));
    assert_eq!(bad::files_in(&out), 1);
}

#[test]
fn bad_audio_on_standard_input() {
    let home = tempfile::tempdir().unwrap();
    let input = file(&home, "text", b"no audio either");
    let mut command = common::undertone();
    command.args(["transcribe", "--device", "cpu", "-"]).stdin(fs::File::open(input).unwrap());
    let line = bad::error_line(&mut command);
    assert!(line.contains("standard input") || line.contains("stdin"), "{line}");
}
