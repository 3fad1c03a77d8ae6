//! Attention over a key-value cache: one pass over keys and values as they are kept, narrow, and nothing else of that
//! size is read or written. What limits the speed is memory, so that batch items with the same keys and values (beams
//! over one window) are worked on together. Few heads are cut into parts by keys, so that no thread is idle.
#![allow(unsafe_code)]

use std::ops::Range;

use super::{
    cache::{BLOCK, GROUP, KvCache},
    operand::{Bf16, F32, Int8, Operand, Stored},
    streamed::{HEADER, MAX_QUERIES, Merge, Partials, SCORES, soft_max},
    view::Frame,
};
use crate::{
    Context, Mask, Precision,
    host::{
        isa::Isa,
        shared::Shared,
        simd::{MAX_LANES, Simd, Task, dispatch},
    },
};

const _: () = assert!(SCORES == BLOCK * GROUP);

/// Vectors of sums that are held in registers.
const VECTORS: usize = 4;

/// Runs a whole call.
pub(super) fn run(isa: Isa, frame: &Frame<'_>, keys: &KvCache, values: &KvCache, context: &mut Context<'_>) {
    let jobs = jobs(frame, keys, values);
    let plan = Partials::new(frame, &jobs, context.pool);
    // Beside each query's partial result, the query converted.
    let converted = frame.width.next_multiple_of(MAX_LANES);
    let results_of_unit = plan.queries * plan.partial;
    let memory = context.scratch.floats(plan.units() * plan.queries * (plan.partial + converted));
    let (results, rows) = memory.split_at_mut(plan.units() * results_of_unit);
    let (shared, rows) = (Shared::new(results), Shared::new(rows));
    plan.run(context.pool, &|unit, (job, head), keys_range| {
        let queries = jobs[job].clone();
        let count = queries.len();
        // SAFETY: this unit's partial results and rows are no other unit's.
        let (results, rows) = unsafe {
            (
                std::slice::from_raw_parts_mut(shared.at(unit * results_of_unit), count * plan.partial),
                std::slice::from_raw_parts_mut(rows.at(unit * plan.queries * converted), count * converted),
            )
        };
        let operands = Operands { frame, keys, values, head };
        dispatch(isa, Stream { operands, queries, range: keys_range, results, rows });
    });
    dispatch(isa, Merge { frame, jobs: &jobs, partials: results, plan });
}

/// Queries that read the same keys and values, at most [`MAX_QUERIES`] together; those of all batch items are counted
/// through.
fn jobs(frame: &Frame<'_>, keys: &KvCache, values: &KvCache) -> Vec<Range<usize>> {
    let same = |item: &usize| keys.are_same(item - 1, *item) && values.are_same(item - 1, *item);
    let mut jobs = Vec::new();
    let mut item = 0;
    while item < frame.batch {
        let next = (item + 1..frame.batch).find(|item| !same(item)).unwrap_or(frame.batch);
        let end = next * frame.queries;
        let starts = (item * frame.queries..end).step_by(MAX_QUERIES);
        jobs.extend(starts.map(|start| start..end.min(start + MAX_QUERIES)));
        item = next;
    }
    jobs
}

/// One head of a call.
#[derive(Clone, Copy)]
struct Operands<'c, 'a> {
    frame: &'c Frame<'a>,
    keys: &'c KvCache,
    values: &'c KvCache,
    head: usize,
}

/// One part of one head's keys and values against some queries.
struct Stream<'c, 'a> {
    operands: Operands<'c, 'a>,
    /// A job.
    queries: Range<usize>,
    /// Keys; the first is a multiple of [`SCORES`].
    range: Range<usize>,
    results: &'c mut [f32],
    /// Room for the queries, converted.
    rows: &'c mut [f32],
}

impl Task for Stream<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.operands.keys.precision() {
            Precision::F32 => self.run_keys::<S, F32>(s),
            Precision::Bf16 => self.run_keys::<S, Bf16>(s),
            Precision::Int8 => self.run_keys::<S, Int8>(s),
        }
    }
}

/// A query as the first product reads it.
#[derive(Clone, Copy, Default)]
struct Query {
    /// What scores are multiplied by.
    factor: f32,
    /// What sums start with: keys are stored with 128 added.
    start: [i32; MAX_LANES],
}

impl Stream<'_, '_> {
    #[inline(always)]
    fn run_keys<S: Simd, P: Operand>(self, s: S) {
        let Self { operands, queries, range, results, rows } = self;
        let Operands { frame, keys, values, head } = operands;
        let place = |query: usize| (query / frame.queries, query % frame.queries);
        // All items of the job have the first one's keys and values.
        let (item, _) = place(queries.start);
        let converted = rows.len() / queries.len();
        let partial = results.len() / queries.len();
        let mut starts = [Query::default(); MAX_QUERIES];
        for ((query, start), row) in queries.clone().zip(&mut starts).zip(rows.chunks_exact_mut(converted)) {
            let (item, query) = place(query);
            let x = frame.q.row(item, head, query);
            // SAFETY: a row of the call's view, which is checked; `row` has its width in whole vectors.
            let (scale, sum) =
                unsafe { P::convert::<S, false>(s, x, frame.width, 1.0, row.as_mut_ptr().cast::<u32>()) };
            *start = Query { factor: scale * frame.scale, start: [-128 * sum as i32; MAX_LANES] };
        }
        for result in results.chunks_exact_mut(partial) {
            result.fill(0.0);
            result[0] = f32::NEG_INFINITY;
        }
        let masked = !matches!(frame.mask, Mask::None);
        let (key_bytes, value_bytes) = (keys.block_bytes(), values.block_bytes());
        let words = frame.width.div_ceil(P::GROUP);
        let mut scores = [0.0f32; SCORES];
        for first in range.clone().step_by(SCORES) {
            let count = SCORES.min(range.end - first);
            let (group, is_last) = (first / SCORES, first + SCORES >= range.end);
            let key_group = Group::of(keys, item, head, group, is_last);
            let value_group = Group::of(values, item, head, group, is_last);
            for (at, query) in queries.clone().enumerate() {
                let row = &rows[at * converted..][..converted];
                // SAFETY: there is room for whole groups of blocks, and the row holds the query's words.
                unsafe {
                    score::<S, P>(s, key_group, key_bytes, words, row.as_ptr().cast(), &starts[at], &mut scores);
                }
                scores[count..].fill(f32::NEG_INFINITY);
                if masked {
                    let (item, query) = place(query);
                    frame.mask_scores(item, head, query, first, &mut scores[..count]);
                }
                let (header, sums) = results[at * partial..][..partial].split_at_mut(HEADER);
                let Some(old) = soft_max(s, &mut scores, header) else { continue };
                let weights = &mut scores[..count];
                // SAFETY: the group holds `count` values; `sums` is a row's width in whole vectors.
                unsafe {
                    match values.precision() {
                        Precision::F32 => add::<S, F32>(s, value_group, value_bytes, frame.width, weights, old, sums),
                        Precision::Bf16 => add::<S, Bf16>(s, value_group, value_bytes, frame.width, weights, old, sums),
                        Precision::Int8 => add::<S, Int8>(s, value_group, value_bytes, frame.width, weights, old, sums),
                    }
                }
            }
        }
    }
}

/// A group of blocks of one head.
#[derive(Clone, Copy)]
struct Group {
    first: *const u8,
    /// Bytes to the group that comes after it, which is asked for meanwhile; 0 where none does.
    ahead: usize,
}

impl Group {
    #[inline(always)]
    fn of(cache: &KvCache, item: usize, head: usize, group: usize, is_last: bool) -> Self {
        let first = cache.group(item, head, group);
        let next = if is_last { first } else { cache.group(item, head, group + 1) };
        Self { first, ahead: next.addr().wrapping_sub(first.addr()) }
    }
}

/// The scores, to base 2, of a query for a group of blocks of keys.
///
/// # Safety
/// `group` is a group of blocks, `row` a query of `words` words.
#[inline(always)]
unsafe fn score<S: Simd, P: Operand>(
    s: S,
    group: Group,
    block_bytes: usize,
    words: usize,
    row: *const u32,
    query: &Query,
    scores: &mut [f32; SCORES],
) {
    let scale_bytes = if P::QUANTISED { BLOCK * size_of::<f32>() } else { 0 };
    let factor = s.splat(query.factor);
    for (chunk, scores) in scores.chunks_exact_mut(VECTORS * S::LANES).enumerate() {
        // Where the lanes of each vector lie: its block, and its place in each word's sixteen.
        let lanes = |vector: usize| {
            let key = (chunk * VECTORS + vector) * S::LANES;
            (group.first.wrapping_add(key / BLOCK * block_bytes), key % BLOCK * size_of::<u32>())
        };
        // SAFETY: `start` holds a vector.
        let mut sums = [unsafe { P::start(s, query.start.as_ptr().cast()) }; VECTORS];
        for word in 0..words {
            // SAFETY: the caller's promise.
            let value = s.splat_i(unsafe { *row.add(word) } as i32);
            for (vector, sum) in sums.iter_mut().enumerate() {
                let (block, place) = lanes(vector);
                let p = block.wrapping_add(scale_bytes + word * BLOCK * size_of::<u32>() + place);
                // Blocks are too short for the CPU to see where reading goes on. Asked for line by line, the next group
                // comes in while this one is worked on; asked for all at once, it comes in the way.
                s.prefetch(p.wrapping_add(group.ahead));
                // SAFETY: a word of each of the block's keys.
                *sum = P::dot(s, *sum, unsafe { s.load_i(p.cast()) }, value);
            }
        }
        for ((vector, sum), scores) in sums.into_iter().enumerate().zip(scores.chunks_exact_mut(S::LANES)) {
            let (block, place) = lanes(vector);
            let mut of_keys = factor;
            if P::QUANTISED {
                // SAFETY: an int8 block begins with a scale for each key.
                of_keys = s.mul(factor, unsafe { s.load(block.wrapping_add(place).cast()) });
            }
            s.store_slice(scores, s.mul(P::finish(s, sum), of_keys));
        }
    }
}

/// `sums · old + Σ weight · value` over a group of blocks of values, as many as there are weights.
///
/// # Safety
/// `group` is a group of blocks that holds the values; `sums` is their width in whole vectors of [`MAX_LANES`].
#[inline(always)]
unsafe fn add<S: Simd, P: Stored>(
    s: S,
    group: Group,
    block_bytes: usize,
    width: usize,
    weights: &mut [f32],
    old: f32,
    sums: &mut [f32],
) {
    let row_bytes = width.next_multiple_of(MAX_LANES) * 4 / P::GROUP;
    let scale_bytes = if P::QUANTISED { BLOCK * size_of::<f32>() } else { 0 };
    if P::QUANTISED {
        for (block, weights) in weights.chunks_mut(BLOCK).enumerate() {
            // SAFETY: an int8 block begins with a scale for each value.
            let scales =
                unsafe { std::slice::from_raw_parts(group.first.add(block * block_bytes).cast::<f32>(), BLOCK) };
            for (weight, scale) in weights.iter_mut().zip(scales) {
                *weight *= scale;
            }
        }
    }
    for at in (0..width).step_by(VECTORS * S::LANES) {
        let vectors = VECTORS.min((width - at).div_ceil(S::LANES));
        let mut total = [s.splat(0.0); VECTORS];
        for (total, sums) in total.iter_mut().zip(sums[at..].chunks_exact(S::LANES)) {
            *total = s.mul(s.load_slice(sums, 0.0), s.splat(old));
        }
        for (key, &weight) in weights.iter().enumerate() {
            let block = group.first.wrapping_add(key / BLOCK * block_bytes + scale_bytes);
            let row = block.wrapping_add(key % BLOCK * row_bytes + at * 4 / P::GROUP);
            let weight = s.splat(weight);
            for line in 0..(VECTORS * S::LANES * 4 / P::GROUP).div_ceil(64) {
                s.prefetch(row.wrapping_add(group.ahead.wrapping_add(line * 64)));
            }
            if vectors == VECTORS {
                for (i, total) in total.iter_mut().enumerate() {
                    // SAFETY: a vector of the value's row.
                    let value = unsafe { P::load(s, row.wrapping_add(i * S::LANES * 4 / P::GROUP)) };
                    *total = s.mul_add(weight, value, *total);
                }
            } else {
                for (i, total) in total.iter_mut().enumerate().take(vectors) {
                    // SAFETY: a vector of the value's row, which is padded to whole vectors.
                    let value = unsafe { P::load(s, row.wrapping_add(i * S::LANES * 4 / P::GROUP)) };
                    *total = s.mul_add(weight, value, *total);
                }
            }
        }
        for (total, sums) in total.iter().zip(sums[at..].chunks_exact_mut(S::LANES)) {
            s.store_slice(sums, *total);
        }
    }
}
