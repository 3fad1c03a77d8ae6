//! What a model's configuration files say, as far as the runner needs it. What they leave out, or say in an odd way, is
//! what Whisper has; what no Whisper has is refused with the value and the file.

use super::files::Graphs;
use super::interface::Interface;
use super::{DecoderFiles, ENCODED, FEATURES, ModelConfig, ModelError, missing};
use crate::json;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Architectures whose graphs and tokens are Whisper's, as `model_type` has them.
const WHISPERS: [&str; 4] = ["whisper", "lite-whisper", "crisper-whisper", "distil-whisper"];
/// Latest first timestamp, in steps of 20 ms: 1.0 s.
const MAX_INITIAL_TIMESTAMP: usize = 50;

/// A configuration file.
struct File {
    path: PathBuf,
    value: Value,
}

impl File {
    /// Reads `name` of `directory`; `None` if there is none.
    fn read(directory: &Path, name: &str) -> Result<Option<Self>, ModelError> {
        let path = directory.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        let unreadable = |reason: String| ModelError::Unreadable { path: path.clone(), reason };
        let bytes = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
        let value: Value = json::parse(&json::text(&bytes, &path), &path).map_err(unreadable)?;
        if !value.is_object() {
            return Err(unreadable("it is no JSON object".to_owned()));
        }
        Ok(Some(Self { path, value }))
    }

    fn not_whisper(&self, reason: String) -> ModelError {
        ModelError::NotWhisper { path: self.path.clone(), reason }
    }

    /// A number; `None` if the file does not say.
    fn number(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match &self.value[key] {
            Value::Null => Ok(None),
            value => match json::whole(value).and_then(|number| usize::try_from(number).ok()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.not_whisper(format!("{key} is {value}, not a whole number"))),
            },
        }
    }

    /// A number that a Whisper cannot be without.
    fn need(&self, key: &str) -> Result<usize, ModelError> {
        match self.number(key)? {
            Some(0) | None => {
                Err(self.not_whisper(format!("{key} is missing or 0; this is not a whole Whisper configuration")))
            }
            Some(number) => Ok(number),
        }
    }

    /// Pairs of whole numbers; `None` if the file does not say, or says something else.
    fn pairs(&self, key: &str) -> Option<Vec<[usize; 2]>> {
        let whole = |value: &Value| json::whole(value).and_then(|number| usize::try_from(number).ok());
        let pair = |value: &Value| match value.as_array().map(Vec::as_slice) {
            Some([first, second]) => Some([whole(first)?, whole(second)?]),
            _ => None,
        };
        let pairs = self.value[key].as_array()?.iter().map(pair).collect::<Option<Vec<_>>>();
        pairs.filter(|pairs| !pairs.is_empty())
    }

    /// Tokens, and whether −1 is among them, which stands for those that are suppressed by default; `None` if the file
    /// does not say.
    fn tokens(&self, key: &str) -> Option<(Vec<u32>, bool)> {
        let all: Vec<&Value> = match &self.value[key] {
            Value::Null => return None,
            Value::Array(all) => all.iter().collect(),
            one => vec![one],
        };
        let number = |value: &Value| json::whole(value).and_then(|number| u32::try_from(number).ok());
        let tokens: Vec<u32> = all.iter().filter_map(|value| number(value)).collect();
        let default = all.iter().any(|value| value.as_f64() == Some(-1.0) || value.as_str() == Some("-1"));
        if tokens.len() < all.len() {
            tracing::debug!(
                "'{}': {key} has {} values that are no tokens",
                self.path.display(),
                all.len() - tokens.len()
            );
        }
        Some((tokens, default))
    }
}

/// Reads `config.json`, and `generation_config.json` if it is there.
pub(super) fn read(directory: &Path) -> Result<ModelConfig, ModelError> {
    let config = File::read(directory, "config.json")?.ok_or_else(|| missing(directory, "config.json"))?;
    if let Some(kind) = config.value["model_type"].as_str().filter(|kind| *kind != WHISPERS[0]) {
        if !WHISPERS.contains(&kind) && !has_whispers_fields(&config) {
            return Err(config.not_whisper(format!("model_type is '{kind}', not 'whisper'")));
        }
        tracing::debug!("'{}': model_type is '{kind}', taken as Whisper", config.path.display());
    }
    // A file that says nothing, or nothing that can be read, is as good as none.
    let generation = File::read(directory, "generation_config.json").unwrap_or_else(|error| {
        tracing::debug!("{error}");
        None
    });
    if generation.is_none() {
        tracing::debug!("'{}' has no generation_config.json: Whisper's defaults are used", directory.display());
    }
    let tokens = |key: &str| generation.as_ref().and_then(|file| file.tokens(key)).or_else(|| config.tokens(key));
    let width = config.need("d_model")?;
    let decoder_heads = config.need("decoder_attention_heads")?;
    let suppress = tokens("suppress_tokens");
    let at_first = tokens("begin_suppress_tokens");
    let latest = generation.as_ref().map_or(Ok(None), |file| file.number("max_initial_timestamp_index"))?;
    Ok(ModelConfig {
        width,
        encoder_layers: config.need("encoder_layers")?,
        decoder_layers: config.need("decoder_layers")?,
        // Only measured by; the graphs have them too.
        encoder_heads: config.number("encoder_attention_heads")?.unwrap_or(decoder_heads),
        decoder_heads,
        encoder_inner: config.number("encoder_ffn_dim")?.unwrap_or(4 * width),
        decoder_inner: config.number("decoder_ffn_dim")?.unwrap_or(4 * width),
        mel_bins: config.need("num_mel_bins")?,
        vocabulary: config.need("vocab_size")?,
        encoder_positions: config.number("max_source_positions")?.unwrap_or(POSITIONS.0),
        decoder_positions: config.number("max_target_positions")?.unwrap_or(POSITIONS.1),
        suppress_non_speech: suppress.as_ref().is_none_or(|(_, default)| *default),
        suppress_tokens: suppress.map(|(tokens, _)| tokens).unwrap_or_default(),
        suppress_blank: at_first.is_none(),
        begin_suppress_tokens: at_first.map(|(tokens, _)| tokens).unwrap_or_default(),
        max_initial_timestamp: latest.unwrap_or(MAX_INITIAL_TIMESTAMP).max(MAX_INITIAL_TIMESTAMP),
        alignment_heads: generation.as_ref().and_then(|file| file.pairs("alignment_heads")),
    })
}

/// Positions of every Whisper's encoder and decoder.
const POSITIONS: (usize, usize) = (1500, 448);
/// Width of every Whisper's heads.
const HEAD_WIDTH: usize = 64;

/// What the graphs say where there is no `config.json`; `None` where they do not say enough.
pub(super) fn of_graphs(directory: &Path, graphs: &Graphs) -> Option<ModelConfig> {
    let (DecoderFiles::Split { first: decoder, .. } | DecoderFiles::Merged(decoder) | DecoderFiles::Alone(decoder)) =
        &graphs.decoder;
    let (encoder, decoder) = (Interface::read(&graphs.encoder)?, Interface::read(decoder)?);
    let mel_bins = FEATURES.iter().find_map(|name| encoder.input(name)?.axis(1))?;
    let whole_cache = decoder.input("in_n_layer_self_k_cache");
    let width = ENCODED
        .iter()
        .find_map(|name| encoder.output(name)?.axis(2))
        .or_else(|| decoder.input("encoder_hidden_states")?.axis(2))
        .or_else(|| whole_cache?.axis(3))?;
    let is_key = |name: &str| {
        (name.ends_with(".decoder.key") && (name.starts_with("past") || name.starts_with("present")))
            || name.starts_with("past_key_self_")
    };
    let inputs = decoder.inputs.iter().filter(|end| is_key(&end.name)).count();
    let outputs = decoder.outputs.iter().filter(|end| is_key(&end.name)).count();
    // A decoder without a cache does not tell; its layers are then only not counted.
    let decoder_layers = whole_cache.and_then(|end| end.axis(0)).unwrap_or(inputs.max(outputs));
    let heads = width / HEAD_WIDTH;
    let config = ModelConfig {
        width,
        encoder_layers: decoder_layers,
        decoder_layers,
        encoder_heads: heads,
        decoder_heads: heads,
        encoder_inner: 4 * width,
        decoder_inner: 4 * width,
        mel_bins,
        vocabulary: decoder.output("logits")?.axis(2)?,
        encoder_positions: POSITIONS.0,
        decoder_positions: whole_cache.and_then(|end| end.axis(2)).unwrap_or(POSITIONS.1),
        suppress_tokens: Vec::new(),
        suppress_non_speech: true,
        begin_suppress_tokens: Vec::new(),
        suppress_blank: true,
        max_initial_timestamp: MAX_INITIAL_TIMESTAMP,
        alignment_heads: None,
    };
    tracing::debug!(
        "'{}' has no config.json: by its graphs it is of width {width}, with {decoder_layers} decoder layers, {mel_bins} mel \
         bins and a vocabulary of {}",
        directory.display(),
        config.vocabulary
    );
    Some(config)
}

/// Whether a configuration of another name has what only Whisper's have.
fn has_whispers_fields(config: &File) -> bool {
    let whisper = |name: &Value| name.as_str().is_some_and(|name| name.to_lowercase().contains("whisper"));
    let architecture = config.value["architectures"].as_array().is_some_and(|all| all.iter().any(whisper));
    architecture && config.value["num_mel_bins"].is_number()
}
