//! The scores of the cross-attention over a text that is known: by the execution provider where it keeps the cache,
//! else by the graph that is opened for them (`scores`).

use super::fit::input_type;
use super::tensor::{self, Logits};
use super::{Graphs, OrtModel, Step, empty_cache};
use crate::engine::words;
use crate::words::Attended;
use ort::session::SessionInputValue;
use ort::value::{Tensor, TensorElementType};
use std::borrow::Cow;

/// Tokens of a known text that are fed together: logits of each come back.
const ATTENDED_PIECE: usize = 128;

impl OrtModel {
    /// The scores of a sequence over the first row's window, by the execution provider, which keeps the cache.
    pub(super) fn scores_of_provider(
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
    pub(super) fn scores_of_graph(
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
}
