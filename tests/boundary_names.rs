//! Names of the execution provider's that are spelled outside Rust, in documents and in Python: each is one of
//! `undertone-boundary`'s.

use std::path::PathBuf;

use undertone_boundary::options::{Claim, Commands, DeviceChoice, Key, Precision, Target};
use undertone_boundary::{EP_NAME, attention_scores, exports, kv_cache};

mod common;

/// The documents, the wheel's Python and the tests' Python, with their texts.
fn texts() -> Vec<(PathBuf, String)> {
    let mut files = vec![common::root().join("README.md")];
    for folder in ["docs", "ep/python", "ep/python/onnxruntime_ep_xdna", "ep/preload", "ep/node", "tests/python"] {
        files.extend(common::root().join(folder).read_dir().unwrap().map(|entry| entry.unwrap().path()));
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md" || extension == "py"));
    assert!(files.len() > 10, "the files have moved: {files:?}");
    files.into_iter().map(|file| (file.clone(), std::fs::read_to_string(file).unwrap())).collect()
}

/// The words that begin with `prefix`, of letters, digits, `_` and what is in `also`.
fn words(text: &str, prefix: &str, also: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || also.contains(c);
    let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with(prefix) && *word != prefix);
    words.map(str::to_owned).collect()
}

#[test]
fn every_function_that_is_spelled_is_exported() {
    let symbols = [
        exports::COUNTER.symbol,
        exports::DESCRIBE.symbol,
        exports::PROFILE.symbol,
        exports::NPU.symbol,
        exports::BUNDLES.symbol,
        kv_cache::NEW.symbol,
        kv_cache::FREE.symbol,
        kv_cache::SELECT.symbol,
        kv_cache::BYTES.symbol,
        kv_cache::ASK.symbol,
        kv_cache::CHOICE.symbol,
        attention_scores::ATTEND.symbol,
        attention_scores::SCORES.symbol,
    ];
    let mut spelled = Vec::new();
    for (file, text) in texts() {
        for word in words(&text, "onnxruntime_ep_xdna_", "") {
            assert!(symbols.contains(&word.as_str()), "{} has {word}", file.display());
            spelled.push(word);
        }
    }
    // The document of the cache declares all of its functions.
    assert!(symbols.iter().all(|symbol| !symbol.contains("kv_cache") || spelled.iter().any(|word| word == symbol)));
}

#[test]
fn the_provider_and_the_run_s_key_are_spelled_as_they_are() {
    let mut spelled = [0; 2];
    for (file, text) in texts() {
        for (count, (prefix, also, name)) in
            spelled.iter_mut().zip([("Xdna", "", EP_NAME), ("ep.xdna", ".", kv_cache::RUN_KEY)])
        {
            for word in words(&text, prefix, also) {
                assert_eq!(word, name, "{}", file.display());
                *count += 1;
            }
        }
    }
    assert!(spelled[0] > 3 && spelled[1] > 1, "{spelled:?}");
}

#[test]
fn the_c_struct_in_the_document_has_the_fields() {
    let document = std::fs::read_to_string(common::root().join("docs/kv-cache.md")).unwrap();
    let declared = document.split_once("struct best_token {").unwrap().1.split_once('}').unwrap().0;
    let debug = format!("{:?}", kv_cache::BestToken { token: 1, logit: 0.5, sum: 2.0 });
    let of_c: Vec<&str> = declared.split(';').filter_map(|field| field.split_whitespace().nth(1)).take(3).collect();
    assert_eq!(format!("BestToken {{ {}: 1, {}: 0.5, {}: 2.0 }}", of_c[0], of_c[1], of_c[2]), debug);
}

#[test]
fn the_readme_lists_the_options_and_their_words() {
    let readme = std::fs::read_to_string(common::root().join("README.md")).unwrap();
    let row = |key: Key| {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        row.unwrap_or_else(|| panic!("the README does not list the option {key}"))
    };
    for key in Key::ALL {
        let words: &[&str] = match key {
            Key::Device => &DeviceChoice::ALL.map(DeviceChoice::word),
            Key::Target => &Target::ALL.map(Target::word),
            Key::Precision => &Precision::ALL.map(Precision::word),
            Key::Claim => &Claim::ALL.map(Claim::word),
            _ => &[],
        };
        let row = row(key);
        assert!(words.iter().all(|word| row.contains(&format!("`{word}`"))), "{row}");
    }
}

#[test]
fn the_types_for_node_list_the_options_and_their_words() {
    let types = std::fs::read_to_string(common::root().join("ep/node/index.d.ts")).unwrap();
    let (_, options) = types.split_once("interface EpOptions {").unwrap();
    let (options, _) = options.split_once('}').unwrap();
    let lines: Vec<&str> = options.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), Key::ALL.len(), "{lines:?}");
    for key in Key::ALL {
        let words = |words: &[&str]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" | ");
        let kind = match key {
            Key::Device => words(&DeviceChoice::ALL.map(DeviceChoice::word)),
            Key::Target => words(&Target::ALL.map(Target::word)),
            Key::Precision => words(&Precision::ALL.map(Precision::word)),
            Key::Claim => words(&Claim::ALL.map(Claim::word)),
            Key::NpuCommands => words(&Commands::ALL.map(Commands::word)),
            _ => String::new(),
        };
        let start = format!("{key}?: {kind}");
        assert!(lines.iter().any(|line| line.starts_with(&start)), "{start} is not in {lines:?}");
    }
}
