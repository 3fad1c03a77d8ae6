//! How the tokens of a window are found, step by step: the seam between the loop of `decode`, which feeds a model, and
//! the ways to choose. [`Greedy`] takes the likeliest token; `beam` follows several sequences; `sampling` draws at
//! random.
//!
//! A search follows one or several *sequences* for each window. At each step every sequence proposes how it may go on,
//! and the window's proposals are weighed against each other: those that are followed are the sequences of the next
//! step, so that one may go on in several ways and another in none. Which of the sequences that ended is taken is a
//! `ranking`'s.

use crate::choice::{Ask, Choice};

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

/// What a search looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// The likeliest tokens of each sequence, so many of them or all that are allowed. The model may find them where
    /// the logits are made. They are the sequence's proposals.
    Likeliest(usize),
    /// All logits: [`Search::propose`] is called.
    Logits,
}

/// A way to search.
pub trait Search {
    /// What it looks at, the same at each step.
    fn wants(&self) -> Wants;

    /// Adds to `proposals` how the sequence at `row` may go on by the `logits` `[vocabulary]` after its last token and
    /// what `ask` allows; nothing ends it. Called where it [wants logits](Wants::Logits).
    fn propose(
        &mut self,
        _row: usize,
        _sequence: &Sequence,
        _logits: &[f32],
        _ask: &Ask<'_>,
        _proposals: &mut Vec<Proposal>,
    ) {
    }

    /// Removes from a window's `proposals`, which are in the order of their rows, those that are not followed. `rows`
    /// are all sequences that take the step. All are followed unless a search says otherwise.
    fn follow(&mut self, _rows: &[Sequence], _proposals: &mut Vec<Proposal>) {}

    /// Whether a sequence is given up before its end, unfinished and without a place among the results.
    fn gives_up(&self, _sequence: &Sequence) -> bool {
        false
    }

    /// Whether a window's sequences are not followed any further, which is asked after [`Self::follow`]. Otherwise they
    /// are followed until they end.
    fn is_done(&self, _window: usize) -> bool {
        false
    }

    /// Removes from `unfinished`, a window's sequences that did not end by themselves, those that have no place among
    /// the results, beside `finished` that did. All have one unless a search says otherwise.
    fn settle(&self, _finished: usize, _unfinished: &mut Vec<Sequence>) {}
}

/// The likeliest token at each step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Greedy;

impl Search for Greedy {
    fn wants(&self) -> Wants {
        Wants::Likeliest(1)
    }
}
