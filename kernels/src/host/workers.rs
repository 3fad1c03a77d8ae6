//! Spreading numbered units of work over a pool so that each worker has its own memory and none is left idle.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Parallel, host::shared::Shared};

/// Multiply-adds below which waking a second thread costs more than it saves.
const SMALL: usize = 300_000;

/// How many workers to use for work of `multiply_adds` in `units`.
pub(in crate::host) fn workers(pool: &dyn Parallel, units: usize, multiply_adds: usize) -> usize {
    if multiply_adds < SMALL { 1 } else { pool.width().min(units).max(1) }
}

/// Runs `work(unit, memory)` for `units` units; each of `workers` workers takes the next unit when it is free, and
/// hands over its own `memory`: the slice is cut into equal parts.
pub(in crate::host) fn run(
    pool: &dyn Parallel,
    workers: usize,
    units: usize,
    memory: &mut [f32],
    work: &(dyn Fn(usize, &mut [f32]) + Sync),
) {
    if workers <= 1 {
        (0..units).for_each(|unit| work(unit, memory));
        return;
    }
    let part = memory.len() / workers / 16 * 16;
    let memory = Shared::new(memory);
    let next = AtomicUsize::new(0);
    pool.run(workers, &|worker| {
        assert!(worker < workers, "a pool ran a task that it was not given");
        // SAFETY: a pool runs each task once, so each part is borrowed once; parts lie apart, inside the slice.
        let memory = unsafe { std::slice::from_raw_parts_mut(memory.at(worker * part), part) };
        loop {
            let unit = next.fetch_add(1, Ordering::Relaxed);
            if unit >= units {
                return;
            }
            work(unit, memory);
        }
    });
}
