//! A Whisper model on disk: which of its files there are, and what its configuration says.
//! Finds and reads small files only; ONNX graphs are opened by `engine` and checked by `decoder`.
//!
//! What is understood: the files that `optimum` exports and that Hugging Face repositories carry, at the top of a
//! directory or in its `onnx/` folder:
//!
//! - `encoder_model`, and for the decoder either `decoder_model` with `decoder_with_past_model` (split) or
//!   `decoder_model_merged` (merged). Where both stand, split is taken: no branch is chosen at run time.
//! - The same with a suffix for the stored precision. Without a wish, the first complete set in the order of
//!   [`VARIANTS`] is taken: as exported, then fp16, then the quantised ones.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Suffixes of stored precisions, in the order in which they are preferred; `""` is the export without suffix.
pub const VARIANTS: [&str; 9] = ["", "_fp16", "_quantized", "_int8", "_uint8", "_q4", "_q4f16", "_bnb4", "_q8"];

/// How the decoder is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `decoder_model` for the first step and `decoder_with_past_model` for the others.
    Split,
    /// `decoder_model_merged`: both in one graph, chosen by its input `use_cache_branch`.
    Merged,
}

/// The decoder's graphs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecoderFiles {
    /// See [`Layout::Split`].
    Split {
        /// Graph of the first step.
        first: PathBuf,
        /// Graph of the following steps.
        with_past: PathBuf,
    },
    /// See [`Layout::Merged`].
    Merged(PathBuf),
}

/// What is wrong with a model on disk.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The directory is not there.
    #[error("no such model: '{0}' is not a directory, and a Hugging Face repository is written owner/name")]
    NoDirectory(String),
    /// A graph or a file is missing.
    #[error("the model directory '{directory}' lacks {missing}; export it with optimum, or fetch the missing file")]
    Missing {
        /// The directory.
        directory: PathBuf,
        /// What is missing, and what would be accepted.
        missing: String,
    },
    /// A variant was asked for that is not there.
    #[error("the model directory '{directory}' has no variant '{variant}'; it has: {available}")]
    NoVariant {
        /// The directory.
        directory: PathBuf,
        /// The variant asked for.
        variant: String,
        /// The variants that are complete.
        available: String,
    },
    /// A configuration file cannot be read.
    #[error("cannot read '{path}': {reason}; fetch the file anew")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A configuration file says something that no Whisper has.
    #[error("'{path}': {reason}")]
    NotWhisper {
        /// The file.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
    /// A graph does not fit the configuration or the other graphs.
    #[error(
        "'{graph}' does not match the model's config.json: {what} is {found}, not {expected}; the files are of different models"
    )]
    Mismatch {
        /// The graph.
        graph: PathBuf,
        /// The quantity.
        what: &'static str,
        /// What the graph has.
        found: String,
        /// What the configuration says.
        expected: String,
    },
    /// A Hugging Face repository cannot be fetched.
    #[error(
        "cannot fetch {missing} of the Hugging Face repository '{repository}': {reason}; give a directory with these files, or try again online"
    )]
    Hub {
        /// The repository.
        repository: String,
        /// The files that are not in the cache.
        missing: String,
        /// Why they cannot be fetched.
        reason: String,
    },
}

/// `config.json` and `generation_config.json`, as far as the runner needs them.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Width of the hidden states.
    pub width: usize,
    /// Encoder layers.
    pub encoder_layers: usize,
    /// Decoder layers.
    pub decoder_layers: usize,
    /// Attention heads of the encoder; the decoder's if the configuration does not say.
    pub encoder_heads: usize,
    /// Attention heads of the decoder.
    pub decoder_heads: usize,
    /// Width within an encoder's feed-forward layer; four times [`Self::width`] if the configuration does not say.
    pub encoder_inner: usize,
    /// Width within a decoder's feed-forward layer; likewise.
    pub decoder_inner: usize,
    /// Mel bins of the input.
    pub mel_bins: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Encoder positions in one window (1500: 30 s at 20 ms).
    pub encoder_positions: usize,
    /// Most tokens that the decoder has positions for (448).
    pub decoder_positions: usize,
    /// Tokens that are never written.
    pub suppress_tokens: Vec<u32>,
    /// Tokens that are not written at the first position.
    pub begin_suppress_tokens: Vec<u32>,
    /// Latest first timestamp, in steps of 20 ms (50: 1.0 s). The files of tiny, base and small say 1, which openai/whisper never
    /// does: after a window's pause the times then drift. So it is at least 50.
    pub max_initial_timestamp: usize,
}

/// A model whose files were found and whose configuration was read.
#[derive(Debug, Clone)]
pub struct Model {
    directory: PathBuf,
    variant: String,
    encoder: PathBuf,
    decoder: DecoderFiles,
    config: ModelConfig,
}

impl Model {
    /// Opens the model `source`: a directory, or the name of a Hugging Face repository (`owner/name`), whose needed files
    /// are fetched into Hugging Face's usual cache if they are not there. `variant`: see [`Model::from_directory`].
    ///
    /// # Errors
    /// [`ModelError`]: which file is missing or wrong, or why the repository cannot be fetched.
    pub fn open(source: &str, variant: Option<&str>) -> Result<Self, ModelError> {
        let path = Path::new(source);
        if path.is_dir() {
            return Self::from_directory(path, variant);
        }
        if path.exists() || !crate::hub::is_repository_name(source) {
            return Err(ModelError::NoDirectory(source.to_owned()));
        }
        Self::from_directory(&crate::hub::provide(source, variant)?, variant)
    }

    /// Opens the model in `directory`. `variant` names the stored precision (`fp16`, `quantized`, …; `f32` or an empty
    /// word for the export without suffix); `None` takes the first complete one of [`VARIANTS`].
    ///
    /// # Errors
    /// [`ModelError`]: which file is missing or wrong.
    pub fn from_directory(directory: &Path, variant: Option<&str>) -> Result<Self, ModelError> {
        Self::with_layout(directory, variant, None)
    }

    /// [`Model::from_directory`] with a wish for the decoder's layout; `None` prefers split.
    ///
    /// # Errors
    /// [`ModelError`]: which file is missing or wrong.
    pub fn with_layout(directory: &Path, variant: Option<&str>, layout: Option<Layout>) -> Result<Self, ModelError> {
        if !directory.is_dir() {
            return Err(ModelError::NoDirectory(directory.display().to_string()));
        }
        let config = read_config(directory)?;
        if !directory.join("tokenizer.json").is_file() {
            return Err(missing(directory, "tokenizer.json"));
        }
        let wanted = variant.map(suffix);
        let candidates: Vec<String> = match &wanted {
            Some(suffix) => vec![suffix.clone()],
            None => VARIANTS.iter().map(|&v| v.to_owned()).collect(),
        };
        for suffix in &candidates {
            if let Some((encoder, decoder)) = graphs_of(directory, suffix, layout) {
                let directory = directory.to_owned();
                return Ok(Self { directory, variant: suffix.clone(), encoder, decoder, config });
            }
        }
        let available: Vec<&str> =
            VARIANTS.iter().copied().filter(|v| graphs_of(directory, v, layout).is_some()).map(variant_word).collect();
        match (wanted, available.is_empty()) {
            (Some(suffix), false) => Err(ModelError::NoVariant {
                directory: directory.to_owned(),
                variant: variant_word(&suffix).to_owned(),
                available: available.join(", "),
            }),
            (wanted, _) => Err(missing(directory, &first_missing(directory, wanted.as_deref(), layout))),
        }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The variant that was chosen, as people write it: `f32` for the export without suffix, `fp16`, `quantized`, ….
    pub fn variant(&self) -> &str {
        variant_word(&self.variant)
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The encoder's graph.
    pub fn encoder(&self) -> &Path {
        &self.encoder
    }

    /// The decoder's graphs.
    pub fn decoder(&self) -> &DecoderFiles {
        &self.decoder
    }

    /// Every graph of the chosen variant that stands in the directory, in both layouts, with its name.
    pub fn graphs(&self) -> Vec<(&'static str, PathBuf)> {
        ["encoder_model", "decoder_model", "decoder_with_past_model", "decoder_model_merged"]
            .into_iter()
            .filter_map(|name| Some((name, graph(&self.directory, name, &self.variant)?)))
            .collect()
    }
}

fn missing(directory: &Path, what: &str) -> ModelError {
    ModelError::Missing { directory: directory.to_owned(), missing: what.to_owned() }
}

/// `fp16` and `_fp16` → `_fp16`; `f32`, `fp32` and the empty word → the empty suffix.
pub(crate) fn suffix(variant: &str) -> String {
    match variant.trim_start_matches('_') {
        "" | "f32" | "fp32" => String::new(),
        word => format!("_{word}"),
    }
}

fn variant_word(suffix: &str) -> &str {
    if suffix.is_empty() { "f32" } else { suffix.trim_start_matches('_') }
}

/// The folders in which graphs stand, relative to the model's directory.
pub(crate) const FOLDERS: [&str; 2] = ["", "onnx"];

fn graph(directory: &Path, name: &str, suffix: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| directory.join(folder).join(format!("{name}{suffix}.onnx"))).find(|p| p.is_file())
}

fn graphs_of(directory: &Path, suffix: &str, layout: Option<Layout>) -> Option<(PathBuf, DecoderFiles)> {
    let encoder = graph(directory, "encoder_model", suffix)?;
    let split = || {
        let first = graph(directory, "decoder_model", suffix)?;
        Some(DecoderFiles::Split { first, with_past: graph(directory, "decoder_with_past_model", suffix)? })
    };
    let merged = || graph(directory, "decoder_model_merged", suffix).map(DecoderFiles::Merged);
    let decoder = match layout {
        Some(Layout::Split) => split(),
        Some(Layout::Merged) => merged(),
        None => split().or_else(merged),
    };
    Some((encoder, decoder?))
}

/// Says which graph is missing, for the variant that has most of them.
fn first_missing(directory: &Path, wanted: Option<&str>, layout: Option<Layout>) -> String {
    let variants: Vec<&str> = wanted.map_or(VARIANTS.to_vec(), |v| vec![v]);
    let has = |name: &str, v: &str| graph(directory, name, v).is_some();
    let with_encoder = variants.iter().copied().find(|v| has("encoder_model", v));
    let Some(v) = with_encoder else {
        let suffix = wanted.unwrap_or_default();
        let other = if wanted.is_none() { " (or one with a suffix such as _fp16 or _quantized)" } else { "" };
        return format!("encoder_model{suffix}.onnx{other}, at the top or in onnx/");
    };
    let merged = format!("decoder_model_merged{v}.onnx");
    let (first, past) = (format!("decoder_model{v}.onnx"), format!("decoder_with_past_model{v}.onnx"));
    match (layout, has("decoder_model", v), has("decoder_with_past_model", v)) {
        (Some(Layout::Merged), ..) => merged,
        (Some(Layout::Split), true, _) => past,
        (Some(Layout::Split), false, _) => first,
        (None, true, false) => format!("{past} (or {merged} in its place)"),
        (None, false, true) => format!("{first} (or {merged} in its place)"),
        (None, ..) => format!("a decoder: {first} and {past}, or {merged}"),
    }
}

#[derive(Deserialize)]
struct RawConfig {
    model_type: Option<String>,
    d_model: Option<usize>,
    encoder_layers: Option<usize>,
    decoder_layers: Option<usize>,
    encoder_attention_heads: Option<usize>,
    decoder_attention_heads: Option<usize>,
    encoder_ffn_dim: Option<usize>,
    decoder_ffn_dim: Option<usize>,
    num_mel_bins: Option<usize>,
    vocab_size: Option<usize>,
    max_source_positions: Option<usize>,
    max_target_positions: Option<usize>,
    suppress_tokens: Option<Vec<u32>>,
    begin_suppress_tokens: Option<Vec<u32>>,
}

#[derive(Deserialize, Default)]
struct RawGeneration {
    suppress_tokens: Option<Vec<u32>>,
    begin_suppress_tokens: Option<Vec<u32>>,
    max_initial_timestamp_index: Option<usize>,
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ModelError> {
    let unreadable = |reason: String| ModelError::Unreadable { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))
}

fn read_config(directory: &Path) -> Result<ModelConfig, ModelError> {
    let path = directory.join("config.json");
    if !path.is_file() {
        return Err(missing(directory, "config.json"));
    }
    let raw: RawConfig = read_json(&path)?;
    let not_whisper = |reason: String| ModelError::NotWhisper { path: path.clone(), reason };
    if raw.model_type.as_deref().is_some_and(|t| t != "whisper") {
        return Err(not_whisper(format!("model_type is '{}', not 'whisper'", raw.model_type.unwrap_or_default())));
    }
    let need = |value: Option<usize>, name: &str| match value {
        Some(0) | None => {
            Err(not_whisper(format!("{name} is missing or 0; this is not a whole Whisper configuration")))
        }
        Some(value) => Ok(value),
    };
    let generation_path = directory.join("generation_config.json");
    let generation: RawGeneration =
        if generation_path.is_file() { read_json(&generation_path)? } else { RawGeneration::default() };
    let width = need(raw.d_model, "d_model")?;
    let decoder_heads = need(raw.decoder_attention_heads, "decoder_attention_heads")?;
    Ok(ModelConfig {
        width,
        encoder_layers: need(raw.encoder_layers, "encoder_layers")?,
        decoder_layers: need(raw.decoder_layers, "decoder_layers")?,
        // Only measured by; the graphs have them too.
        encoder_heads: raw.encoder_attention_heads.unwrap_or(decoder_heads),
        decoder_heads,
        encoder_inner: raw.encoder_ffn_dim.unwrap_or(4 * width),
        decoder_inner: raw.decoder_ffn_dim.unwrap_or(4 * width),
        mel_bins: need(raw.num_mel_bins, "num_mel_bins")?,
        vocabulary: need(raw.vocab_size, "vocab_size")?,
        encoder_positions: need(raw.max_source_positions, "max_source_positions")?,
        decoder_positions: need(raw.max_target_positions, "max_target_positions")?,
        suppress_tokens: generation.suppress_tokens.or(raw.suppress_tokens).unwrap_or_default(),
        begin_suppress_tokens: generation.begin_suppress_tokens.or(raw.begin_suppress_tokens).unwrap_or_default(),
        max_initial_timestamp: generation.max_initial_timestamp_index.unwrap_or(50).max(50),
    })
}
