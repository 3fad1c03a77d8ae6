//! What every reader makes: Whisper's dimensions, its tensors under Hugging Face's names, and what the source says
//! besides.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{ConvertError, SourceKind, Tensor};

/// Sizes of a Whisper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// Width of the hidden states.
    pub width: usize,
    /// Mel bins of the input.
    pub mel_bins: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Its attention heads.
    pub encoder_heads: usize,
    /// Width within its feed-forward layers.
    pub encoder_inner: usize,
    /// Its positions: 1500 for 30 s.
    pub encoder_positions: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Its attention heads.
    pub decoder_heads: usize,
    /// Width within its feed-forward layers.
    pub decoder_inner: usize,
    /// Its positions: the most tokens that there can be.
    pub decoder_positions: usize,
}

/// What a source says besides the weights. What is unknown is `None`, and written as OpenAI's models of the kind have
/// it.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// `[layer, head]` whose attention follows the audio.
    pub alignment_heads: Option<Vec<[u32; 2]>>,
    /// Tokens that are never written.
    pub suppress_tokens: Option<Vec<u32>>,
    /// Tokens that are not written first.
    pub begin_suppress_tokens: Option<Vec<u32>>,
    /// Tokens in the order of their ids, as bytes, if the source has them but no tokenizer.
    pub vocabulary: Option<Vec<Vec<u8>>>,
    /// Small files beside the weights that are taken over as they are, by their names.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Names of files that are taken over from a Hugging Face or CTranslate2 folder.
const COMPANIONS: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "normalizer.json",
    "vocab.json",
    "merges.txt",
    "preprocessor_config.json",
];

/// No companion of a model is larger than this.
const LARGEST_COMPANION: u64 = 64 << 20;

impl Details {
    /// Takes the small files beside the weights.
    ///
    /// # Errors
    /// [`ConvertError::Io`] for one that is there and cannot be read.
    pub(super) fn beside(directory: &Path, more: &[&str]) -> Result<Self, ConvertError> {
        let mut details = Self::default();
        for name in COMPANIONS.iter().chain(more) {
            if let Some(bytes) = companion(directory, name)? {
                details.files.insert((*name).to_owned(), bytes);
            }
        }
        Ok(details)
    }

    /// A companion as JSON.
    ///
    /// # Errors
    /// [`ConvertError::Damaged`] if it is none.
    pub(super) fn json(&self, directory: &Path, name: &str) -> Result<Option<Value>, ConvertError> {
        let Some(bytes) = self.files.get(name) else { return Ok(None) };
        serde_json::from_slice(bytes).map(Some).map_err(|e| ConvertError::damaged(&directory.join(name), e.to_string()))
    }
}

/// A small file of a directory, without its byte-order mark; `None` if it is not there.
pub(super) fn companion(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, ConvertError> {
    let path = directory.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let size = path.metadata().map_err(ConvertError::io("read", &path))?.len();
    if size > LARGEST_COMPANION {
        return Err(ConvertError::unsupported(&path, format!("{size} bytes are too many for this file")));
    }
    let mut bytes = std::fs::read(&path).map_err(ConvertError::io("read", &path))?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(Some(bytes))
}

/// Heads, where a source says them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heads {
    pub(super) encoder: Option<usize>,
    pub(super) decoder: Option<usize>,
}

/// The width of a head of every Whisper that OpenAI published.
const HEAD_WIDTH: usize = 64;

/// A whole Whisper: every tensor that it needs is there, with the right shape.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What it was read from.
    pub kind: SourceKind,
    /// The file, or the first of them.
    pub path: PathBuf,
    /// Sizes.
    pub dimensions: Dimensions,
    /// The rest.
    pub details: Details,
    tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Checks that the tensors are a whole Whisper's. Those that are none of it are dropped; a projection to the
    /// vocabulary that is the token embedding itself, too.
    ///
    /// # Errors
    /// [`ConvertError::NotWhisper`]: which tensor is missing or has another shape than the others want.
    pub(super) fn new(
        kind: SourceKind,
        path: &Path,
        mut tensors: BTreeMap<String, Tensor>,
        heads: Heads,
        details: Details,
    ) -> Result<Self, ConvertError> {
        let dimensions = dimensions(path, &tensors, heads)?;
        if !tensors.contains_key(ENCODER_POSITIONS) {
            let (length, width) = (dimensions.encoder_positions, dimensions.width);
            tensors.insert(ENCODER_POSITIONS.to_owned(), Tensor::of(vec![length, width], sinusoids(length, width)));
        }
        let projection = tensors.remove(PROJECTION).filter(|own| !own.is(&tensors[TOKENS]));
        let mut whole = BTreeMap::new();
        for (name, shape) in wanted(&dimensions) {
            let tensor = tensors
                .remove(&name)
                .ok_or_else(|| ConvertError::not_whisper(path, format!("it has no tensor {name}")))?;
            let found = tensor.shape().to_vec();
            let tensor = fitted(tensor, &shape).ok_or_else(|| {
                ConvertError::not_whisper(path, format!("{name} is {found:?} where the others want {shape:?}"))
            })?;
            whole.insert(name, tensor);
        }
        if let Some(projection) = projection {
            let shape = [dimensions.vocabulary, dimensions.width];
            if projection.shape() != shape {
                let reason = format!("{PROJECTION} is {:?} where the others want {shape:?}", projection.shape());
                return Err(ConvertError::not_whisper(path, reason));
            }
            whole.insert(PROJECTION.to_owned(), projection);
        }
        for name in tensors.keys() {
            tracing::debug!(%name, "not a tensor of a Whisper: left out");
        }
        Ok(Self { kind, path: path.to_owned(), dimensions, details, tensors: whole })
    }

    /// A tensor that the model has.
    ///
    /// # Errors
    /// [`ConvertError::NotWhisper`] for another name.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, ConvertError> {
        let missing = || ConvertError::not_whisper(&self.path, format!("it has no tensor {name}"));
        self.tensors.get(name).ok_or_else(missing)
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Whether the projection to the vocabulary has weights of its own; most share the token embedding's.
    pub fn has_own_projection(&self) -> bool {
        self.tensors.contains_key(PROJECTION)
    }
}

/// The token embedding.
pub const TOKENS: &str = "model.decoder.embed_tokens.weight";
/// The projection to the vocabulary, where it is not the token embedding.
pub const PROJECTION: &str = "proj_out.weight";
const ENCODER_POSITIONS: &str = "model.encoder.embed_positions.weight";
const DECODER_POSITIONS: &str = "model.decoder.embed_positions.weight";

/// Sizes as the tensors show them.
fn dimensions(path: &Path, tensors: &BTreeMap<String, Tensor>, said: Heads) -> Result<Dimensions, ConvertError> {
    let shape = |name: &str| -> Result<&[usize], ConvertError> {
        let missing = || ConvertError::not_whisper(path, format!("it has no tensor {name}"));
        let shape = tensors.get(name).ok_or_else(missing)?.shape();
        if shape.contains(&0) {
            return Err(ConvertError::not_whisper(path, format!("{name} is {shape:?}")));
        }
        Ok(shape)
    };
    let two = |name: &str| match shape(name)? {
        [a, b] => Ok((*a, *b)),
        other => Err(ConvertError::not_whisper(path, format!("{name} is {other:?}, not a matrix"))),
    };
    let conv = "model.encoder.conv1.weight";
    let [width, mel_bins, 3] = shape(conv)?[..] else {
        return Err(ConvertError::not_whisper(path, format!("{conv} is {:?}", shape(conv)?)));
    };
    let layers =
        |side: &str| (0..).take_while(|i| tensors.contains_key(&format!("model.{side}.layers.{i}.fc1.weight"))).count();
    let (vocabulary, _) = two(TOKENS)?;
    let (decoder_positions, _) = two(DECODER_POSITIONS)?;
    let encoder_positions = if tensors.contains_key(ENCODER_POSITIONS) { two(ENCODER_POSITIONS)?.0 } else { 1500 };
    let heads = |side: &str, said: Option<usize>| {
        let heads = said.unwrap_or(width / HEAD_WIDTH);
        if heads == 0 || width % heads != 0 {
            return Err(ConvertError::not_whisper(
                path,
                format!("its {side} has {heads} heads for a width of {width}"),
            ));
        }
        Ok(heads)
    };
    Ok(Dimensions {
        width,
        mel_bins,
        vocabulary,
        encoder_layers: layers("encoder"),
        encoder_heads: heads("encoder", said.encoder)?,
        encoder_inner: two("model.encoder.layers.0.fc1.weight")?.0,
        encoder_positions,
        decoder_layers: layers("decoder"),
        decoder_heads: heads("decoder", said.decoder)?,
        decoder_inner: two("model.decoder.layers.0.fc1.weight")?.0,
        decoder_positions,
    })
}

/// Every tensor of a Whisper of these sizes, with its shape; the projection to the vocabulary is extra.
fn wanted(d: &Dimensions) -> Vec<(String, Vec<usize>)> {
    let width = d.width;
    let mut all = vec![
        (TOKENS.to_owned(), vec![d.vocabulary, width]),
        (ENCODER_POSITIONS.to_owned(), vec![d.encoder_positions, width]),
        (DECODER_POSITIONS.to_owned(), vec![d.decoder_positions, width]),
    ];
    let mut with_bias = |name: String, shape: Vec<usize>| {
        all.push((format!("{name}.bias"), vec![shape[0]]));
        all.push((format!("{name}.weight"), shape));
    };
    with_bias("model.encoder.conv1".to_owned(), vec![width, d.mel_bins, 3]);
    with_bias("model.encoder.conv2".to_owned(), vec![width, width, 3]);
    let mut keys = Vec::new();
    for (side, layers, inner) in
        [("encoder", d.encoder_layers, d.encoder_inner), ("decoder", d.decoder_layers, d.decoder_inner)]
    {
        with_bias(format!("model.{side}.layer_norm"), vec![width]);
        for layer in 0..layers {
            let layer = format!("model.{side}.layers.{layer}");
            let attentions: &[&str] = if side == "encoder" { &["self_attn"] } else { &["self_attn", "encoder_attn"] };
            for attention in attentions {
                with_bias(format!("{layer}.{attention}_layer_norm"), vec![width]);
                for projection in ["q_proj", "v_proj", "out_proj"] {
                    with_bias(format!("{layer}.{attention}.{projection}"), vec![width, width]);
                }
                keys.push((format!("{layer}.{attention}.k_proj.weight"), vec![width, width]));
            }
            with_bias(format!("{layer}.final_layer_norm"), vec![width]);
            with_bias(format!("{layer}.fc1"), vec![inner, width]);
            with_bias(format!("{layer}.fc2"), vec![width, inner]);
        }
    }
    all.extend(keys);
    all
}

/// The tensor in the shape that is wanted: axes of one more or fewer are no difference (ggml has biases as `[n, 1]`).
fn fitted(tensor: Tensor, shape: &[usize]) -> Option<Tensor> {
    if tensor.shape() == shape {
        return Some(tensor);
    }
    let plain = |shape: &[usize]| shape.iter().copied().filter(|size| *size != 1).collect::<Vec<_>>();
    (plain(tensor.shape()) == plain(shape)).then(|| tensor.reshaped(shape.to_vec())).flatten()
}

/// The encoder's positions (openai/whisper, `model.py`): half of each row sines, half cosines, of wavelengths from 2π
/// to 2π · 10,000.
fn sinusoids(length: usize, width: usize) -> Vec<f32> {
    let half = width / 2;
    let step = 10_000_f64.ln() / (half.saturating_sub(1).max(1)) as f64;
    let mut table = vec![0.0; length * width];
    for (position, row) in table.chunks_exact_mut(width).enumerate() {
        for i in 0..half {
            let angle = position as f64 * (-step * i as f64).exp();
            row[i] = angle.sin() as f32;
            row[half + i] = angle.cos() as f32;
        }
    }
    table
}
