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
        let mut scores = [[0.0f32; SCORES]; MAX_QUERIES];
        for first in range.clone().step_by(SCORES) {
            let count = SCORES.min(range.end - first);
            let (group, is_last) = (first / SCORES, first + SCORES >= range.end);
            let key_group = Group::of(keys, item, head, group, is_last);
            let value_group = Group::of(values, item, head, group, is_last);
            for tile in tiles(queries.len(), most_together::<S>()) {
                let (starts, scores) = (&starts[tile.clone()], &mut scores[tile.clone()]);
                let row = rows[tile.start * converted..].as_ptr().cast();
                // SAFETY: there is room for whole groups of blocks, and the rows hold the queries' words.
                unsafe {
                    match tile.len() {
                        1 => score::<S, P, 1>(s, key_group, key_bytes, words, row, converted, starts, scores),
                        2 => score::<S, P, 2>(s, key_group, key_bytes, words, row, converted, starts, scores),
                        _ => score::<S, P, TILE>(s, key_group, key_bytes, words, row, converted, starts, scores),
                    }
                }
            }
            // What each query's sums so far are multiplied by.
            let mut old = [1.0f32; MAX_QUERIES];
            let mut sees_none = [false; MAX_QUERIES];
            for (at, query) in queries.clone().enumerate() {
                let scores = &mut scores[at];
                scores[count..].fill(f32::NEG_INFINITY);
                if masked {
                    let (item, query) = place(query);
                    frame.mask_scores(item, head, query, first, &mut scores[..count]);
                }
                match soft_max(s, scores, &mut results[at * partial..][..HEADER]) {
                    Some(factor) => old[at] = factor,
                    None => sees_none[at] = true,
                }
            }
            // A query that has seen no key yet is left out: values that it does not see may be anything.
            let most = if sees_none.contains(&true) { 1 } else { most_together::<S>() };
            for tile in tiles(queries.len(), most).filter(|tile| !sees_none[tile.start]) {
                let weights = &mut scores[tile.clone()];
                let sums = Sums {
                    results: &mut results[tile.start * partial..tile.end * partial],
                    partial,
                    width: frame.width,
                    old: &old[tile],
                };
                // SAFETY: the group holds `count` values.
                unsafe {
                    match values.precision() {
                        Precision::F32 => sums.add::<S, F32>(s, value_group, value_bytes, count, weights),
                        Precision::Bf16 => sums.add::<S, Bf16>(s, value_group, value_bytes, count, weights),
                        Precision::Int8 => sums.add::<S, Int8>(s, value_group, value_bytes, count, weights),
                    }
                }
            }
        }
    }
}

/// Most queries whose sums are held in registers together: as many as a beam usually has.
const TILE: usize = 5;

/// As many queries as there are registers for: sixteen of eight lanes are too few for [`TILE`].
const fn most_together<S: Simd>() -> usize {
    if S::LANES == 8 { 2 } else { TILE }
}

/// Queries that are worked on together, so that a key or a value is read and converted once for them: one, two, or
/// [`TILE`], at most `most`.
#[inline(always)]
fn tiles(queries: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let left = queries - start;
        let count = if left >= TILE && most >= TILE { TILE } else { left.min(most).min(2) };
        start += count;
        (count > 0).then(|| start - count..start)
    })
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

/// The scores, to base 2, of `N` queries for a group of blocks of keys.
///
/// # Safety
/// `group` is a group of blocks; `row` is the first query, of `words` words, and the others lie `stride` words apart.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a kernel's operands")]
unsafe fn score<S: Simd, P: Operand, const N: usize>(
    s: S,
    group: Group,
    block_bytes: usize,
    words: usize,
    row: *const u32,
    stride: usize,
    queries: &[Query],
    scores: &mut [[f32; SCORES]],
) {
    // Of constant length, so that the sums stay in registers.
    let (Some(queries), Some(scores)) = (queries.first_chunk::<N>(), scores.first_chunk_mut::<N>()) else { return };
    let scale_bytes = if P::QUANTISED { BLOCK * size_of::<f32>() } else { 0 };
    for first in (0..SCORES).step_by(VECTORS * S::LANES) {
        // Where the lanes of each vector lie: its block, and its place in each word's sixteen.
        let lanes = |vector: usize| {
            let key = first + vector * S::LANES;
            (group.first.wrapping_add(key / BLOCK * block_bytes), key % BLOCK * size_of::<u32>())
        };
        let mut sums = [[P::zero(s); VECTORS]; N];
        for (sums, query) in sums.iter_mut().zip(queries) {
            // SAFETY: `start` holds a vector.
            *sums = [unsafe { P::start(s, query.start.as_ptr().cast()) }; VECTORS];
        }
        for word in 0..words {
            let mut panel = [s.splat_i(0); VECTORS];
            for (vector, panel) in panel.iter_mut().enumerate() {
                let (block, place) = lanes(vector);
                let p = block.wrapping_add(scale_bytes + word * BLOCK * size_of::<u32>() + place);
                // Blocks are too short for the CPU to see where reading goes on. Asked for line by line, the next group
                // comes in while this one is worked on; asked for all at once, it comes in the way.
                s.prefetch(p.wrapping_add(group.ahead));
                // SAFETY: a word of each of the block's keys.
                *panel = unsafe { s.load_i(p.cast()) };
            }
            for (query, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                let value = s.splat_i(unsafe { *row.add(query * stride + word) } as i32);
                for (sum, panel) in sums.iter_mut().zip(panel) {
                    *sum = P::dot(s, *sum, panel, value);
                }
            }
        }
        for ((query, sums), scores) in queries.iter().zip(sums).zip(scores.iter_mut()) {
            let factor = s.splat(query.factor);
            for (vector, sum) in sums.into_iter().enumerate() {
                let (block, place) = lanes(vector);
                let mut of_keys = factor;
                if P::QUANTISED {
                    // SAFETY: an int8 block begins with a scale for each key.
                    of_keys = s.mul(factor, unsafe { s.load(block.wrapping_add(place).cast()) });
                }
                let scores = &mut scores[first + vector * S::LANES..][..S::LANES];
                s.store_slice(scores, s.mul(P::finish(s, sum), of_keys));
            }
        }
    }
}

/// The sums of values of some queries.
struct Sums<'a> {
    /// The queries' partial results, each of `partial` values: a header, and `width` sums in whole vectors of
    /// [`MAX_LANES`].
    results: &'a mut [f32],
    partial: usize,
    width: usize,
    /// For each query what its sums are multiplied by first.
    old: &'a [f32],
}

impl Sums<'_> {
    /// `sums · old + Σ weight · value` over the first `count` values of a group of blocks, for each query.
    ///
    /// # Safety
    /// `group` is a group of blocks that holds the values.
    #[inline(always)]
    unsafe fn add<S: Simd, P: Stored>(
        self,
        s: S,
        group: Group,
        block_bytes: usize,
        count: usize,
        weights: &mut [[f32; SCORES]],
    ) {
        if P::QUANTISED {
            for block in 0..count.div_ceil(BLOCK) {
                // SAFETY: an int8 block begins with a scale for each value.
                let scales =
                    unsafe { std::slice::from_raw_parts(group.first.add(block * block_bytes).cast::<f32>(), BLOCK) };
                for weights in weights.iter_mut() {
                    for (weight, scale) in weights[block * BLOCK..count.min((block + 1) * BLOCK)].iter_mut().zip(scales)
                    {
                        *weight *= scale;
                    }
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe {
            match self.old.len() {
                1 => self.add_tile::<S, P, 1>(s, group, block_bytes, count, weights),
                2 => self.add_tile::<S, P, 2>(s, group, block_bytes, count, weights),
                _ => self.add_tile::<S, P, TILE>(s, group, block_bytes, count, weights),
            }
        }
    }

    /// [`Self::add`] of `N` queries, whose weights have the values' scales.
    ///
    /// # Safety
    /// As [`Self::add`].
    #[inline(always)]
    unsafe fn add_tile<S: Simd, P: Stored, const N: usize>(
        self,
        s: S,
        group: Group,
        block_bytes: usize,
        count: usize,
        weights: &[[f32; SCORES]],
    ) {
        let Self { results, partial, width, old } = self;
        // Of constant length, so that the sums stay in registers.
        let (Some(weights), Some(old)) = (weights.first_chunk::<N>(), old.first_chunk::<N>()) else { return };
        let row_bytes = width.next_multiple_of(MAX_LANES) * 4 / P::GROUP;
        let scale_bytes = if P::QUANTISED { BLOCK * size_of::<f32>() } else { 0 };
        for at in (0..width).step_by(VECTORS * S::LANES) {
            let vectors = VECTORS.min((width - at).div_ceil(S::LANES));
            let mut totals = [[s.splat(0.0); VECTORS]; N];
            // Every loop over sums has a constant length.
            let place = |query: usize, i: usize| query * partial + HEADER + at + i * S::LANES;
            for (query, totals) in totals.iter_mut().enumerate() {
                for (i, total) in totals.iter_mut().enumerate() {
                    if i < vectors {
                        let sums = &results[place(query, i)..][..S::LANES];
                        *total = s.mul(s.load_slice(sums, 0.0), s.splat(old[query]));
                    }
                }
            }
            for key in 0..count {
                let block = group.first.wrapping_add(key / BLOCK * block_bytes + scale_bytes);
                let row = block.wrapping_add(key % BLOCK * row_bytes + at * 4 / P::GROUP);
                for line in 0..(VECTORS * S::LANES * 4 / P::GROUP).div_ceil(64) {
                    s.prefetch(row.wrapping_add(group.ahead.wrapping_add(line * 64)));
                }
                let mut values = [s.splat(0.0); VECTORS];
                // A constant number of vectors, as nearly always, keeps the sums in registers.
                if vectors == VECTORS {
                    for (i, value) in values.iter_mut().enumerate() {
                        // SAFETY: a vector of the value's row.
                        *value = unsafe { P::load(s, row.wrapping_add(i * S::LANES * 4 / P::GROUP)) };
                    }
                } else {
                    for (i, value) in values.iter_mut().enumerate().take(vectors) {
                        // SAFETY: a vector of the value's row, which is padded to whole vectors.
                        *value = unsafe { P::load(s, row.wrapping_add(i * S::LANES * 4 / P::GROUP)) };
                    }
                }
                for (totals, weights) in totals.iter_mut().zip(weights) {
                    let weight = s.splat(weights[key]);
                    for (total, value) in totals.iter_mut().zip(values) {
                        *total = s.mul_add(weight, value, *total);
                    }
                }
            }
            for (query, totals) in totals.into_iter().enumerate() {
                for (i, total) in totals.into_iter().enumerate() {
                    if i < vectors {
                        s.store_slice(&mut results[place(query, i)..][..S::LANES], total);
                    }
                }
            }
        }
    }
}
