//! Models, libraries, devices and directories that cannot work, through the built command: a one-line error that names
//! what is wrong and the way out; no panic, no abort, nothing left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

mod common;
use common::bad;

fn clip() -> PathBuf {
    common::root().join("speech/short/000-en.flac")
}

/// `transcribe` of a good clip into a directory that must stay empty.
fn error_of(home: &Path, arguments: &[&str], environment: &[(&str, &Path)]) -> String {
    let out = home.join("out");
    let mut command = common::undertone();
    command.args(["transcribe", "--output-dir"]).arg(&out).args(arguments).arg(clip());
    command.envs(environment.iter().copied());
    let line = bad::error_line(&mut command);
    assert_eq!(bad::files_in(&out), 0, "something was left behind: {line}");
    line
}

/// A copy of the reference model, to be damaged.
fn model_in(home: &Path) -> PathBuf {
    let copy = home.join("model");
    common::copy_reference(&copy);
    copy
}

#[test]
fn a_repository_that_cannot_be_fetched() {
    // Where no hub answers; what is said of one that does is the tests' of the crate `models`.
    let home = tempfile::tempdir().unwrap();
    let name = "undertone-tests/there-is-no-such-repository";
    let mut command = common::first_start(home.path());
    let line = bad::error_line(command.args(["transcribe", "--device", "cpu", "--model", name]).arg(clip()));
    assert!(line.contains(name) && line.contains("127.0.0.1:9") && line.contains("is not on this machine"), "{line}");
}

#[test]
fn a_folder_of_models_that_cannot_be_written() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    let mut places = vec![file.join("below")];
    if cfg!(target_os = "linux") {
        places.push("/proc/undertone".into());
    }
    for place in places {
        // Before anything is asked of a network: no word of it.
        let mut command = common::first_start(home.path());
        let command = command.env("UNDERTONE_MODELS", &place).args(["transcribe", "--model", "base"]);
        let line = bad::error_line(command.arg(clip()));
        assert!(line.contains(place.to_str().unwrap()) && line.contains("UNDERTONE_MODELS"), "{line}");
        assert!(!line.contains("make room") && !line.contains("127.0.0.1"), "{line}");
    }
}

/// What is done to a copy of the reference model, and what the error says of it.
type Damage = (fn(&Path), &'static [&'static str]);

fn without(model: &Path, names: &[&str]) {
    names.iter().for_each(|name| fs::remove_file(model.join(name)).unwrap());
}

const DAMAGES: [Damage; 5] = [
    (|model| without(model, &["encoder_model.onnx"]), &["encoder_model"]),
    // Of the files of words one is enough.
    (|model| without(model, &["tokenizer.json", "vocab.json", "merges.txt"]), &["tokenizer.json"]),
    (
        |model| {
            without(model, &["decoder_model.onnx", "decoder_with_past_model.onnx", "decoder_model_merged.onnx"]);
        },
        &["decoder_model"],
    ),
    (
        |model| {
            let mut config = common::json(&model.join("config.json"));
            config["decoder_layers"] = (config["decoder_layers"].as_u64().unwrap() + 1).into();
            fs::write(model.join("config.json"), config.to_string()).unwrap();
        },
        &["decoder", "layers"],
    ),
    (|model| fs::write(model.join("config.json"), "{").unwrap(), &["config.json"]),
];

#[test]
fn a_model_that_lacks_a_file_or_holds_a_wrong_one() {
    for (damage, words) in DAMAGES {
        let home = tempfile::tempdir().unwrap();
        let model = model_in(home.path());
        damage(&model);
        let line = error_of(home.path(), &["--device", "cpu", "--model", model.to_str().unwrap()], &[]);
        assert!(words.iter().chain([&model.to_str().unwrap()]).all(|word| line.contains(word)), "{words:?}: {line}");
    }
}

#[test]
fn a_graph_that_is_cut_short() {
    for device in ["cpu", "host"] {
        for graph in ["encoder_model.onnx", "decoder_with_past_model.onnx"] {
            let home = tempfile::tempdir().unwrap();
            let model = model_in(home.path());
            let whole = fs::read(model.join(graph)).unwrap();
            fs::write(model.join(graph), &whole[..whole.len() / 3]).unwrap();
            let line = error_of(home.path(), &["--device", device, "--model", model.to_str().unwrap()], &[]);
            assert!(line.contains(graph), "{device} {graph}: {line}");
        }
    }
}

#[test]
fn an_onnx_runtime_that_is_too_old() {
    let old = old_onnx_runtime("1.20.1");
    for device in ["cpu", "host"] {
        let home = tempfile::tempdir().unwrap();
        let line = error_of(home.path(), &["--device", device], &[("ORT_DYLIB_PATH", &old)]);
        assert!(line.contains("1.20.1") && line.contains("ORT_DYLIB_PATH"), "{line}");
    }
}

#[test]
fn names_that_lead_nowhere() {
    let home = tempfile::tempdir().unwrap();
    for [option, name] in [["--model", "no/such/model"], ["--variant", "q4"], ["--language", "klingon"]] {
        let line = error_of(home.path(), &["--device", "cpu", option, name], &[]);
        assert!(line.contains(name), "{line}");
    }
}

#[test]
fn libraries_that_are_none() {
    let home = tempfile::tempdir().unwrap();
    let text = home.path().join("libtext.so");
    fs::write(&text, "not a library").unwrap();
    let missing = Path::new("no/such/library.so");
    for (device, variable, library) in [
        ("cpu", "ORT_DYLIB_PATH", &*text),
        ("cpu", "ORT_DYLIB_PATH", missing),
        ("host", "UNDERTONE_EP_LIBRARY", &text),
        ("host", "UNDERTONE_EP_LIBRARY", missing),
        // Also with `auto`: who names one does not want to go on without it.
        ("auto", "UNDERTONE_EP_LIBRARY", missing),
    ] {
        let line = error_of(home.path(), &["--device", device], &[(variable, library)]);
        let names_the_variable = line.contains(variable) || library == text;
        assert!(line.contains(library.to_str().unwrap()) && names_the_variable, "{device}: {line}");
    }
}

#[test]
fn a_model_that_the_environment_names_is_said_to_be_from_there() {
    let home = tempfile::tempdir().unwrap();
    let wrong = ("UNDERTONE_MODEL", Path::new("no/such/model"));
    let line = error_of(home.path(), &["--device", "cpu"], &[wrong]);
    assert!(line.contains("no/such/model") && line.ends_with("(from UNDERTONE_MODEL)"), "{line}");
    let line = error_of(home.path(), &["--device", "cpu", "--model", "no/other/model"], &[wrong]);
    assert!(line.contains("no/other/model") && !line.contains("UNDERTONE_MODEL"), "{line}");
}

#[test]
fn variables_that_are_set_to_nothing_are_not_set() {
    let nothing = Path::new("");
    let mut command = common::undertone();
    for variable in ["UNDERTONE_EP_LIBRARY", "ORT_DYLIB_PATH"] {
        command.env(variable, nothing);
    }
    let home = tempfile::tempdir().unwrap();
    // The default folder for packed models is in the user's cache.
    command.env("UNDERTONE_PACKED", nothing).env("XDG_CACHE_HOME", home.path()).env("HOME", home.path());
    common::stdout_of(command.args(["transcribe", "--device", "host"]).arg(clip()));
}

#[test]
fn auto_goes_on_without_an_execution_provider_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let text = home.path().join("libep.so");
    fs::write(&text, "not a library").unwrap();
    let out = home.path().join("out");
    let mut command = common::undertone();
    command.args(["transcribe", "--device", "auto", "-f", "json", "-o"]).arg(&out).arg(clip());
    let output = common::run(command.env("UNDERTONE_EP_LIBRARY", &text));
    let said = common::text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.lines().any(|line| line.starts_with("warning:") && line.contains("libep.so")), "{said}");
    let run = &common::json(&out.join("000-en.json"))["run"];
    assert_eq!(run["device"], "cpu");
    assert_eq!(run["fused_nodes_executed"], 0);
    assert!(run["fallback"].as_str().is_some_and(|reason| reason.contains("libep.so")), "{run}");
}

#[test]
#[cfg(target_os = "linux")]
fn an_npu_that_is_not_there() {
    if Path::new("/dev/accel/accel0").exists() {
        // This machine's answer is another test's business.
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let line = error_of(home.path(), &["--device", "npu"], &[]);
    assert!(line.contains("no NPU can be used: no AMD NPU on the PCI bus"), "{line}");
    assert!(!line.contains("no usable") && !line.contains("may be locked") && line.len() < 600, "{line}");
}

#[test]
fn words_that_are_no_choice() {
    for arguments in [["--device", "gpu"], ["--precision", "int4"], ["--threads", "0"], ["--task", "sing"]] {
        let output = common::run(common::undertone().arg("transcribe").args(arguments).arg(clip()));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(common::text(&output.stderr).contains(arguments[1]), "{arguments:?}");
    }
}

#[test]
fn an_output_directory_that_cannot_be_written() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "kept").unwrap();
    let mut places = vec![file.clone(), file.join("below")];
    // Not even the superuser can make files there.
    if cfg!(target_os = "linux") {
        places.push("/proc".into());
        places.push("/proc/undertone".into());
    }
    for place in places {
        let mut command = common::undertone();
        command.args(["transcribe", "--device", "cpu", "--output-dir"]).arg(&place).arg(clip());
        let line = bad::error_line(&mut command);
        assert!(line.contains(place.to_str().unwrap()) && line.contains("--output-dir"), "{line}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}

#[test]
fn two_inputs_of_one_name() {
    let home = tempfile::tempdir().unwrap();
    let twin = home.path().join("000-en.wav");
    fs::write(&twin, "").unwrap();
    let line = error_of(home.path(), &["--device", "cpu", twin.to_str().unwrap()], &[]);
    assert!(line.contains("000-en.wav") && line.contains("000-en.flac"), "{line}");
}

/// The library of an old wheel, fetched once.
fn old_onnx_runtime(version: &str) -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("onnxruntime-{version}"));
    let library = |home: &Path| {
        let entries = fs::read_dir(home.join("onnxruntime/capi")).ok()?;
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let is_it = |path: &PathBuf| {
            let name = name(path);
            name.starts_with("libonnxruntime.") || name == "onnxruntime.dll"
        };
        entries.map(|entry| entry.unwrap().path()).find(is_it)
    };
    if library(&home).is_none() {
        let python = if Command::new("python3").arg("--version").output().is_ok() { "python3" } else { "python" };
        let partial = home.with_extension(format!("partial-{}", std::process::id()));
        common::stdout_of(
            Command::new(python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
                // The library is the same in the wheel of every Python, and new ones have no such old wheel.
                .args(["--only-binary=:all:", "--python-version", "3.12", "--target"])
                .arg(&partial)
                .arg(format!("onnxruntime=={version}")),
        );
        if fs::rename(&partial, &home).is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
    }
    library(&home).unwrap_or_else(|| panic!("no library in the wheel of onnxruntime {version}"))
}
