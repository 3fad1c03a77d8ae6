//! The command's options for voice activity.

mod common;

use common::{bad, root, undertone};

#[test]
fn the_filter_leaves_silence_out_and_says_how_much_is_left() {
    let recording = root().join("speech/long/pauses-4min.flac");
    // Window by window and all of it, so that windows tell how much was decoded.
    let with = |options: &[&str]| {
        let mut command = undertone();
        command.args([
            "transcribe",
            "--device",
            "cpu",
            "--language",
            "en",
            "--output-format",
            "json",
            "--batch",
            "1",
            "--decode-all",
        ]);
        common::json_of(command.args(options).arg(&recording))
    };
    // As other Whisper commands spell it.
    let filtered = with(&["--vad_filter", "True", "--vad_min_silence_duration_ms", "500"]);
    let left = filtered["duration_after_vad"].as_f64().unwrap();
    assert!(left < 0.8 * filtered["duration"].as_f64().unwrap(), "{left}");
    let by_loudness = with(&["--vad-filter", "--vad-model", "loudness"]);
    assert_ne!(by_loudness["duration_after_vad"], filtered["duration_after_vad"]);
    let whole = with(&["--vad-filter=False"]);
    assert!(whole.get("duration_after_vad").is_none());
    assert!(filtered["run"]["windows"].as_u64() < whole["run"]["windows"].as_u64());
}

#[test]
fn bad_values_are_answered_before_any_work() {
    for (options, expected) in [
        (&["--vad-threshold", "1.5"][..], "--vad-threshold is 1.5"),
        (&["--vad-neg-threshold", "0.7"], "--vad-neg-threshold is 0.7"),
        (&["--vad-max-speech-duration-s", "0.5"], "--vad-max-speech-duration-s is 0.5"),
    ] {
        // A model that is not there would be the next thing to be said.
        let mut command = undertone();
        command.args(["transcribe", "--model", "./no-such-model", "--vad-filter"]).args(options);
        let error = bad::error_line(command.arg(root().join("speech/short/000-en.flac")));
        assert!(error.contains(expected), "{options:?}: {error}");
    }
    let mut command = undertone();
    command.args(["transcribe", "--device", "cpu", "--vad-filter", "--vad-model", "./no-such.onnx"]);
    let error = bad::error_line(command.arg(root().join("speech/short/000-en.flac")));
    assert!(error.contains("no-such.onnx"), "{error}");
}
