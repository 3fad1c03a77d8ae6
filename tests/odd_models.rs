//! Models as people have them, through the command: other exporters' graphs, weights beside the graphs, odd small
//! files. Each is made of the reference model (`python/make_layouts.py`), and must write what that does.

mod common;

use common::{copy_reference, python, reference, root, run, stdout_of, text, undertone};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Two short recordings.
const RECORDINGS: [&str; 2] = ["speech/short/000-en.flac", "speech/short/001-en.flac"];

fn transcribe(model: &Path, device: &[&str]) -> Command {
    let mut command = undertone();
    command.current_dir(root()).args(["transcribe", "--quiet", "-f", "json", "--model"]).arg(model).args(device);
    command.args(["--language", "English"]).args(RECORDINGS);
    command
}

/// The tokens of the segments of each recording.
fn tokens(command: &mut Command) -> Vec<Value> {
    let printed = stdout_of(command);
    let results: Vec<Value> =
        serde_json::Deserializer::from_str(&printed).into_iter::<Value>().map(Result::unwrap).collect();
    assert_eq!(results.len(), RECORDINGS.len(), "{printed}");
    let of = |segment: &Value| segment["tokens"].clone();
    results.iter().map(|result| result["segments"].as_array().unwrap().iter().map(of).collect()).collect()
}

/// A word with its start, end and probability.
type Word = (String, [f64; 3]);

/// The words of all recordings, by the likeliest token each time: [`tokens`] are of the command's own search.
fn words(command: &mut Command) -> Vec<Word> {
    let printed = stdout_of(command.args(["--word-timestamps", "--beam-size=1"]));
    let results = serde_json::Deserializer::from_str(&printed).into_iter::<Value>().map(Result::unwrap);
    let list = |value: &Value, key: &str| value[key].as_array().unwrap().clone();
    let segments = results.flat_map(|result| list(&result, "segments"));
    let words = segments.flat_map(|segment| list(&segment, "words"));
    let number = |word: &Value, key: &str| word[key].as_f64().unwrap();
    let word = |word: Value| {
        let text = word["word"].as_str().unwrap().to_owned();
        (text, ["start", "end", "probability"].map(|key| number(&word, key)))
    };
    words.map(word).collect()
}

/// Times are multiples of 0.02 s, and a place in the way through the weights may be decided by the last bit.
fn assert_same_words(found: &[Word], expected: &[Word], what: &str) {
    let texts = |words: &[Word]| words.iter().map(|(text, _)| text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(found), texts(expected), "{what}");
    for ((text, a), (_, b)) in found.iter().zip(expected) {
        let apart = |at: usize| (a[at] - b[at]).abs();
        assert!(apart(0) < 0.0201 && apart(1) < 0.0201 && apart(2) < 1e-3, "{what}: {text}: {a:?} for {b:?}");
    }
}

const CPU: [&str; 2] = ["--device", "cpu"];
const HOST: [&str; 4] = ["--device", "host", "--precision", "f32"];

#[test]
fn other_exporters_layouts_write_the_same() {
    let packages = python::packages(&["onnx==1.23.2", "numpy"]);
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("layouts-{}", std::process::id()));
    let _ = fs::remove_dir_all(&scratch);
    stdout_of(python::script("make_layouts.py", &packages).arg(reference()).arg(&scratch));
    let expected = tokens(&mut transcribe(&reference(), &CPU));
    assert!(
        expected.iter().all(|segments| segments[0].as_array().is_some_and(|tokens| tokens.len() > 5)),
        "{expected:?}"
    );
    let expected_words = words(&mut transcribe(&reference(), &CPU));
    assert!(expected_words.len() > 10, "{expected_words:?}");
    let layouts =
        ["static", "whole", "fixed", "external", "external-many", "padded", "branches", "positions", "equations"];
    for layout in layouts {
        for device in [&CPU[..], &HOST[..]] {
            println!("{layout} {device:?}");
            assert_eq!(tokens(&mut transcribe(&scratch.join(layout), device)), expected, "{layout} {device:?}");
            let mut timed = transcribe(&scratch.join(layout), device);
            let refused = match layout {
                "whole" => "it gives the logits of the last token only",
                "fixed" => "its kind of export does not give the scores of its cross-attention",
                _ => {
                    assert_same_words(&words(&mut timed), &expected_words, &format!("{layout} {device:?}"));
                    continue;
                }
            };
            let output = run(timed.arg("--word-timestamps"));
            let (said, printed) = (text(&output.stderr), text(&output.stdout));
            let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
            assert!(errors.len() == 1 && printed.is_empty() && !output.status.success(), "{layout}: {said}");
            assert!(errors[0].starts_with("error: --word-timestamps cannot be had of this model: "), "{said}");
            assert!(errors[0].contains(refused) && errors[0].contains("take optimum's"), "{said}");
        }
    }
    let refused = text(&run(&mut transcribe(&scratch.join("shared-buffer"), &CPU)).stderr);
    assert!(refused.contains("decoder.onnx'") && refused.contains("with an input 'cache_indirection'"), "{refused}");
    let output = run(&mut transcribe(&scratch.join("static"), &CPU));
    let said = text(&output.stderr);
    assert!(said.contains("no key-value cache") && said.contains("all 448 positions"), "{said}");
    let computed_elsewhere = |layout: &str| {
        let said = text(&run(&mut transcribe(&scratch.join(layout), &HOST)).stderr);
        said.contains("warning: ONNX Runtime's CPU provider computes a part")
            && said.contains("% of 'encoder_model.onnx'")
    };
    assert!(computed_elsewhere("equations") && !computed_elsewhere("padded"));
    // Twice: the second start maps what the first has packed.
    assert!(computed_elsewhere("equations"));
    let _ = fs::remove_dir_all(&scratch);
}

/// The reference model with files left out and others added.
fn copy(without: &[&str], add: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    copy_reference(directory.path());
    without.iter().for_each(|name| fs::remove_file(directory.path().join(name)).unwrap());
    for (name, bytes) in add {
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

/// A name for it, files that are left out, and files that are added.
type Kind = (&'static str, &'static [&'static str], Vec<(&'static str, Vec<u8>)>);

#[test]
fn odd_small_files_write_the_same() {
    let reference = reference();
    let expected = tokens(&mut transcribe(&reference, &CPU));
    let tokenizer = fs::read_to_string(reference.join("tokenizer.json")).unwrap();
    let mut merges_lost: Value = serde_json::from_str(&tokenizer).unwrap();
    merges_lost["model"]["merges"].as_array_mut().unwrap().remove(0);
    let generation = fs::read_to_string(reference.join("generation_config.json")).unwrap();
    let marked = format!("\u{FEFF}{}", generation.replacen('{', "{\"temperature\": NaN,", 1));
    let kinds: [Kind; 5] = [
        ("first merge lost", &["tokenizer.json"], vec![("tokenizer.json", merges_lost.to_string().into())]),
        ("no tokenizer.json", &["tokenizer.json"], vec![]),
        ("a mark and a NaN", &["generation_config.json"], vec![("generation_config.json", marked.into())]),
        ("no generation config", &["generation_config.json", "preprocessor_config.json"], vec![]),
        ("no config", &["config.json"], vec![]),
    ];
    for (kind, without, add) in kinds {
        println!("{kind}");
        let directory = copy(without, &add);
        assert_eq!(tokens(&mut transcribe(directory.path(), &CPU)), expected, "{kind}");
    }
    let alone = copy(&["decoder_with_past_model.onnx", "decoder_model_merged.onnx"], &[]);
    let mut command = transcribe(alone.path(), &CPU);
    assert_eq!(tokens(&mut command), expected, "without a cache");
    let said = text(&run(&mut command).stderr);
    assert!(said.contains("decoder_model.onnx' has no key-value cache"), "{said}");
}

#[test]
fn languages_as_people_name_them() {
    let ask = |word: &str| {
        let mut command = undertone();
        command.current_dir(root()).args(["transcribe", "--quiet", "--device", "cpu", "-f", "json", "-l", word]);
        run(command.arg(RECORDINGS[0]))
    };
    for word in ["English", "en-US", "auto"] {
        let output = ask(word);
        let result: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
        assert_eq!(result["language"], "en", "{word}");
    }
    let output = ask("Englsh");
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("'Englsh' (near: english"), "{said}");
}
