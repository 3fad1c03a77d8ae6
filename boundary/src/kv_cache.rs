//! The key-value cache that stays in the execution provider from run to run: the C functions that make, change and end
//! one, and that ask for the choice of the next token. `docs/kv-cache.md` says how a program uses them.

use std::ffi::CStr;

use crate::exports::Export;

/// The key of a run's options that names its cache, by its number.
pub const RUN_KEY: &str = match RUN_KEY_C.to_str() {
    Ok(key) => key,
    Err(_) => panic!("the key is not Unicode"),
};
/// The same for C.
pub const RUN_KEY_C: &CStr = c"ep.xdnaexecutionprovider.kv_cache";

/// What functions return that have done their work.
pub const DONE: i32 = 0;
/// There is no such cache, a run uses it, or an argument is NULL or out of range.
pub const REFUSED: i32 = -1;

/// Makes an empty key-value cache and returns its number, never 0; 0 if that failed. A run whose options say
/// [`RUN_KEY`] = that number keeps its graph's `present.*` in it and reads `past_key_values.*` from it: what is fed for
/// them is not looked at (feed tensors of no length), and what comes back for them has no length. A run of a graph
/// without pasts begins a new sequence.
pub type New = extern "C" fn() -> u64;
/// Ends a cache: [`DONE`] or [`REFUSED`].
pub type Free = extern "C" fn(cache: u64) -> i32;
/// Makes a cache's batch items those that were at `rows`, in that order: rows leave, are repeated, or change places.
/// [`DONE`], or [`REFUSED`] also if there is no such row.
///
/// `rows` must be valid for reading `count` numbers.
pub type Select = unsafe extern "C" fn(cache: u64, rows: *const usize, count: usize) -> i32;
/// Bytes that attention over all of a cache reads; `UINT64_MAX` if there is no such cache or a run uses it.
pub type Bytes = extern "C" fn(cache: u64) -> u64;
/// Asks the next run that uses the cache to choose in each row instead of giving out logits (which come back with no
/// positions): the `count` likeliest tokens below `split` (text) and from it on (timestamps) among those that are not
/// forbidden. `forbidden` holds pairs of a first token and one past the last, each row's ascending and apart; row `i`'s
/// end before pair `ends[i]`. [`DONE`], or [`REFUSED`] also if the pairs are not in order, or `count` is not 1 to
/// [`MOST_BEST`].
///
/// `ends` must be valid for reading `rows` numbers, and `forbidden` for as many pairs as the last of them says.
pub type Ask = unsafe extern "C" fn(
    cache: u64,
    rows: usize,
    ends: *const usize,
    forbidden: *const [u32; 2],
    split: u32,
    count: usize,
) -> i32;
/// What the last run chose: for each row `count` pairs, each of a token below `split` and one from it on, the likeliest
/// of each first. `2 · count · rows` entries are written. [`DONE`], or [`REFUSED`] also if it chose for another number
/// of rows or another count.
///
/// `out` must be valid for writing `2 · count · rows` entries.
pub type Choice = unsafe extern "C" fn(cache: u64, rows: usize, count: usize, out: *mut BestToken) -> i32;

/// Most tokens of a class that a run can be asked for.
pub const MOST_BEST: usize = 256;

/// [`New`].
pub const NEW: Export<New> = Export::new("onnxruntime_ep_xdna_kv_cache_new");
/// [`Free`].
pub const FREE: Export<Free> = Export::new("onnxruntime_ep_xdna_kv_cache_free");
/// [`Select`].
pub const SELECT: Export<Select> = Export::new("onnxruntime_ep_xdna_kv_cache_select");
/// [`Bytes`].
pub const BYTES: Export<Bytes> = Export::new("onnxruntime_ep_xdna_kv_cache_bytes");
/// [`Ask`].
pub const ASK: Export<Ask> = Export::new("onnxruntime_ep_xdna_kv_cache_ask_best");
/// [`Choice`].
pub const CHOICE: Export<Choice> = Export::new("onnxruntime_ep_xdna_kv_cache_best");

/// The likeliest token of a class, or one that comes after it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestToken {
    /// The token, the first of equals; `UINT32_MAX` where nothing is allowed any more.
    pub token: u32,
    /// Its logit.
    pub logit: f32,
    /// `Σ exp(logit − largest)` over what is allowed of its class, the same for all of a class.
    pub sum: f32,
}

impl BestToken {
    /// Nothing is allowed of the class any more.
    pub const NONE: Self = Self { token: u32::MAX, logit: f32::NEG_INFINITY, sum: 0.0 };
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn best_token_lies_as_c_programs_expect_it() {
        assert_eq!((size_of::<BestToken>(), align_of::<BestToken>()), (12, 4));
        assert_eq!([offset_of!(BestToken, token), offset_of!(BestToken, logit), offset_of!(BestToken, sum)], [0, 4, 8]);
    }
}
