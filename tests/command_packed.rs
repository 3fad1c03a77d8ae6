//! Packed models through the command: the second start gives what the first gave, whatever has happened to the files in
//! between, and a folder that cannot be used costs nothing but time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

mod common;
use common::{copy_reference, root, run, stdout_of, text, undertone};

/// The command on a recording, with `packed` as its folder; what it says of its steps goes to stderr.
fn transcribe(packed: &Path, arguments: &[&str]) -> Command {
    let mut command = undertone();
    command.args(["-v", "transcribe", "--device", "host", "-f", "json"]).args(arguments);
    command.arg("--packed").arg(packed).arg(root().join("speech/short/000-en.flac"));
    command
}

/// What is the same in every start: all but times.
fn lasting(result: &str) -> Value {
    let mut value: Value = serde_json::from_str(result).expect("JSON");
    let run = value["run"].as_object_mut().expect("a report");
    run.retain(|key, _| !key.ends_with("_ms") && key != "realtime_factor");
    value
}

/// Result, and how many graphs were packed.
fn start(packed: &Path, arguments: &[&str]) -> (Value, usize) {
    let output = run(&mut transcribe(packed, arguments));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    (lasting(&text(&output.stdout)), said.lines().filter(|line| line.contains("packing into")).count())
}

/// The files below a folder with this end of their names.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries
        .flat_map(|path| if path.is_dir() { files(&path, end) } else { vec![path] })
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    found.sort();
    found
}

#[test]
fn the_second_start_gives_what_the_first_gave() {
    let folder = tempfile::tempdir().expect("a folder");
    let packed = folder.path().join("not/yet/there");
    let (first, count) = start(&packed, &[]);
    assert_eq!((count, files(&packed, ".xdna").len()), (3, 3));
    assert!(first["run"]["kernel_calls"]["host"].as_u64().is_some_and(|calls| calls > 100), "{first}");
    assert_eq!(start(&packed, &[]), (first.clone(), 0));

    // Without packing it is the same again, and says the same of what ran where.
    let mut plain = transcribe(Path::new("off"), &[]);
    assert_eq!(lasting(&stdout_of(&mut plain)), first);
    assert!(!Path::new("off").exists());

    // Whoever asks for the partition is shown the model's graphs.
    let partition = || {
        stdout_of(undertone().arg("partition").arg(root().join("models/reference")).env("UNDERTONE_PACKED", &packed))
    };
    let shown = partition();
    assert!(shown.contains("convolution") && !shown.contains("packed"), "{shown}");

    // Another precision is packed beside it.
    let (other, count) = start(&packed, &["--precision", "f32"]);
    assert_eq!((count, other["run"]["precision"].as_str()), (3, Some("f32")));
    assert_eq!((start(&packed, &[]).1, files(&packed, ".xdna").len()), (0, 6));
}

#[test]
fn damaged_files_are_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let (expected, _) = start(folder.path(), &[]);
    let containers = files(folder.path(), ".xdna");
    let whole: Vec<Vec<u8>> = containers.iter().map(|path| fs::read(path).expect("a container")).collect();

    let damage = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes).expect("written");
        assert_eq!(start(folder.path(), &[]), (expected.clone(), 1), "{}", path.display());
        assert_eq!(start(folder.path(), &[]).1, 0);
    };
    for (index, (path, whole)) in containers.iter().zip(&whole).enumerate() {
        let at = [0, 9, whole.len() / 2][index];
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        damage(path, &bytes);
        damage(path, &whole[..whole.len() / 2]);
        damage(path, b"");
    }
    let graph = &files(folder.path(), "packed.onnx")[0];
    damage(graph, b"no graph");
    fs::remove_file(&containers[0]).expect("removed");
    assert_eq!(start(folder.path(), &[]), (expected, 1));
    assert_eq!(files(folder.path(), "").len(), 6 + 1, "nothing is left behind");
}

#[test]
fn a_model_that_has_changed_is_packed_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, packed) = (folder.path().join("model"), folder.path().join("packed"));
    copy_reference(&model);
    let model_argument = model.to_str().expect("Unicode");
    assert_eq!(start(&packed, &["--model", model_argument]).1, 3);
    // Another encoder of the same size and name: one weight's last byte.
    let encoder = model.join("encoder_model.onnx");
    let mut bytes = fs::read(&encoder).expect("the graph");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&encoder, bytes).expect("written");
    assert_eq!(start(&packed, &["--model", model_argument]).1, 1);
    assert_eq!(start(&packed, &["--model", model_argument]).1, 0);
    assert_eq!(files(&packed, ".xdna").len(), 3, "the stale one is gone");
}

#[test]
fn a_folder_that_cannot_be_used_is_done_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "no folder").expect("written");
    let (first, _) = start(&file, &[]);
    assert_eq!(fs::read(&file).expect("the file"), b"no folder");
    assert_eq!(start(folder.path(), &[]).0, first);

    // Packed models that can be read and not written are used.
    let mut permissions: Vec<(PathBuf, fs::Permissions)> = Vec::new();
    for path in files(folder.path(), ".xdna").iter().filter_map(|path| path.parent()).chain([folder.path()]) {
        let before = fs::metadata(path).expect("a folder").permissions();
        let mut after = before.clone();
        after.set_readonly(true);
        fs::set_permissions(path, after).expect("set");
        permissions.push((path.to_owned(), before));
    }
    let again = start(folder.path(), &[]);
    permissions.into_iter().for_each(|(path, before)| fs::set_permissions(path, before).expect("set"));
    assert_eq!(again, (first, 0));
}

#[test]
fn processes_at_the_same_moment_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let spawn = |_| {
        let mut command = transcribe(folder.path(), &[]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let children: Vec<_> = (0..3).map(spawn).collect();
    let results: Vec<Value> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{}", text(&output.stderr));
            lasting(&text(&output.stdout))
        })
        .collect();
    assert!(results.iter().all(|result| *result == results[0]));
    // And one that says which model they are of.
    assert_eq!(files(folder.path(), "").len(), 6 + 1);
    assert_eq!(start(folder.path(), &[]), (results[0].clone(), 0));
}

#[test]
fn a_merged_decoder_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, packed) = (folder.path().join("model"), folder.path().join("packed"));
    copy_reference(&model);
    for split in ["decoder_model.onnx", "decoder_with_past_model.onnx"] {
        fs::remove_file(model.join(split)).expect("removed");
    }
    let model = model.to_str().expect("Unicode");
    let (first, count) = start(&packed, &["--model", model]);
    assert_eq!((count, files(&packed, ".xdna").len()), (2, 1), "it is tried once");
    assert_eq!(start(&packed, &["--model", model]), (first.clone(), 0));
    assert!(first["run"]["kernel_calls"]["host"].as_u64().is_some_and(|calls| calls > 100), "{first}");
}

#[test]
fn the_user_s_cache_folder_is_the_default() {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = transcribe(Path::new("off"), &[]);
    command.env("XDG_CACHE_HOME", home.path());
    stdout_of(&mut command);
    assert!(!home.path().join("undertone").exists());
    if cfg!(target_os = "linux") {
        let mut command = undertone();
        command.args(["transcribe", "--device", "host", "-q"]).arg(root().join("speech/short/000-en.flac"));
        stdout_of(command.env_remove("UNDERTONE_PACKED").env("XDG_CACHE_HOME", home.path()));
        assert_eq!(files(&home.path().join("undertone/packed"), ".xdna").len(), 3);
    }
    let help = stdout_of(undertone().args(["transcribe", "--help"]));
    assert!(help.contains("--packed <DIR|off>") && help.contains("UNDERTONE_PACKED"), "{help}");
}
