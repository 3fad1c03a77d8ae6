//! `undertone eval` from the outside: a list with faults in it, languages that it does not name, one way alone.

use std::fs;
use std::path::Path;
use std::process::Output;

mod common;

/// Evaluates `list` on ONNX Runtime's CPU provider, quickly.
fn eval(list: &Path, devices: &str) -> Output {
    common::run(common::undertone().args(["eval", "--devices", devices, "--no-fallback"]).arg(list))
}

fn entry(file: &str, text: &str) -> String {
    let speech = common::root().join("speech/short").join(file);
    format!("{}\n", serde_json::json!({ "file": speech, "text": text }))
}

#[test]
fn a_missing_recording_costs_only_itself() {
    let home = tempfile::tempdir().unwrap();
    let list = home.path().join("list.jsonl");
    let green = entry("000-en.flac", "The green lion is above the red table.");
    fs::write(&list, format!("{green}\n{}{}", entry("no-such.flac", "x"), entry("006-de.flac", "Das Treffen")))
        .unwrap();
    let output = eval(&list, "cpu,host");
    let (text, said) = (common::text(&output.stdout), common::text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert!(errors[0].contains("list.jsonl, line 3") && errors[0].contains("no-such.flac"), "{said}");
    assert!(text.contains("2 recordings") && text.contains("difference to cpu"), "{text}");
    // Languages are those that were detected.
    assert!(text.contains("| en ") && text.contains("| de ") && !text.contains("| ? "), "{text}");

    fs::write(&list, entry("no-such.flac", "x")).unwrap();
    let output = eval(&list, "cpu,host");
    let said = common::text(&output.stderr);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{said}");
    assert!(said.contains("no recording of ") && said.lines().count() == 2, "{said}");
}

#[test]
fn one_way_alone_differs_from_none() {
    let home = tempfile::tempdir().unwrap();
    let list = home.path().join("list.jsonl");
    fs::write(&list, entry("000-en.flac", "The green lion is above the red table.")).unwrap();
    let output = eval(&list, "cpu");
    let text = common::text(&output.stdout);
    assert!(output.status.success() && text.contains("95 % interval") && !text.contains("differ"), "{text}");
}

#[test]
fn an_empty_list_is_called_so() {
    let home = tempfile::tempdir().unwrap();
    let list = home.path().join("list.jsonl");
    fs::write(&list, "\n").unwrap();
    let line = common::bad::error_line(common::undertone().arg("eval").arg(&list));
    assert!(line.contains("list.jsonl is empty"), "{line}");
}
