//! The key-value cache that stays in the execution provider from run to run: the C functions that make, change and end one, and that ask
//! for the choice of the next token. `docs/kv-cache.md` says how a program uses them.

use std::ffi::CStr;

use crate::exports::Export;

/// The key of a run's options that names its cache, by its number.
pub const RUN_KEY: &str = crate::text(RUN_KEY_C);
/// The same for C.
pub const RUN_KEY_C: &CStr = c"ep.xdnaexecutionprovider.kv_cache";

/// What functions return that have done their work.
pub const DONE: i32 = 0;
/// There is no such cache, a run uses it, or an argument is NULL or out of range.
pub const REFUSED: i32 = -1;

/// Makes an empty cache and returns its number, never 0; 0 if that failed.
pub type New = extern "C" fn() -> u64;
/// Ends a cache: [`DONE`] or [`REFUSED`].
pub type Free = extern "C" fn(cache: u64) -> i32;
/// Makes a cache's batch items those that were at `rows`, in that order: [`DONE`] or [`REFUSED`].
pub type Select = unsafe extern "C" fn(cache: u64, rows: *const usize, count: usize) -> i32;
/// Bytes that attention over all of a cache reads; `UINT64_MAX` if there is no such cache or a run uses it.
pub type Bytes = extern "C" fn(cache: u64) -> u64;
/// Asks the next run to choose each row's likeliest token below `split` and from it on, among those that are not in the row's
/// `forbidden` pairs of a first token and one past the last; row `i`'s end before pair `ends[i]`. [`DONE`] or [`REFUSED`].
pub type Ask =
    unsafe extern "C" fn(cache: u64, rows: usize, ends: *const usize, forbidden: *const [u32; 2], split: u32) -> i32;
/// What the last run chose: two entries to a row are written, below `split` and from it on. [`DONE`] or [`REFUSED`].
pub type Choice = unsafe extern "C" fn(cache: u64, rows: usize, out: *mut BestToken) -> i32;

/// [`New`].
pub const NEW: Export<New> = Export::new("onnxruntime_ep_xdna_kv_cache_new");
/// [`Free`].
pub const FREE: Export<Free> = Export::new("onnxruntime_ep_xdna_kv_cache_free");
/// [`Select`].
pub const SELECT: Export<Select> = Export::new("onnxruntime_ep_xdna_kv_cache_select");
/// [`Bytes`].
pub const BYTES: Export<Bytes> = Export::new("onnxruntime_ep_xdna_kv_cache_bytes");
/// [`Ask`].
pub const ASK: Export<Ask> = Export::new("onnxruntime_ep_xdna_kv_cache_ask");
/// [`Choice`].
pub const CHOICE: Export<Choice> = Export::new("onnxruntime_ep_xdna_kv_cache_choice");

/// The likeliest token of a class.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestToken {
    /// The token, the first of equals; `UINT32_MAX` where nothing is allowed.
    pub token: u32,
    /// Its logit.
    pub logit: f32,
    /// `Σ exp(logit − largest)` over what is allowed of its class.
    pub sum: f32,
}

impl BestToken {
    /// Nothing is allowed of the class.
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
