//! Cutting an output into parts for the tasks of a pool.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::Parallel;

/// Values below which waking a second thread costs more than it saves.
const SMALL: usize = 1 << 16;

/// Tasks to a thread: a few, so that threads that start late or are interrupted do not keep the others waiting.
const TASKS_PER_THREAD: usize = 4;

struct Output(*mut f32);

// SAFETY: `rows` gives each task another part of it.
unsafe impl Sync for Output {}

/// Calls `work(rows, part)` for ranges that cover `0 .. out.len() / width`, each with its own part of `out`; on the calling thread
/// alone, in one piece, if that is little.
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
    let count = out.len() / width;
    let threads = pool.width();
    if threads == 1 || out.len() < SMALL || count == 1 {
        return work(0..count, out);
    }
    let part = count.div_ceil(threads * TASKS_PER_THREAD);
    let output = Output(out.as_mut_ptr());
    let output = &output;
    pool.run(count.div_ceil(part), &|task| {
        let rows = task * part..count.min((task + 1) * part);
        assert!(rows.start < rows.end, "a pool ran a task that it was not given");
        // SAFETY: a pool runs each task once, and the rows of tasks lie apart, inside the slice.
        let out = unsafe { std::slice::from_raw_parts_mut(output.0.add(rows.start * width), rows.len() * width) };
        work(rows, out);
    });
}
