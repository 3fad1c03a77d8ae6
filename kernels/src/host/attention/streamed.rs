//! Attention of few queries, as in decoding: keys and values are read once, where they lie, in fp32.
//!
//! Converting a key or value costs more than the few products it takes part in, so all precisions use fp32 here, which
//! is more exact than was asked; what limits the speed is memory. Few heads are cut into parts by keys, so that no
//! thread is idle.
#![allow(unsafe_code)]

use std::ops::Range;

use super::{
    operand::load_part,
    view::{Call, Frame},
};
use crate::{
    Context, Mask, Parallel,
    host::{
        isa::Isa,
        shared::Shared,
        simd::{MAX_LANES, Simd, Task, dispatch},
        vecmath::exp2,
        workers,
    },
};

/// The most queries that come this way.
pub(super) const MAX_QUERIES: usize = 8;

/// Keys whose scores exist at a time; their values stay in the first-level cache for all queries.
pub(super) const SCORES: usize = 64;

/// Keys that a part has at least.
const SMALLEST_PART: usize = 128;

/// Values before a partial result's sums: its maximum and its sum of exponentials, and room up to a whole vector.
pub(super) const HEADER: usize = MAX_LANES;

/// Vectors of sums that are held in registers.
const VECTORS: usize = 4;

/// How a call's keys are shared out: for each head, parts of which each leaves a partial result.
#[derive(Clone, Copy)]
pub(super) struct Partials {
    heads: usize,
    job_heads: usize,
    keys: usize,
    parts: usize,
    part: usize,
    workers: usize,
    /// Most queries of a job.
    pub queries: usize,
    /// Values of one query's partial result.
    pub partial: usize,
}

impl Partials {
    /// For `jobs`: queries that are worked on together. Those of all batch items are counted through.
    pub fn new(frame: &Frame<'_>, jobs: &[Range<usize>], pool: &dyn Parallel) -> Self {
        let job_heads = jobs.len() * frame.heads;
        let queries: usize = jobs.iter().map(Range::len).sum();
        let multiply_adds = 2 * frame.heads * queries * frame.keys * frame.width;
        let workers = workers::workers(pool, usize::MAX, multiply_adds);
        let parts = if workers == 1 {
            1
        } else {
            (4 * workers).div_ceil(job_heads).min(frame.keys.div_ceil(SMALLEST_PART)).max(1)
        };
        Self {
            heads: frame.heads,
            job_heads,
            keys: frame.keys,
            parts,
            part: frame.keys.div_ceil(parts).next_multiple_of(SCORES),
            workers,
            queries: jobs.iter().map(Range::len).max().unwrap_or(0),
            partial: HEADER + frame.width.next_multiple_of(MAX_LANES),
        }
    }

    /// Parts of all heads.
    pub fn units(&self) -> usize {
        self.job_heads * self.parts
    }

    /// Runs `work(unit, (job, head), keys)` for each part.
    pub fn run(&self, pool: &dyn Parallel, work: &(dyn Fn(usize, (usize, usize), Range<usize>) + Sync)) {
        let units = self.units();
        workers::run(pool, self.workers.min(units), units, &mut [], &|unit, _| {
            let (job, head) = (unit / self.parts / self.heads, unit / self.parts % self.heads);
            let first = (unit % self.parts * self.part).min(self.keys);
            work(unit, (job, head), first..self.keys.min(first + self.part));
        });
    }
}

/// Runs a whole call of at most [`MAX_QUERIES`] queries.
pub(super) fn run(isa: Isa, call: &Call<'_>, context: &mut Context<'_>) {
    let jobs: Vec<Range<usize>> = (0..call.batch).map(|item| item * call.queries..(item + 1) * call.queries).collect();
    let plan = Partials::new(call, &jobs, context.pool);
    let of_unit = call.queries * plan.partial;
    let partials = context.scratch.floats(plan.units() * of_unit);
    let shared = Shared::new(partials);
    plan.run(context.pool, &|unit, (item, head), keys| {
        // SAFETY: this unit's partial results are no other unit's.
        let results = unsafe { std::slice::from_raw_parts_mut(shared.at(unit * of_unit), of_unit) };
        dispatch(isa, Stream { call, item, head, keys, results, partial: plan.partial });
    });
    dispatch(isa, Merge { frame: call, jobs: &jobs, partials, plan });
}

/// One part of one head's keys and values against all queries.
struct Stream<'c, 'a> {
    call: &'c Call<'a>,
    item: usize,
    head: usize,
    keys: Range<usize>,
    results: &'c mut [f32],
    partial: usize,
}

impl Task for Stream<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { call, item, head, keys, results, partial } = self;
        for result in results.chunks_exact_mut(partial) {
            result.fill(0.0);
            result[0] = f32::NEG_INFINITY;
        }
        let masked = !matches!(call.mask, Mask::None);
        let mut scores = [[0.0f32; SCORES]; MAX_QUERIES];
        for first in keys.clone().step_by(SCORES) {
            let count = SCORES.min(keys.end - first);
            for key in 0..count {
                let row = call.k.row(item, head, first + key);
                for (query, scores) in scores.iter_mut().enumerate().take(call.queries) {
                    // SAFETY: rows of the call's views, which are checked.
                    scores[key] = unsafe { dot(s, call.q.row(item, head, query), row, call.width) } * call.scale;
                }
            }
            for (query, (scores, result)) in scores.iter_mut().zip(results.chunks_exact_mut(partial)).enumerate() {
                scores[count..].fill(f32::NEG_INFINITY);
                if masked {
                    call.mask_scores(item, head, query, first, &mut scores[..count]);
                }
                let (header, sums) = result.split_at_mut(HEADER);
                let Some(old) = soft_max(s, scores, header) else { continue };
                // SAFETY: rows of the call's views, which are checked; `sums` is a row's width in whole vectors.
                unsafe { add_values(s, call, (item, head), first, &scores[..count], old, sums) };
            }
        }
    }
}

/// The product of two rows.
#[inline(always)]
unsafe fn dot<S: Simd>(s: S, a: *const f32, b: *const f32, width: usize) -> f32 {
    let mut sum = s.splat(0.0);
    for at in (0..width).step_by(S::LANES) {
        // SAFETY: the caller's promise that both rows have `width` values.
        unsafe { sum = s.mul_add(load_part(s, a.add(at), width - at), load_part(s, b.add(at), width - at), sum) };
    }
    s.sum(sum)
}

/// Turns scores (to base 2) into exponentials relative to the new running maximum, and updates `[maximum, sum]`.
/// Returns what the sums so far are to be multiplied by; `None` if no key was seen.
#[inline(always)]
pub(super) fn soft_max<S: Simd>(s: S, scores: &mut [f32; SCORES], header: &mut [f32]) -> Option<f32> {
    let mut largest = s.splat(header[0]);
    for scores in scores.chunks_exact(S::LANES) {
        largest = s.max(s.load_slice(scores, 0.0), largest);
    }
    let max = s.largest(largest);
    if max == f32::NEG_INFINITY {
        // NaN is never the largest, yet has to reach the result.
        let nan = scores.iter().any(|score| score.is_nan());
        if !nan {
            return None;
        }
    }
    let mut sum = s.splat(0.0);
    for scores in scores.chunks_exact_mut(S::LANES) {
        let p = exp2::<S, false>(s, s.sub(s.load_slice(scores, 0.0), s.splat(max)));
        sum = s.add(sum, p);
        s.store_slice(scores, p);
    }
    let old = (header[0] - max).exp2();
    header[0] = max;
    header[1] = header[1] * old + s.sum(sum);
    Some(old)
}

/// `sums · old + Σ weight · value` over the keys from `first` on.
#[inline(always)]
unsafe fn add_values<S: Simd>(
    s: S,
    call: &Call<'_>,
    (item, head): (usize, usize),
    first: usize,
    weights: &[f32],
    old: f32,
    sums: &mut [f32],
) {
    let step = VECTORS * S::LANES;
    for at in (0..call.width).step_by(step) {
        let mut vectors = [s.splat(0.0); VECTORS];
        for (vector, sums) in vectors.iter_mut().zip(sums[at..].chunks_exact(S::LANES)) {
            *vector = s.mul(s.load_slice(sums, 0.0), s.splat(old));
        }
        let whole = call.width - at >= step;
        for (key, &weight) in weights.iter().enumerate() {
            let row = call.v.row(item, head, first + key).wrapping_add(at);
            let weight = s.splat(weight);
            for (i, vector) in vectors.iter_mut().enumerate() {
                let offset = i * S::LANES;
                // SAFETY: only values that the row has are read.
                let value = unsafe {
                    if whole {
                        s.load(row.add(offset))
                    } else {
                        load_part(s, row.wrapping_add(offset), (call.width - at).saturating_sub(offset))
                    }
                };
                *vector = s.mul_add(weight, value, *vector);
            }
        }
        for (vector, sums) in vectors.iter().zip(sums[at..].chunks_exact_mut(S::LANES)) {
            s.store_slice(sums, *vector);
        }
    }
}

/// Puts the parts of each head together and writes the output.
pub(super) struct Merge<'c, 'a> {
    pub frame: &'c Frame<'a>,
    /// The queries that each job's parts are of.
    pub jobs: &'c [Range<usize>],
    pub partials: &'c mut [f32],
    pub plan: Partials,
}

impl Task for Merge<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { frame, jobs, partials, plan } = self;
        let Partials { parts: count, partial, queries: of_part, .. } = plan;
        for (head_index, parts) in partials.chunks_exact_mut(count * of_part * partial).enumerate() {
            let (job, head) = (head_index / frame.heads, head_index % frame.heads);
            for (at, query) in jobs[job].clone().enumerate() {
                let (item, query) = (query / frame.queries, query % frame.queries);
                let of_query = |part: usize| (part * of_part + at) * partial;
                let starts = (0..count).map(of_query);
                let max = starts.clone().map(|at| parts[at]).fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = starts.clone().map(|at| parts[at + 1] * factor(parts[at], max)).sum();
                // SAFETY: a row of the call's output, which is checked, and of which no other borrow exists.
                let out = unsafe { std::slice::from_raw_parts_mut(frame.out.row(item, head, query), frame.width) };
                if sum == 0.0 {
                    out.fill(0.0);
                    continue;
                }
                for (i, out) in out.chunks_mut(S::LANES).enumerate() {
                    let mut total = s.splat(0.0);
                    for at in starts.clone() {
                        let part = s.load_slice(&parts[at + HEADER + i * S::LANES..], 0.0);
                        total = s.mul_add(part, s.splat(factor(parts[at], max) / sum), total);
                    }
                    s.store_slice(out, total);
                }
            }
        }
    }
}

/// What a part's sums are multiplied by; a part that saw no key has none.
fn factor(max: f32, overall: f32) -> f32 {
    if max == overall { 1.0 } else { (max - overall).exp2() }
}
