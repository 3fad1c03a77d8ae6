//! What the command writes where: results on standard output or in files, the rest on standard error, in each format;
//! and the answers of `devices`, `partition` and `bench`.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

mod common;
use common::json_of;

const SAID: &str = "The green lion is above the red table.";

fn clip(name: &str) -> std::path::PathBuf {
    common::root().join("speech/short").join(name)
}

fn transcribe(arguments: &[&str]) -> Command {
    let mut command = common::undertone();
    command.args(["transcribe", "--device", "cpu"]).args(arguments);
    command
}

#[test]
fn the_text_is_all_that_standard_output_gets() {
    let output = common::run(transcribe(&[]).arg(clip("000-en.flac")));
    assert!(output.status.success());
    assert_eq!(common::text(&output.stdout).trim_end(), SAID);
    let said = common::text(&output.stderr);
    assert!(
        said.contains("000-en.flac: 2.6 s of audio in ") && said.contains(" times real time), English, cpu"),
        "{said}"
    );
    assert!(said.lines().count() == 1 && !said.contains("kernel calls"), "{said}");
    let output = common::run(transcribe(&["--quiet"]).arg(clip("000-en.flac")));
    assert_eq!(common::text(&output.stderr), "");
}

#[test]
fn without_timestamps_a_window_is_one_segment_of_the_same_words() {
    let result = json_of(transcribe(&["-f", "json", "--no-timestamps"]).arg(clip("000-en.flac")));
    let [segment] = &result["segments"].as_array().unwrap()[..] else { panic!("{result}") };
    assert_eq!(segment["text"].as_str().unwrap().trim(), SAID);
    // To the recording's end, in whole frames of 10 ms.
    let end = (result["duration"].as_f64().unwrap() * 100.0).floor() / 100.0;
    assert_eq!((segment["start"].as_f64(), segment["end"].as_f64()), (Some(0.0), Some(end)));
    // The timestamps of a multilingual model begin at 50364.
    assert!(segment["tokens"].as_array().unwrap().iter().all(|token| token.as_u64() < Some(50_364)), "{segment}");
}

#[test]
fn standard_input() {
    let file = fs::File::open(clip("000-en.flac")).unwrap();
    assert_eq!(common::stdout_of(transcribe(&["-"]).stdin(file)).trim_end(), SAID);
}

#[test]
fn every_kind_of_audio_file() {
    // Lossy copies of one clip, by name and through a pipe, where no name tells the kind.
    for name in ["000-en.mp3", "000-en.ogg", "000-en.m4a", "000-en-alac.m4a", "000-en-44100-stereo.mp3"] {
        let path = common::root().join("tests/audio").join(name);
        assert_eq!(common::stdout_of(transcribe(&[]).arg(&path)).trim_end(), SAID, "{name}");
        let piped = common::stdout_of(transcribe(&["-"]).stdin(fs::File::open(&path).unwrap()));
        assert_eq!(piped.trim_end(), SAID, "{name} through standard input");
    }
}

#[test]
fn verbose_names_the_model_and_the_libraries() {
    let output = common::run(transcribe(&["-v"]).arg(clip("000-en.flac")));
    let said = common::text(&output.stderr);
    assert!(said.contains("models/reference") && said.contains("onnxruntime"), "{said}");
    assert!(said.contains("ONNX Runtime's CPU provider alone"), "{said}");
    let host = common::run(common::undertone().args(["transcribe", "-d", "host", "-v"]).arg(clip("000-en.flac")));
    let said = common::text(&host.stderr);
    assert!(said.contains(" kernel calls on host") && said.contains("English, host int8"), "{said}");
}

#[test]
fn every_format_into_a_directory() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("a/b");
    let mut command = transcribe(&["-f", "all", "-o"]);
    assert_eq!(common::stdout_of(command.arg(&out).arg(clip("000-en.flac")).arg(clip("006-de.flac"))), "");
    assert_eq!(common::bad::files_in(&out), 10);
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert_eq!(read("000-en.txt").trim_end(), SAID);
    assert!(read("000-en.srt").starts_with("1\n00:00:00,") && read("000-en.srt").contains(SAID));
    assert!(read("000-en.vtt").starts_with("WEBVTT\n") && read("000-en.vtt").contains(SAID));
    assert_eq!(common::json(&out.join("006-de.json"))["language"], "de");
    assert!(read("000-en.tsv").starts_with("start\tend\ttext\n0\t") && read("000-en.tsv").contains(SAID));
    // And the same bytes on standard output.
    assert_eq!(common::stdout_of(transcribe(&["-f", "srt"]).arg(clip("000-en.flac"))), read("000-en.srt"));
}

#[test]
fn several_recordings_on_standard_output_can_be_told_apart() {
    let [one, other] = ["000-en.flac", "006-de.flac"].map(clip);
    let text = common::stdout_of(transcribe(&["-f", "json"]).args([&one, &other]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    for (line, file) in lines.iter().zip([&one, &other]) {
        assert!(line.starts_with("{\"file\":"), "{line}");
        let result: Value = serde_json::from_str(line).unwrap();
        assert_eq!(result["file"], file.to_str().unwrap());
        assert!(result["run"]["tokens"].as_u64() > Some(0), "{line}");
    }
    // The same key stands in files, and for what has no name.
    let home = tempfile::tempdir().unwrap();
    common::stdout_of(transcribe(&["-f", "json", "-o"]).arg(home.path()).args([&one, &other]));
    let text = fs::read_to_string(home.path().join("000-en.json")).unwrap();
    assert!(text.starts_with(&format!("{{\n  \"file\": \"{}\",\n", one.display())), "{text}");
    let piped = json_of(transcribe(&["-f", "json", "-"]).stdin(fs::File::open(&one).unwrap()));
    assert_eq!(piped["file"], "-");
    // Subtitles begin anew with each recording; one recording's are fine.
    for format in ["srt", "vtt", "tsv", "csv", "lrc", "ass"] {
        let line = common::bad::error_line(transcribe(&["-f", format]).args([&one, &other]));
        assert!(line.contains("2 recordings") && line.contains("--output-dir"), "{line}");
    }
}

#[test]
fn of_recordings_together_the_time_is_said_once() {
    let output = common::run(transcribe(&[]).args(["000-en.flac", "001-en.flac"].map(clip)));
    let said = common::text(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[..2].iter().all(|line| line.contains("English, cpu") && !line.contains("real time")), "{said}");
    assert!(lines[2].starts_with("2 recordings: ") && lines[2].contains(" times real time"), "{said}");
}

#[test]
fn where_nothing_is_said_nothing_is_claimed_to_have_run() {
    let file = common::root().join("speech/silence-20s.flac");
    let output = common::run(common::undertone().args(["transcribe", "-v"]).arg(&file));
    let said = common::text(&output.stderr);
    let line = said.lines().find(|line| line.starts_with(file.to_str().unwrap())).unwrap_or_default();
    assert!(output.status.success() && line.ends_with(".flac: 20.0 s of audio, no speech found"), "{said}");
    assert!(said.contains("nothing ran") && !said.contains("CPU provider alone"), "{said}");
}

#[test]
fn a_file_given_twice_is_called_so() {
    let home = tempfile::tempdir().unwrap();
    let mut command = transcribe(&["-o"]);
    let line = common::bad::error_line(command.arg(home.path()).args([clip("000-en.flac"), clip("000-en.flac")]));
    assert!(line.contains("000-en.flac is given twice"), "{line}");
}

#[test]
fn options_without_effect_are_named() {
    let speech = clip("000-en.flac");
    let warnings = |arguments: &[&str]| {
        let output = common::run(common::undertone().args(["transcribe", "-q"]).args(arguments).arg(&speech));
        assert!(output.status.success(), "{}", common::text(&output.stderr));
        common::text(&output.stderr)
    };
    for (arguments, option, word) in [
        (["-d", "cpu", "-p", "bf16"], "--precision", "model's own types"),
        (["-d", "host", "--sim", "exact"], "--sim", "device sim"),
        (["-d", "cpu", "--target", "npu1"], "--target", "which NPU"),
        (["-d", "host", "--bundle-dir", "."], "--bundle-dir", "an NPU"),
        (["-d", "cpu", "--core-costs", "."], "--core-costs", "an NPU"),
        (["-d", "cpu", "--packed", "off"], "--packed", "host device's"),
    ] {
        let said = warnings(&arguments);
        let expected = format!("warning: {option} has no effect with device {}: ", arguments[1]);
        assert!(said.lines().count() == 1 && said.starts_with(&expected) && said.contains(word), "{said}");
    }
    let said = warnings(&["--bundle-dir", "no/such"]);
    assert!(
        said.lines().count() == 1 && said.starts_with("warning: --bundle-dir no/such: there is no such folder"),
        "{said}"
    );
    for (arguments, option, word) in [
        (&["--beam-size", "5", "--temperature", "0.5"][..], "--beam-size", "--temperature 0 alone"),
        (&["--best-of", "3", "--no-fallback"], "--best-of", "decoded once at 0"),
        (&["--length-penalty", "1", "--no-fallback", "--beam-size", "1"], "--length-penalty", "only one text"),
        (
            &["--temperature-increment-on-fallback", "0.4", "--no-fallback"],
            "--temperature-increment-on-fallback",
            "once",
        ),
        (&["--prepend-punctuations", "("], "--prepend-punctuations", "--word-timestamps"),
        (&["--vad-min-silence-duration-ms", "500"], "--vad-min-silence-duration-ms", "--vad-filter"),
        (&["--vad-threshold", "0.4", "--batch", "1"], "--vad-threshold", "--vad-filter"),
        (&["--vad-filter", "--clip-timestamps", "0,1"], "--vad-filter", "--clip-timestamps"),
        (&["--carry-initial-prompt"], "--carry-initial-prompt", "no --initial-prompt"),
        (&["--max-initial-timestamp", "2", "--no-timestamps"], "--max-initial-timestamp", "--no-timestamps"),
        (&["--language", "en", "--language-detection-segments", "3"], "--language-detection-segments", "is known"),
        (&["--language", "en", "--multilingual"], "--language", "--multilingual"),
    ] {
        let said = warnings(&[&["-d", "cpu"], arguments].concat());
        let expected = format!("warning: {option} has no effect: ");
        assert!(
            said.lines().count() == 1 && said.starts_with(&expected) && said.contains(word),
            "{arguments:?}: {said}"
        );
    }
    // What is a default, comes from the environment, or has an effect, is not worth a word.
    for arguments in [
        &["-d", "cpu"][..],
        &["-d", "cpu", "-p", "f32"],
        &["-d", "host", "-p", "bf16"],
        &["-d", "cpu", "--beam-size", "2", "--patience", "2", "--length-penalty", "1", "--best-of", "2"],
        &["-d", "cpu", "--vad-filter", "--vad-threshold", "0.4", "--vad-speech-pad-ms", "500"],
        &["-d", "cpu", "--vad-neg-threshold", "0.2"],
    ] {
        assert_eq!(warnings(arguments), "", "{arguments:?}");
    }
}

#[test]
#[cfg(unix)]
fn a_closed_standard_output_is_told_before_the_work() {
    let of = |redirection: &str| {
        let mut shell = Command::new("sh");
        let line = format!("\"$0\" transcribe -q --device cpu \"$1\" {redirection}");
        shell.args(["-c", &line, env!("CARGO_BIN_EXE_undertone")]).arg(clip("000-en.flac"));
        shell.env("UNDERTONE_MODEL", common::reference()).env("UNDERTONE_PACKED", "off");
        common::text(&common::run(&mut shell).stderr)
    };
    let said = of(">&-");
    assert!(said.starts_with("warning: standard output is closed"), "{said}");
    assert_eq!(of(">/dev/null"), "");
}

/// Whatever is written, and in whatever pieces.
#[test]
#[cfg(target_os = "linux")]
fn a_full_standard_output_is_told_once() {
    for format in ["txt", "srt", "vtt", "tsv", "csv", "lrc", "ass", "json"] {
        for stream in [&[][..], &["--stream"]] {
            let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let mut command = transcribe(&["-q", "-f", format, "--batch", "1"]);
            let output = common::run(command.args(stream).arg(clip("000-en.flac")).stdout(full));
            let said = common::text(&output.stderr);
            let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
            assert!(errors.len() == 1 && errors[0].contains("cannot write to standard output"), "{format}: {said}");
            assert_eq!(output.status.code(), Some(1), "{format}");
        }
    }
}

#[test]
fn json_follows_verbose_json_and_tells_what_ran() {
    let result = json_of(transcribe(&["-f", "json", "--threads", "1"]).arg(clip("000-en.flac")));
    assert_eq!(result["task"], "transcribe");
    assert_eq!(result["language"], "en");
    assert_eq!(result["text"].as_str().unwrap().trim(), SAID);
    assert!((result["duration"].as_f64().unwrap() - 2.596).abs() < 0.01);
    let segment = &result["segments"][0];
    for key in ["id", "seek", "start", "end", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"] {
        assert!(segment[key].is_number(), "{key}: {segment}");
    }
    assert!(segment["tokens"].as_array().unwrap().iter().all(Value::is_u64));
    let run = &result["run"];
    for key in ["audio_ms", "mel_ms", "encoder_ms", "decoder_ms", "tokens", "realtime_factor"] {
        assert!(run[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {run}");
    }
    assert_eq!(run["device"], "cpu");
    assert!(run["cpu_nodes"].as_u64().is_some_and(|nodes| nodes > 0), "{run}");
}

#[test]
fn translation_is_english() {
    let result = json_of(transcribe(&["-f", "json", "--task", "translate"]).arg(clip("006-de.flac")));
    assert_eq!((&result["task"], &result["language"]), (&"translate".into(), &"de".into()));
    assert_eq!(result["text"].as_str().unwrap().trim(), "The meeting is on Tuesday.");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = transcribe(&["-f", "json"])
        .arg(clip("000-en.flac"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = common::text(&output.stderr);
    assert!(output.status.success() && !said.contains("error") && !said.contains("panicked"), "{said}");
}

#[test]
fn all_formats_do_not_mix_on_standard_output() {
    let line = common::bad::error_line(transcribe(&["-f", "all"]).arg(clip("000-en.flac")));
    assert!(line.contains("--output-dir"), "{line}");
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let text = common::stdout_of(common::undertone().arg("--help"));
    for word in ["transcribe", "partition", "devices", "model", "bench", "eval", "npu", "Exit codes", "Examples"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let text = common::stdout_of(common::undertone().args(["transcribe", "--help"]));
    for word in ["--device", "--precision", "--language", "UNDERTONE_MODEL", "ORT_DYLIB_PATH", "UNDERTONE_EP_LIBRARY"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn help_groups_options_and_its_examples_work_anywhere() {
    // Each option's heading.
    let headings = |command: &str| {
        let text = common::stdout_of(common::undertone().args([command, "-h"]));
        let mut heading = String::new();
        let mut found = std::collections::BTreeMap::new();
        for line in text.lines() {
            if !line.starts_with(' ') && line.ends_with(':') {
                heading = line.trim_end_matches(':').to_owned();
            }
            let option = line.split_whitespace().find(|word| word.starts_with("--"));
            if let Some(option) = option.filter(|_| line.trim_start().starts_with('-')) {
                found.insert(option.to_owned(), heading.clone());
            }
        }
        found
    };
    for (command, device) in [("transcribe", "--device"), ("eval", "--devices")] {
        let found = headings(command);
        for option in [device, "--precision", "--model", "--variant", "--language", "--task", "--threads", "--batch"] {
            assert_eq!(found[option], "Options", "{command} {option}: {found:?}");
        }
        for (option, heading) in
            [("--best-of", "Doubtful text"), ("--sim", "NPU"), ("--packed", "Libraries"), ("--ep-library", "Libraries")]
        {
            assert_eq!(found[option], heading, "{command} {option}: {found:?}");
        }
    }
    let text = common::stdout_of(common::undertone().arg("--help"));
    assert!(text.contains("partition base") && !text.contains("models/reference"), "{text}");
    let examples = text.split_once("Examples:\n").unwrap().1.split("\n\n").next().unwrap();
    assert!(examples.lines().all(|line| line.contains("undertone ")), "an example is broken in two: {examples}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("130 ")), "{text}");
    for command in ["eval", "bench"] {
        let text = common::stdout_of(common::undertone().args([command, "-h"]));
        assert!(text.contains("[default: cpu,host]"), "{command}: {text}");
    }
}

#[test]
fn a_usage_error_names_both_ways_to_call_transcribe() {
    let said = common::text(&common::run(common::undertone().arg("transcribe")).stderr);
    assert!(said.contains("<FILE>...") && said.contains("--sample"), "{said}");
    // What comes from the environment is not asked for.
    assert!(!said.contains("--packed") && !said.contains("--model"), "{said}");
}

#[test]
fn devices_tells_what_there_is() {
    let answer = json_of(common::undertone().args(["devices", "--json"]));
    let device = |name: &str| answer["devices"].as_array().unwrap().iter().find(|d| d["name"] == name).unwrap().clone();
    assert_eq!(device("cpu")["available"], true);
    assert_eq!(device("host")["available"], true);
    assert!(answer["onnxruntime"]["version"].as_str().unwrap().starts_with("1."));
    assert_eq!(answer["onnxruntime"]["path"], env!("UNDERTONE_ORT_DYLIB"));
    let library = dunce::canonicalize(common::ep_library()).unwrap();
    assert_eq!(answer["execution_provider"]["path"].as_str().unwrap(), library.to_str().unwrap());
    let offered = answer["onnxruntime_devices"].as_array().unwrap();
    assert!(offered.iter().any(|device| device["provider"] == "XdnaExecutionProvider"), "{offered:?}");
    let text = common::stdout_of(common::undertone().arg("devices"));
    assert!(["cpu", "host", "npu"].iter().all(|name| text.lines().any(|line| line.starts_with(name))), "{text}");
    if let Ok(kernel) = fs::read_to_string("/proc/sys/kernel/osrelease") {
        let kernel = kernel.trim();
        assert_eq!(answer["execution_provider"]["about"]["npu_software"]["kernel"], kernel);
        assert!(text.lines().any(|line| line.starts_with("Linux ") && line.ends_with(kernel)), "{text}");
    }

    let missing = json_of(common::undertone().args(["devices", "--json"]).env("UNDERTONE_EP_LIBRARY", "/no/such.so"));
    let error = missing["execution_provider"]["error"].as_str().unwrap();
    assert!(error.contains("/no/such.so") && error.contains("UNDERTONE_EP_LIBRARY"), "{error}");
}

/// ONNX Runtime's telemetry leaves an identifier of the machine in the home directory, unless it is switched off.
#[test]
fn nothing_is_left_in_the_home_directory() {
    let home = tempfile::tempdir().unwrap();
    let mut command = common::undertone();
    // ONNX Runtime makes an exception for machines that test.
    for variable in ["CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"] {
        command.env_remove(variable);
    }
    common::stdout_of(command.arg("devices").env("HOME", home.path()));
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn bench_prints_the_agreed_json() {
    let answer = json_of(common::undertone().args([
        "bench",
        "--devices",
        "cpu,host",
        "--tokens",
        "20",
        "--runs",
        "1",
        "--json",
    ]));
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|result| result["device"].as_str().unwrap()).collect::<Vec<_>>(), ["cpu", "host"]);
    assert_eq!(results[1]["precision"], "int8");
    for result in results {
        for key in ["encoder_ms", "decoder_ms_per_token", "realtime_factor"] {
            assert!(result[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {result}");
        }
    }
    assert!(answer["threads"].as_u64().is_some_and(|threads| threads > 0));
    assert!(answer["cpu"].is_string() && answer["ort"].as_str().unwrap().starts_with("1."));
}

#[test]
fn partition_shows_every_graph() {
    let answer = json_of(common::undertone().args(["partition", "--json"]));
    let graphs = answer["graphs"].as_array().unwrap();
    let names: Vec<_> = graphs.iter().map(|graph| graph["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["encoder_model", "decoder_model", "decoder_with_past_model", "decoder_model_merged"]);
    for graph in graphs {
        let parts = graph["parts"].as_array().unwrap();
        assert_eq!(parts.len(), if graph["name"] == "decoder_model_merged" { 3 } else { 1 }, "{graph}");
        for part in parts {
            let (nodes, claimed) = (part["nodes"].as_u64().unwrap(), part["claimed"].as_u64().unwrap());
            let unclaimed = part["unclaimed"].as_array().unwrap();
            assert_eq!(nodes, claimed + unclaimed.len() as u64, "a node is neither claimed nor explained: {part}");
            assert!(unclaimed.iter().all(|node| !node["reason"].as_str().unwrap().is_empty()), "{part}");
            assert!(part["fused"].as_array().unwrap().len() <= 3, "{part}");
            assert!(part["fused"].as_array().unwrap().iter().all(|fused| fused["bytes_in"].as_u64().unwrap() > 0));
            for fused in part["fused"].as_array().unwrap() {
                let products = fused["products"].as_array().unwrap();
                assert!(products.iter().any(|product| product["precision"] == "int8"), "{fused}");
                assert!(products.iter().all(|product| !product["reason"].as_str().unwrap().is_empty()), "{fused}");
            }
        }
    }
    let encoder = &graphs[0];
    assert_eq!(encoder["nodes_on_cpu_provider"], 0);
    assert_eq!(encoder["parts"][0]["fused"].as_array().unwrap().len(), 1);
    assert!(encoder["parts"][0]["gflop_claimed"].as_f64().unwrap() > 1.0);
}

#[test]
fn partition_of_a_part() {
    let encoder = common::root().join("models/reference/encoder_model.onnx");
    let claim = |word: &str| json_of(common::undertone().args(["partition", "--json", "--claim", word]).arg(&encoder));
    for (word, attention) in [("attention", true), ("matmul", false)] {
        let answer = claim(word);
        let graph = &answer["graphs"][0];
        assert!(graph["nodes_on_cpu_provider"].as_u64().unwrap() > 0, "{word}: {graph}");
        let part = &graph["parts"][0];
        assert!(part["gflop_unclaimed"].as_f64().unwrap() > 0.0, "{word}: {part}");
        let fused = part["fused"].as_array().unwrap();
        assert!(!fused.is_empty(), "{word}: {part}");
        for fused in fused {
            let steps = fused["steps"].as_object().unwrap();
            assert!(steps.len() == 1 && steps.contains_key("attention") == attention, "{word}: {fused}");
        }
    }
    let text = common::stdout_of(common::undertone().args(["partition", "--claim", "attention"]).arg(&encoder));
    assert!(text.contains("not claimed: ") && text.contains("GFLOP") && text.contains("attention (int8)"), "{text}");
}
