//! The command when somebody stops it, closes its standard error, or watches a terminal: the text until then is kept,
//! nothing panics, and a wrong option is told before any audio is read.

#![cfg(unix)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

mod common;

const STOPPED: Option<i32> = Some(130);

fn clip() -> PathBuf {
    common::root().join("speech/short/000-en.flac")
}

fn long() -> PathBuf {
    common::root().join("speech/long/pauses-4min.flac")
}

/// Twenty copies of the long recording, so that a stop always comes before the end.
fn very_long(home: &Path) -> PathBuf {
    let audio = undertone_runner::audio::read_file(&long()).unwrap();
    let samples: Vec<i16> = audio.samples.iter().map(|x| (x * 32767.0) as i16).collect();
    let path = home.join("very-long.wav");
    fs::write(&path, common::bad::wav(16_000, 1, &samples.repeat(20))).unwrap();
    path
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_stop_keeps_the_text_until_then() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let mut command = common::undertone();
    command.args(["transcribe", "-vv", "--device", "cpu", "-f", "all", "-o"]).arg(&out).arg("--batch=1");
    command.arg(clip()).arg(very_long(home.path())).arg(common::root().join("speech/short/006-de.flac"));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // Some windows of the second file are done. Before that, the first file's results are there.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said: Vec<String> = lines.by_ref().take_while(|line| !line.contains("3 windows")).collect();
    assert!(out.join("000-en.txt").is_file(), "{said:?}");
    interrupt(&child);
    said.extend(lines);
    let said = said.join("\n");
    assert_eq!(child.wait().unwrap().code(), STOPPED, "{said}");
    assert!(said.contains("very-long.wav: transcribed until") && said.contains("1 more file"), "{said}");
    let mut names: Vec<String> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let of = |stem: &str| ["json", "srt", "tsv", "txt", "vtt"].map(|extension| format!("{stem}.{extension}"));
    assert_eq!(names, [of("000-en"), of("very-long")].concat(), "{said}");
    let part = common::json(&out.join("very-long.json"));
    let until = part["run"]["stopped"].as_f64().unwrap();
    let last = part["segments"].as_array().unwrap().last().unwrap();
    assert!(until > 0.0 && until < 4000.0 && last["end"].as_f64().unwrap() <= until, "{until}: {last}");
    assert!(common::json(&out.join("000-en.json"))["run"]["stopped"].is_null());
}

#[test]
fn a_part_does_not_take_the_place_of_an_older_result() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("very-long.txt"), "whole").unwrap();
    let mut command = common::undertone();
    command.args(["transcribe", "-vv", "--device", "cpu", "--batch=1", "-o"]).arg(&out).arg(very_long(home.path()));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line.contains("2 windows")));
    interrupt(&child);
    let said = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(child.wait().unwrap().code(), STOPPED, "{said}");
    assert_eq!(fs::read_to_string(out.join("very-long.txt")).unwrap(), "whole");
    assert!(!fs::read_to_string(out.join("very-long.partial.txt")).unwrap().is_empty());
    assert!(said.contains("very-long.txt") && said.contains("very-long.partial.txt"), "{said}");
    // What is said to have been transcribed is what was.
    let line = said.lines().find(|line| line.contains("very-long.wav: ") && line.contains("of audio")).unwrap();
    assert!(line.contains(" s of ") && line.contains("real time"), "{said}");
}

#[test]
fn closed_and_full_standard_error() {
    let command = env!("CARGO_BIN_EXE_undertone");
    for redirection in ["2>&-", "2>/dev/full"] {
        let mut shell = Command::new("sh");
        let line = format!("\"$0\" transcribe -vv --device cpu \"$1\" no-such-file.wav {redirection}");
        shell.args(["-c", &line, command]).arg(clip()).env("UNDERTONE_PACKED", "off");
        let model = common::reference();
        let output = common::run(shell.env("UNDERTONE_MODEL", model));
        assert_eq!(output.status.code(), Some(1), "{redirection}");
        assert_eq!(common::text(&output.stdout).trim_end(), "The green lion is above the red table.", "{redirection}");
    }
}

/// Runs the command on a terminal, as Python's `pty` makes it, and hands on what appears there.
fn on_a_terminal(arguments: &[&std::ffi::OsStr]) -> Child {
    const SPAWN: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut command = Command::new(common::python::interpreter());
    command.args(["-c", SPAWN, env!("CARGO_BIN_EXE_undertone")]).args(arguments);
    command.env("UNDERTONE_MODEL", common::reference()).env("UNDERTONE_PACKED", "off");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_terminal_gets_text_segment_by_segment() {
    let home = tempfile::tempdir().unwrap();
    let very_long = very_long(home.path());
    let arguments = ["transcribe", "--device", "cpu", "-q"].map(std::ffi::OsStr::new);
    let mut child = on_a_terminal(&[&arguments[..], &[very_long.as_os_str()]].concat());
    // The first line comes long before the end of the recording, and Ctrl-C typed there stops it in order. The progress
    // bar ends no line.
    let mut seen = String::new();
    let mut bytes = [0; 256];
    while !seen.contains('\n') {
        let count = child.stdout.as_mut().unwrap().read(&mut bytes).unwrap();
        assert!(count > 0, "the command ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    use std::io::Write as _;
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    // As bytes: the first part may end within a character of the progress bar.
    let mut rest = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    let rest = String::from_utf8_lossy(&rest);
    assert_eq!(child.wait().unwrap().code(), STOPPED, "{seen}{rest}");
    assert!(rest.contains("transcribed until"), "{seen}{rest}");
}

#[test]
fn wrong_options_are_told_before_audio_is_read() {
    for (arguments, word) in [
        (&["--model", "no-such-model/at-all/here"][..], "no-such-model"),
        (&["--language", "klingon"], "klingon"),
        (&["--variant", "q3"], "q3"),
    ] {
        let mut command = common::undertone();
        command.args(["transcribe", "--device", "cpu", "-"]).args(arguments);
        // Standard input stays open and gives nothing: whoever reads it waits for ever.
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _kept_open = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        let said = common::text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(word), "{said}");
    }
}

/// As a person may write them, without `=`: each is answered in its own words.
#[test]
fn negative_numbers_are_values() {
    for (arguments, word) in [
        (["--clip-timestamps", "-3"], "--clip-timestamps has -3 s: use times from 0 on"),
        (["--temperature", "-1"], "a temperature is a number from 0 to 2"),
        (["--length-penalty", "-1"], "--length-penalty is -1"),
        (["--beam-size", "-1"], "use a whole number, 0 or more"),
        (["--vad-threshold", "-1"], "--vad-threshold is -1"),
        (["--batch", "-1"], "use a number from 1 to 256"),
    ] {
        let output = common::run(common::undertone().arg("transcribe").args(arguments).arg(clip()));
        let said = common::text(&output.stderr);
        assert!(!output.status.success() && said.contains(word) && !said.contains("tip:"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_very_long_name_gets_its_results() {
    let home = tempfile::tempdir().unwrap();
    let input = home.path().join(format!("{}.wav", "n".repeat(251)));
    fs::copy(clip(), &input).unwrap();
    let out = home.path().join("out");
    let mut command = common::undertone();
    common::stdout_of(command.args(["transcribe", "--device", "cpu", "-f", "all", "-o"]).arg(&out).arg(input));
    assert_eq!(common::bad::files_in(&out), 5);
}
