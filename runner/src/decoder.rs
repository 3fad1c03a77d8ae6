//! The exported graphs as a [`SpeechModel`]: encoder, and decoder with its key-value cache.
//!
//! Keys and values stay in the `OrtValue`s that ONNX Runtime allocated: the outputs of one step are moved to the inputs
//! of the next, never through a vector of the runner's. Those of the cross-attention are made once for a window's
//! sequence, by the first step, and kept. Rows that leave are copied out only when enough of them have left. Where the
//! execution provider has the whole decoder, it keeps the cache and chooses the token (`residence`). Rules, search and text
//! are not here.

mod fit;
mod residence;
mod tensor;

use crate::choice::{Ask, Scores, scores};
use crate::engine::{Engine, EngineError, OpenGraph, words};
use crate::model::{DecoderFiles, Model, ModelError};
use crate::speech_model::{RunError, SpeechModel, StartLogits};
use fit::{Side, check_decoder, expect_dim, input_type, symbol};
use half::f16;
use ort::session::{SessionInputValue, SessionOutputs};
use ort::value::{DynValue, Tensor, TensorElementType};
use residence::Residence;
use std::borrow::Cow;
use tensor::Logits;

/// Frames of one window: 30 s.
pub const WINDOW_FRAMES: usize = 3000;
const HEAD_WIDTH: usize = 64;
/// Rows are moved together when at most this share (numerator, denominator) of a tensor's rows is left.
const GATHER_BELOW: (usize, usize) = (3, 4);

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
    /// The encoded windows, all of them, `[windows, 1500, width]`.
    encoded: Option<DynValue>,
    /// Those of the rows, `[slots, 1500, width]`, where they are not all in their order.
    hidden: Option<DynValue>,
    cache: Vec<Cached>,
    /// The rows that tensors have.
    slots: usize,
    /// In which of them each row is. Those of rows that have left are computed on, until it pays to move the others.
    rows: Vec<usize>,
    /// Whether the cache is of the present windows.
    started: bool,
    /// The cache, where the execution provider keeps it: its rows are always the present ones, and [`Cached::value`]s are none.
    residence: Option<Residence>,
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
        let (encoded, hidden, slots, rows, started) = (None, None, 0, Vec::new(), false);
        let residence = Residence::of(&graphs, config.decoder_heads, engine)?;
        let this = Self {
            encoder,
            graphs,
            mel_bins,
            vocabulary,
            heads,
            encoded,
            hidden,
            cache,
            slots,
            rows,
            started,
            residence,
        };
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

    /// Runs the decoder on the rows' `tokens`, the first row's first; with [`Step::WithPast`] they follow the cached ones.
    /// `read` gets the logits, and the slot of each row.
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

    /// [`Self::decode`], where `read` gets all outputs, the slot of each row, the number of slots, and the tokens to a row.
    fn run<R>(
        &mut self,
        step: Step,
        tokens: &[u32],
        read: impl FnOnce(&SessionOutputs<'_>, &[usize], usize, usize) -> Result<R, String>,
    ) -> Result<R, RunError> {
        let reads_windows = self.reads_windows(step);
        if self.residence.is_some() && reads_windows && !self.rows.iter().copied().eq(0..self.slots) {
            // The cache has no other rows; what is read beside it must not either.
            self.gather().map_err(|e| RunError { stage: "decoder".to_owned(), reason: words(&e) })?;
        }
        let compact: Vec<usize>;
        let (slots, rows) = if self.residence.is_some() {
            compact = (0..self.rows.len()).collect();
            (compact.len(), &compact)
        } else {
            (self.slots, &self.rows)
        };
        let (graph, merged) = match &mut self.graphs {
            Graphs::Split { first, .. } if step == Step::First => (first, false),
            Graphs::Split { with_past, .. } => (with_past, false),
            Graphs::Merged(graph) => (graph, true),
        };
        let stage = || format!("decoder '{}'", graph.path.display());
        let failed = |e: ort::Error| RunError { stage: stage(), reason: words(&e) };
        let wrong = |reason: String| RunError { stage: stage(), reason };
        let hidden = self.hidden.as_ref().or(self.encoded.as_ref());
        let hidden = hidden.ok_or_else(|| wrong("no window was encoded before".to_owned()))?;
        if step == Step::WithPast && !self.started {
            return Err(wrong("a step was taken before a sequence was started".to_owned()));
        }
        let count = tokens.len() / rows.len().max(1);
        if count == 0 || tokens.len() != count * rows.len() {
            return Err(wrong(format!("{} tokens do not go to {} rows", tokens.len(), rows.len())));
        }
        let mut ids = vec![0i64; slots * count];
        for (&slot, tokens) in rows.iter().zip(tokens.chunks_exact(count)) {
            for (id, &token) in ids[slot * count..].iter_mut().zip(tokens) {
                *id = i64::from(token);
            }
        }
        let ids = Tensor::from_array(([slots, count], ids)).map_err(failed)?;
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = vec![("input_ids".into(), ids.into())];
        if reads_windows {
            inputs.push(("encoder_hidden_states".into(), hidden.into()));
        }
        if merged {
            let cached = Tensor::from_array(([1], vec![step == Step::WithPast])).map_err(failed)?;
            inputs.push(("use_cache_branch".into(), cached.into()));
        }
        let empty = match (merged, step) {
            (true, Step::First) if self.residence.is_none() => {
                Some(empty_cache(graph, slots, self.heads).map_err(failed)?)
            }
            _ => None,
        };
        let empty = self.residence.as_ref().map(Residence::nothing).or(empty.as_ref());
        if merged || step == Step::WithPast {
            for cached in &self.cache {
                let value = empty.or(cached.value.as_ref());
                let value = value.ok_or_else(|| wrong(format!("the last step gave no {}", cached.output)))?;
                inputs.push((cached.input.as_str().into(), value.into()));
            }
        }
        if let Some(residence) = &self.residence {
            let outputs = graph.session.run_with_options(inputs, residence.options()).map_err(failed)?;
            self.started = true;
            return read(&outputs, rows, slots, count).map_err(wrong);
        }
        let mut outputs = graph.session.run(inputs).map_err(failed)?;
        let result = read(&outputs, rows, slots, count).map_err(wrong)?;
        for cached in &mut self.cache {
            // The first step makes all of them. Later ones make only the decoder's own: the merged graph's cached branch
            // returns the cross-attention's empty.
            if step == Step::First || !cached.cross {
                let value = outputs.remove(&cached.output);
                cached.value = Some(value.ok_or_else(|| wrong(format!("it has no output {}", cached.output)))?);
            }
        }
        self.started = true;
        Ok(result)
    }

    /// Runs the first step over every row's tokens; the logits after each of `positions`, row by row.
    fn first(&mut self, prompts: &[&[u32]], positions: &[usize]) -> Result<Vec<Vec<f32>>, RunError> {
        let equal = prompts.windows(2).all(|pair| pair[0].len() == pair[1].len());
        if self.encoded.is_some() && (prompts.len() != self.rows.len() || !equal) {
            let reason = format!("{} prompts, or not of one length, for {} rows", prompts.len(), self.rows.len());
            return Err(RunError { stage: "decoder".to_owned(), reason });
        }
        self.decode(Step::First, &prompts.concat(), |logits, rows| {
            let all = rows.iter().flat_map(|&row| positions.iter().map(move |&position| (row, position)));
            all.map(|(row, position)| logits.at(row, position, <[f32]>::to_vec)).collect()
        })
    }

    /// Whether a step's graph reads the encoded windows.
    fn reads_windows(&self, step: Step) -> bool {
        let graph = match &self.graphs {
            Graphs::Split { first, .. } if step == Step::First => first,
            Graphs::Split { with_past, .. } => with_past,
            Graphs::Merged(graph) => graph,
        };
        graph.session.inputs().iter().any(|input| input.name() == "encoder_hidden_states")
    }

    /// Lets go of the sequences, and of the rows' own copies of encoded windows.
    fn forget(&mut self) {
        self.hidden = None;
        self.started = false;
        self.cache.iter_mut().for_each(|cached| cached.value = None);
    }

    /// Moves the rows together, in their order, so that tensors have no others.
    fn gather(&mut self) -> Result<(), ort::Error> {
        for value in self.cache.iter_mut().filter_map(|cached| cached.value.as_mut()) {
            *value = tensor::pick(value, &self.rows)?;
        }
        if let Some(hidden) = self.hidden.as_ref().or(self.encoded.as_ref()) {
            self.hidden = Some(tensor::pick(hidden, &self.rows)?);
        }
        self.slots = self.rows.len();
        self.rows = (0..self.slots).collect();
        Ok(())
    }
}

impl SpeechModel for OrtModel {
    /// Windows are encoded one after another: measured on `cpu` and `host`, several at once take as long (tiny, base), and the
    /// memory of several.
    fn encode(&mut self, windows: &[&[f32]]) -> Result<(), RunError> {
        let path = self.encoder.path.display().to_string();
        let failed = |e: ort::Error| RunError { stage: format!("encoder '{path}'"), reason: words(&e) };
        self.encoded = None;
        self.forget();
        let shape = [1, self.mel_bins, WINDOW_FRAMES];
        let half = input_type(&self.encoder, "input_features") == Some(TensorElementType::Float16);
        let mut encoded = Vec::with_capacity(windows.len());
        for window in windows {
            let input: DynValue = if half {
                let data: Vec<f16> = window.iter().map(|&x| f16::from_f32(x)).collect();
                Tensor::from_array((shape, data)).map_err(failed)?.into_dyn()
            } else {
                Tensor::from_array((shape, window.to_vec())).map_err(failed)?.into_dyn()
            };
            let mut outputs = self.encoder.session.run(ort::inputs!["input_features" => input]).map_err(failed)?;
            let missing = || ort::Error::new("it has no output last_hidden_state");
            encoded.push(outputs.remove("last_hidden_state").ok_or_else(missing).map_err(failed)?);
        }
        self.encoded = Some(tensor::stack(encoded).map_err(failed)?);
        self.slots = windows.len();
        self.rows = (0..self.slots).collect();
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

    fn step(&mut self, tokens: &[u32], asks: &[Ask<'_>], answers: &mut Vec<Scores>) -> Result<(), RunError> {
        if asks.len() != self.rows.len() {
            let reason = format!("{} asks do not go to {} rows", asks.len(), self.rows.len());
            return Err(RunError { stage: "decoder".to_owned(), reason });
        }
        if self.residence.as_mut().is_some_and(|residence| residence.ask(asks)) {
            self.run(Step::WithPast, tokens, |_, _, _, _| Ok(()))?;
            let wrong = |reason| RunError { stage: "decoder".to_owned(), reason };
            return self.residence.as_mut().map_or(Ok(()), |r| r.choice(asks.len(), answers)).map_err(wrong);
        }
        answers.clear();
        self.step_logits(tokens, &mut |row, logits| answers.push(scores(logits, &asks[row])))
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
        if let (Some(residence), true) = (&mut self.residence, self.started) {
            residence.select(rows).map_err(failed)?;
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
        if let Some(encoded) = &self.encoded {
            self.hidden = Some(tensor::pick(encoded, windows).map_err(failed)?);
        }
        self.slots = windows.len();
        self.rows = (0..self.slots).collect();
        Ok(())
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

/// A cache of no positions, `[rows, heads, 0, 64]`, of the type that the graph wants.
fn empty_cache(graph: &OpenGraph, rows: usize, heads: usize) -> Result<DynValue, ort::Error> {
    let half = input_type(graph, "past_key_values.0.decoder.key") == Some(TensorElementType::Float16);
    tensor::empty(half, [rows, heads, 0, HEAD_WIDTH])
}

/// The same model without a cache: every step runs the whole sequence through the first step's graph.
/// The slow, obvious way, for comparison.
pub struct WithoutCache {
    model: OrtModel,
    /// Each row's sequence.
    rows: Vec<Vec<u32>>,
}

impl WithoutCache {
    /// Runs `model` without its cache.
    pub fn new(mut model: OrtModel) -> Self {
        model.residence = None;
        Self { model, rows: Vec::new() }
    }
}

impl SpeechModel for WithoutCache {
    fn encode(&mut self, windows: &[&[f32]]) -> Result<(), RunError> {
        self.model.encode(windows)
    }

    fn start(&mut self, prompts: &[&[u32]], sot: usize) -> Result<Vec<StartLogits>, RunError> {
        self.rows = prompts.iter().map(|prompt| prompt.to_vec()).collect();
        self.model.start(prompts, sot)
    }

    fn step(&mut self, tokens: &[u32], asks: &[Ask<'_>], answers: &mut Vec<Scores>) -> Result<(), RunError> {
        answers.clear();
        self.step_logits(tokens, &mut |row, logits| answers.push(scores(logits, &asks[row])))
    }

    fn step_logits(&mut self, tokens: &[u32], look: &mut dyn FnMut(usize, &[f32])) -> Result<(), RunError> {
        let count = (tokens.len() / self.rows.len().max(1)).max(1);
        for (row, tokens) in self.rows.iter_mut().zip(tokens.chunks(count)) {
            row.extend_from_slice(tokens);
        }
        let prompts: Vec<&[u32]> = self.rows.iter().map(Vec::as_slice).collect();
        let last = prompts.first().map_or(0, |row| row.len() - 1);
        let logits = self.model.first(&prompts, &[last])?;
        logits.iter().enumerate().for_each(|(row, logits)| look(row, logits));
        Ok(())
    }

    fn keep(&mut self, rows: &[usize]) -> Result<(), RunError> {
        self.model.keep(rows)?;
        self.rows = rows.iter().filter_map(|&row| self.rows.get(row).cloned()).collect();
        Ok(())
    }

    fn restart(&mut self, windows: &[usize]) -> Result<(), RunError> {
        self.rows.clear();
        self.model.restart(windows)
    }
}
