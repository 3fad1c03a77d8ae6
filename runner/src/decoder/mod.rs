//! The exported graphs as a [`SpeechModel`]: encoder, and decoder with its key-value cache.
//!
//! Keys and values stay in the `OrtValue`s that ONNX Runtime allocated: the outputs of one step are moved to the inputs
//! of the next, never through a vector of the runner's. Those of the cross-attention are made once for a window's
//! sequence, by the first step, and kept. Rows that leave are copied out only when enough of them have left. Where the
//! execution provider has the whole decoder, it keeps the cache and chooses the token (`resident_cache`). Here the
//! graphs are opened and run; `speech` makes sequences of their runs, and `attend` reads the scores of the
//! cross-attention.

mod attend;
mod checks;
mod encoded;
mod encoder;
mod fit;
mod fixed;
mod load;
mod resident_cache;
mod rows;
mod scores;
mod speech;
mod tensor;
mod uncached;
mod without_cache;

use crate::engine::{Engine, EngineError, OpenGraph, words};
use crate::model::{DecoderFiles, Model, ModelError};
use crate::options::Device;
use crate::speech_model::RunError;
use encoder::Encoder;
use fit::{Side, check_decoder, expect_dim, expect_inputs, input_type, vocabulary};
use ort::session::{SessionInputValue, SessionOutputs};
use ort::value::{DynValue, Tensor, TensorElementType};
use resident_cache::ResidentCache;
use scores::ScoreGraph;
use std::borrow::Cow;
use tensor::Logits;

pub use encoded::Encoded;
pub use load::{Loaded, load};
pub use without_cache::WithoutCache;

const HEAD_WIDTH: usize = 64;
/// Tokens of a long prompt that are fed together.
const PROMPT_PIECE: usize = 32;

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
    Split {
        first: OpenGraph,
        with_past: OpenGraph,
    },
    Merged(OpenGraph),
    /// One graph for all steps: its cache is empty at first, and the cross-attention's comes from the encoder.
    Whole(OpenGraph),
}

impl Graphs {
    /// The graph of a step.
    fn of(&self, step: Step) -> &OpenGraph {
        match self {
            Self::Split { first, .. } if step == Step::First => first,
            Self::Split { with_past: graph, .. } | Self::Merged(graph) | Self::Whole(graph) => graph,
        }
    }

    fn of_mut(&mut self, step: Step) -> &mut OpenGraph {
        match self {
            Self::Split { first, .. } if step == Step::First => first,
            Self::Split { with_past: graph, .. } | Self::Merged(graph) | Self::Whole(graph) => graph,
        }
    }
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
    encoder: Encoder,
    graphs: Graphs,
    vocabulary: usize,
    heads: usize,
    encoder_positions: usize,
    /// What the encoder gave for all windows: hidden states `[windows, 1500, width]`; for a whole decoder the keys and
    /// values of its cross-attention, in the order of `cache`.
    encoded: Vec<DynValue>,
    /// The rows' hidden states, `[slots, 1500, width]`, where they are not all windows in their order.
    hidden: Option<DynValue>,
    cache: Vec<Cached>,
    /// The rows that tensors have.
    slots: usize,
    /// The window of each of them.
    windows: Vec<usize>,
    /// In which of them each row is. Those of rows that have left are computed on, until it pays to move the others.
    rows: Vec<usize>,
    /// Whether the cache is of the present windows.
    started: bool,
    /// Tokens of each row that are cached.
    positions: usize,
    /// The cache, where the execution provider keeps it: its rows are always the present ones, and [`Cached::value`]s
    /// are none.
    resident: Option<ResidentCache>,
    /// Gives the scores of the cross-attention where the execution provider does not.
    scores: ScoreGraph,
}

impl OrtModel {
    /// Opens `model`'s graphs on `engine`'s device and checks that they fit together and to the configuration.
    ///
    /// # Errors
    /// [`LoadError`]: a graph that cannot be opened, that does not match, that has no cache ([`load()`] takes those
    /// too), or whose nodes the asked device took none of.
    pub fn load(model: &Model, engine: &Engine) -> Result<Self, LoadError> {
        let encoder = Encoder::open(model.encoder(), engine, model.config())?;
        match model.decoder() {
            DecoderFiles::Alone(path) => {
                let graph = engine.open(path)?;
                if !is_whole(&graph) {
                    return Err(ModelError::NoCache(path.clone()).into());
                }
                Self::with(model, engine, encoder, Graphs::Whole(graph))
            }
            DecoderFiles::Split { first, with_past } => {
                let graphs = Graphs::Split { first: engine.open(first)?, with_past: engine.open(with_past)? };
                Self::with(model, engine, encoder, graphs)
            }
            DecoderFiles::Merged(path) => Self::with(model, engine, encoder, Graphs::Merged(engine.open(path)?)),
        }
    }

    /// Checks the graphs of a decoder, and makes a model of them.
    fn with(model: &Model, engine: &Engine, encoder: Encoder, graphs: Graphs) -> Result<Self, LoadError> {
        let config = model.config();
        match &graphs {
            Graphs::Split { first, with_past } => {
                check_decoder(first, config, Side::Output, "present.", ".decoder.key")?;
                check_decoder(with_past, config, Side::Input, "past_key_values.", ".decoder.key")?;
                expect_dim(first, Side::Input, "encoder_hidden_states", 2, "the width", config.width)?;
            }
            Graphs::Merged(graph) => {
                check_decoder(graph, config, Side::Input, "past_key_values.", ".decoder.key")?;
                expect_dim(graph, Side::Input, "encoder_hidden_states", 2, "the width", config.width)?;
            }
            Graphs::Whole(graph) => {
                check_decoder(graph, config, Side::Input, "past_key_self_", "")?;
                // Exports for GPUs share one buffer between steps and want to be told of beams.
                expect_inputs(
                    graph,
                    &["input_ids", "cache_position", "encoder_hidden_states"],
                    &["past_key_", "past_value_"],
                )?;
            }
        }
        let names = |layer: usize, cross: bool, kind: &str| match (&graphs, cross) {
            (Graphs::Whole(_), false) => (format!("past_{kind}_self_{layer}"), format!("present_{kind}_self_{layer}")),
            (Graphs::Whole(_), true) => (format!("past_{kind}_cross_{layer}"), format!("present_{kind}_cross_{layer}")),
            (_, cross) => {
                let of = if cross { "encoder" } else { "decoder" };
                (format!("past_key_values.{layer}.{of}.{kind}"), format!("present.{layer}.{of}.{kind}"))
            }
        };
        let mut cache = Vec::with_capacity(4 * config.decoder_layers);
        for layer in 0..config.decoder_layers {
            for (cross, kind) in [(false, "key"), (false, "value"), (true, "key"), (true, "value")] {
                let (input, output) = names(layer, cross, kind);
                if matches!(graphs, Graphs::Whole(_)) && cross {
                    expect_dim(&encoder.graph, Side::Output, &output, 1, "the number of heads", config.decoder_heads)?;
                }
                cache.push(Cached { input, output, cross, value: None });
            }
        }
        let vocabulary = vocabulary(graphs.of(Step::First), config)?;
        let resident = ResidentCache::of(&graphs, config.decoder_heads, engine)?;
        let first = &graphs.of(Step::First).path;
        let scores = ScoreGraph::new(first, config.decoder_layers, engine.cpu_sessions());
        let this = Self {
            encoder,
            scores,
            graphs,
            vocabulary,
            heads: config.decoder_heads,
            encoder_positions: config.encoder_positions,
            encoded: Vec::new(),
            hidden: None,
            cache,
            slots: 0,
            windows: Vec::new(),
            rows: Vec::new(),
            started: false,
            positions: 0,
            resident,
        };
        let device = engine.options().device;
        if device != Device::Cpu && this.graphs().iter().all(|g| g.ep_nodes == 0) {
            return Err(EngineError::NothingClaimed { device, graph: this.encoder.graph.path }.into());
        }
        Ok(this)
    }

    /// Nodes of all graphs that ONNX Runtime assigned to its own CPU provider.
    pub fn cpu_nodes(&self) -> usize {
        self.graphs().iter().map(|g| g.cpu_nodes).sum()
    }

    fn graphs(&self) -> Vec<&OpenGraph> {
        match &self.graphs {
            Graphs::Split { first, with_past } => vec![&self.encoder.graph, first, with_past],
            Graphs::Merged(graph) | Graphs::Whole(graph) => vec![&self.encoder.graph, graph],
        }
    }

    /// Runs the decoder on the rows' `tokens`, the first row's first; with [`Step::WithPast`] they follow the cached
    /// ones. `read` gets the logits, and the slot of each row.
    fn decode<R>(
        &mut self,
        step: Step,
        tokens: &[u32],
        read: impl FnOnce(&Logits<'_>, &[usize]) -> R,
    ) -> Result<R, RunError> {
        let vocabulary = self.vocabulary;
        self.run(step, tokens, |outputs, rows, slots, count| {
            Logits::of(outputs, vocabulary, slots, count).map(|logits| read(&logits, rows))
        })
    }

    /// [`Self::decode`], where `read` gets all outputs, the slot of each row, the number of slots, and the tokens to a
    /// row.
    fn run<R>(
        &mut self,
        step: Step,
        tokens: &[u32],
        read: impl FnOnce(&SessionOutputs<'_>, &[usize], usize, usize) -> Result<R, String>,
    ) -> Result<R, RunError> {
        let reads_windows = self.reads_windows(step);
        if self.resident.is_some() && reads_windows && !self.rows.iter().copied().eq(0..self.slots) {
            // The cache has no other rows; what is read beside it must not either.
            self.gather().map_err(|e| RunError { stage: "decoder".to_owned(), reason: words(&e) })?;
        }
        let compact: Vec<usize>;
        let (slots, rows) = if self.resident.is_some() {
            compact = (0..self.rows.len()).collect();
            (compact.len(), &compact)
        } else {
            (self.slots, &self.rows)
        };
        let (merged, whole) = (matches!(self.graphs, Graphs::Merged(_)), matches!(self.graphs, Graphs::Whole(_)));
        let graph = self.graphs.of_mut(step);
        let stage = || format!("decoder '{}'", graph.path.display());
        let failed = |e: ort::Error| RunError { stage: stage(), reason: words(&e) };
        let wrong = |reason: String| RunError { stage: stage(), reason };
        checks::encoded(slots).map_err(wrong)?;
        checks::started(self.started || step == Step::First).map_err(wrong)?;
        let count = checks::tokens_of_each(tokens.len(), rows.len()).map_err(wrong)?;
        let mut ids = vec![0u32; slots * count];
        for (&slot, tokens) in rows.iter().zip(tokens.chunks_exact(count)) {
            ids[slot * count..(slot + 1) * count].copy_from_slice(tokens);
        }
        let wide = input_type(graph, "input_ids") != Some(TensorElementType::Int32);
        let ids = tensor::ids(wide, [slots, count], &ids).map_err(failed)?;
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = vec![("input_ids".into(), ids.into())];
        if reads_windows {
            let hidden = self.hidden.as_ref().or(self.encoded.first());
            let hidden = hidden.ok_or_else(|| wrong("the encoder gave no window".to_owned()))?;
            inputs.push(("encoder_hidden_states".into(), hidden.into()));
        }
        let cached_before = if step == Step::First { 0 } else { self.positions };
        // Exports of 2024 want to be told where the tokens stand.
        if input_type(graph, "cache_position").is_some() {
            let places: Vec<i64> = (cached_before..cached_before + count).map(|at| at as i64).collect();
            inputs.push(("cache_position".into(), Tensor::from_array(([count], places)).map_err(failed)?.into()));
        }
        if merged {
            let cached = Tensor::from_array(([1], vec![step == Step::WithPast])).map_err(failed)?;
            inputs.push(("use_cache_branch".into(), cached.into()));
        }
        let empty = match step {
            Step::First if (merged || whole) && self.resident.is_none() => {
                Some(empty_cache(graph, slots, self.heads).map_err(failed)?)
            }
            _ => None,
        };
        let empty = self.resident.as_ref().map(|resident| &resident.nothing).or(empty.as_ref());
        if merged || whole || step == Step::WithPast {
            for cached in &self.cache {
                // A whole decoder's cross-attention has the encoder's results from the start.
                let value = empty.filter(|_| !(whole && cached.cross)).or(cached.value.as_ref());
                let value = value.ok_or_else(|| wrong(format!("the last step gave no {}", cached.output)))?;
                inputs.push((cached.input.as_str().into(), value.into()));
            }
        }
        if let Some(resident) = &self.resident {
            let outputs = graph.session.run_with_options(inputs, &resident.options).map_err(failed)?;
            self.started = true;
            self.positions = cached_before + count;
            return read(&outputs, rows, slots, count).map_err(wrong);
        }
        let mut outputs = graph.session.run(inputs).map_err(failed)?;
        let result = read(&outputs, rows, slots, count).map_err(wrong)?;
        for cached in &mut self.cache {
            // The first step makes all of them. Later ones make only the decoder's own: the merged graph's cached
            // branch returns the cross-attention's empty.
            if (step == Step::First && !whole) || !cached.cross {
                let value = outputs.remove(&cached.output);
                cached.value = Some(value.ok_or_else(|| wrong(format!("it has no output {}", cached.output)))?);
            }
        }
        self.started = true;
        self.positions = cached_before + count;
        Ok(result)
    }

    /// Runs the first steps over every row's tokens; the logits after each of `positions`, row by row.
    ///
    /// Graphs give logits for every position, those of a few hundred in tens of megabytes. Where the cache is not
    /// copied from step to step, a long prompt is fed in pieces.
    fn first(&mut self, prompts: &[&[u32]], positions: &[usize]) -> Result<Vec<Vec<f32>>, RunError> {
        let fits = if self.slots > 0 { checks::prompts(prompts, self.rows.len()) } else { Ok(()) };
        fits.map_err(|reason| RunError { stage: "decoder".to_owned(), reason })?;
        let length = prompts.first().map_or(0, |prompt| prompt.len());
        let piece = if self.resident.is_some() { PROMPT_PIECE } else { length };
        let mut found = vec![vec![Vec::new(); positions.len()]; prompts.len()];
        let mut from = 0;
        // Once for an empty prompt, which is an error of the step's.
        while from == 0 || from < length {
            let part = from..length.min(from + piece);
            let tokens: Vec<u32> = prompts.iter().flat_map(|prompt| &prompt[part.clone()]).copied().collect();
            let step = if from == 0 { Step::First } else { Step::WithPast };
            self.decode(step, &tokens, |logits, rows| {
                for (&row, found) in rows.iter().zip(&mut found) {
                    for (position, found) in positions.iter().zip(found).filter(|(at, _)| part.contains(at)) {
                        *found = logits.at(row, position - part.start, <[f32]>::to_vec);
                    }
                }
            })?;
            if from == 0 && self.resident.as_ref().is_some_and(|resident| resident.cache.is_empty()) {
                // A merged decoder's branches may call their presents otherwise than the decoder does.
                tracing::debug!(
                    "the execution provider cannot keep this decoder's cache: it is passed from step to step"
                );
                self.resident = None;
                return self.first(prompts, positions);
            }
            from = part.end.max(1);
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Whether a step's graph reads the encoded windows.
    fn reads_windows(&self, step: Step) -> bool {
        input_type(self.graphs.of(step), "encoder_hidden_states").is_some()
    }

    /// Lets go of the sequences, and of the rows' own copies of encoded windows.
    fn forget(&mut self) {
        self.hidden = None;
        self.started = false;
        self.cache.iter_mut().for_each(|cached| cached.value = None);
    }

    /// Puts what the encoder gave for `windows` before the rows.
    fn recall(&mut self, windows: &[usize]) -> Result<(), ort::Error> {
        if let Graphs::Whole(_) = self.graphs {
            for (cached, encoded) in self.cache.iter_mut().filter(|cached| cached.cross).zip(&self.encoded) {
                cached.value = Some(tensor::pick(encoded, windows)?);
            }
            return Ok(());
        }
        let all = self.encoded.first().and_then(|encoded| encoded.shape().first().copied());
        let in_order = windows.iter().copied().eq(0..windows.len()) && all == i64::try_from(windows.len()).ok();
        self.hidden = match self.encoded.first() {
            Some(encoded) if !in_order => Some(tensor::pick(encoded, windows)?),
            _ => None,
        };
        Ok(())
    }

    /// Moves the rows together, in their order, so that tensors have no others.
    fn gather(&mut self) -> Result<(), ort::Error> {
        let windows: Vec<usize> = self.rows.iter().map(|&row| self.windows[row]).collect();
        // Beams change places within their windows, and what is of a window lies there already.
        let moves_windows = windows != self.windows;
        for cached in self.cache.iter_mut().filter(|cached| moves_windows || !cached.cross) {
            if let Some(value) = &mut cached.value {
                *value = tensor::pick(value, &self.rows)?;
            }
        }
        let whole = matches!(self.graphs, Graphs::Whole(_));
        if let Some(hidden) = self.hidden.as_ref().or(self.encoded.first()).filter(|_| !whole && moves_windows) {
            self.hidden = Some(tensor::pick(hidden, &self.rows)?);
        }
        self.windows = windows;
        self.slots = self.rows.len();
        self.rows = (0..self.slots).collect();
        Ok(())
    }
}

/// Whether a decoder's graph is ONNX Runtime's export, or onnxruntime-genai's: one graph for all steps.
fn is_whole(graph: &OpenGraph) -> bool {
    input_type(graph, "past_key_self_0").is_some()
}

/// A decoder's input of tokens.
fn token_input(graph: &OpenGraph) -> Option<String> {
    let names = ["input_ids", "decoder_input_ids", "tokens"];
    names.into_iter().find(|name| input_type(graph, name).is_some()).map(str::to_owned)
}

/// A cache of no positions, `[rows, heads, 0, 64]`, of the type that the graph wants.
fn empty_cache(graph: &OpenGraph, rows: usize, heads: usize) -> Result<DynValue, ort::Error> {
    let first =
        ["past_key_values.0.decoder.key", "past_key_self_0"].into_iter().find_map(|name| input_type(graph, name));
    let half = first == Some(TensorElementType::Float16);
    tensor::empty(half, [rows, heads, 0, HEAD_WIDTH])
}
