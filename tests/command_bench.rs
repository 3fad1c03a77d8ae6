//! `undertone bench` from the outside: limits, kernels, the decoder's step, long audio, the roofline figure. Speed is
//! printed, never asserted.

use serde_json::Value;

mod common;

/// A quick run of `bench` with `arguments` on the reference model.
fn bench(arguments: &[&str]) -> Value {
    let mut command = common::undertone();
    command.args(["bench", "--runs", "1", "--json"]).args(arguments);
    common::json_of(&mut command)
}

fn positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number > 0.0 && number.is_finite())
}

#[test]
fn kernels_stand_beside_limits_of_the_same_run_and_in_a_figure() {
    let directory = tempfile::tempdir().unwrap();
    let figure = directory.path().join("roofline.svg");
    let svg = figure.to_str().unwrap();
    let answer =
        bench(&["--devices", "host", "--tokens", "100", "--batch", "3", "--threads", "1", "--roofline", "--svg", svg]);
    assert_eq!(answer["threads"], 1);
    for key in ["int8_gops", "bf16_gflops", "f32_gflops"] {
        let peak = &answer["limits"][key];
        assert!(peak.is_null() || positive(peak), "{key}: {peak}");
    }
    assert!(positive(&answer["limits"]["read_gbps"]));

    let kernels = answer["kernels"].as_array().unwrap();
    for kernel in kernels {
        assert!(["name", "shape", "precision"].iter().all(|key| kernel[key].is_string()), "{kernel}");
        assert!(positive(&kernel["ms"]), "{kernel}");
        assert!(kernel["share_of_limit"].is_null() || positive(&kernel["share_of_limit"]), "{kernel}");
    }
    let has = |shape: &str, precision: &str| {
        kernels.iter().any(|kernel| kernel["shape"] == shape && kernel["precision"] == precision)
    };
    // The standard ones, the reference model's own (width 192, 3 heads), and the decoder's for a batch.
    for precision in ["int8", "bf16", "f32"] {
        for shape in ["1500x512x2048", "8x1500x1500x64", "1500x192x768", "1x192x768", "3x192x768", "3x1x97x64"] {
            assert!(has(shape, precision), "{shape} {precision}");
        }
    }
    assert_eq!(answer["batched_products"].as_array().unwrap().len(), 3);

    let step = &answer["results"][0]["step"];
    assert_eq!(step["cached"], 96);
    assert!(positive(&step["ms"]) && positive(&step["profile"]["overhead_us"]), "{step}");
    let parts = step["profile"]["parts"].as_array().unwrap();
    let bytes: u64 = parts.iter().map(|part| part["bytes"].as_u64().unwrap()).sum();
    assert_eq!(step["profile"]["bytes"], bytes);
    // At least the last linear layer's weights in int8: the width by the vocabulary.
    assert!(bytes > 192 * 51_865, "{bytes}");
    assert!(parts.iter().any(|part| part["kind"] == "attention"), "{parts:?}");

    let text = std::fs::read_to_string(&figure).unwrap();
    assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    assert_eq!(text.matches("<circle").count(), kernels.len());
}

#[test]
fn long_audio_goes_through_in_batches() {
    let arguments = ["--tokens", "8", "--audio-seconds", "65", "--batch", "2", "--without-cache", "--no-kernels"];
    let answer = bench(&arguments);
    assert!(answer.get("kernels").is_none() && answer.get("limits").is_none());
    for (device, long) in ["cpu", "host"].iter().zip(answer["long_audio"].as_array().unwrap()) {
        assert_eq!(long["device"], *device);
        assert_eq!((&long["windows"], &long["batch"], &long["tokens"]), (&3.into(), &2.into(), &8.into()));
        for key in ["mel_ms", "encoder_ms", "decoder_ms", "realtime_factor"] {
            assert!(positive(&long[key]), "{key}: {long}");
        }
    }
    for gain in answer["cache_gain"].as_array().unwrap() {
        let ratio = gain["without_ms"].as_f64().unwrap() / gain["with_ms"].as_f64().unwrap();
        assert!((gain["ratio"].as_f64().unwrap() / ratio - 1.0).abs() < 1e-9, "{gain}");
    }
}

#[test]
fn starts_are_those_of_fresh_processes() {
    let answer = bench(&["--devices", "host", "--tokens", "2", "--start-up", "--no-kernels"]);
    let start = &answer["start_up"][0];
    assert_eq!(start["device"], "host");
    assert!(positive(&start["first_seconds"]) && positive(&start["second_seconds"]), "{start}");
    // At least the last linear layer's weights in int8: the width by the vocabulary.
    assert!(start["weight_bytes"].as_u64().unwrap() > 192 * 51_865, "{start}");
    if cfg!(target_os = "linux") {
        let (peak, private) = (start["peak_bytes"].as_u64().unwrap(), start["private_bytes"].as_u64().unwrap());
        assert!(peak > private && private > 0, "{start}");
    }
}

#[test]
fn what_cannot_be_measured_is_an_error_in_one_line() {
    let failed = |arguments: &[&str]| {
        let output = common::undertone().arg("bench").args(arguments).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    let only_cpu = failed(&["--devices", "cpu", "--runs", "1", "--tokens", "1", "--roofline", "--svg", "roofline.svg"]);
    assert!(only_cpu.starts_with("error: there is nothing to draw") && only_cpu.lines().count() == 1, "{only_cpu}");
    for wrong in [&["--audio-seconds", "0"][..], &["--batch", "0"], &["--svg", "x.svg"], &["--roofline"]] {
        assert!(failed(wrong).contains("error: "), "{wrong:?}");
    }
}
