//! What the command writes of the 40 short clips, on each device and in each arithmetic: word error rates against the
//! true text and against the reference implementation's, languages, and which device did the work.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use undertone_runner::normalise::{basic, word_errors};

mod common;

/// File stem → result of one call of the command over all clips.
type Results = BTreeMap<String, Value>;

struct Clip {
    stem: String,
    language: String,
    text: String,
}

fn clips() -> Vec<Clip> {
    let manifest = std::fs::read_to_string(common::root().join("speech/short/manifest.jsonl")).unwrap();
    let clips: Vec<Clip> = manifest
        .lines()
        .map(|line| {
            let entry: Value = serde_json::from_str(line).unwrap();
            let word = |key: &str| entry[key].as_str().unwrap().to_string();
            let stem = word("file").trim_end_matches(".flac").to_string();
            Clip { stem, language: word("language"), text: word("text") }
        })
        .collect();
    assert_eq!(clips.len(), 40);
    clips
}

/// Without falling back: chance makes another text of the smallest difference.
fn transcribe(clips: &[Clip], device: &str, precision: &str) -> Results {
    let home = tempfile::tempdir().unwrap();
    let mut command = common::undertone();
    command
        .args(["transcribe", "--no-fallback", "--device", device, "--precision", precision, "-f", "json", "-o"])
        .arg(home.path());
    for clip in clips {
        command.arg(common::root().join(format!("speech/short/{}.flac", clip.stem)));
    }
    common::stdout_of(&mut command);
    clips
        .iter()
        .map(|clip| (clip.stem.clone(), common::json(&home.path().join(format!("{}.json", clip.stem)))))
        .collect()
}

/// Word error rate in percent.
fn error_rate<'a>(clips: &[Clip], text_of: impl Fn(&Clip) -> &'a str) -> f64 {
    let (mut errors, mut words) = (0, 0);
    for clip in clips {
        let (e, w) = word_errors(&basic(&clip.text), &basic(text_of(clip)));
        errors += e;
        words += w;
    }
    100.0 * errors as f64 / words as f64
}

fn text(result: &Value) -> &str {
    result["text"].as_str().unwrap()
}

fn reference_error_rate(clips: &[Clip]) -> f64 {
    let reference = common::json(&common::root().join("tests/vectors/transcripts/greedy-short.json"));
    let results = reference["results"].as_array().unwrap();
    error_rate(clips, |clip| {
        let file = format!("short/{}.flac", clip.stem);
        text(results.iter().find(|result| result["file"] == file.as_str()).unwrap())
    })
}

fn check_run(results: &Results, device: &str, precision: Option<&str>) {
    for (stem, result) in results {
        let run = &result["run"];
        assert_eq!(run["device"], device, "{stem}: {run}");
        assert!(run["fallback"].is_null(), "{stem}: {run}");
        let calls = run["kernel_calls"][device].as_u64().unwrap_or(0);
        let fused = run["fused_nodes_executed"].as_u64().unwrap();
        match precision {
            None => assert!(fused == 0 && calls == 0, "{stem}: {run}"),
            Some(precision) => {
                assert_eq!(run["precision"], precision, "{stem}");
                // At least the encoder and a decoder's step; each fused node makes many calls.
                assert!(fused >= 2 && calls > fused, "{stem}: {run}");
            }
        }
    }
}

fn check_languages(clips: &[Clip], results: &Results, what: &str) {
    for clip in clips {
        assert_eq!(results[&clip.stem]["language"], clip.language.as_str(), "{what}: {}", clip.stem);
    }
}

#[test]
fn all_devices_and_precisions() {
    let clips = clips();
    let reference = reference_error_rate(&clips);
    let cpu = transcribe(&clips, "cpu", "f32");
    check_run(&cpu, "cpu", None);
    check_languages(&clips, &cpu, "cpu");
    let cpu_rate = error_rate(&clips, |clip| text(&cpu[&clip.stem]));
    println!("word error rates: reference implementation {reference:.2} %, cpu {cpu_rate:.2} %");
    assert!((cpu_rate - reference).abs() <= 2.0, "cpu {cpu_rate:.2} %, reference implementation {reference:.2} %");

    for precision in ["f32", "bf16", "int8"] {
        let host = transcribe(&clips, "host", precision);
        check_run(&host, "host", Some(precision));
        check_languages(&clips, &host, precision);
        let rate = error_rate(&clips, |clip| text(&host[&clip.stem]));
        let same = clips.iter().filter(|clip| text(&host[&clip.stem]) == text(&cpu[&clip.stem])).count();
        println!("word error rates: host {precision} {rate:.2} %, {same} of 40 transcripts the same as cpu's");
        if precision == "f32" {
            for clip in &clips {
                assert_eq!(text(&host[&clip.stem]), text(&cpu[&clip.stem]), "{}", clip.stem);
            }
        }
        assert!(rate <= cpu_rate + 1.0, "host {precision} {rate:.2} %, cpu {cpu_rate:.2} %");
    }
}

#[test]
fn the_clips_are_there() {
    for clip in clips() {
        assert!(Path::new(&common::root().join(format!("speech/short/{}.flac", clip.stem))).is_file());
    }
}
