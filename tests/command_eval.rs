//! `undertone eval` from the outside: a list with faults in it, languages that it does not name, one way alone, what goes
//! into JSON and into a page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

mod common;

const GREEN: &str = "The green lion is above the red table.";

/// The command that evaluates `list`, quickly, with a table of spellings that is not fetched.
fn command(list: &Path, devices: &str) -> Command {
    let spellings = list.with_file_name("spellings.json");
    fs::write(&spellings, r#"{"grey": "gray"}"#).unwrap();
    let mut command = common::undertone();
    command.args(["eval", "--devices", devices, "--no-fallback", "--spellings"]).arg(spellings).arg(list);
    command
}

fn eval(list: &Path, devices: &str) -> Output {
    common::run(&mut command(list, devices))
}

/// A list in a folder that goes with it.
fn list(lines: &str) -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("list.jsonl");
    fs::write(&path, lines).unwrap();
    (home, path)
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
    let (_home, list) = list(&entry("000-en.flac", GREEN));
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

/// Names of keys as other data sets have them, a name relative to the list, a byte-order mark, lines of Windows.
#[test]
fn lists_of_other_data_sets_are_used() {
    let (home, list) = list(
        "\u{FEFF}{\"audio_filepath\": \"a b.flac\", \"text\": \"The green lion's above\", \"duration\": 2, \"lang\": \"en-US\"}\r\n\
         {\"path\": \"a b.flac\", \"sentence\": \"\", \"locale\": \"English\"}\r\n\
         {\"path\": \"a b.flac\", \"sentence\": \"x\", \"locale\": \"Klingon\"}\r\n\
         {\"audio\": {\"path\": \"a b.flac\"}, \"text\": \"\", \"language\": \"en\", \"offset\": 99.0}\r\n",
    );
    fs::copy(common::root().join("speech/short/000-en.flac"), home.path().join("a b.flac")).unwrap();
    let output = common::run(command(&list, "cpu").arg("--json"));
    let said = common::text(&output.stderr);
    // The last one's part is beyond the end.
    assert!(
        output.status.code() == Some(1) && said.contains("list.jsonl, line 4") && said.contains("at 99 s"),
        "{said}"
    );
    assert!(said.contains("left out: 1 in Klingon, which the model does not know"), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let recordings = report["recordings"].as_array().unwrap();
    assert_eq!(recordings.len(), 2, "{report}");
    let first = &recordings[0];
    assert_eq!((&first["file"], &first["language"], &first["line"]), (&"a b.flac".into(), &"en".into(), &1.into()));
    assert_eq!(first["normalised"], "the green lion is above");
    let version = &first["versions"][0];
    assert_eq!(version["normalised"], "the green lion is above the red table");
    let counts = ["substituted", "deleted", "inserted"].map(|kind| version[kind].as_u64().unwrap());
    assert_eq!((counts, &version["words"]), ([0, 0, 3], &serde_json::json!({ "errors": 3, "total": 5 })));
    // Words where nothing was said count, too.
    assert_eq!(recordings[1]["versions"][0]["words"], serde_json::json!({ "errors": 8, "total": 0 }));
    let all = &report["all"]["words"][0];
    assert_eq!((&all["errors"], &all["total"], &all["rate"]), (&11.into(), &5.into(), &220.0.into()));
    assert_eq!((&report["normalizer"], &report["spellings"]), (&"whisper".into(), &1.into()));
    assert_eq!(report["languages"].as_array().unwrap().len(), 1, "{report}");
}

#[test]
fn ways_stand_side_by_side_in_the_table_and_on_the_page() {
    let (home, list) = list(&format!(
        "{}{}",
        entry("000-en.flac", "The grey lion is above the red table."),
        entry("006-de.flac", "Das")
    ));
    let page = home.path().join("report.html");
    let text =
        common::stdout_of(command(&list, "cpu,host").args(["--precision", "f32,int8", "--each", "--html"]).arg(&page));
    for part in ["| cpu f32 ", "| host f32 ", "| host int8 ", "Character error rate", "000-en.flac", "1, 5"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let page = fs::read_to_string(page).unwrap();
    // The same words are marked in all three ways.
    assert_eq!(page.matches("the <del>gray</del> <ins>green</ins> lion is above the red table").count(), 3, "{page}");
    for part in ["<html lang=\"en\">", ">host int8</th>", "of list.jsonl", "1 spellings"] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
}

#[test]
fn a_page_that_cannot_be_written_is_an_error_before_the_work() {
    let (home, list) = list(&entry("000-en.flac", GREEN));
    for page in [home.path().to_owned(), home.path().join("none/report.html")] {
        let line = common::bad::error_line(command(&list, "cpu").arg("--html").arg(&page));
        assert!(line.contains("cannot write") && line.contains(page.to_str().unwrap()), "{line}");
    }
}

#[test]
fn one_normaliser_for_all_languages() {
    let (_home, list) = list(&entry("000-en.flac", "The green lion's above the red table."));
    let wrong = |normalizer: &str| {
        let mut command = command(&list, "cpu");
        let report = common::json_of(command.args(["--language", "en", "--json", "--normalizer", normalizer]));
        assert_eq!(report["normalizer"], normalizer);
        report["all"]["words"][0]["errors"].as_u64().unwrap()
    };
    assert_eq!((wrong("whisper"), wrong("basic")), (0, 1));
}

#[test]
fn a_way_that_fails_costs_only_itself() {
    let (home, list) = list(&entry("000-en.flac", GREEN));
    let library = home.path().join("no-such-library.so");
    let output = common::run(command(&list, "host,cpu").arg("--ep-library").arg(&library));
    let (text, said) = (common::text(&output.stdout), common::text(&output.stderr));
    assert!(output.status.code() == Some(1) && text.contains("| cpu "), "{text}{said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error:")).collect();
    assert!(
        errors.len() == 1 && errors[0].contains("--devices host") && errors[0].contains("no-such-library.so"),
        "{said}"
    );
}

#[test]
fn a_line_without_words_is_an_error_before_the_work() {
    let (_home, list) = list(&format!("{}{{\"file\": \"b.flac\", \"words_\": \"x\"}}\n", entry("000-en.flac", GREEN)));
    let line = common::bad::error_line(&mut command(&list, "cpu"));
    assert!(line.contains("list.jsonl, line 2") && line.contains("the keys file, words_"), "{line}");
}

/// The table of openai/whisper comes through pip when it is first needed.
#[test]
fn british_words_are_american_ones() {
    let (_home, list) = list(&entry("000-en.flac", "The green lion is above the red table, mobilisation"));
    let output = common::run(
        common::undertone()
            .args(["eval", "--devices", "cpu", "--no-fallback", "--json", "--language", "en"])
            .arg(&list),
    );
    let said = common::text(&output.stderr);
    if said.contains("warning: British and American spellings count as different words") {
        common::weights::not_run("a test with Whisper's table of spellings", &said);
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["spellings"], &report["recordings"][0]["normalised"]),
        (&1739.into(), &"the green lion is above the red table mobilization".into())
    );
}
