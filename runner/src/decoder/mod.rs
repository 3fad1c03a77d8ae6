//! The exported graphs as a [`SpeechModel`]: encoder, and decoder with its key-value cache.
//!
//! Keys and values stay in the `OrtValue`s that ONNX Runtime allocated: the outputs of one step are moved to the inputs
//! of the next, never through a vector of the runner's. Those of the cross-attention are made once for a window's
//! sequence, by the first step, and kept. Rows that leave are copied out only when enough of them have left. Where the
//! execution provider has the whole decoder, it keeps the cache and chooses the token (`resident_cache`).

mod encoded;
mod encoder;
mod fit;
mod fixed;
mod load;
mod resident_cache;
mod rows;
mod scores;
mod tensor;
mod uncached;
mod without_cache;

use crate::choice::{Ask, Scores, ranks};
use crate::engine::{Engine, EngineError, OpenGraph, words};
use crate::model::{DecoderFiles, Model, ModelError};
use crate::options::Device;
use crate::speech_model::{RunError, SpeechModel, StartLogits};
use crate::words::Attended;
use encoder::Encoder;
use fit::{Side, check_decoder, expect_dim, expect_inputs, input_type, symbol, vocabulary};
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
/// Rows are moved together when at most this share (numerator, denominator) of a tensor's rows is left.
const GATHER_BELOW: (usize, usize) = (3, 4);

/// Tokens of a long prompt that are fed together.
const PROMPT_PIECE: usize = 32;

/// Tokens of a known text that are fed together: logits of each come back.
const ATTENDED_PIECE: usize = 128;

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
        if slots == 0 {
            return Err(wrong("no window was encoded before".to_owned()));
        }
        if step == Step::WithPast && !self.started {
            return Err(wrong("a step was taken before a sequence was started".to_owned()));
        }
        let count = tokens.len() / rows.len().max(1);
        if count == 0 || tokens.len() != count * rows.len() {
            return Err(wrong(format!("{} tokens do not go to {} rows", tokens.len(), rows.len())));
        }
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
        let equal = prompts.windows(2).all(|pair| pair[0].len() == pair[1].len());
        if self.slots > 0 && (prompts.len() != self.rows.len() || !equal) {
            let reason = format!("{} prompts, or not of one length, for {} rows", prompts.len(), self.rows.len());
            return Err(RunError { stage: "decoder".to_owned(), reason });
        }
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

impl SpeechModel for OrtModel {
    /// Windows are encoded one after another: measured on `cpu` and `host`, several at once take as long (tiny, base),
    /// and the memory of several.
    fn encode(&mut self, windows: &[&[f32]]) -> Result<(), RunError> {
        let path = self.encoder.graph.path.clone();
        let failed = |reason: String| Encoder::error(&path, reason);
        self.encoded.clear();
        self.forget();
        self.slots = 0;
        let names: Vec<String> = match self.graphs {
            Graphs::Whole(_) => self.cache.iter().filter(|cached| cached.cross).map(|c| c.output.clone()).collect(),
            _ => vec![self.encoder.encoded().unwrap_or("last_hidden_state").to_owned()],
        };
        let mut values: Vec<Vec<DynValue>> = names.iter().map(|_| Vec::with_capacity(windows.len())).collect();
        for window in windows {
            let mut outputs = self.encoder.run(window)?;
            for (values, name) in values.iter_mut().zip(&names) {
                values.push(outputs.remove(name).ok_or_else(|| failed(format!("it has no output {name}")))?);
            }
        }
        for values in values {
            self.encoded.push(tensor::stack(values).map_err(|e| failed(words(&e)))?);
        }
        let all: Vec<usize> = (0..windows.len()).collect();
        self.recall(&all).map_err(|e| failed(words(&e)))?;
        self.slots = windows.len();
        self.windows = all.clone();
        self.rows = all;
        Ok(())
    }

    fn start(&mut self, prompts: &[&[u32]], sot: usize) -> Result<Vec<StartLogits>, RunError> {
        let last = prompts.first().map_or(0, |prompt| prompt.len().saturating_sub(1));
        if sot < last && !self.returns_all_positions() {
            // This export keeps the last position only: ask for the one at `sot` by itself.
            let short: Vec<&[u32]> = prompts.iter().map(|prompt| &prompt[..=sot]).collect();
            let at_sot = self.first(&short, &[sot])?;
            let at_last = self.first(prompts, &[last])?;
            return Ok(at_sot.into_iter().zip(at_last).map(|(sot, last)| StartLogits { sot, last }).collect());
        }
        let mut logits = self.first(prompts, &[sot, last])?.into_iter();
        Ok(std::iter::from_fn(|| Some(StartLogits { sot: logits.next()?, last: logits.next()? })).collect())
    }

    fn step(
        &mut self,
        tokens: &[u32],
        asks: &[Ask<'_>],
        count: usize,
        answers: &mut Vec<Scores>,
    ) -> Result<(), RunError> {
        if asks.len() != self.rows.len() {
            let reason = format!("{} asks do not go to {} rows", asks.len(), self.rows.len());
            return Err(RunError { stage: "decoder".to_owned(), reason });
        }
        // The execution provider weighs text that comes before the timestamps only.
        let beyond = asks.iter().any(|ask| ask.allows_behind_timestamps(self.vocabulary));
        if !beyond && self.resident.as_mut().is_some_and(|resident| resident.cache.ask(asks, count).is_ok()) {
            self.run(Step::WithPast, tokens, |_, _, _, _| Ok(()))?;
            let wrong = |reason| RunError { stage: "decoder".to_owned(), reason };
            return self
                .resident
                .as_mut()
                .map_or(Ok(()), |r| r.cache.choice(asks.len(), count, answers))
                .map_err(wrong);
        }
        answers.clear();
        self.step_logits(tokens, &mut |row, logits| ranks(logits, &asks[row], count, answers))
    }

    fn step_logits(&mut self, tokens: &[u32], look: &mut dyn FnMut(usize, &[f32])) -> Result<(), RunError> {
        let last = (tokens.len() / self.rows.len().max(1)).saturating_sub(1);
        self.decode(Step::WithPast, tokens, |logits, rows| {
            for (row, &slot) in rows.iter().enumerate() {
                logits.at(slot, last, |logits| look(row, logits));
            }
        })
    }

    fn keep(&mut self, rows: &[usize]) -> Result<(), RunError> {
        let failed = |reason| RunError { stage: "decoder".to_owned(), reason };
        let slot = |&row: &usize| self.rows.get(row).copied().ok_or_else(|| failed(format!("there is no row {row}")));
        if rows.is_empty() {
            return Err(failed("no row is to go on".to_owned()));
        }
        let slots = rows.iter().map(slot).collect::<Result<_, _>>()?;
        if let (Some(resident), true) = (&mut self.resident, self.started) {
            resident.cache.select(rows).map_err(failed)?;
            self.rows = slots;
            return Ok(());
        }
        self.rows = slots;
        let taken_once = (0..self.slots).all(|slot| self.rows.iter().filter(|&&row| row == slot).count() <= 1);
        if !taken_once || self.rows.len() * GATHER_BELOW.1 <= self.slots * GATHER_BELOW.0 {
            self.gather().map_err(|e| failed(words(&e)))?;
        }
        Ok(())
    }

    fn restart(&mut self, windows: &[usize]) -> Result<(), RunError> {
        let failed = |e: ort::Error| RunError { stage: "decoder".to_owned(), reason: words(&e) };
        self.forget();
        self.recall(windows).map_err(failed)?;
        self.slots = windows.len();
        self.windows = windows.to_vec();
        self.rows = (0..self.slots).collect();
        Ok(())
    }

    fn prepare_to_attend(&mut self) -> Result<(), RunError> {
        if self.resident.is_some() {
            return Ok(());
        }
        let stage = format!("decoder '{}'", self.graphs.of(Step::First).path.display());
        self.scores.open().map_err(|reason| RunError { stage, reason })
    }

    fn attend(
        &mut self,
        window: usize,
        tokens: &[u32],
        heads: &[[usize; 2]],
        look: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Attended, RunError> {
        self.restart(&[window])?;
        let stage = format!("decoder '{}'", self.graphs.of(Step::First).path.display());
        let attended = match self.resident {
            Some(_) => self.scores_of_provider(tokens, heads, look),
            None => self.scores_of_graph(tokens, heads, look),
        };
        self.forget();
        attended.map_err(|reason| RunError { stage, reason })
    }
}

impl OrtModel {
    /// The scores of a sequence over the first row's window, by the execution provider, which keeps the cache.
    fn scores_of_provider(
        &mut self,
        tokens: &[u32],
        heads: &[[usize; 2]],
        look: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Attended, String> {
        let mut pieces: Vec<Vec<f32>> = Vec::new();
        let mut from = 0;
        for part in tokens.chunks(ATTENDED_PIECE) {
            self.resident.as_mut().map_or(Ok(()), |resident| resident.cache.attend(heads))?;
            let step = if from == 0 { Step::First } else { Step::WithPast };
            self.decode(step, part, |logits, _| {
                (0..part.len()).for_each(|at| logits.at(0, at, |logits| look(from + at, logits)));
            })
            .map_err(|error| error.reason)?;
            let Some(resident) = self.resident.as_mut().filter(|resident| !resident.cache.is_empty()) else {
                // As at the start of any sequence: this decoder's cache cannot stay in the provider.
                self.resident = None;
                return self.scores_of_graph(tokens, heads, look);
            };
            let mut scores = vec![0.0; heads.len() * part.len() * self.encoder_positions];
            resident.cache.scores(&mut scores)?;
            pieces.push(scores);
            from += part.len();
        }
        let of_head = |piece: usize, head: usize| {
            let size = pieces[piece].len() / heads.len().max(1);
            &pieces[piece][head * size..(head + 1) * size]
        };
        let places = (0..heads.len()).flat_map(|head| (0..pieces.len()).map(move |piece| (piece, head)));
        let scores = places.flat_map(|(piece, head)| of_head(piece, head)).copied().collect();
        Ok(Attended { tokens: tokens.len(), positions: self.encoder_positions, scores })
    }

    /// The scores of a sequence over the first row's window, by the graph that is opened for them.
    fn scores_of_graph(
        &mut self,
        tokens: &[u32],
        heads: &[[usize; 2]],
        look: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Attended, String> {
        let whole = matches!(self.graphs, Graphs::Whole(_));
        let graph = self.graphs.of(Step::First);
        let wide = input_type(graph, "input_ids") != Some(TensorElementType::Int32);
        let ids = tensor::ids(wide, [1, tokens.len()], tokens).map_err(|e| words(&e))?;
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = vec![("input_ids".into(), ids.into())];
        if input_type(graph, "encoder_hidden_states").is_some() {
            let hidden = self.hidden.as_ref().or(self.encoded.first()).ok_or("no window was encoded before")?;
            inputs.push(("encoder_hidden_states".into(), hidden.into()));
        }
        if input_type(graph, "cache_position").is_some() {
            let places: Vec<i64> = (0..tokens.len()).map(|at| at as i64).collect();
            let places = Tensor::from_array(([tokens.len()], places)).map_err(|e| words(&e))?;
            inputs.push(("cache_position".into(), places.into()));
        }
        let empty = if whole { Some(empty_cache(graph, 1, self.heads).map_err(|e| words(&e))?) } else { None };
        if let Some(empty) = &empty {
            for cached in &self.cache {
                let value = if cached.cross { cached.value.as_ref() } else { Some(empty) };
                let value = value.ok_or_else(|| format!("the encoder gave no {}", cached.output))?;
                inputs.push((cached.input.as_str().into(), value.into()));
            }
        }
        let vocabulary = self.vocabulary;
        let (attended, ()) = self
            .scores
            .run(inputs, heads, |outputs| Logits::of(outputs, vocabulary, 1, tokens.len())?.each(tokens.len(), look))?;
        Ok(attended)
    }

    /// Whether the first step's graph returns logits of every position; some exports keep the last one only.
    fn returns_all_positions(&self) -> bool {
        let graph = self.graphs.of(Step::First);
        let logits = graph.session.outputs().iter().find(|o| o.name() == "logits");
        let positions = logits.and_then(|o| o.dtype().tensor_shape()).and_then(|s| s.get(1).copied());
        positions != Some(1) && logits.is_none_or(|o| symbol(o.dtype(), 1) != Some("1"))
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
