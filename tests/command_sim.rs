//! The simulated NPU through the command: transcripts as good as f32's, who computed what, and that what is predicted
//! or simulated is called so.

use serde_json::Value;
use undertone_runner::normalise::{basic, word_errors};

mod common;

/// Every fourth of the 40 clips.
fn clips() -> Vec<(String, String)> {
    let manifest = std::fs::read_to_string(common::root().join("speech/short/manifest.jsonl")).unwrap();
    let entries = manifest.lines().step_by(4).map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries
        .map(|entry| (entry["file"].as_str().unwrap().to_owned(), entry["text"].as_str().unwrap().to_owned()))
        .collect()
}

/// Word error rate in percent, and the report on each run.
fn transcribe(clips: &[(String, String)], arguments: &[&str]) -> (f64, Vec<Value>) {
    let home = tempfile::tempdir().unwrap();
    let mut command = common::undertone();
    command.args(["transcribe", "-f", "json", "-o"]).arg(home.path()).args(arguments);
    command.args(clips.iter().map(|(file, _)| common::root().join("speech/short").join(file)));
    common::stdout_of(&mut command);
    let (mut errors, mut words) = (0, 0);
    let mut runs = Vec::new();
    for (file, text) in clips {
        let result = common::json(&home.path().join(file).with_extension("json"));
        let (e, w) = word_errors(&basic(text), &basic(result["text"].as_str().unwrap()));
        (errors, words) = (errors + e, words + w);
        runs.push(result["run"].clone());
    }
    (100.0 * errors as f64 / words as f64, runs)
}

#[test]
fn transcripts_are_as_good_as_f32_s() {
    let clips = clips();
    let (f32_rate, _) = transcribe(&clips, &["--device", "cpu"]);
    for arguments in [
        ["--precision", "int8", "--target", "npu4"],
        ["--precision", "bf16", "--target", "npu4"],
        ["--precision", "int8", "--target", "npu1"],
    ] {
        let (rate, runs) = transcribe(&clips, &[&["--device", "sim"], &arguments[..]].concat());
        println!("word error rates: cpu {f32_rate:.2} %, sim {arguments:?} {rate:.2} %");
        assert!(rate <= f32_rate + 1.0, "{arguments:?}: {rate:.2} %, f32 {f32_rate:.2} %");
        for run in runs {
            assert_eq!((&run["device"], &run["fallback"]), (&"sim".into(), &Value::Null));
            let count = |value: &Value| value.as_u64().unwrap_or(0);
            let [sim, host] = ["sim", "host"].map(|device| count(&run["kernel_calls"][device]));
            assert!(sim > 0 && host > sim, "{run}");
            let npu = &run["npu"];
            assert_eq!((&npu["device"], &npu["target"]), (&"sim".into(), &arguments[3].into()));
            let operators = npu["operators"].as_object().unwrap();
            // A convolution of several windows is one kernel call, and an execution for each window.
            assert!(operators.values().map(|operator| count(&operator["calls"])).sum::<u64>() >= sim, "{run}");
            assert!(operators.keys().any(|name| name.starts_with("attention")), "{run}");
            let moved = |operator: &Value| {
                let bytes: Vec<u64> = operator["dma_bytes"].as_array().unwrap().iter().map(count).collect();
                let channels = operator["dma_channels"].as_object().unwrap().values().map(count);
                bytes.iter().all(|bytes| *bytes > 0) && channels.sum::<u64>() == bytes.iter().sum::<u64>()
            };
            assert!(operators.values().all(|operator| count(&operator["macs"]) > 0 && moved(operator)), "{run}");
            assert_eq!((count(&npu["fallbacks"]["calls"]), count(&npu["fallbacks"]["refused"])), (0, 0), "{run}");
        }
    }
}

#[test]
fn what_is_simulated_is_no_speed() {
    let output = common::stdout_of(common::undertone().args([
        "bench",
        "--devices",
        "sim",
        "--tokens",
        "2",
        "--runs",
        "1",
        "--no-kernels",
        "--json",
    ]));
    let report: Value = serde_json::from_str(&output).unwrap();
    let result = &report["results"][0];
    for key in ["encoder_ms", "decoder_ms_per_token", "realtime_factor", "encoder_parts"] {
        assert!(result[key].is_null(), "{key}: {result}");
    }
    assert!(result["simulating_encoder_ms"].as_f64().unwrap() > 0.0, "{result}");
    assert!(!result["npu"]["operators"].as_object().unwrap().is_empty(), "{result}");
}

#[test]
fn nor_is_a_start_or_long_audio() {
    for arguments in [&["--start-up"][..], &["--audio-seconds", "60"], &["--without-cache"]] {
        let output = common::run(common::undertone().args(["bench", "--devices", "cpu,sim"]).args(arguments));
        assert_eq!(output.status.code(), Some(1));
        assert!(common::text(&output.stderr).contains("no speed"), "{}", common::text(&output.stderr));
    }
}

#[test]
fn a_partition_says_which_device_gets_what() {
    let output = common::stdout_of(common::undertone().args(["partition", "--device", "sim"]));
    for words in ["device sim", "18 linear (int8; sim)", "3 attention (int8; sim)", "25 linear (int8)"] {
        assert!(output.contains(words), "{words}: {output}");
    }
    let output = common::stdout_of(common::undertone().args(["devices", "--json"]));
    let devices: Value = serde_json::from_str(&output).unwrap();
    let sim = devices["devices"].as_array().unwrap().iter().find(|device| device["name"] == "sim").unwrap();
    assert_eq!(sim["available"], true);
}
