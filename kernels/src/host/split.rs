//! Cutting work that is one sequence into parts for the tasks of a pool.
//!
//! A product's two dimensions are cut by `linear::schedule`, and attention's units, which differ in length, are taken
//! by whichever worker is free (`workers`).
#![allow(unsafe_code)]

use std::ops::Range;

use super::shared::Shared;
use crate::{HeadsMut, Parallel};

/// Values below which waking a second thread costs more than it saves.
const SMALL: usize = 1 << 16;

/// Tasks to a thread: a few, so that threads that start late or are interrupted do not keep the others waiting.
const TASKS_PER_THREAD: usize = 4;

/// Runs tasks in the pool, or a single one here: waking a pool costs more than it does.
pub(crate) fn tasks(pool: &dyn Parallel, count: usize, task: &(dyn Fn(usize) + Sync)) {
    match count {
        0 => {}
        1 => task(0),
        _ => pool.run(count, task),
    }
}

/// Calls `work` for ranges that cover `0 .. count`; on the calling thread alone, in one piece, if the `values` that are
/// touched are few.
pub(crate) fn ranges(pool: &dyn Parallel, count: usize, values: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    let threads = pool.width();
    let parts = if threads == 1 || values < SMALL { 1 } else { threads * TASKS_PER_THREAD };
    let part = count.div_ceil(parts).max(1);
    tasks(pool, count.div_ceil(part), &|task| {
        let range = task * part..count.min((task + 1) * part);
        assert!(range.start < range.end, "a pool ran a task that it was not given");
        work(range);
    });
}

/// As [`ranges`] over the rows of `out`, of `width` values each; each call gets its own part of `out`.
///
/// # Panics
/// If `out` is no whole number of rows, or `width` is 0.
pub(crate) fn rows(
    pool: &dyn Parallel,
    width: usize,
    out: &mut [f32],
    work: &(dyn Fn(Range<usize>, &mut [f32]) + Sync),
) {
    assert!(out.len().is_multiple_of(width), "{} values are no rows of {width}", out.len());
    let (count, values) = (out.len() / width, out.len());
    let shared = Shared::new(out);
    ranges(pool, count, values, &|rows| {
        // SAFETY: a pool runs each task once, and the rows of ranges lie apart, inside the slice.
        let out = unsafe { std::slice::from_raw_parts_mut(shared.at(rows.start * width), rows.len() * width) };
        work(rows, out);
    });
}

/// Calls `work` for each chunk of `out`, with its number; the last may be shorter.
pub(crate) fn chunks(pool: &dyn Parallel, chunk: usize, out: &mut [u8], work: &(dyn Fn(usize, &mut [u8]) + Sync)) {
    if out.is_empty() {
        return;
    }
    let (count, values) = (out.len().div_ceil(chunk), out.len());
    let shared = Shared::new(out);
    ranges(pool, count, values, &|range| {
        for index in range {
            let start = index * chunk;
            // SAFETY: a pool runs each task once, and chunks lie apart, inside the slice.
            let out = unsafe { std::slice::from_raw_parts_mut(shared.at(start), chunk.min(values - start)) };
            work(index, out);
        }
    });
}

/// Calls `work` for each row of `[batch, heads, rows, width]`, with its item, head and number. Rows of an item with one
/// number come one after another, as most layouts have them side by side.
///
/// # Panics
/// If `out` reaches outside its slice or its rows overlap.
pub(crate) fn heads(
    pool: &dyn Parallel,
    out: &mut HeadsMut<'_>,
    [batch, heads, rows, width]: [usize; 4],
    work: &(dyn Fn([usize; 3], &mut [f32]) + Sync),
) {
    out.check([batch, heads, rows, width]);
    let HeadsMut { batch_stride, head_stride, row_stride, .. } = *out;
    let shared = Shared::new(out.data);
    ranges(pool, batch * rows, batch * heads * rows * width, &|range| {
        for index in range {
            let (item, row) = (index / rows, index % rows);
            for head in 0..heads {
                let start = item * batch_stride + head * head_stride + row * row_stride;
                // SAFETY: a pool runs each task once; the rows lie apart and inside the slice, which has just been
                // checked.
                let out = unsafe { std::slice::from_raw_parts_mut(shared.at(start), width) };
                work([item, head, row], out);
            }
        }
    });
}
