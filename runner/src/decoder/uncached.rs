//! A decoder without a cache: every step computes the whole sequence again. Its sequence may have a fixed length, as
//! NPUs want it; what follows the tokens there is padding, which no earlier position sees.

use super::encoder::Encoder;
use super::fit::{Side, expect_dim, expect_every_position, expect_inputs, fixed, input_type, vocabulary};
use super::rows::RowDecoder;
use super::scores::ScoreGraph;
use super::tensor::{self, Logits};
use super::{LoadError, token_input};
use crate::engine::{CpuSessions, EngineError, OpenGraph, words};
use crate::model::{ModelConfig, ModelError};
use crate::words::Attended;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, SessionInputValue, SessionOutputs};
use ort::value::{DynValue, TensorElementType};
use std::borrow::Cow;
use std::path::Path;

/// What the encoded window is called by a decoder.
const ENCODED: &str = "encoder_hidden_states";

pub(super) struct Uncached {
    graph: OpenGraph,
    tokens: String,
    wide: bool,
    vocabulary: usize,
    /// Tokens of a sequence, where their number is fixed.
    length: Option<usize>,
    encoded: &'static str,
    /// Only the logits are wanted.
    options: RunOptions<HasSelectedOutputs>,
    /// The same graph, with scores.
    scores: ScoreGraph,
}

type Inputs<'v> = Vec<(Cow<'static, str>, SessionInputValue<'v>)>;

/// A row's window and its sequence.
pub(super) struct Row {
    window: DynValue,
    tokens: Vec<u32>,
}

impl Uncached {
    pub(super) fn open(
        path: &Path,
        graph: OpenGraph,
        encoder: &Encoder,
        config: &ModelConfig,
        sessions: CpuSessions,
    ) -> Result<Self, LoadError> {
        let scores = ScoreGraph::new(path, config.decoder_layers, sessions);
        let lacks = |found: &str| ModelError::Mismatch {
            graph: path.to_owned(),
            what: "its interface",
            found: format!("without '{found}'"),
            expected: "that of Whisper's decoder".to_owned(),
        };
        expect_dim(&graph, Side::Input, ENCODED, 2, "the width", config.width)?;
        let encoded = encoder.encoded().ok_or_else(|| ModelError::Mismatch {
            graph: encoder.graph.path.clone(),
            what: "its interface",
            found: "without an output 'last_hidden_state'".to_owned(),
            expected: format!("one that gives what '{}' reads", path.display()),
        })?;
        let tokens = token_input(&graph).ok_or_else(|| lacks("input_ids"))?;
        let wide = input_type(&graph, &tokens) != Some(TensorElementType::Int32);
        let length = fixed(&graph, Side::Input, &tokens, 1);
        expect_inputs(&graph, &[tokens.as_str(), ENCODED], &[])?;
        let vocabulary = vocabulary(&graph, config)?;
        let options = RunOptions::new().map(|o| o.with_outputs(OutputSelector::no_default().with("logits")));
        let options = options.map_err(|e| EngineError::Ort { what: "prepare a decoder's runs", reason: words(&e) })?;
        Ok(Self { graph, tokens, wide, vocabulary, length, encoded, options, scores })
    }

    pub(super) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Tokens of a sequence, where their number is fixed.
    pub(super) fn length(&self) -> Option<usize> {
        self.length
    }

    /// Inputs that feed `tokens`, and how many they are with what pads them.
    fn inputs<'v>(&self, window: &'v DynValue, tokens: &[u32]) -> Result<(Inputs<'v>, usize), String> {
        let mut padded = Cow::Borrowed(tokens);
        if let Some(length) = self.length {
            if tokens.len() > length {
                return Err(format!("it has {length} positions, and the sequence {} tokens", tokens.len()));
            }
            padded.to_mut().resize(length, tokens.last().copied().unwrap_or_default());
        }
        let ids = tensor::ids(self.wide, [1, padded.len()], &padded).map_err(|e| words(&e))?;
        let inputs = vec![(self.tokens.clone().into(), ids.into()), (ENCODED.into(), window.into())];
        Ok((inputs, padded.len()))
    }

    /// Runs over `tokens`; `look` gets the logits.
    fn run<R>(&mut self, window: &DynValue, tokens: &[u32], look: impl FnOnce(&Logits<'_>) -> R) -> Result<R, String> {
        let (inputs, count) = self.inputs(window, tokens)?;
        let outputs = self.graph.session.run_with_options(inputs, &self.options).map_err(|e| words(&e))?;
        Logits::of(&outputs, self.vocabulary, 1, count).map(|logits| look(&logits))
    }
}

impl RowDecoder for Uncached {
    type State = Row;

    fn begin(&self, outputs: &mut SessionOutputs<'_>) -> Result<Row, String> {
        let window = outputs.remove(self.encoded).ok_or_else(|| format!("it has no output {}", self.encoded))?;
        Ok(Row { window, tokens: Vec::new() })
    }

    fn restart(&self, row: &mut Row) -> Result<(), String> {
        row.tokens.clear();
        Ok(())
    }

    fn feed(
        &mut self,
        row: &mut Row,
        tokens: &[u32],
        positions: &[usize],
        look: &mut dyn FnMut(&[f32]),
    ) -> Result<(), String> {
        let before = row.tokens.len();
        row.tokens.extend_from_slice(tokens);
        let all = self.run(&row.window, &row.tokens, |logits| {
            let every = logits.has_every_position();
            if every {
                positions.iter().for_each(|&position| logits.at(0, before + position, &mut *look));
            }
            every
        })?;
        if !all {
            // This export returns the last position's only.
            for &position in positions {
                self.run(&row.window, &row.tokens[..=before + position], |logits| {
                    logits.at(0, before + position, &mut *look);
                })?;
            }
        }
        Ok(())
    }

    fn prepare_to_attend(&self) -> Result<(), String> {
        expect_every_position(&self.graph)?;
        self.scores.open()
    }

    fn attend(
        &mut self,
        row: &Row,
        tokens: &[u32],
        heads: &[[usize; 2]],
        look: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Attended, String> {
        let (inputs, count) = self.inputs(&row.window, tokens)?;
        let vocabulary = self.vocabulary;
        let (attended, ()) = self
            .scores
            .run(inputs, heads, |outputs| Logits::of(outputs, vocabulary, 1, count)?.each(tokens.len(), look))?;
        Ok(attended.first(tokens.len()))
    }

    fn copy(&self, row: &Row) -> Result<Row, String> {
        let window = tensor::pick(&row.window, &[0]).map_err(|e| words(&e))?;
        Ok(Row { window, tokens: row.tokens.clone() })
    }

    fn graph(&self) -> &OpenGraph {
        &self.graph
    }
}
