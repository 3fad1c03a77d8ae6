//! What lies beside the weights in a Hugging Face folder, whatever container they are in: the configuration, and the
//! index of shards.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    ConvertError, Details, Tensor,
    checkpoint::{Heads, PROJECTION, companion},
    names,
};

#[derive(Deserialize, Default)]
struct Config {
    model_type: Option<String>,
    encoder_attention_heads: Option<usize>,
    decoder_attention_heads: Option<usize>,
    activation_function: Option<String>,
    scale_embedding: Option<bool>,
    tie_word_embeddings: Option<bool>,
    quantization_config: Option<Value>,
}

/// A folder's configuration, as far as reading needs it.
#[derive(Default)]
pub(super) struct Folder {
    pub(super) details: Details,
    pub(super) heads: Heads,
    tied: bool,
}

impl Folder {
    /// Reads the folder that `weights` lies in. A file of weights may lie there alone.
    pub(super) fn of(weights: &Path) -> Result<Self, ConvertError> {
        let directory = weights.parent().unwrap_or(Path::new(""));
        let details = Details::beside(directory, &["config.json", "generation_config.json"])?;
        let path = directory.join("config.json");
        let config: Config = match details.files.get("config.json") {
            Some(bytes) => serde_json::from_slice(bytes).map_err(|e| ConvertError::damaged(&path, e.to_string()))?,
            None => Config::default(),
        };
        if let Some(other) = config.model_type.filter(|kind| kind != "whisper") {
            return Err(ConvertError::not_whisper(&path, format!("its model_type is '{other}'")));
        }
        if let Some(other) = config.activation_function.filter(|function| function != "gelu") {
            return Err(ConvertError::unsupported(&path, format!("its activation_function is '{other}', not gelu")));
        }
        if config.scale_embedding == Some(true) {
            return Err(ConvertError::unsupported(&path, "its scale_embedding is true, which no Whisper's is"));
        }
        if config.quantization_config.is_some_and(|value| !value.is_null()) {
            return Err(ConvertError::unsupported(&path, "its weights are quantised (quantization_config)"));
        }
        Ok(Self {
            details,
            heads: Heads { encoder: config.encoder_attention_heads, decoder: config.decoder_attention_heads },
            // transformers overwrites the projection with the embedding unless it is told not to.
            tied: config.tie_word_embeddings != Some(false),
        })
    }

    /// Names the tensors as Hugging Face does, and leaves out what is no Whisper's and what transformers would not use.
    pub(super) fn named(&self, tensors: Vec<(String, Tensor)>) -> BTreeMap<String, Tensor> {
        let named = tensors.into_iter().filter_map(|(name, tensor)| Some((names::canonical(&name)?, tensor)));
        named.filter(|(name, _)| !(self.tied && name == PROJECTION)).collect()
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that hold the weights: `path` itself, or those that it lists.
pub(super) fn shards(path: &Path) -> Result<Vec<PathBuf>, ConvertError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !name.ends_with(".index.json") {
        return Ok(vec![path.to_owned()]);
    }
    let directory = path.parent().unwrap_or(Path::new(""));
    let bytes = companion(directory, &name)?.unwrap_or_default();
    let index: Index = serde_json::from_slice(&bytes).map_err(|e| ConvertError::damaged(path, e.to_string()))?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    let in_folder = |file: String| match Path::new(&file).file_name() {
        Some(only) if only == file.as_str() && directory.join(&file).is_file() => Ok(directory.join(file)),
        Some(only) if only == file.as_str() => {
            Err(ConvertError::damaged(path, format!("'{file}', which it names, is not beside it")))
        }
        _ => Err(ConvertError::damaged(path, format!("it names '{file}', which is no file of its folder"))),
    };
    files.into_iter().map(in_folder).collect()
}
