//! A model by its Hugging Face name, fetched from a hub on the loopback interface: only the files that are needed, once, and then
//! without the hub.

mod common;

use common::hub::{Hub, Rules};

const REPOSITORY: &str = "undertone/reference";

fn hub() -> Hub {
    Hub::of_folder(REPOSITORY, &common::root().join("models/reference"))
}

#[test]
fn a_model_is_fetched_once() {
    let home = tempfile::tempdir().unwrap();
    let hub = hub();
    let transcribe = |endpoint: &str| {
        let mut command = common::first_start(home.path());
        command.env("HF_ENDPOINT", endpoint);
        command.args(["transcribe", "--model", REPOSITORY]).arg(common::root().join("speech/short/000-en.flac"));
        common::stdout_of(&mut command)
    };
    assert_eq!(transcribe(&hub.endpoint()).trim(), "The green lion is above the red table.");
    let asked = hub.taken();
    for needed in ["config.json", "tokenizer.json", "encoder_model.onnx", "decoder_model.onnx"] {
        assert!(asked.iter().any(|file| file == needed), "{needed} was not asked for: {asked:?}");
    }
    for unneeded in ["decoder_model_merged.onnx", "README.md", "merges.txt"] {
        assert!(!asked.iter().any(|file| file == unneeded), "{unneeded} was fetched: {asked:?}");
    }
    // The hub is gone now.
    assert_eq!(transcribe("http://127.0.0.1:9").trim(), "The green lion is above the red table.");
}

#[test]
fn a_gated_repository_is_one_line_that_says_log_in() {
    let home = tempfile::tempdir().unwrap();
    let hub = hub();
    hub.rules(Rules { gated: Some("hf_right"), ..Rules::default() });
    let command = || {
        let mut command = common::first_start(home.path());
        command.env("HF_ENDPOINT", hub.endpoint()).args(["model", "get", REPOSITORY]);
        command
    };
    let line = common::bad::error_line(&mut command());
    assert!(line.contains("log in") && line.contains(REPOSITORY), "{line}");
    let folder = common::stdout_of(command().env("HF_TOKEN", "hf_right"));
    assert!(std::path::Path::new(folder.trim()).join("config.json").is_file(), "{folder}");
}

#[test]
fn models_are_listed_found_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let hub = hub();
    let model = |arguments: &[&str]| {
        let mut command = common::first_start(home.path());
        command.env("HF_ENDPOINT", hub.endpoint()).arg("model").args(arguments);
        command
    };
    let line = common::bad::error_line(&mut model(&["path", REPOSITORY]));
    assert!(line.contains("model get"), "{line}");
    assert!(hub.taken().is_empty(), "`path` fetches nothing");
    assert!(common::stdout_of(&mut model(&["list"])).starts_with("No model"));
    let folder = common::stdout_of(&mut model(&["get", REPOSITORY]));
    assert_eq!(common::stdout_of(&mut model(&["path", REPOSITORY])), folder);
    let list: serde_json::Value = serde_json::from_str(&common::stdout_of(&mut model(&["list", "--json"]))).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!((&list[0]["name"], &list[0]["licence"]), (&REPOSITORY.into(), &"mit".into()));
    assert!(list[0]["bytes"].as_u64().unwrap() > 10_000_000, "{list}");
    common::stdout_of(&mut model(&["rm", REPOSITORY]));
    assert!(!std::path::Path::new(folder.trim()).exists());
    let line = common::bad::error_line(&mut model(&["rm", REPOSITORY]));
    assert!(line.contains("model list"), "{line}");
}
