//! Formats and streaming as the command has them: which formats go where, what is written while it comes, how subtitles
//! are laid out, and how far the work is.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

mod common;

const SAID: &str = "The green lion is above the red table.";

fn clip(name: &str) -> PathBuf {
    common::root().join("speech/short").join(name)
}

fn long() -> PathBuf {
    common::root().join("speech/long/pauses-4min.flac")
}

fn transcribe(arguments: &[&str]) -> Command {
    let mut command = common::undertone();
    // Formats don't depend on the search: the fastest one will do.
    command.args(["transcribe", "--device", "cpu", "--beam-size=1"]).args(arguments);
    command
}

#[test]
fn some_formats_by_name() {
    let home = tempfile::tempdir().unwrap();
    common::stdout_of(transcribe(&["-f", "csv,lrc,ass,csv", "-o"]).arg(home.path()).arg(clip("000-en.flac")));
    assert_eq!(common::bad::files_in(home.path()), 3);
    let read = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
    let csv = read("000-en.csv");
    assert!(csv.starts_with("start,end,text\n0,") && csv.ends_with(&format!(",\"{SAID}\"\n")), "{csv}");
    assert!(read("000-en.lrc").ends_with(&format!("\n[00:00.00]{SAID}\n")));
    assert!(read("000-en.ass").contains("\nDialogue: 0,0:00:00.00,"));
    assert_eq!(common::stdout_of(transcribe(&["-f", "csv"]).arg(clip("000-en.flac"))), csv);
}

#[test]
#[cfg(unix)]
fn a_pipe_gets_each_segment_while_the_next_is_computed_and_ctrl_c_keeps_them() {
    for (format, head) in [("txt", 0), ("tsv", 1), ("vtt", 2)] {
        let mut command = transcribe(&["--stream", "--batch=1", "-f", format]);
        let mut child = command.arg(long()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.nth(head).unwrap();
        assert!(!first.is_empty() && child.try_wait().unwrap().is_none(), "{format}: {first}");
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let rest = lines.collect::<Vec<_>>();
        let output = child.wait_with_output().unwrap();
        let said = common::text(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains("transcribed until"), "{format}: {rest:?}: {said}");
        // Nothing is cut: a subtitle ends with an empty line.
        assert!(format != "vtt" || rest.last().is_some_and(String::is_empty), "{rest:?}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_work() {
    let mut command = transcribe(&["--stream", "--batch=1", "-f", "txt"]);
    let mut child = command.arg(long()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().is_some_and(|line| line.is_ok()));
    drop(lines);
    let output = child.wait_with_output().unwrap();
    let said = common::text(&output.stderr);
    assert!(output.status.success() && !said.contains("error"), "{said}");
    assert!(said.contains("transcribed until"), "{said}");
}

#[test]
fn a_stream_is_what_is_written_in_the_end() {
    for (format, batch) in [("txt", "--batch=1"), ("srt", "--batch=4")] {
        let of = |options: &[&str]| common::stdout_of(transcribe(&["-f", format, batch]).args(options).arg(long()));
        assert_eq!(of(&["--stream"]), of(&[]), "{format}");
    }
}

#[test]
fn json_streams_as_a_line_for_each_segment_and_one_for_the_whole() {
    let files = [long(), clip("000-en.flac")];
    let of = |options: &[&str]| common::stdout_of(transcribe(&["-f", "json"]).args(options).args(&files));
    let whole = of(&[]);
    let whole: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = of(&["--stream"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (file, expected) in files.iter().zip(&whole) {
        let own: Vec<&Value> = lines.iter().filter(|line| line["file"] == file.to_str().unwrap()).collect();
        let (last, segments) = own.split_last().unwrap();
        let mut segments: Vec<Value> = segments.iter().map(|line| (*line).clone()).collect();
        segments.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("file")));
        assert_eq!(&Value::from(segments), &expected["segments"]);
        for key in ["task", "language", "duration", "text"] {
            assert_eq!(last[key], expected[key], "{key}");
        }
        assert_eq!(last["run"]["device"], "cpu");
        assert!(last.get("segments").is_none());
    }
    assert_eq!(lines.len(), 2 + whole.iter().map(|whole| whole["segments"].as_array().unwrap().len()).sum::<usize>());
}

#[test]
fn what_does_not_go_together_is_said_before_any_work() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let refused = |arguments: &[&str]| {
        // No model is looked for.
        let mut command = transcribe(arguments);
        command.env("UNDERTONE_MODEL", "/no/such/model");
        common::bad::error_line(command.arg(clip("000-en.flac")))
    };
    let line = refused(&["--stream", "-o", out.to_str().unwrap()]);
    assert!(line.contains("--stream") && line.contains("--output-dir") && !out.exists(), "{line}");
    let line = refused(&["-f", "txt,srt"]);
    assert!(line.contains("2 formats") && line.contains("--output-dir"), "{line}");
    for option in ["--highlight-words", "--max-line-count=2", "--max-words-per-line=3"] {
        let line = refused(&["-f", "srt", "--max-line-width=40", option]);
        let name = option.split('=').next().unwrap();
        assert!(line.contains(name) && line.contains("--word-timestamps"), "{line}");
    }
    let output = common::run(transcribe(&["-f", "srt", "--max-line-width", "0"]).arg(clip("000-en.flac")));
    let said = common::text(&output.stderr);
    assert!(
        output.status.code() == Some(2) && said.contains("--max-line-width") && said.contains("from 1 on"),
        "{said}"
    );
}

#[test]
fn long_segments_are_wrapped() {
    let srt = common::stdout_of(transcribe(&["-f", "srt", "--max_line_width", "24"]).arg(clip("000-en.flac")));
    assert!(srt.ends_with("\nThe green lion is\nabove the red table.\n\n"), "{srt}");
    // As without the option, and in the words of other commands.
    let plain = common::stdout_of(transcribe(&["-f", "srt"]).arg(clip("000-en.flac")));
    let none = common::stdout_of(transcribe(&["-f", "srt", "--max_line_width", "None"]).arg(clip("000-en.flac")));
    assert_eq!(plain, none);
    let output = common::run(transcribe(&["-q", "--max-line-width", "24"]).arg(clip("000-en.flac")));
    let said = common::text(&output.stderr);
    assert!(said.starts_with("warning: --max-line-width has no effect") && said.lines().count() == 1, "{said}");
}

#[test]
fn words_with_times_are_laid_out_as_was_asked_for() {
    let of = |options: &[&str]| {
        let options = [&["--word_timestamps", "True"][..], options].concat();
        common::stdout_of(transcribe(&options).arg(clip("000-en.flac")))
    };
    let texts = |srt: &str| {
        let blocks = srt.trim_end().split("\n\n");
        blocks.map(|block| block.splitn(3, '\n').nth(2).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let three = of(&["-f", "srt", "--max_words_per_line", "3"]);
    assert_eq!(texts(&three), ["The green lion", "is above the", "red table."], "{three}");
    let lines = of(&["-f", "srt", "--max-line-width=16", "--max-line-count=2"]);
    assert_eq!(texts(&lines), ["The green lion\nis above the red", "table."], "{lines}");
    let vtt = of(&["-f", "vtt", "--highlight_words", "True"]);
    assert!(vtt.contains("\nThe <u>green</u> lion is above the red table.\n"), "{vtt}");
    let json: Value = serde_json::from_str(&of(&["-f", "json"])).unwrap();
    let words = json["segments"][0]["words"].as_array().unwrap();
    assert_eq!(words.iter().map(|word| word["word"].as_str().unwrap()).collect::<String>().trim(), SAID);
    // What does nothing is said.
    let mut command = transcribe(&["-q", "-f", "srt", "--word-timestamps", "--max-line-count=2"]);
    let said = common::text(&common::run(command.arg(clip("000-en.flac"))).stderr);
    assert!(said.starts_with("warning: --max-line-count has no effect without --max-line-width"), "{said}");
}

#[test]
fn progress_in_lines_by_the_audio_s_time() {
    let mut command = transcribe(&["-q", "--print_progress", "True", "--batch=1"]);
    let output = common::run(command.arg(long()));
    let said = common::text(&output.stderr);
    let shares: Vec<u32> = said
        .lines()
        .filter(|line| line.contains(" times real time, ") && line.ends_with(" s left"))
        .filter_map(|line| line.split_once("min.flac: ")?.1.split_once(" %")?.0.parse().ok())
        .collect();
    assert!(shares.len() > 3 && shares.is_sorted() && shares.last() == Some(&100), "{said}");
    // Nobody who did not ask for it gets it.
    let said = common::text(&common::run(transcribe(&["-q"]).arg(clip("000-en.flac"))).stderr);
    assert_eq!(said, "");
}
