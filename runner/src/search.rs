//! How the tokens of a window are found, step by step: the seam between the loop of `decode`, which feeds a model, and
//! the ways to choose. [`Greedy`] takes the likeliest token; `sampling` draws at random.
//!
//! A search follows one or several *sequences* for each window. At each step every sequence proposes how it may go on,
//! and the window's proposals are weighed against each other: those that are followed are the sequences of the next
//! step, so that one may go on in several ways and another in none. A beam search proposes the likeliest of each and
//! follows the likeliest of all.

use crate::choice::{Ask, Choice, scores};

/// A sequence that is not finished.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sequence {
    /// The place of its window among those that are decoded together.
    pub window: usize,
    /// Which of its window's sequences it is: the first is 0. A sequence that goes on in one way keeps its number.
    pub number: usize,
    /// What it has written, timestamps included.
    pub tokens: Vec<u32>,
    /// Sum of the tokens' log-probabilities.
    pub sum: f64,
}

/// A way for a sequence to go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proposal {
    /// The sequence's place among those that take this step.
    pub row: usize,
    /// The token.
    pub choice: Choice,
}

/// A way to search.
pub trait Search {
    /// Whether it looks at logits. Otherwise the likeliest token is proposed for each sequence, which the model may
    /// find where the logits are made, and [`Self::propose`] is not called but where the logits are at hand.
    fn reads_logits(&self) -> bool;

    /// Adds to `proposals` how the sequence at `row` may go on by the `logits` `[vocabulary]` after its last token and
    /// what `ask` allows; nothing ends it.
    fn propose(
        &mut self,
        row: usize,
        sequence: &Sequence,
        logits: &[f32],
        ask: &Ask<'_>,
        proposals: &mut Vec<Proposal>,
    );

    /// Removes from a window's `proposals`, which are in the order of their rows, those that are not followed. `rows`
    /// are all sequences that take the step. All are followed unless a search says otherwise.
    fn follow(&mut self, _rows: &[Sequence], _proposals: &mut Vec<Proposal>) {}

    /// Whether a sequence is given up before its end, unfinished and without a place among the results.
    fn gives_up(&self, _sequence: &Sequence) -> bool {
        false
    }
}

/// The likeliest token at each step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Greedy;

impl Search for Greedy {
    fn reads_logits(&self) -> bool {
        false
    }

    fn propose(&mut self, row: usize, _: &Sequence, logits: &[f32], ask: &Ask<'_>, proposals: &mut Vec<Proposal>) {
        proposals.extend(scores(logits, ask).choose().map(|choice| Proposal { row, choice }));
    }
}
