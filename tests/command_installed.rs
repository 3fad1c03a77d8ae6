//! The command in the layout of an installation, far from the source and with an empty environment: it finds its
//! libraries and its model by itself.

use std::fs;
use std::path::Path;
use std::process::Command;

mod common;

#[test]
fn an_installed_tree_needs_no_help() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().canonicalize().unwrap();
    for directory in ["bin", "lib", "share/undertone/models/reference", "elsewhere"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let name = |path: &Path| path.file_name().unwrap().to_owned();
    let built = Path::new(env!("CARGO_BIN_EXE_undertone"));
    let command = root.join("bin").join(name(built));
    fs::copy(built, &command).unwrap();
    let ort = Path::new(env!("UNDERTONE_ORT_DYLIB"));
    fs::copy(ort, root.join("lib").join(name(ort))).unwrap();
    let ep = common::ep_library();
    fs::copy(&ep, root.join("lib").join(name(&ep))).unwrap();
    common::copy_reference(&root.join("share/undertone/models/reference"));
    let speech = root.join("elsewhere/speech.flac");
    fs::copy(common::root().join("speech/short/000-en.flac"), &speech).unwrap();

    let installed = || {
        let mut call = Command::new(&command);
        call.env_clear().current_dir(root.join("elsewhere"));
        // Without a network the reference model is the last resort.
        call.env("HF_HUB_OFFLINE", "1").env("HF_HOME", root.join("cache")).env("UNDERTONE_MODELS", root.join("models"));
        call
    };
    let devices = common::json_of(installed().args(["devices", "--json"]));
    for library in ["onnxruntime", "execution_provider"] {
        let path = Path::new(devices[library]["path"].as_str().unwrap());
        assert!(path.starts_with(root.join("lib")), "{library} is taken from {}", path.display());
    }
    let text = common::stdout_of(installed().args(["transcribe", "--device", "host", "speech.flac"]));
    assert_eq!(text.trim(), "The green lion is above the red table.");

    // Without its provider the tree still works on the CPU provider, and a device that needs it is an error.
    fs::remove_file(root.join("lib").join(name(&ep))).unwrap();
    let text = common::stdout_of(installed().args(["transcribe", "--device", "cpu", "speech.flac"]));
    assert_eq!(text.trim(), "The green lion is above the red table.");
    let model = root.join("share/undertone/models/reference");
    let mut call = installed();
    let line = common::bad::error_line(call.env("UNDERTONE_MODEL", model).args([
        "transcribe",
        "--device",
        "host",
        "speech.flac",
    ]));
    assert!(line.contains("onnxruntime_ep_xdna") && line.contains("--device cpu"), "{line}");
}
