//! The exported graphs as a [`SpeechModel`]: encoder, and decoder with its key-value cache.
//!
//! Keys and values stay in the `OrtValue`s that ONNX Runtime allocated: the outputs of one step are moved to the inputs
//! of the next, never through a vector of the runner's. Those of the cross-attention are made once for a window's
//! sequence, by the first step, and kept. Rules, search and text are not here.

use crate::engine::{Engine, EngineError, OpenGraph, words};
use crate::model::{DecoderFiles, Model, ModelConfig, ModelError};
use crate::speech_model::{RunError, SpeechModel, StartLogits};
use half::f16;
use ort::memory::Allocator;
use ort::session::{SessionInputValue, SessionOutputs};
use ort::value::{DynValue, Tensor, TensorElementType, ValueType};
use std::borrow::Cow;
use std::path::Path;

/// Frames of one window: 30 s.
pub const WINDOW_FRAMES: usize = 3000;
const HEAD_WIDTH: usize = 64;

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// ONNX Runtime, the execution provider, or a graph that they refuse.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Graphs that do not fit the configuration.
    #[error(transparent)]
    Model(#[from] ModelError),
}

enum Graphs {
    Split { first: OpenGraph, with_past: OpenGraph },
    Merged(OpenGraph),
}

/// Which graph a decoder step runs in.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    First,
    WithPast,
}

/// A cached tensor with the names that it has on both sides of the decoder.
struct Cached {
    input: String,
    output: String,
    cross: bool,
    value: Option<DynValue>,
}

/// Whisper's graphs in ONNX Runtime sessions.
pub struct OrtModel {
    encoder: OpenGraph,
    graphs: Graphs,
    mel_bins: usize,
    vocabulary: usize,
    heads: usize,
    hidden: Option<DynValue>,
    cache: Vec<Cached>,
}

impl OrtModel {
    /// Opens `model`'s graphs on `engine`'s device and checks that they fit together and to the configuration.
    ///
    /// # Errors
    /// [`LoadError`]: a graph that cannot be opened, that does not match, or of which the asked device took nothing.
    pub fn load(model: &Model, engine: &Engine) -> Result<Self, LoadError> {
        let config = model.config();
        let encoder = engine.open(model.encoder())?;
        expect_dim(&encoder, Side::Input, "input_features", 1, "the number of mel bins", config.mel_bins)?;
        expect_dim(&encoder, Side::Output, "last_hidden_state", 2, "the width", config.width)?;
        let graphs = match model.decoder() {
            DecoderFiles::Split { first, with_past } => {
                let graphs = Graphs::Split { first: engine.open(first)?, with_past: engine.open(with_past)? };
                if let Graphs::Split { first, with_past } = &graphs {
                    check_decoder(first, config, Side::Output, "present.")?;
                    check_decoder(with_past, config, Side::Input, "past_key_values.")?;
                    expect_dim(first, Side::Input, "encoder_hidden_states", 2, "the width", config.width)?;
                }
                graphs
            }
            DecoderFiles::Merged(path) => {
                let graph = engine.open(path)?;
                check_decoder(&graph, config, Side::Input, "past_key_values.")?;
                expect_dim(&graph, Side::Input, "encoder_hidden_states", 2, "the width", config.width)?;
                Graphs::Merged(graph)
            }
        };
        let cache = (0..config.decoder_layers)
            .flat_map(|layer| [("decoder", false), ("encoder", true)].map(|(of, cross)| (layer, of, cross)))
            .flat_map(|(layer, of, cross)| {
                ["key", "value"].map(|kind| Cached {
                    input: format!("past_key_values.{layer}.{of}.{kind}"),
                    output: format!("present.{layer}.{of}.{kind}"),
                    cross,
                    value: None,
                })
            })
            .collect();
        let (mel_bins, vocabulary, heads) = (config.mel_bins, config.vocabulary, config.decoder_heads);
        let this = Self { encoder, graphs, mel_bins, vocabulary, heads, hidden: None, cache };
        let device = engine.options().device;
        if device != crate::Device::Cpu && this.graphs().iter().all(|g| g.ep_nodes == 0) {
            return Err(EngineError::NothingClaimed { device, graph: this.encoder.path }.into());
        }
        Ok(this)
    }

    /// Nodes of all graphs that ONNX Runtime assigned to its own CPU provider.
    pub fn cpu_nodes(&self) -> usize {
        self.graphs().iter().map(|g| g.cpu_nodes).sum()
    }

    fn graphs(&self) -> Vec<&OpenGraph> {
        match &self.graphs {
            Graphs::Split { first, with_past } => vec![&self.encoder, first, with_past],
            Graphs::Merged(graph) => vec![&self.encoder, graph],
        }
    }

    /// Runs the decoder on `tokens`; with [`Step::WithPast`] they follow the cached ones.
    /// Writes the logits after each position of `rows` (or of the only one that the graph returns) into `out`.
    fn decode(
        &mut self,
        step: Step,
        tokens: &[u32],
        rows: &[usize],
        out: &mut [&mut Vec<f32>],
    ) -> Result<(), RunError> {
        let (graph, merged) = match &mut self.graphs {
            Graphs::Split { first, .. } if step == Step::First => (first, false),
            Graphs::Split { with_past, .. } => (with_past, false),
            Graphs::Merged(graph) => (graph, true),
        };
        let stage = || format!("decoder '{}'", graph.path.display());
        let failed = |e: ort::Error| RunError { stage: stage(), reason: words(&e) };
        let wrong = |reason: String| RunError { stage: stage(), reason };
        let hidden = self.hidden.as_ref().ok_or_else(|| wrong("no window was encoded before".to_owned()))?;
        let ids: Vec<i64> = tokens.iter().map(|&t| i64::from(t)).collect();
        let ids = Tensor::from_array(([1, ids.len()], ids)).map_err(failed)?;
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = vec![("input_ids".into(), ids.into())];
        let takes = |name: &str| graph.session.inputs().iter().any(|i| i.name() == name);
        if takes("encoder_hidden_states") {
            inputs.push(("encoder_hidden_states".into(), hidden.into()));
        }
        if merged {
            let cached = Tensor::from_array(([1], vec![step == Step::WithPast])).map_err(failed)?;
            inputs.push(("use_cache_branch".into(), cached.into()));
        }
        let empty = match (merged, step) {
            (true, Step::First) => Some(empty_cache(graph, self.heads).map_err(failed)?),
            _ => None,
        };
        if merged || step == Step::WithPast {
            for cached in &self.cache {
                let value = empty.as_ref().or(cached.value.as_ref());
                let value = value.ok_or_else(|| wrong("a step was taken before a sequence was started".to_owned()))?;
                inputs.push((cached.input.as_str().into(), value.into()));
            }
        }
        let mut outputs = graph.session.run(inputs).map_err(failed)?;
        read_logits(&outputs, self.vocabulary, tokens.len(), rows, out).map_err(wrong)?;
        for cached in &mut self.cache {
            // The first step makes all of them. Later ones make only the decoder's own: the merged graph's cached branch
            // returns the cross-attention's empty.
            if step == Step::First || !cached.cross {
                let value = outputs.remove(&cached.output);
                cached.value = Some(value.ok_or_else(|| wrong(format!("it has no output {}", cached.output)))?);
            }
        }
        Ok(())
    }
}

impl SpeechModel for OrtModel {
    fn encode(&mut self, features: &[f32]) -> Result<(), RunError> {
        let path = self.encoder.path.display().to_string();
        let failed = |e: ort::Error| RunError { stage: format!("encoder '{path}'"), reason: words(&e) };
        self.hidden = None;
        for cached in &mut self.cache {
            cached.value = None;
        }
        let shape = [1, self.mel_bins, WINDOW_FRAMES];
        let input: DynValue = match input_type(&self.encoder, "input_features") {
            Some(TensorElementType::Float16) => {
                let data: Vec<f16> = features.iter().map(|&x| f16::from_f32(x)).collect();
                Tensor::from_array((shape, data)).map_err(failed)?.into_dyn()
            }
            _ => Tensor::from_array((shape, features.to_vec())).map_err(failed)?.into_dyn(),
        };
        let mut outputs = self.encoder.session.run(ort::inputs!["input_features" => input]).map_err(failed)?;
        self.hidden = outputs.remove("last_hidden_state");
        Ok(())
    }

    fn start(&mut self, tokens: &[u32], sot: usize) -> Result<StartLogits, RunError> {
        let mut logits = StartLogits { sot: Vec::new(), last: Vec::new() };
        let last = tokens.len().saturating_sub(1);
        if sot < last && !self.returns_all_positions() {
            // This export keeps the last position only: ask for the one at `sot` by itself.
            self.decode(Step::First, &tokens[..=sot], &[sot], &mut [&mut logits.sot])?;
            self.decode(Step::First, tokens, &[last], &mut [&mut logits.last])?;
        } else {
            self.decode(Step::First, tokens, &[sot, last], &mut [&mut logits.sot, &mut logits.last])?;
        }
        Ok(logits)
    }

    fn step(&mut self, token: u32, logits: &mut Vec<f32>) -> Result<(), RunError> {
        self.decode(Step::WithPast, &[token], &[0], &mut [logits])
    }
}

impl OrtModel {
    /// Whether the first step's graph returns logits of every position; some exports keep the last one only.
    fn returns_all_positions(&self) -> bool {
        let graph = match &self.graphs {
            Graphs::Split { first, .. } => first,
            Graphs::Merged(graph) => graph,
        };
        let logits = graph.session.outputs().iter().find(|o| o.name() == "logits");
        let positions = logits.and_then(|o| o.dtype().tensor_shape()).and_then(|s| s.get(1).copied());
        positions != Some(1) && logits.is_none_or(|o| symbol(o.dtype(), 1) != Some("1"))
    }
}

/// The same model without a cache: every step runs the whole sequence through the first step's graph.
/// The slow, obvious way, for comparison.
pub struct WithoutCache {
    model: OrtModel,
    tokens: Vec<u32>,
}

impl WithoutCache {
    /// Runs `model` without its cache.
    pub fn new(model: OrtModel) -> Self {
        Self { model, tokens: Vec::new() }
    }
}

impl SpeechModel for WithoutCache {
    fn encode(&mut self, features: &[f32]) -> Result<(), RunError> {
        self.model.encode(features)
    }

    fn start(&mut self, tokens: &[u32], sot: usize) -> Result<StartLogits, RunError> {
        self.tokens = tokens.to_vec();
        self.model.start(tokens, sot)
    }

    fn step(&mut self, token: u32, logits: &mut Vec<f32>) -> Result<(), RunError> {
        self.tokens.push(token);
        let last = self.tokens.len() - 1;
        let tokens = std::mem::take(&mut self.tokens);
        let result = self.model.decode(Step::First, &tokens, &[last], &mut [logits]);
        self.tokens = tokens;
        result
    }
}

/// A cache of no positions, `[1, heads, 0, 64]`, of the type that the merged graph wants.
fn empty_cache(graph: &OpenGraph, heads: usize) -> Result<DynValue, ort::Error> {
    let shape = [1, heads, 0, HEAD_WIDTH];
    let allocator = Allocator::default();
    Ok(match input_type(graph, "past_key_values.0.decoder.key") {
        Some(TensorElementType::Float16) => Tensor::<f16>::new(&allocator, shape)?.into_dyn(),
        _ => Tensor::<f32>::new(&allocator, shape)?.into_dyn(),
    })
}

/// Copies the wanted rows of the logits `[1, positions, vocabulary]` as f32.
fn read_logits(
    outputs: &SessionOutputs<'_>,
    vocabulary: usize,
    positions: usize,
    rows: &[usize],
    out: &mut [&mut Vec<f32>],
) -> Result<(), String> {
    let logits = outputs.get("logits").ok_or("it has no output logits")?;
    let half = logits.dtype().tensor_type() == Some(TensorElementType::Float16);
    let words = |e: ort::Error| words(&e);
    for (&row, out) in rows.iter().zip(out) {
        out.clear();
        let range = |length: usize| {
            let returned = length / vocabulary;
            let row = if returned == positions { row } else { returned.saturating_sub(1) };
            let range = row * vocabulary..(row + 1) * vocabulary;
            if length == returned * vocabulary && range.end <= length { Ok(range) } else { Err(length) }
        };
        let wrong =
            |length| format!("its logits have {length} values, not a multiple of the vocabulary's {vocabulary}");
        if half {
            let (_, data) = logits.try_extract_tensor::<f16>().map_err(words)?;
            out.extend(data[range(data.len()).map_err(wrong)?].iter().map(|x| x.to_f32()));
        } else {
            let (_, data) = logits.try_extract_tensor::<f32>().map_err(words)?;
            out.extend_from_slice(&data[range(data.len()).map_err(wrong)?]);
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Side {
    Input,
    Output,
}

fn type_of<'a>(graph: &'a OpenGraph, side: Side, name: &str) -> Option<&'a ValueType> {
    let outlets = match side {
        Side::Input => graph.session.inputs(),
        Side::Output => graph.session.outputs(),
    };
    outlets.iter().find(|o| o.name() == name).map(|o| o.dtype())
}

fn input_type(graph: &OpenGraph, name: &str) -> Option<TensorElementType> {
    type_of(graph, Side::Input, name)?.tensor_type()
}

fn symbol(dtype: &ValueType, axis: usize) -> Option<&str> {
    match dtype {
        ValueType::Tensor { dimension_symbols, .. } => dimension_symbols.get(axis).map(|s| s.as_ref()),
        _ => None,
    }
}

fn mismatch(graph: &Path, what: &'static str, found: impl ToString, expected: impl ToString) -> ModelError {
    ModelError::Mismatch { graph: graph.to_owned(), what, found: found.to_string(), expected: expected.to_string() }
}

/// The input or output must be there; where its axis has a fixed length, it must be `expected`.
fn expect_dim(
    graph: &OpenGraph,
    side: Side,
    name: &str,
    axis: usize,
    what: &'static str,
    expected: usize,
) -> Result<(), ModelError> {
    let Some(dtype) = type_of(graph, side, name) else {
        return Err(mismatch(&graph.path, "its interface", format!("without '{name}'"), "that of optimum's export"));
    };
    match dtype.tensor_shape().and_then(|shape| shape.get(axis).copied()) {
        Some(found) if found > 0 && usize::try_from(found) != Ok(expected) => {
            Err(mismatch(&graph.path, what, found, expected))
        }
        _ => Ok(()),
    }
}

/// Layers by the names of the cache's tensors, heads, vocabulary.
fn check_decoder(graph: &OpenGraph, config: &ModelConfig, side: Side, prefix: &str) -> Result<(), ModelError> {
    let outlets = match side {
        Side::Input => graph.session.inputs(),
        Side::Output => graph.session.outputs(),
    };
    let layers = outlets.iter().filter(|o| o.name().starts_with(prefix) && o.name().ends_with(".decoder.key")).count();
    if layers != config.decoder_layers {
        return Err(mismatch(&graph.path, "the number of decoder layers", layers, config.decoder_layers));
    }
    let key = format!("{prefix}0.decoder.key");
    expect_dim(graph, side, &key, 1, "the number of heads", config.decoder_heads)?;
    expect_dim(graph, side, &key, 3, "the width of a head", HEAD_WIDTH)?;
    expect_dim(graph, Side::Output, "logits", 2, "the vocabulary", config.vocabulary)
}
