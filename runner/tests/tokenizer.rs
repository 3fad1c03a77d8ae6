//! The tokenizer of the reference model against openai/whisper's transcripts, of damaged and mixed-up copies, and of an
//! English-only model.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;
use undertone_runner::tokenizer::{Tokenizer, TokenizerError};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn model() -> PathBuf {
    root().join("models/reference")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn tokens_of_every_expected_segment_become_its_text() {
    let start = Instant::now();
    let tokenizer = Tokenizer::load(&model()).unwrap();
    println!("load {:?}", start.elapsed());
    let mut segments = 0;
    for file in std::fs::read_dir(root().join("tests/vectors/transcripts")).unwrap() {
        let transcripts = json(&file.unwrap().path());
        for result in transcripts["results"].as_array().into_iter().flatten() {
            for segment in result["segments"].as_array().into_iter().flatten() {
                let tokens: Vec<u32> =
                    segment["tokens"].as_array().unwrap().iter().map(|token| token.as_u64().unwrap() as u32).collect();
                let text = segment["text"].as_str().unwrap();
                assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
                segments += 1;
            }
        }
    }
    assert!(segments > 100, "{segments}");
}
