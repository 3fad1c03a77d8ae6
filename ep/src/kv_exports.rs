//! The key-value cache for programs in any language: C functions that make, change and end a cache, and ask for the choice of the
//! next token. A run uses a cache when its options name it; see [`crate::kv`].

#![allow(unsafe_code, reason = "exports C functions")]

use std::{ops::Range, panic::catch_unwind, slice};

use undertone_boundary::{
    check_exports,
    kv_cache::{ASK, BYTES, BestToken, CHOICE, DONE, FREE, NEW, REFUSED, SELECT},
};
use undertone_kernels::host::choice::Best;

use crate::kv::{self, KvError, KvState, Question};

check_exports!(
    NEW => onnxruntime_ep_xdna_kv_cache_new,
    FREE => onnxruntime_ep_xdna_kv_cache_free,
    SELECT => onnxruntime_ep_xdna_kv_cache_select,
    BYTES => onnxruntime_ep_xdna_kv_cache_bytes,
    ASK => onnxruntime_ep_xdna_kv_cache_ask,
    CHOICE => onnxruntime_ep_xdna_kv_cache_choice,
);

/// Makes an empty key-value cache and returns its number, never 0; 0 if that failed. A run whose options say
/// `ep.xdnaexecutionprovider.kv_cache` = that number keeps its graph's `present.*` in it and reads `past_key_values.*` from it:
/// what is fed for them is not looked at (feed tensors of no length), and what comes back for them has no length. A run of a
/// graph without pasts begins a new sequence.
#[unsafe(no_mangle)]
pub extern "C" fn onnxruntime_ep_xdna_kv_cache_new() -> u64 {
    catch_unwind(kv::create).unwrap_or(0)
}

/// Ends a cache. 0, or −1 if there is none of that number.
#[unsafe(no_mangle)]
pub extern "C" fn onnxruntime_ep_xdna_kv_cache_free(cache: u64) -> i32 {
    catch_unwind(|| if kv::release(cache) { DONE } else { REFUSED }).unwrap_or(REFUSED)
}

/// Makes a cache's batch items those that were at `rows`, in that order: rows leave, are repeated, or change places. 0, or −1 if
/// there is no such cache or row, or a run uses it.
///
/// # Safety
/// `rows` is valid for reading `count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxruntime_ep_xdna_kv_cache_select(cache: u64, rows: *const usize, count: usize) -> i32 {
    with(cache, |state| {
        // SAFETY: as the caller promises.
        let rows = unsafe { list(rows, count) }?;
        state.select(rows).ok()
    })
}

/// Bytes that attention over all of a cache reads; `UINT64_MAX` if there is no such cache or a run uses it.
#[unsafe(no_mangle)]
pub extern "C" fn onnxruntime_ep_xdna_kv_cache_bytes(cache: u64) -> u64 {
    let mut bytes = u64::MAX;
    with(cache, |state| {
        bytes = state.bytes() as u64;
        Some(())
    });
    bytes
}

/// Asks the next run that uses the cache to choose in each row instead of giving out logits (which come back with no positions):
/// the likeliest token below `split` (text) and from it on (timestamps) among those that are not forbidden. `forbidden` holds
/// pairs of a first token and one past the last, each row's ascending and apart; row `i`'s end before pair `ends[i]`. 0, or −1 if
/// there is no such cache, a run uses it, or the pairs are not in order.
///
/// # Safety
/// `ends` is valid for reading `rows` numbers, and `forbidden` for as many pairs as the last of them says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxruntime_ep_xdna_kv_cache_ask(
    cache: u64,
    rows: usize,
    ends: *const usize,
    forbidden: *const [u32; 2],
    split: u32,
) -> i32 {
    with(cache, |state| {
        // SAFETY: as the caller promises.
        let ends = unsafe { list(ends, rows) }?;
        let count = ends.last().copied().unwrap_or(0);
        // SAFETY: as the caller promises.
        let pairs = unsafe { list(forbidden, count) }?;
        let mut start = 0;
        for &end in ends {
            let of_row = pairs.get(start..end)?;
            let apart = of_row.windows(2).all(|pair| pair[0][1] <= pair[1][0]);
            (apart && of_row.iter().all(|[first, end]| first <= end)).then_some(())?;
            start = end;
        }
        state.ask(|Question { forbidden, ends: kept, split: kept_split }| {
            forbidden.extend(pairs.iter().map(|[first, end]| Range { start: *first, end: *end }));
            kept.extend(ends);
            *kept_split = split;
        });
        Some(())
    })
}

/// What the last run chose, for each row the likeliest of the first class and of the second: `2 · rows` entries are written. 0, or −1
/// if there is no such cache, a run uses it, or it chose for another number of rows.
///
/// # Safety
/// `out` is valid for writing `2 · rows` entries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxruntime_ep_xdna_kv_cache_choice(cache: u64, rows: usize, out: *mut BestToken) -> i32 {
    with(cache, |state| {
        (state.answers().len() == rows && (rows == 0 || !out.is_null())).then_some(())?;
        for (at, best) in state.answers().iter().flatten().enumerate() {
            // SAFETY: as the caller promises.
            unsafe { out.add(at).write(best.map_or(BestToken::NONE, as_c_sees_it)) };
        }
        Some(())
    })
}

fn as_c_sees_it(Best { index, logit, sum }: Best) -> BestToken {
    BestToken { token: index, logit, sum }
}

/// Carries out `work` on a cache that no run uses.
fn with(cache: u64, work: impl FnOnce(&mut KvState) -> Option<()>) -> i32 {
    let done = catch_unwind(std::panic::AssertUnwindSafe(|| {
        let handle = kv::find(cache)?;
        let mut state = kv::lock(&handle)?;
        Ok::<_, KvError>(work(&mut state))
    }));
    match done {
        Ok(Ok(Some(()))) => DONE,
        _ => REFUSED,
    }
}

/// A C array; `None` if it is NULL and not empty.
///
/// # Safety
/// `pointer` is valid for reading `count` values, which outlive the result.
unsafe fn list<'a, T>(pointer: *const T, count: usize) -> Option<&'a [T]> {
    match (count, pointer.is_null()) {
        (0, _) => Some(&[]),
        (_, true) => None,
        // SAFETY: as the caller promises.
        _ => Some(unsafe { slice::from_raw_parts(pointer, count) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_from_c() {
        let cache = onnxruntime_ep_xdna_kv_cache_new();
        assert_ne!(cache, 0);
        assert_eq!(onnxruntime_ep_xdna_kv_cache_bytes(cache), 0);
        let ask = |ends: &[usize], pairs: &[[u32; 2]]| {
            // SAFETY: slices.
            unsafe { onnxruntime_ep_xdna_kv_cache_ask(cache, ends.len(), ends.as_ptr(), pairs.as_ptr(), 5) }
        };
        assert_eq!(ask(&[1, 3], &[[0, 4], [1, 2], [2, 9]]), DONE);
        assert_eq!(ask(&[2], &[[0, 4], [3, 5]]), REFUSED, "they overlap");
        assert_eq!(ask(&[1], &[[4, 3]]), REFUSED, "it ends before it begins");
        assert_eq!(ask(&[2, 1], &[[0, 4], [4, 5]]), REFUSED, "a row ends before it begins");
        // SAFETY: no memory is touched.
        unsafe {
            assert_eq!(onnxruntime_ep_xdna_kv_cache_choice(cache, 0, std::ptr::null_mut()), DONE);
            assert_eq!(onnxruntime_ep_xdna_kv_cache_choice(cache, 1, std::ptr::null_mut()), REFUSED);
            assert_eq!(onnxruntime_ep_xdna_kv_cache_select(cache, std::ptr::null(), 1), REFUSED);
        }
        assert_eq!(onnxruntime_ep_xdna_kv_cache_free(cache), DONE);
        assert_eq!(onnxruntime_ep_xdna_kv_cache_free(cache), REFUSED);
        assert_eq!(onnxruntime_ep_xdna_kv_cache_bytes(cache), u64::MAX);
    }
}
