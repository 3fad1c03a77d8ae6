//! sherpa-onnx's decoder: a cache of a fixed number of positions goes in and out whole, and an input says how many are
//! filled.
//!
//! Source: k2-fsa/sherpa-onnx, `scripts/whisper/export-onnx.py`, for the names and shapes.

use super::LoadError;
use super::fit::{Side, expect_dim, vocabulary};
use super::rows::RowDecoder;
use super::tensor::{self, Logits};
use crate::engine::{OpenGraph, words};
use crate::model::ModelConfig;
use ort::session::{SessionInputValue, SessionOutputs};
use ort::value::{DynValue, Tensor};
use std::borrow::Cow;

/// The encoder's outputs, which are the decoder's inputs too: `[layers, 1, 1500, width]`.
const CROSS: [&str; 2] = ["n_layer_cross_k", "n_layer_cross_v"];
/// The cache as an input and as an output: `[layers, 1, positions, width]`.
pub(super) const CACHE: [(&str, &str); 2] =
    [("in_n_layer_self_k_cache", "out_n_layer_self_k_cache"), ("in_n_layer_self_v_cache", "out_n_layer_self_v_cache")];

pub(super) struct Fixed {
    graph: OpenGraph,
    vocabulary: usize,
    /// The cache's shape.
    shape: [usize; 4],
}

/// A row's window, its cache and how much of that is filled.
pub(super) struct Row {
    cross: [DynValue; 2],
    cache: [DynValue; 2],
    filled: usize,
}

impl Fixed {
    pub(super) fn open(graph: OpenGraph, config: &ModelConfig) -> Result<Self, LoadError> {
        let shape = [config.decoder_layers, 1, config.decoder_positions, config.width];
        for (axis, what) in [(0, "the number of decoder layers"), (2, "the number of positions"), (3, "the width")] {
            expect_dim(&graph, Side::Input, CACHE[0].0, axis, what, shape[axis])?;
        }
        let vocabulary = vocabulary(&graph, config)?;
        Ok(Self { graph, vocabulary, shape })
    }

    pub(super) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn empty(&self) -> Result<[DynValue; 2], String> {
        let zeros = || -> Result<DynValue, ort::Error> {
            let data = vec![0f32; self.shape.iter().product()];
            Ok(Tensor::from_array((self.shape, data))?.into_dyn())
        };
        Ok([zeros().map_err(|e| words(&e))?, zeros().map_err(|e| words(&e))?])
    }

    fn run<R>(&mut self, row: &mut Row, tokens: &[u32], look: impl FnOnce(&Logits<'_>) -> R) -> Result<R, String> {
        let failed = |e: ort::Error| words(&e);
        if row.filled + tokens.len() > self.shape[2] {
            return Err(format!("its cache has {} positions", self.shape[2]));
        }
        let ids = tensor::ids(true, [1, tokens.len()], tokens).map_err(failed)?;
        let offset = Tensor::from_array(([1], vec![row.filled as i64])).map_err(failed)?;
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> =
            vec![("tokens".into(), ids.into()), ("offset".into(), offset.into())];
        let names = CACHE.iter().map(|(input, _)| *input).chain(CROSS);
        for (name, value) in names.zip(row.cache.iter().chain(&row.cross)) {
            inputs.push((name.into(), value.into()));
        }
        let mut outputs = self.graph.session.run(inputs).map_err(failed)?;
        let found = Logits::of(&outputs, self.vocabulary, 1, tokens.len()).map(|logits| look(&logits))?;
        for (cache, (_, output)) in row.cache.iter_mut().zip(CACHE) {
            *cache = outputs.remove(output).ok_or_else(|| format!("it has no output {output}"))?;
        }
        row.filled += tokens.len();
        Ok(found)
    }
}

impl RowDecoder for Fixed {
    type State = Row;

    fn begin(&self, outputs: &mut SessionOutputs<'_>) -> Result<Row, String> {
        let mut take = |name: &str| outputs.remove(name).ok_or_else(|| format!("it has no output {name}"));
        Ok(Row { cross: [take(CROSS[0])?, take(CROSS[1])?], cache: self.empty()?, filled: 0 })
    }

    fn restart(&self, row: &mut Row) -> Result<(), String> {
        // What is behind the filled positions is written over before it is read.
        row.filled = 0;
        Ok(())
    }

    fn feed(
        &mut self,
        row: &mut Row,
        tokens: &[u32],
        positions: &[usize],
        look: &mut dyn FnMut(&[f32]),
    ) -> Result<(), String> {
        // The mask within several tokens is right at the sequence's start only.
        if row.filled == 0 {
            return self.run(row, tokens, |logits| positions.iter().for_each(|&at| logits.at(0, at, &mut *look)));
        }
        for (at, token) in tokens.iter().enumerate() {
            self.run(row, std::slice::from_ref(token), |logits| {
                positions.iter().filter(|&&position| position == at).for_each(|_| logits.at(0, 0, &mut *look));
            })?;
        }
        Ok(())
    }

    fn copy(&self, row: &Row) -> Result<Row, String> {
        let copy = |value: &DynValue| -> Result<DynValue, String> {
            let layers: Vec<usize> = (0..self.shape[0]).collect();
            tensor::pick(value, &layers).map_err(|e| words(&e))
        };
        let both = |pair: &[DynValue; 2]| Ok::<_, String>([copy(&pair[0])?, copy(&pair[1])?]);
        Ok(Row { cross: both(&row.cross)?, cache: both(&row.cache)?, filled: row.filled })
    }

    fn graph(&self) -> &OpenGraph {
        &self.graph
    }
}
