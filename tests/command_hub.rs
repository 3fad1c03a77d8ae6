//! A model by its Hugging Face name, fetched from a hub on the loopback interface: only the files that are needed,
//! once, and then without the hub.

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use common::hub::{Hub, Rules};

const REPOSITORY: &str = "undertone/reference";

fn hub() -> Hub {
    Hub::of_folder(REPOSITORY, &common::reference())
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
        command.env("HF_ENDPOINT", hub.endpoint()).env("UNDERTONE_PACKED", home.path().join("packed"));
        command.arg("model").args(arguments);
        command
    };
    let line = common::bad::error_line(&mut model(&["path", REPOSITORY]));
    assert!(line.contains("model get"), "{line}");
    assert!(hub.taken().is_empty(), "`path` fetches nothing");
    assert!(common::stdout_of(&mut model(&["list"])).starts_with("No model"));
    let folder = common::stdout_of(&mut model(&["get", REPOSITORY]));
    assert_eq!(common::stdout_of(&mut model(&["path", REPOSITORY])), folder);
    let list = common::json_of(&mut model(&["list", "--json"]));
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!((&list[0]["name"], &list[0]["licence"]), (&REPOSITORY.into(), &"mit".into()));
    assert!(list[0]["bytes"].as_u64().unwrap() > 10_000_000, "{list}");
    common::stdout_of(&mut model(&["rm", REPOSITORY]));
    assert!(!std::path::Path::new(folder.trim()).exists());
    let line = common::bad::error_line(&mut model(&["rm", REPOSITORY]));
    assert!(line.contains("model list"), "{line}");
}

#[test]
fn what_is_packed_of_a_model_goes_with_it() {
    let home = tempfile::tempdir().unwrap();
    let hub = hub();
    let packed = home.path().join("packed");
    let command = |arguments: &[&str]| {
        let mut command = common::first_start(home.path());
        command.env("HF_ENDPOINT", hub.endpoint()).env("UNDERTONE_PACKED", &packed).args(arguments);
        command
    };
    let list = || common::json_of(&mut command(&["model", "list", "--json"]));
    let of_packed = || std::fs::read_dir(&packed).map_or(0, Iterator::count);
    let clip = common::root().join("speech/short/000-en.flac");
    let clip = clip.to_str().unwrap();
    let reference = common::reference().canonicalize().unwrap();
    let transcribe = |model: &str| {
        common::stdout_of(&mut command(&["transcribe", "--device", "host", "--model", model, clip]));
    };
    transcribe(REPOSITORY);
    transcribe(reference.to_str().unwrap());
    let entries = list();
    assert_eq!(entries.as_array().unwrap().len(), 2, "{entries}");
    for (entry, name, kept) in [(0, REPOSITORY, "hub cache"), (1, reference.to_str().unwrap(), "a folder of yours")] {
        let entry = &entries[entry];
        assert_eq!((&entry["name"], &entry["kept"]), (&name.into(), &kept.into()));
        assert!(entry["packed_bytes"].as_u64().unwrap() > 1_000_000, "{entry}");
    }
    assert!(common::stdout_of(&mut command(&["model", "list"])).contains(" packed"));

    let said = common::stdout_of(&mut command(&["model", "rm", REPOSITORY]));
    assert!(said.lines().any(|line| line.contains("(packed, ") && line.contains(" MB)")), "{said}");
    assert_eq!(of_packed(), 1);

    // Of a folder that is the user's own, only what is packed goes.
    let said = common::stdout_of(&mut command(&["model", "rm", reference.to_str().unwrap()]));
    assert!(said.contains("stays") && reference.join("config.json").is_file(), "{said}");
    assert_eq!(of_packed(), 0);

    // The model went another way.
    transcribe(REPOSITORY);
    std::fs::remove_dir_all(home.path().join("huggingface")).unwrap();
    assert_eq!(list()[0]["kept"], "left over");
    let said = common::stdout_of(&mut command(&["model", "list"]));
    assert!(said.starts_with("No model") && said.contains("model prune"), "{said}");
    assert!(common::stdout_of(&mut command(&["model", "prune"])).contains("(packed, "));
    assert_eq!((of_packed(), list()), (0, serde_json::json!([])));
    assert_eq!(common::stdout_of(&mut command(&["model", "prune"])), "nothing is left over\n");
}

#[test]
fn one_file_of_a_repository_is_named_behind_a_colon() {
    let Some(weights) = common::weights::tiny_en() else { return };
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::of_folder("owner/many", &weights);
    hub.put("other.bin", b"not these");
    hub.put("old/another.pt", b"nor these");
    let get = |model: &str| {
        let mut command = common::first_start(home.path());
        command.env("HF_ENDPOINT", hub.endpoint()).args(["model", "get", model]);
        command
    };
    let line = common::bad::error_line(&mut get("owner/many:gone.bin"));
    assert!(line.contains("gone.bin") && line.contains("old/another.pt"), "{line}");
    let folder = common::stdout_of(&mut get("owner/many:model.bin"));
    assert!(Path::new(folder.trim()).join("encoder_model.onnx").is_file(), "{folder}");
    assert_eq!(hub.taken(), ["config.json", "tokenizer.json", "model.bin"]);
    // Another one is another model.
    let output = common::run(&mut get("owner/many/old/another.pt"));
    let said = common::text(&output.stderr);
    assert!(!output.status.success() && said.contains("another.pt' holds no weights"), "{said}");
    assert_eq!(hub.taken(), ["old/another.pt"]);
    let list = common::stdout_of(common::first_start(home.path()).args(["model", "list"]));
    assert!(list.contains("owner/many:model.bin"), "{list}");
}

/// Ends a process when the test does.
struct Front(std::process::Child);

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_company_s_own_authority_is_trusted_where_it_is_named() {
    let hub = hub();
    let certificates = common::root().join("tests/certificates");
    let mut front = Command::new(common::python::interpreter());
    front
        .arg(common::root().join("tests/python/tls_front.py"))
        .arg(certificates.join("hub.pem"))
        .arg(hub.port.to_string());
    let mut front = Front(front.stdout(Stdio::piped()).spawn().unwrap());
    let mut port = String::new();
    BufReader::new(front.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let get = |variable: Option<&str>| {
        let home = tempfile::tempdir().unwrap();
        let mut command = common::first_start(home.path());
        for variable in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
            command.env_remove(variable);
        }
        if let Some(variable) = variable {
            command.env(variable, certificates.join("authority.pem"));
        }
        command.env("HF_ENDPOINT", format!("https://localhost:{}", port.trim())).args(["model", "get", REPOSITORY]);
        let output = common::run(&mut command);
        (output.status.success(), common::text(&output.stderr))
    };
    let (got, said) = get(None);
    assert!(!got && said.contains("certificate"), "{said}");
    for variable in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"] {
        let (got, said) = get(Some(variable));
        assert!(got, "{variable}: {said}");
    }
}
