//! A model by its Hugging Face name, fetched from a hub on the loopback interface: only the files that are needed, once, and then
//! without the hub.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use common::python;

const REPOSITORY: &str = "undertone/reference";

struct Hub {
    child: Child,
    port: String,
    log: BufReader<std::process::ChildStdout>,
}

impl Hub {
    fn open() -> Self {
        let mut child = Command::new(python::interpreter())
            .arg(common::root().join("tests/python/hub.py"))
            .arg(common::root().join("models/reference"))
            .arg(REPOSITORY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        log.read_line(&mut port).unwrap();
        Self { child, port: port.trim().to_string(), log }
    }

    /// Ends the hub and tells what it was asked for.
    fn close(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        let mut asked = String::new();
        self.log.read_to_string(&mut asked).unwrap();
        self.child.wait().unwrap();
        asked.lines().map(str::to_string).collect()
    }
}

#[test]
fn a_model_is_fetched_once() {
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub::open();
    let endpoint = format!("http://127.0.0.1:{}", hub.port);
    let transcribe = || {
        let mut command = common::undertone();
        command.env("HF_HOME", cache.path()).env("HF_ENDPOINT", &endpoint).env_remove("HF_HUB_CACHE");
        command.args(["transcribe", "--model", REPOSITORY]).arg(common::root().join("speech/short/000-en.flac"));
        common::stdout_of(&mut command)
    };
    assert_eq!(transcribe().trim(), "The green lion is above the red table.");
    let asked = hub.close();
    for needed in ["config.json", "tokenizer.json", "encoder_model.onnx", "decoder_model.onnx"] {
        assert!(asked.iter().any(|file| file == needed), "{needed} was not asked for: {asked:?}");
    }
    for unneeded in ["decoder_model_merged.onnx", "README.md", "merges.txt"] {
        assert!(!asked.iter().any(|file| file == unneeded), "{unneeded} was fetched: {asked:?}");
    }
    // The hub is gone now.
    assert_eq!(transcribe().trim(), "The green lion is above the red table.");
}
