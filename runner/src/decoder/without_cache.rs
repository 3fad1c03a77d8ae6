//! The slow, obvious way to decode: the cache is tested against it.

use super::OrtModel;
use crate::choice::{Ask, Scores, ranks};
use crate::speech_model::{RunError, SpeechModel, StartLogits};
use crate::words::Attended;

/// The same model without a cache: every step runs the whole sequence through the first step's graph.
pub struct WithoutCache {
    model: OrtModel,
    /// Each row's sequence.
    rows: Vec<Vec<u32>>,
}

impl WithoutCache {
    /// Runs `model` without its cache.
    pub fn new(mut model: OrtModel) -> Self {
        model.resident = None;
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

    fn step(
        &mut self,
        tokens: &[u32],
        asks: &[Ask<'_>],
        count: usize,
        answers: &mut Vec<Scores>,
    ) -> Result<(), RunError> {
        answers.clear();
        self.step_logits(tokens, &mut |row, logits| ranks(logits, &asks[row], count, answers))
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

    fn prepare_to_attend(&self) -> Result<(), RunError> {
        self.model.prepare_to_attend()
    }

    fn attend(
        &mut self,
        window: usize,
        tokens: &[u32],
        heads: &[[usize; 2]],
        look: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Attended, RunError> {
        self.rows.clear();
        self.model.attend(window, tokens, heads, look)
    }
}
