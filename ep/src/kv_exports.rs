//! The key-value cache for programs in any language: C functions that make, change and end a cache, and ask for the
//! choice of the next token. [`undertone_boundary::kv_cache`] says what each does; [`crate::kv`] how a run uses a
//! cache.

#![allow(unsafe_code, reason = "exports C functions")]

use std::{ops::Range, panic::catch_unwind, slice};

use undertone_boundary::{
    attention_scores::{ATTEND, SCORES},
    check_exports,
    kv_cache::{ASK, BYTES, BestToken, CHOICE, DONE, FREE, MOST_BEST, NEW, REFUSED, SELECT},
};
use undertone_kernels::host::choice::Best;

use crate::kv::{self, KvError, KvState};

check_exports!(
    NEW => onnxruntime_ep_xdna_kv_cache_new,
    FREE => onnxruntime_ep_xdna_kv_cache_free,
    SELECT => onnxruntime_ep_xdna_kv_cache_select,
    BYTES => onnxruntime_ep_xdna_kv_cache_bytes,
    ASK => onnxruntime_ep_xdna_kv_cache_ask_best,
    CHOICE => onnxruntime_ep_xdna_kv_cache_best,
    ATTEND => onnxruntime_ep_xdna_kv_cache_attend,
    SCORES => onnxruntime_ep_xdna_kv_cache_scores,
);

/// The library's [`undertone_boundary::kv_cache::New`].
#[unsafe(no_mangle)]
pub extern "C" fn onnxruntime_ep_xdna_kv_cache_new() -> u64 {
    catch_unwind(kv::create).unwrap_or(0)
}

/// The library's [`undertone_boundary::kv_cache::Free`].
#[unsafe(no_mangle)]
pub extern "C" fn onnxruntime_ep_xdna_kv_cache_free(cache: u64) -> i32 {
    catch_unwind(|| if kv::release(cache) { DONE } else { REFUSED }).unwrap_or(REFUSED)
}

/// The library's [`undertone_boundary::kv_cache::Select`].
///
/// # Safety
/// As that asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxruntime_ep_xdna_kv_cache_select(cache: u64, rows: *const usize, count: usize) -> i32 {
    with(cache, |state| {
        // SAFETY: as the caller promises.
        let rows = unsafe { list(rows, count) }?;
        state.select(rows).ok()
    })
}

/// The library's [`undertone_boundary::kv_cache::Bytes`].
#[unsafe(no_mangle)]
pub extern "C" fn onnxruntime_ep_xdna_kv_cache_bytes(cache: u64) -> u64 {
    let mut bytes = u64::MAX;
    with(cache, |state| {
        bytes = state.bytes() as u64;
        Some(())
    });
    bytes
}

/// The library's [`undertone_boundary::kv_cache::Ask`].
///
/// # Safety
/// As that asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxruntime_ep_xdna_kv_cache_ask_best(
    cache: u64,
    rows: usize,
    ends: *const usize,
    forbidden: *const [u32; 2],
    split: u32,
    count: usize,
) -> i32 {
    with(cache, |state| {
        (1..=MOST_BEST).contains(&count).then_some(())?;
        // SAFETY: as the caller promises.
        let ends = unsafe { list(ends, rows) }?;
        // SAFETY: as the caller promises.
        let pairs = unsafe { list(forbidden, ends.last().copied().unwrap_or(0)) }?;
        let mut start = 0;
        for &end in ends {
            let of_row = pairs.get(start..end)?;
            let apart = of_row.windows(2).all(|pair| pair[0][1] <= pair[1][0]);
            (apart && of_row.iter().all(|[first, end]| first <= end)).then_some(())?;
            start = end;
        }
        state.ask(|question| {
            question.forbidden.extend(pairs.iter().map(|[first, end]| Range { start: *first, end: *end }));
            question.ends.extend(ends);
            (question.split, question.count) = (split, count);
        });
        Some(())
    })
}

/// The library's [`undertone_boundary::kv_cache::Choice`].
///
/// # Safety
/// As that asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxruntime_ep_xdna_kv_cache_best(
    cache: u64,
    rows: usize,
    count: usize,
    out: *mut BestToken,
) -> i32 {
    with(cache, |state| {
        let answers = state.answers(rows, count).filter(|answers| answers.is_empty() || !out.is_null())?;
        for (at, best) in answers.iter().flatten().enumerate() {
            // SAFETY: as the caller promises.
            unsafe { out.add(at).write(best.map_or(BestToken::NONE, as_c_sees_it)) };
        }
        Some(())
    })
}

/// The library's [`undertone_boundary::attention_scores::Attend`].
///
/// # Safety
/// As that asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxruntime_ep_xdna_kv_cache_attend(cache: u64, heads: *const [u32; 2], count: usize) -> i32 {
    with(cache, |state| {
        // SAFETY: as the caller promises.
        state.attended.ask(unsafe { list(heads, count) }?);
        Some(())
    })
}

/// The library's [`undertone_boundary::attention_scores::Scores`].
///
/// # Safety
/// As that asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxruntime_ep_xdna_kv_cache_scores(cache: u64, out: *mut f32, count: usize) -> i32 {
    with(cache, |state| {
        let scores = state.attended.scores();
        (scores.len() == count && count > 0 && !out.is_null()).then_some(())?;
        // SAFETY: as the caller promises; nobody else has the cache's own memory.
        unsafe { std::ptr::copy_nonoverlapping(scores.as_ptr(), out, count) };
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
        let ask_for = |count: usize, ends: &[usize], pairs: &[[u32; 2]]| {
            let (ends, rows, pairs) = (ends.as_ptr(), ends.len(), pairs.as_ptr());
            // SAFETY: slices.
            unsafe { onnxruntime_ep_xdna_kv_cache_ask_best(cache, rows, ends, pairs, 5, count) }
        };
        let ask = |ends: &[usize], pairs: &[[u32; 2]]| ask_for(1, ends, pairs);
        assert_eq!([0, 1, 256, 257].map(|count| ask_for(count, &[], &[])), [REFUSED, DONE, DONE, REFUSED]);
        assert_eq!(ask(&[1, 3], &[[0, 4], [1, 2], [2, 9]]), DONE);
        assert_eq!(ask(&[2], &[[0, 4], [3, 5]]), REFUSED, "they overlap");
        assert_eq!(ask(&[1], &[[4, 3]]), REFUSED, "it ends before it begins");
        assert_eq!(ask(&[2, 1], &[[0, 4], [4, 5]]), REFUSED, "a row ends before it begins");
        // SAFETY: no memory is touched.
        unsafe {
            assert_eq!(onnxruntime_ep_xdna_kv_cache_best(cache, 0, 1, std::ptr::null_mut()), DONE);
            assert_eq!(onnxruntime_ep_xdna_kv_cache_best(cache, 1, 1, std::ptr::null_mut()), REFUSED);
            assert_eq!(onnxruntime_ep_xdna_kv_cache_select(cache, std::ptr::null(), 1), REFUSED);
        }
        assert_eq!(onnxruntime_ep_xdna_kv_cache_free(cache), DONE);
        assert_eq!(onnxruntime_ep_xdna_kv_cache_free(cache), REFUSED);
        assert_eq!(onnxruntime_ep_xdna_kv_cache_bytes(cache), u64::MAX);
    }
}
