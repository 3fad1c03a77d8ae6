//! The runner's calls into the execution provider's own functions for a key-value cache that it keeps from run to run,
//! and for the choice of the next token. `decoder` says which runs use the cache.
#![allow(unsafe_code)]

use crate::choice::{Ask, Best, Scores};
use crate::ep_library::EpLibrary;
use std::path::Path;
use undertone_boundary::attention_scores;
use undertone_boundary::kv_cache::{self, BestToken, DONE};

fn best(BestToken { token, logit, sum }: BestToken) -> Option<Best> {
    (token != BestToken::NONE.token).then_some(Best { token, logit, sum })
}

/// A cache of the execution provider's, until this is dropped.
pub(crate) struct KvCache {
    number: u64,
    free: kv_cache::Free,
    select: kv_cache::Select,
    ask: kv_cache::Ask,
    choice: kv_cache::Choice,
    bytes: kv_cache::Bytes,
    attend: attention_scores::Attend,
    scores: attention_scores::Scores,
    /// What is asked, as it is passed on.
    ends: Vec<usize>,
    forbidden: Vec<[u32; 2]>,
    answers: Vec<BestToken>,
    /// Keeps the functions loaded.
    _library: EpLibrary,
}

impl KvCache {
    /// A new cache of the library at `path`, which ONNX Runtime has registered before; `None` if it offers none.
    pub(crate) fn new(path: &Path) -> Option<Self> {
        let library = EpLibrary::open(path).ok()?;
        let new = library.function(&kv_cache::NEW)?;
        // Called only while `library` is kept beside them.
        let (free, select) = (*library.function(&kv_cache::FREE)?, *library.function(&kv_cache::SELECT)?);
        let (ask, choice) = (*library.function(&kv_cache::ASK)?, *library.function(&kv_cache::CHOICE)?);
        let bytes = *library.function(&kv_cache::BYTES)?;
        let attend = *library.function(&attention_scores::ATTEND)?;
        let scores = *library.function(&attention_scores::SCORES)?;
        let number = new();
        let (ends, forbidden, answers) = Default::default();
        (number != 0).then_some(Self {
            number,
            free,
            select,
            ask,
            choice,
            bytes,
            attend,
            scores,
            ends,
            forbidden,
            answers,
            _library: library,
        })
    }

    /// What a run's options name it by.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether no run has put anything into it.
    pub(crate) fn is_empty(&self) -> bool {
        (self.bytes)(self.number) == 0
    }

    /// Its rows become those that were at `rows`.
    ///
    /// # Errors
    /// If there is no such row.
    pub(crate) fn select(&mut self, rows: &[usize]) -> Result<(), String> {
        // SAFETY: a slice.
        match unsafe { (self.select)(self.number, rows.as_ptr(), rows.len()) } {
            DONE => Ok(()),
            _ => Err(format!("the key-value cache has no rows {rows:?}")),
        }
    }

    /// Asks the next run to choose `count` tokens of each kind.
    ///
    /// # Errors
    /// If ranges overlap or are out of order, rows ask about different timestamps, or that is more than it can choose.
    pub(crate) fn ask(&mut self, asks: &[Ask<'_>], count: usize) -> Result<(), String> {
        self.ends.clear();
        self.forbidden.clear();
        let split = asks.first().map_or(Ask::NO_TIMESTAMPS, |ask| ask.first_timestamp);
        for ask in asks {
            self.forbidden.extend(ask.forbidden.iter().map(|range| [range.start, range.end]));
            self.ends.push(self.forbidden.len());
        }
        let alike = asks.iter().all(|ask| ask.first_timestamp == split);
        let (ends, forbidden) = (self.ends.as_ptr(), self.forbidden.as_ptr());
        // SAFETY: as many ends as rows, and as many pairs as the last of them says.
        match alike && unsafe { (self.ask)(self.number, asks.len(), ends, forbidden, split, count) } == DONE {
            true => Ok(()),
            false => Err("the execution provider does not take what is asked".to_owned()),
        }
    }

    /// Asks the next run to keep the scores of these heads of the cross-attention, layer and head each.
    ///
    /// # Errors
    /// If the cache is in use, or a number is none that a head could have.
    pub(crate) fn attend(&mut self, heads: &[[usize; 2]]) -> Result<(), String> {
        let number = |number: usize| u32::try_from(number).map_err(|_| format!("there is no head or layer {number}"));
        let heads: Vec<[u32; 2]> =
            heads.iter().map(|[layer, head]| Ok([number(*layer)?, number(*head)?])).collect::<Result<_, String>>()?;
        // SAFETY: a slice.
        match unsafe { (self.attend)(self.number, heads.as_ptr(), heads.len()) } {
            DONE => Ok(()),
            _ => Err("the execution provider does not take what is asked".to_owned()),
        }
    }

    /// The scores that the last run kept, `[heads, rows, tokens, positions]`.
    ///
    /// # Errors
    /// If it kept another number of them.
    pub(crate) fn scores(&mut self, out: &mut [f32]) -> Result<(), String> {
        // SAFETY: a slice.
        match unsafe { (self.scores)(self.number, out.as_mut_ptr(), out.len()) } {
            DONE => Ok(()),
            _ => Err("the execution provider did not keep the scores of all heads that were asked for".to_owned()),
        }
    }

    /// What the last run chose, row by row and in each the likeliest of each kind first.
    ///
    /// # Errors
    /// If it did not choose for `rows` rows, and `count` tokens of each kind.
    pub(crate) fn choice(&mut self, rows: usize, count: usize, scores: &mut Vec<Scores>) -> Result<(), String> {
        self.answers.clear();
        self.answers.resize(2 * count * rows, BestToken::NONE);
        // SAFETY: room for so many pairs to a row.
        if unsafe { (self.choice)(self.number, rows, count, self.answers.as_mut_ptr()) } != DONE {
            return Err("the execution provider did not choose".to_owned());
        }
        let of_rank = |pair: &[BestToken; 2]| Scores { text: best(pair[0]), timestamps: best(pair[1]) };
        scores.clear();
        scores.extend(self.answers.as_chunks::<2>().0.iter().map(of_rank));
        Ok(())
    }
}

impl Drop for KvCache {
    fn drop(&mut self) {
        (self.free)(self.number);
    }
}
