//! The runner's calls into the execution provider's own functions for a key-value cache that it keeps from run to run, and for the
//! choice of the next token. Which runs use the cache, and what they feed, is `decoder`'s.
#![allow(unsafe_code)]

use crate::choice::{Ask, Best, Scores};
use libloading::{Library, Symbol};
use std::path::Path;

/// The key of a run's options that names its cache.
pub(crate) const RUN_KEY: &str = "ep.xdnaexecutionprovider.kv_cache";

type New = unsafe extern "C" fn() -> u64;
type Free = unsafe extern "C" fn(u64) -> i32;
type Select = unsafe extern "C" fn(u64, *const usize, usize) -> i32;
type AskFor = unsafe extern "C" fn(u64, usize, *const usize, *const [u32; 2], u32) -> i32;
type Bytes = unsafe extern "C" fn(u64) -> u64;
type Choice = unsafe extern "C" fn(u64, usize, *mut BestToken) -> i32;

/// The likeliest token of a kind, as the execution provider writes it; `u32::MAX` where nothing is allowed.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct BestToken {
    token: u32,
    logit: f32,
    sum: f32,
}

impl From<BestToken> for Option<Best> {
    fn from(BestToken { token, logit, sum }: BestToken) -> Self {
        (token != u32::MAX).then_some(Best { token, logit, sum })
    }
}

/// A cache of the execution provider's, until this is dropped.
pub(crate) struct KvCache {
    number: u64,
    free: Free,
    select: Select,
    ask: AskFor,
    choice: Choice,
    bytes: Bytes,
    /// What is asked, as it is passed on.
    ends: Vec<usize>,
    forbidden: Vec<[u32; 2]>,
    answers: Vec<BestToken>,
    /// Keeps the functions loaded.
    _library: Library,
}

impl KvCache {
    /// A new cache of the library at `path`, which ONNX Runtime has registered before; `None` if it offers none.
    pub(crate) fn new(path: &Path) -> Option<Self> {
        // SAFETY: ONNX Runtime has loaded this file already; this only adds a reference to it.
        let library = unsafe { Library::new(path) }.ok()?;
        // SAFETY: the signatures are those that the execution provider documents; the functions outlive their use, as `library`
        // is kept beside them.
        let (new, free, select, ask, choice, bytes) = unsafe {
            let new: Symbol<'_, New> = library.get(b"onnxruntime_ep_xdna_kv_cache_new").ok()?;
            let free: Symbol<'_, Free> = library.get(b"onnxruntime_ep_xdna_kv_cache_free").ok()?;
            let select: Symbol<'_, Select> = library.get(b"onnxruntime_ep_xdna_kv_cache_select").ok()?;
            let ask: Symbol<'_, AskFor> = library.get(b"onnxruntime_ep_xdna_kv_cache_ask").ok()?;
            let choice: Symbol<'_, Choice> = library.get(b"onnxruntime_ep_xdna_kv_cache_choice").ok()?;
            let bytes: Symbol<'_, Bytes> = library.get(b"onnxruntime_ep_xdna_kv_cache_bytes").ok()?;
            (*new, *free, *select, *ask, *choice, *bytes)
        };
        // SAFETY: the function takes nothing.
        let number = unsafe { new() };
        let (ends, forbidden, answers) = Default::default();
        (number != 0).then_some(Self {
            number,
            free,
            select,
            ask,
            choice,
            bytes,
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
        // SAFETY: a number.
        unsafe { (self.bytes)(self.number) == 0 }
    }

    /// Its rows become those that were at `rows`.
    ///
    /// # Errors
    /// If there is no such row.
    pub(crate) fn select(&mut self, rows: &[usize]) -> Result<(), String> {
        // SAFETY: a slice.
        match unsafe { (self.select)(self.number, rows.as_ptr(), rows.len()) } {
            0 => Ok(()),
            _ => Err(format!("the key-value cache has no rows {rows:?}")),
        }
    }

    /// Asks the next run to choose.
    ///
    /// # Errors
    /// If ranges overlap or are out of order, or rows ask about different timestamps.
    pub(crate) fn ask(&mut self, asks: &[Ask<'_>]) -> Result<(), String> {
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
        match alike && unsafe { (self.ask)(self.number, asks.len(), ends, forbidden, split) } == 0 {
            true => Ok(()),
            false => Err("the execution provider does not take what is asked".to_owned()),
        }
    }

    /// What the last run chose, row by row.
    ///
    /// # Errors
    /// If it did not choose for `rows` rows.
    pub(crate) fn choice(&mut self, rows: usize, scores: &mut Vec<Scores>) -> Result<(), String> {
        self.answers.clear();
        self.answers.resize(2 * rows, BestToken::default());
        // SAFETY: room for two entries to a row.
        if unsafe { (self.choice)(self.number, rows, self.answers.as_mut_ptr()) } != 0 {
            return Err("the execution provider did not choose".to_owned());
        }
        let of_row = |pair: &[BestToken; 2]| Scores { text: pair[0].into(), timestamps: pair[1].into() };
        scores.clear();
        scores.extend(self.answers.as_chunks::<2>().0.iter().map(of_row));
        Ok(())
    }
}

impl Drop for KvCache {
    fn drop(&mut self) {
        // SAFETY: the number is this cache's, and is given back once.
        unsafe { (self.free)(self.number) };
    }
}
