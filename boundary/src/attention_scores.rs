//! The scores of a decoder's cross-attention, which say what part of the audio each token is about: the C functions that
//! ask for them and give them out, beside those of [`crate::kv_cache`]. `docs/kv-cache.md` says how a program uses them.

use crate::exports::Export;

/// Asks the next run that uses the key-value cache to keep the scores of these heads of its cross-attention, each a
/// layer and a head of it: for each token that is fed and each position of the encoder `q · k` as the soft-max reads
/// it, in fp32. A run that is not asked computes none. [`DONE`](crate::kv_cache::DONE), or
/// [`REFUSED`](crate::kv_cache::REFUSED).
///
/// `heads` must be valid for reading `count` pairs.
pub type Attend = unsafe extern "C" fn(cache: u64, heads: *const [u32; 2], count: usize) -> i32;
/// The scores that the last run kept, `[heads, rows, tokens, positions]`, heads in the order in which they were asked
/// for. [`DONE`](crate::kv_cache::DONE), or [`REFUSED`](crate::kv_cache::REFUSED) also if there are not `count` of them:
/// a head that the graph does not have, a graph whose cross-attention was not found, another number of tokens.
///
/// `out` must be valid for writing `count` numbers.
pub type Scores = unsafe extern "C" fn(cache: u64, out: *mut f32, count: usize) -> i32;

/// [`Attend`].
pub const ATTEND: Export<Attend> = Export::new("onnxruntime_ep_xdna_kv_cache_attend");
/// [`Scores`].
pub const SCORES: Export<Scores> = Export::new("onnxruntime_ep_xdna_kv_cache_scores");
