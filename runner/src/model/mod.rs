//! A Whisper model on disk: which of its files there are, and what its configuration says.
//! Finds and reads small files only; ONNX graphs are opened by `engine` and checked by `decoder`.
//!
//! What is understood: the files that `optimum` exports and that Hugging Face repositories carry, at the top of a
//! directory or in its `onnx/` folder, and the pairs of other exporters:
//!
//! - `encoder_model`, and for the decoder either `decoder_model` with `decoder_with_past_model` (split) or
//!   `decoder_model_merged` (merged). Where both stand, split is taken: no branch is chosen at run time.
//!   `decoder_model` alone has no cache: it serves, slowly.
//! - The same with a suffix for the stored precision, one for all graphs or one for each. Without a wish, the first
//!   complete set in the order of [`VARIANTS`] is taken: as exported, then fp16, then the quantised ones.
//! - An `…encoder….onnx` with the `…decoder….onnx` that goes with it: ONNX Runtime's own export, onnxruntime-genai's,
//!   sherpa-onnx's, graphs with fixed shapes. What they do is read from their inputs and outputs.

mod config;
mod files;
mod interface;
mod variants;

use std::path::{Path, PathBuf};

pub(crate) use files::{FOLDERS, TOKENIZERS, token_list};
use undertone_models::alignment_heads;
use variants::word;
pub use variants::{VARIANTS, Variants};

/// What exporters call an encoder's input of log-mel features.
pub(crate) const FEATURES: [&str; 5] = ["input_features", "audio_features", "mel", "encoder_input_ids", "x"];
/// What they call the encoded window among its outputs.
pub(crate) const ENCODED: [&str; 3] = ["last_hidden_state", "encoder_hidden_states", "hidden_states"];

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
    /// One graph for all steps: `decoder_model` without a cache, or another exporter's decoder, whose cache is empty at
    /// first.
    Alone(PathBuf),
}

/// What is wrong with a model on disk.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "a field is what its message says of it")]
pub enum ModelError {
    /// The directory is not there.
    #[error("no such model: '{0}' is not a directory")]
    NoDirectory(String),
    /// Nothing of a model is there.
    #[error(
        "'{0}' holds no model: it has no ONNX graphs and no weights; name a folder that has, or a model that \
         `undertone model list` shows"
    )]
    Empty(PathBuf),
    /// A graph or a file is missing.
    #[error("the model directory '{directory}' lacks {missing}; export it with optimum, or fetch the missing file")]
    Missing {
        directory: PathBuf,
        /// What is missing, and what would be accepted.
        missing: String,
    },
    /// A variant was asked for that is not there.
    #[error("the model directory '{directory}' has no variant '{variant}'; it has: {available}")]
    NoVariant { directory: PathBuf, variant: String, available: String },
    /// A variant of a graph that there is none of.
    #[error("'{0}' names no graph: write one variant (fp16), or one for each (encoder=fp16,decoder=q4)")]
    Variant(String),
    /// A configuration file cannot be read.
    #[error("cannot read '{path}': {reason}; fetch the file anew")]
    Unreadable { path: PathBuf, reason: String },
    /// A configuration file says something that no Whisper has.
    #[error("'{path}': {reason}")]
    NotWhisper { path: PathBuf, reason: String },
    /// A graph does not fit the configuration or the other graphs.
    #[error(
        "'{graph}' does not match the model's config.json: {what} is {found}, not {expected}; the files are of \
         different models"
    )]
    Mismatch { graph: PathBuf, what: &'static str, found: String, expected: String },
    /// A decoder without a cache, where one is needed.
    #[error(
        "'{0}' has no key-value cache, and this needs one; export the model with its cache \
         (decoder_with_past_model.onnx)"
    )]
    NoCache(PathBuf),
    /// The model cannot be fetched or converted.
    #[error(transparent)]
    Provide(#[from] undertone_models::ProvideError),
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
    /// Whether marks that are no speech are not written either ([`crate::tokenizer::SpecialTokens::non_speech`]): where
    /// the files have −1 in the list, or no list.
    pub suppress_non_speech: bool,
    /// Tokens that are not written at the first position.
    pub begin_suppress_tokens: Vec<u32>,
    /// Whether the blank and the end of text are not written there either: where the files have no list.
    pub suppress_blank: bool,
    /// Latest first timestamp, in steps of 20 ms (50: 1.0 s). The files of tiny, base and small say 1, which
    /// openai/whisper never does: after a window's pause the times then drift. So it is at least 50.
    pub max_initial_timestamp: usize,
    /// Heads of the decoder's cross-attention that follow the audio, layer and head each, from which word times are
    /// read; `None` where the files name none.
    pub alignment_heads: Option<Vec<[usize; 2]>>,
}

impl ModelConfig {
    /// [`Self::alignment_heads`]; where the files name none, those of OpenAI's model of these sizes, and where there is
    /// no such model all heads of the upper half of the layers, as openai/whisper has it.
    pub fn heads_for_alignment(&self, english: bool) -> Vec<[usize; 2]> {
        let sizes = [self.width, self.encoder_layers, self.decoder_layers, self.mel_bins];
        let upper = || {
            let layers = self.decoder_layers / 2..self.decoder_layers;
            layers.flat_map(|layer| (0..self.decoder_heads).map(move |head| [layer, head])).collect()
        };
        self.alignment_heads.clone().or_else(|| alignment_heads(sizes, english)).unwrap_or_else(upper)
    }
}

/// A model whose files were found and whose configuration was read.
#[derive(Debug, Clone)]
pub struct Model {
    directory: PathBuf,
    /// Suffixes of the encoder and of the decoder.
    suffixes: [String; 2],
    /// The same as people write them.
    variant: String,
    encoder: PathBuf,
    decoder: DecoderFiles,
    config: ModelConfig,
}

impl Model {
    /// Opens the model `source`: a directory, a name such as `base`, a Hugging Face repository (`owner/name`), or
    /// weights. What is not on this machine is fetched, and weights are converted, once, in silence:
    /// [`undertone_models::provide`] tells of its progress. `variant`: see [`Model::from_directory`].
    ///
    /// # Errors
    /// [`ModelError`]: which file is missing or wrong, or why the model cannot be fetched.
    pub fn open(source: &str, variant: Option<&str>) -> Result<Self, ModelError> {
        let path = Path::new(source);
        if path.is_dir() && undertone_models::recognise(path).is_none() {
            return Self::from_directory(path, variant);
        }
        Self::from_directory(&undertone_models::provide(source, variant, &mut |_| ())?.folder, variant)
    }

    /// Opens the model in `directory`. `variant` names the stored precision (`fp16`, `quantized`, …; `f32` or an empty
    /// word for the export without suffix), or one for each graph, as [`Variants::parse`] understands it; `None` takes
    /// the first complete one of [`VARIANTS`].
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
        let wish = Variants::parse(variant)?;
        let has_config = directory.join("config.json").is_file();
        // What is wrong with it comes before what is missing beside it.
        let config = has_config.then(|| config::read(directory)).transpose()?;
        // People name the folder of the graphs, too.
        let parent = directory.parent().filter(|_| directory.file_name().is_some_and(|name| name == FOLDERS[1]));
        if let (None, Some(parent)) = (&config, parent.filter(|parent| parent.join("config.json").is_file())) {
            return Self::with_layout(parent, variant, layout);
        }
        if has_config && !files::has_tokenizer(directory) {
            return Err(missing(directory, "tokenizer.json (or vocab.json with merges.txt)"));
        }
        let Some(graphs) = files::find(directory, &wish, layout) else {
            if config.is_none() {
                return Err(match files::has_graphs(directory) {
                    true => missing(directory, "config.json"),
                    false => ModelError::Empty(directory.to_owned()),
                });
            }
            let available = files::available(directory, layout);
            return Err(match (variant, available.is_empty()) {
                (Some(variant), false) => ModelError::NoVariant {
                    directory: directory.to_owned(),
                    variant: variant.to_owned(),
                    available: available.join(", "),
                },
                _ => missing(directory, &files::first_missing(directory, &wish, layout)),
            });
        };
        let config = match config {
            Some(config) => config,
            None => config::of_graphs(directory, &graphs).ok_or_else(|| missing(directory, "config.json"))?,
        };
        if !files::has_tokenizer(directory) {
            return Err(missing(directory, "tokenizer.json (or vocab.json with merges.txt, or tokens.txt)"));
        }
        let [of_encoder, of_decoder] = [0, 1].map(|graph| word(&graphs.suffixes[graph]));
        let variant = match of_encoder == of_decoder {
            true => of_encoder.to_owned(),
            false => format!("encoder={of_encoder},decoder={of_decoder}"),
        };
        Ok(Self {
            directory: directory.to_owned(),
            variant,
            suffixes: graphs.suffixes,
            encoder: graphs.encoder,
            decoder: graphs.decoder,
            config,
        })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The variant that was chosen, as people write it: `f32` for the export without suffix, `fp16`, `quantized`, …,
    /// `encoder=fp16,decoder=q4`.
    pub fn variant(&self) -> &str {
        &self.variant
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
        if let DecoderFiles::Alone(decoder) = &self.decoder {
            return vec![("encoder", self.encoder.clone()), ("decoder", decoder.clone())];
        }
        [("encoder_model", 0), ("decoder_model", 1), ("decoder_with_past_model", 1), ("decoder_model_merged", 1)]
            .into_iter()
            .filter_map(|(name, of)| Some((name, files::graph(&self.directory, name, &self.suffixes[of])?)))
            .collect()
    }
}

fn missing(directory: &Path, what: &str) -> ModelError {
    ModelError::Missing { directory: directory.to_owned(), missing: what.to_owned() }
}
