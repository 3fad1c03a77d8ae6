//! Sequences over windows, by the decoder's runs: [`OrtModel`] as a [`SpeechModel`].

use super::checks;
use super::encoder::Encoder;
use super::fit::{expect_every_position, returns_all_positions};
use super::tensor;
use super::{Graphs, OrtModel, Step};
use crate::choice::{Ask, Scores, ranks};
use crate::engine::words;
use crate::speech_model::{RunError, SpeechModel, StartLogits};
use crate::words::Attended;
use ort::value::DynValue;

/// Rows are moved together when at most this share (numerator, denominator) of a tensor's rows is left.
const GATHER_BELOW: (usize, usize) = (3, 4);

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
        if sot < last && !returns_all_positions(self.graphs.of(Step::First)) {
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
        let wrong = |reason| RunError { stage: "decoder".to_owned(), reason };
        checks::asks(asks.len(), self.rows.len()).map_err(wrong)?;
        // The execution provider weighs text that comes before the timestamps only.
        let beyond = asks.iter().any(|ask| ask.allows_behind_timestamps(self.vocabulary));
        if !beyond && self.resident.as_mut().is_some_and(|resident| resident.cache.ask(asks, count).is_ok()) {
            self.run(Step::WithPast, tokens, |_, _, _, _| Ok(()))?;
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

    fn prepare_to_attend(&self) -> Result<(), RunError> {
        let first = self.graphs.of(Step::First);
        let scores = || if self.resident.is_some() { Ok(()) } else { self.scores.open() };
        let stage = || format!("decoder '{}'", first.path.display());
        expect_every_position(first).and_then(|()| scores()).map_err(|reason| RunError { stage: stage(), reason })
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
