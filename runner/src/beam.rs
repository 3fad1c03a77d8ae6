//! Beam search: the likeliest sequences of a window side by side, weighed against each other at each step, until enough
//! of them have ended.
//!
//! Source: openai/whisper, `whisper/decoding.py` (`BeamSearchDecoder`), with the patience of
//! [Kasai et al.](https://arxiv.org/abs/2204.05424). There a beam always proposes one token more than there are beams,
//! those with probability 0 among them where fewer are allowed; here it then proposes fewer.

use crate::search::{Proposal, Search, Sequence, Wants};

/// Several sequences to a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beam {
    size: usize,
    /// Sequences that end before the window is done.
    candidates: usize,
    eot: u32,
    /// For each window how many have ended.
    ended: Vec<usize>,
}

impl Beam {
    /// Follows `size` sequences (at least 1) for each of `windows`, until `size · patience` of them have ended with
    /// `eot`.
    pub fn new(size: usize, patience: f64, eot: u32, windows: usize) -> Self {
        let size = size.max(1);
        Self { size, candidates: candidates(size, patience).max(1), eot, ended: vec![0; windows] }
    }
}

/// `size · patience` as a whole number, halves to the even one.
pub(crate) fn candidates(size: usize, patience: f64) -> usize {
    (size as f64 * patience).round_ties_even() as usize
}

impl Search for Beam {
    fn wants(&self) -> Wants {
        // One of a beam's may be the end: as many as there are beams can still go on.
        Wants::Likeliest(self.size + 1)
    }

    fn follow(&mut self, rows: &[Sequence], proposals: &mut Vec<Proposal>) {
        let Some(window) = proposals.first().map(|proposal| rows[proposal.row].window) else { return };
        let sum = |proposal: &Proposal| rows[proposal.row].sum + proposal.choice.log_probability;
        proposals.sort_by(|a, b| sum(b).total_cmp(&sum(a)));
        let mut going = 0;
        proposals.retain(|proposal| {
            // What is less likely than the beams that go on is forgotten, an end too.
            if going == self.size {
                return false;
            }
            let ends = proposal.choice.token == self.eot;
            let has_place = !ends || self.ended[window] < self.candidates;
            self.ended[window] += usize::from(ends && has_place);
            going += usize::from(!ends);
            has_place
        });
        proposals.sort_by_key(|proposal| proposal.row);
    }

    fn is_done(&self, window: usize) -> bool {
        self.ended[window] >= self.candidates
    }

    fn settle(&self, finished: usize, unfinished: &mut Vec<Sequence>) {
        unfinished.sort_by(|a, b| b.sum.total_cmp(&a.sum));
        unfinished.truncate(self.size.saturating_sub(finished));
    }
}

#[cfg(test)]
#[path = "beam_tests.rs"]
mod tests;
