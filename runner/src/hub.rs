//! Models from Hugging Face: the files that the runner needs, fetched into Hugging Face's usual cache.
//! What is in the cache is used without asking the network. Says nothing about what the files mean; `model` does.

use crate::engine::one_line;
use crate::model::{DecoderFiles, FOLDERS, Model, ModelError, VARIANTS, suffix};
use hf_hub::Cache;
use hf_hub::api::sync::{ApiBuilder, ApiError};
use std::path::PathBuf;

/// Files beside the graphs that the runner reads, and whether a model can be without them.
const SMALL_FILES: [(&str, bool); 7] = [
    ("config.json", false),
    ("tokenizer.json", false),
    ("generation_config.json", true),
    ("preprocessor_config.json", true),
    ("added_tokens.json", true),
    ("special_tokens_map.json", true),
    ("tokenizer_config.json", true),
];

/// Whether `source` is written as a repository's name: `owner/name`, of the characters that such names have.
pub(crate) fn is_repository_name(source: &str) -> bool {
    let part = |s: &str| {
        !s.is_empty() && !s.starts_with('.') && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    source.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

/// Makes sure that the needed files of `repository` are in the cache, and returns the directory that holds them.
pub(crate) fn provide(repository: &str, variant: Option<&str>) -> Result<PathBuf, ModelError> {
    provide_from(Cache::from_env(), std::env::var("HF_ENDPOINT").ok(), repository, variant)
}

/// [`provide`] with the cache's place and the hub's address (`None`: the usual one).
fn provide_from(
    cache: Cache,
    endpoint: Option<String>,
    repository: &str,
    variant: Option<&str>,
) -> Result<PathBuf, ModelError> {
    let cached = cache.model(repository.to_owned()).get("config.json").and_then(|p| Some(p.parent()?.to_owned()));
    let lacking = match &cached {
        Some(directory) => match Model::from_directory(directory, variant) {
            // One without a cache may be one that was not fetched whole.
            Ok(model) if matches!(model.decoder(), DecoderFiles::Alone(_)) => {
                "decoder_with_past_model.onnx (or decoder_model_merged.onnx in its place)".to_owned()
            }
            Ok(_) => return Ok(directory.clone()),
            Err(error) => match error {
                ModelError::Missing { missing, .. } => missing,
                ModelError::NoVariant { variant, .. } => format!("the variant '{variant}'"),
                other => return Err(other),
            },
        },
        None => format!(
            "config.json, tokenizer.json, encoder_model{0}.onnx and decoder_model{0}.onnx with decoder_with_past_model{0}.onnx (or decoder_model_merged{0}.onnx)",
            variant.map(suffix).unwrap_or_default()
        ),
    };
    fetch(repository, variant, cache, endpoint).map_err(|reason| ModelError::Hub {
        repository: repository.to_owned(),
        missing: lacking,
        reason: one_line(&reason),
    })
}

fn fetch(repository: &str, variant: Option<&str>, cache: Cache, endpoint: Option<String>) -> Result<PathBuf, String> {
    let words = |e: ApiError| e.to_string();
    let builder = ApiBuilder::from_cache(cache).with_progress(false);
    let builder = match endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint),
        None => builder,
    };
    let api = builder.build().map_err(words)?.model(repository.to_owned());
    let listing: Vec<String> = api.info().map_err(words)?.siblings.into_iter().map(|s| s.rfilename).collect();
    let graphs = choose(&listing, variant)
        .ok_or_else(|| format!("it holds no ONNX export of Whisper ({} files)", listing.len()))?;
    let mut directory = None;
    for (name, optional) in SMALL_FILES {
        if optional && !listing.iter().any(|f| f == name) {
            continue;
        }
        let path = api.get(name).map_err(|e| format!("{name}: {e}"))?;
        directory = directory.or_else(|| path.parent().map(ToOwned::to_owned));
    }
    for name in &graphs {
        tracing::info!("fetching {name} of {repository}");
        api.get(name).map_err(|e| format!("{name}: {e}"))?;
    }
    directory.ok_or_else(|| "the cache holds no directory for it".to_owned())
}

/// The graphs to fetch, with their files of external weights, in the order of preference that `model` has.
fn choose(listing: &[String], variant: Option<&str>) -> Option<Vec<String>> {
    let wanted = variant.map(suffix);
    let has = |name: &String| listing.contains(name);
    for v in VARIANTS.iter().map(|v| (*v).to_owned()).filter(|v| wanted.as_ref().is_none_or(|w| w == v)) {
        for folder in FOLDERS {
            let at = |name: &str| {
                if folder.is_empty() { format!("{name}{v}.onnx") } else { format!("{folder}/{name}{v}.onnx") }
            };
            let split = vec![at("encoder_model"), at("decoder_model"), at("decoder_with_past_model")];
            let merged = vec![at("encoder_model"), at("decoder_model_merged")];
            for graphs in [split, merged] {
                if graphs.iter().all(has) {
                    let weights = listing.iter().filter(|f| graphs.iter().any(|g| f.starts_with(&format!("{g}_data"))));
                    return Some(graphs.iter().chain(weights).cloned().collect());
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache that holds `files` of `owner/name` (its config is the reference model's), and an address where nobody is.
    fn offline(files: &[&str]) -> (tempfile::TempDir, impl Fn(Option<&str>) -> Result<PathBuf, ModelError>) {
        let directory = tempfile::tempdir().unwrap();
        let repository = directory.path().join("models--owner--name");
        let snapshot = repository.join("snapshots/abc");
        std::fs::create_dir_all(repository.join("refs")).unwrap();
        std::fs::write(repository.join("refs/main"), "abc").unwrap();
        for file in files {
            let path = snapshot.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        if files.contains(&"config.json") {
            let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/reference/config.json");
            std::fs::copy(config, snapshot.join("config.json")).unwrap();
        }
        let path = directory.path().to_owned();
        let nobody = "http://127.0.0.1:9".to_owned();
        (directory, move |variant| provide_from(Cache::new(path.clone()), Some(nobody.clone()), "owner/name", variant))
    }

    #[test]
    fn what_is_in_the_cache_needs_no_network() {
        let (directory, provide) =
            offline(&["config.json", "tokenizer.json", "onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx"]);
        let expected = directory.path().join("models--owner--name/snapshots/abc");
        assert_eq!(provide(None).unwrap(), expected);
        let error = provide(Some("fp16")).unwrap_err().to_string();
        assert!(error.contains("cannot fetch the variant 'fp16'") && error.contains("'owner/name'"), "{error}");
    }

    #[test]
    fn offline_the_missing_files_are_named() {
        let (_directory, provide) = offline(&[]);
        let error = provide(None).unwrap_err();
        assert!(matches!(error, ModelError::Hub { .. }));
        let error = error.to_string();
        assert!(error.contains("tokenizer.json, encoder_model.onnx") && error.lines().count() == 1, "{error}");
        let (_directory, provide) =
            offline(&["config.json", "tokenizer.json", "encoder_model.onnx", "decoder_model.onnx"]);
        let error = provide(None).unwrap_err().to_string();
        assert!(error.contains("cannot fetch decoder_with_past_model.onnx"), "{error}");
    }

    #[test]
    fn names_of_repositories() {
        for name in ["openai/whisper-tiny", "onnx-community/whisper-large-v3-turbo", "a/b.c_d"] {
            assert!(is_repository_name(name), "{name}");
        }
        for name in ["whisper", "/abs/path", "./here", "../up", "a/b/c", "", "/", "a/", "a b/c", "a/../b"] {
            assert!(!is_repository_name(name), "{name}");
        }
    }

    #[test]
    fn chooses_split_before_merged_and_takes_external_weights() {
        let list = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let all = list(&[
            "config.json",
            "onnx/decoder_model.onnx",
            "onnx/decoder_model_merged.onnx",
            "onnx/decoder_with_past_model.onnx",
            "onnx/encoder_model.onnx",
            "onnx/encoder_model.onnx_data",
            "onnx/encoder_model_fp16.onnx",
            "onnx/decoder_model_merged_fp16.onnx",
        ]);
        let split =
            ["encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx", "encoder_model.onnx_data"]
                .map(|n| format!("onnx/{n}"));
        assert_eq!(choose(&all, None).unwrap(), split);
        let fp16 = ["onnx/encoder_model_fp16.onnx", "onnx/decoder_model_merged_fp16.onnx"];
        assert_eq!(choose(&all, Some("fp16")).unwrap(), fp16);
        assert_eq!(choose(&all, Some("q4")), None);
        assert_eq!(choose(&list(&["pytorch_model.bin"]), None), None);
    }
}
