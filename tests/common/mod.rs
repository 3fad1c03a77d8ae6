//! What the tests from outside share: where things are, running the built command, reading what it wrote. No checks of
//! its own.
#![allow(dead_code, reason = "each test binary uses its share")]

pub mod bad;
pub mod browser;
pub mod hub;
pub mod python;
pub mod weights;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The reference model's folder.
pub fn reference() -> PathBuf {
    root().join("models/reference")
}

/// Copies the reference model into the folder `to`, to be changed there.
pub fn copy_reference(to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(reference()).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The built execution provider: cargo leaves it beside the test binaries, being a dev-dependency.
pub fn ep_library() -> PathBuf {
    let name = format!("{}onnxruntime_ep_xdna{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let directory = Path::new(env!("CARGO_BIN_EXE_undertone")).parent().expect("the command stands in a directory");
    directory.join("deps").join(name)
}

/// The built command in an environment that names no library, and the reference model, so that tests take no network
/// and little time.
pub fn undertone() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
    for variable in ["ORT_DYLIB_PATH", "UNDERTONE_EP_LIBRARY"] {
        command.env_remove(variable);
    }
    command.env("UNDERTONE_MODEL", reference());
    // All tests share what they pack, and leave the user's own caches alone.
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    command.env("UNDERTONE_PACKED", home.join("packed")).env("UNDERTONE_MODELS", home.join("models"));
    // None were fetched.
    command.env("UNDERTONE_BUNDLES", home.join("bundles"));
    command
}

/// [`undertone`] in the state of a first start: no model is named, and none has been fetched into `home`. The hub is
/// nowhere.
pub fn first_start(home: &Path) -> Command {
    let mut command = undertone();
    for variable in ["UNDERTONE_MODEL", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"] {
        command.env_remove(variable);
    }
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(variable);
    }
    command.env("HF_HOME", home.join("huggingface")).env("HF_ENDPOINT", "http://127.0.0.1:9");
    command.env("UNDERTONE_MODELS", home.join("models"));
    command
}

/// Runs to the end and insists on success.
pub fn stdout_of(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?} failed:\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The JSON that a command prints.
pub fn json_of(command: &mut Command) -> serde_json::Value {
    let text = stdout_of(command);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Runs to the end.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A JSON file's content.
pub fn json(path: &Path) -> serde_json::Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
