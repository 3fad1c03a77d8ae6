//! Decoders that run one row at a time: those without a cache, and those whose cache has another form. Simple, and
//! slower than [`super::OrtModel`], whose rows share each read of the weights.

use super::checks;
use super::encoder::Encoder;
use crate::choice::{Ask, Scores, ranks};
use crate::engine::OpenGraph;
use crate::speech_model::{RunError, SpeechModel, StartLogits};
use crate::words::Attended;
use ort::session::SessionOutputs;

const NO_SCORES: &str =
    "its kind of export does not give the scores of its cross-attention; for word times take optimum's";

/// A decoder's graph for one row.
pub(super) trait RowDecoder: Send {
    /// What a row has behind it.
    type State: Send;

    /// A row over a window, from the encoder's outputs for it.
    fn begin(&self, outputs: &mut SessionOutputs<'_>) -> Result<Self::State, String>;

    /// Forgets the row's sequence, not its window.
    fn restart(&self, state: &mut Self::State) -> Result<(), String>;

    /// Appends `tokens` to the row's sequence and calls `look` with the logits `[vocabulary]` after each of
    /// `positions`, counted within `tokens`, in their order.
    fn feed(
        &mut self,
        state: &mut Self::State,
        tokens: &[u32],
        positions: &[usize],
        look: &mut dyn FnMut(&[f32]),
    ) -> Result<(), String>;

    /// Makes ready what [`Self::attend`] needs.
    fn prepare_to_attend(&self) -> Result<(), String> {
        Err(NO_SCORES.to_owned())
    }

    /// As [`SpeechModel::attend`] over a row's window.
    fn attend(
        &mut self,
        _state: &Self::State,
        _tokens: &[u32],
        _heads: &[[usize; 2]],
        _look: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Attended, String> {
        Err(NO_SCORES.to_owned())
    }

    /// The same row once more.
    fn copy(&self, state: &Self::State) -> Result<Self::State, String>;

    /// Its graph.
    fn graph(&self) -> &OpenGraph;
}

/// An encoder with such a decoder.
pub(super) struct RowByRow<D: RowDecoder> {
    pub(super) encoder: Encoder,
    pub(super) decoder: D,
    /// A row over each window, without a sequence.
    encoded: Vec<D::State>,
    rows: Vec<D::State>,
    started: bool,
}

impl<D: RowDecoder> RowByRow<D> {
    pub(super) fn new(encoder: Encoder, decoder: D) -> Self {
        Self { encoder, decoder, encoded: Vec::new(), rows: Vec::new(), started: false }
    }

    fn failed(&self, reason: String) -> RunError {
        RunError { stage: format!("decoder '{}'", self.decoder.graph().path.display()), reason }
    }
}

impl<D: RowDecoder> SpeechModel for RowByRow<D> {
    fn encode(&mut self, windows: &[&[f32]]) -> Result<(), RunError> {
        self.encoded.clear();
        self.rows.clear();
        self.started = false;
        let path = self.encoder.graph.path.clone();
        for window in windows {
            let mut outputs = self.encoder.run(window)?;
            let row = self.decoder.begin(&mut outputs).map_err(|reason| Encoder::error(&path, reason))?;
            self.encoded.push(row);
        }
        self.restart(&(0..windows.len()).collect::<Vec<_>>())
    }

    fn start(&mut self, prompts: &[&[u32]], sot: usize) -> Result<Vec<StartLogits>, RunError> {
        let fits = checks::encoded(self.rows.len()).and_then(|()| checks::prompts(prompts, self.rows.len()));
        fits.map_err(|reason| self.failed(reason))?;
        let mut all = Vec::with_capacity(prompts.len());
        let mut failure = None;
        for (row, prompt) in self.rows.iter_mut().zip(prompts) {
            let mut found = Vec::with_capacity(2);
            let last = prompt.len().saturating_sub(1);
            let fed = self
                .decoder
                .restart(row)
                .and_then(|()| self.decoder.feed(row, prompt, &[sot, last], &mut |logits| found.push(logits.to_vec())));
            match (fed, <[Vec<f32>; 2]>::try_from(found)) {
                (Ok(()), Ok([sot, last])) => all.push(StartLogits { sot, last }),
                (Ok(()), Err(_)) => failure = Some("it gave no logits".to_owned()),
                (Err(reason), _) => failure = Some(reason),
            }
        }
        self.started = failure.is_none();
        failure.map_or(Ok(all), |reason| Err(self.failed(reason)))
    }

    fn step(
        &mut self,
        tokens: &[u32],
        asks: &[Ask<'_>],
        count: usize,
        answers: &mut Vec<Scores>,
    ) -> Result<(), RunError> {
        checks::asks(asks.len(), self.rows.len()).map_err(|reason| self.failed(reason))?;
        answers.clear();
        self.step_logits(tokens, &mut |row, logits| ranks(logits, &asks[row], count, answers))
    }

    fn step_logits(&mut self, tokens: &[u32], look: &mut dyn FnMut(usize, &[f32])) -> Result<(), RunError> {
        let count = checks::started(self.started)
            .and_then(|()| checks::tokens_of_each(tokens.len(), self.rows.len()))
            .map_err(|reason| self.failed(reason))?;
        let mut failure = None;
        for (index, (row, tokens)) in self.rows.iter_mut().zip(tokens.chunks_exact(count)).enumerate() {
            if let Err(reason) = self.decoder.feed(row, tokens, &[count - 1], &mut |logits| look(index, logits)) {
                failure.get_or_insert(reason);
            }
        }
        failure.map_or(Ok(()), |reason| Err(self.failed(reason)))
    }

    fn keep(&mut self, rows: &[usize]) -> Result<(), RunError> {
        let mut before: Vec<Option<D::State>> = std::mem::take(&mut self.rows).into_iter().map(Some).collect();
        for (i, &row) in rows.iter().enumerate() {
            let again = rows[i + 1..].contains(&row);
            let state = match before.get_mut(row) {
                Some(state) if !again => state.take().ok_or_else(|| "a row was taken twice".to_owned()),
                Some(Some(state)) => self.decoder.copy(state),
                _ => Err(format!("there is no row {row}")),
            };
            match state {
                Ok(state) => self.rows.push(state),
                Err(reason) => return Err(self.failed(reason)),
            }
        }
        if self.rows.is_empty() {
            return Err(self.failed("no row is to go on".to_owned()));
        }
        Ok(())
    }
    fn restart(&mut self, windows: &[usize]) -> Result<(), RunError> {
        self.started = false;
        self.rows.clear();
        for &window in windows {
            let encoded = self.encoded.get(window).ok_or_else(|| format!("there is no window {window}"));
            match encoded.and_then(|encoded| self.decoder.copy(encoded)) {
                Ok(row) => self.rows.push(row),
                Err(reason) => return Err(self.failed(reason)),
            }
        }
        Ok(())
    }

    fn prepare_to_attend(&self) -> Result<(), RunError> {
        self.decoder.prepare_to_attend().map_err(|reason| self.failed(reason))
    }

    fn attend(
        &mut self,
        window: usize,
        tokens: &[u32],
        heads: &[[usize; 2]],
        look: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Attended, RunError> {
        self.started = false;
        let attended = match self.encoded.get(window) {
            Some(row) => self.decoder.attend(row, tokens, heads, look),
            None => Err(format!("there is no window {window}")),
        };
        attended.map_err(|reason| self.failed(reason))
    }
}
