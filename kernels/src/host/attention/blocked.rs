//! Attention of many queries: keys and values are converted and packed once, then blocks of queries meet blocks of
//! keys.
//!
//! For one block of queries and one of keys: scores (first product), their largest, base-2 exponentials relative to it,
//! stored in the operand format, and their product with the values, added to sums that are rescaled as the running
//! maximum grows (Milakov and Gimelshein's online soft-max). Statistics are fp32; in int8 a row's sum is that of the
//! quantised exponentials, so that their weights add up to one. Scores of one block exist at a time.
#![allow(unsafe_code)]

use super::{
    operand::{Operand, SMALLEST, load_part},
    tile::tile,
    view::Call,
};
use crate::{
    Context, Mask,
    host::{
        isa::Isa,
        shared::Shared,
        simd::{MAX_LANES, Simd, Task, dispatch},
        vecmath::exp2,
        workers,
    },
};

/// Queries that are worked on together: a multiple of every instruction set's tile rows.
const ROWS: usize = 24;

/// Keys whose scores exist at a time: a multiple of every instruction set's panel.
const BLOCK: usize = 256;

/// Room for one fp32 for each of [`ROWS`], in whole vectors.
const ROW_ROOM: usize = 32;

/// Where everything lies, in 32-bit words. A head's packed operands are, for each block of keys, its key panels, then
/// its value panels. A key panel: scales and corrections, one of each to a lane, then words. A value panel: scales,
/// then words.
#[derive(Clone, Copy)]
struct Blocks {
    panel: usize,
    key_words: usize,
    key_panel: usize,
    keys_block: usize,
    value_panels: usize,
    value_panel: usize,
    block: usize,
    blocks: usize,
    converted_row: usize,
}

impl Blocks {
    fn new<S: Simd, P: Operand>(call: &Call<'_>) -> Self {
        let panel = S::TILE.1 * S::LANES;
        let key_words = call.width.div_ceil(P::GROUP);
        let key_panel = (2 + key_words) * panel;
        let keys_block = BLOCK / panel * key_panel;
        let value_panels = call.width.div_ceil(panel);
        let value_panel = (1 + BLOCK / P::GROUP) * panel;
        Self {
            panel,
            key_words,
            key_panel,
            keys_block,
            value_panels,
            value_panel,
            block: keys_block + value_panels * value_panel,
            blocks: call.keys.div_ceil(BLOCK),
            converted_row: call.width.next_multiple_of(64) / P::GROUP,
        }
    }

    fn packed(&self, call: &Call<'_>) -> usize {
        call.batch * call.heads * self.blocks * self.block
    }

    /// A worker's own memory.
    fn worker(&self) -> usize {
        let row = self.converted_row + MAX_LANES + 2 * BLOCK + self.value_panels * self.panel;
        5 * ROW_ROOM + ROWS * row
    }
}

struct MakeLayout<'c, 'a, P>(&'c Call<'a>, std::marker::PhantomData<P>);

impl<P: Operand> Task for MakeLayout<'_, '_, P> {
    type Output = Blocks;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Blocks {
        Blocks::new::<S, P>(self.0)
    }
}

/// Runs a whole call.
pub(super) fn run<P: Operand>(isa: Isa, call: &Call<'_>, context: &mut Context<'_>) {
    let layout = dispatch(isa, MakeLayout(call, std::marker::PhantomData::<P>));
    let heads = call.batch * call.heads;
    let query_blocks = call.queries.div_ceil(ROWS);
    let multiply_adds = 2 * heads * call.queries * call.keys * call.width;
    let workers = workers::workers(context.pool, heads * query_blocks, multiply_adds);
    let packed = layout.packed(call);
    let (packed, memory) = context.scratch.floats(packed + workers * layout.worker()).split_at_mut(packed);
    let packed = Shared::new(packed);
    let head_of = |unit: usize, parts: usize| (unit / parts / call.heads, unit / parts % call.heads, unit % parts);
    workers::run(context.pool, workers, heads * layout.blocks, memory, &|unit, memory| {
        let (item, head, block) = head_of(unit, layout.blocks);
        // SAFETY: this unit's block is no other unit's.
        let to = packed.at(unit * layout.block);
        dispatch(isa, Pack::<P> { call, layout, item, head, block, to, memory, format: std::marker::PhantomData });
    });
    workers::run(context.pool, workers, heads * query_blocks, memory, &|unit, memory| {
        let (item, head, block) = head_of(unit, query_blocks);
        let from = packed.at(unit / query_blocks * layout.blocks * layout.block);
        let first = block * ROWS;
        dispatch(isa, Attend::<P> { call, layout, item, head, first, from, memory, format: std::marker::PhantomData });
    });
}

/// Converts and packs one block of keys and values of one head.
struct Pack<'c, 'a, P> {
    call: &'c Call<'a>,
    layout: Blocks,
    item: usize,
    head: usize,
    block: usize,
    to: *mut f32,
    memory: &'c mut [f32],
    format: std::marker::PhantomData<P>,
}

impl<P: Operand> Task for Pack<'_, '_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let first = self.block * BLOCK;
        let count = BLOCK.min(self.call.keys - first);
        // SAFETY: `to` is this block's room, as `Blocks` has it; the call's views are checked.
        unsafe {
            self.keys(s, first, count);
            for panel in 0..self.layout.value_panels {
                self.values(s, first, count, panel);
            }
        }
    }
}

impl<P: Operand> Pack<'_, '_, P> {
    #[inline(always)]
    unsafe fn keys<S: Simd>(&mut self, s: S, first: usize, count: usize) {
        let Blocks { panel, key_words, key_panel, converted_row, .. } = self.layout;
        assert!(self.memory.len() >= converted_row, "a worker's memory holds a converted row");
        let converted = self.memory.as_mut_ptr().cast::<u32>();
        for at in 0..count.next_multiple_of(panel) {
            let lane = at % panel;
            // SAFETY: lanes of the block's own panels; a row's words fit in this worker's memory.
            unsafe {
                let to = self.to.add(at / panel * key_panel + lane);
                let (scale, correction) = if at < count {
                    let row = self.call.k.row(self.item, self.head, first + at);
                    let (scale, sum) = P::convert::<S, false>(s, row, self.call.width, 1.0, converted);
                    (scale, -128 * sum as i32)
                } else {
                    std::ptr::write_bytes(converted, 0, converted_row);
                    (0.0, 0)
                };
                *to = scale;
                *to.add(panel).cast::<i32>() = correction;
                let words = to.add(2 * panel).cast::<u32>();
                for word in 0..key_words {
                    *words.add(word * panel) = *converted.add(word);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn values<S: Simd>(&self, s: S, first: usize, count: usize, panel_index: usize) {
        let Blocks { panel, keys_block, value_panel, .. } = self.layout;
        for vector in 0..panel / S::LANES {
            let channel = panel_index * panel + vector * S::LANES;
            let channels = self.call.width.saturating_sub(channel);
            // SAFETY: channels that the row has; the others are not read.
            let load = |key: usize| unsafe {
                let row = self.call.v.row(self.item, self.head, first + key);
                load_part(s, row.wrapping_add(channel), channels)
            };
            let mut factor = s.splat(1.0);
            // SAFETY: one vector of the panel's header.
            let scales = unsafe { self.to.add(keys_block + panel_index * value_panel + vector * S::LANES) };
            if P::QUANTISED {
                let (mut largest, mut bad) = (s.splat(0.0), s.splat(0.0));
                for value in (0..count).map(load) {
                    largest = s.max(s.abs(value), largest);
                    bad = s.mul_add(value, s.splat(0.0), bad);
                }
                factor = s.div(s.splat(127.0), s.max(s.splat(SMALLEST), largest));
                // SAFETY: as above.
                unsafe { s.store(scales, s.mul_add(largest, s.splat(1.0 / 127.0), bad)) };
            }
            for word in 0..count.div_ceil(P::GROUP) {
                let mut values = [s.splat(0.0); 4];
                for (i, value) in values.iter_mut().enumerate().take(P::GROUP) {
                    let key = word * P::GROUP + i;
                    if key < count {
                        *value = load(key);
                        if P::QUANTISED {
                            *value = s.mul(*value, factor);
                        }
                    }
                }
                // SAFETY: one vector of the panel's words.
                unsafe { s.store_i(scales.add((1 + word) * panel).cast(), P::words(s, values)) };
            }
        }
    }
}

/// One block of queries of one head against all its keys.
struct Attend<'c, 'a, P> {
    call: &'c Call<'a>,
    layout: Blocks,
    item: usize,
    head: usize,
    first: usize,
    from: *const f32,
    memory: &'c mut [f32],
    format: std::marker::PhantomData<P>,
}

/// A worker's memory in parts; one value to a row in the arrays of [`ROW_ROOM`].
struct Memory {
    queries: *mut u32,
    /// What a row's scores are multiplied by, if quantised.
    scale: *mut f32,
    /// Running maximum of a row's scores.
    max: *mut f32,
    /// Maximum of a row's scores in this block.
    block_max: *mut f32,
    /// What the sums so far are multiplied by, as the maximum has grown.
    old: *mut f32,
    /// What this block's sums are multiplied by.
    new: *mut f32,
    /// Running sums of a row's exponentials, `MAX_LANES` to a row.
    sum: *mut f32,
    scores: *mut f32,
    weights: *mut u32,
    sums: *mut f32,
}

impl Memory {
    fn new(memory: &mut [f32], layout: &Blocks) -> Self {
        assert!(memory.len() >= layout.worker(), "attention: a worker's memory");
        let mut at = memory.as_mut_ptr();
        let mut take = |count: usize| {
            let part = at;
            at = at.wrapping_add(count);
            part
        };
        Self {
            queries: take(ROWS * layout.converted_row).cast(),
            scale: take(ROW_ROOM),
            max: take(ROW_ROOM),
            block_max: take(ROW_ROOM),
            old: take(ROW_ROOM),
            new: take(ROW_ROOM),
            sum: take(ROWS * MAX_LANES),
            scores: take(ROWS * BLOCK),
            weights: take(ROWS * BLOCK).cast(),
            sums: take(ROWS * layout.value_panels * layout.panel),
        }
    }
}

/// Whether [`Attend`] has an arm for an instruction set's tile.
const fn is_listed(tile: (usize, usize)) -> bool {
    matches!(tile, (6, 4) | (6, 2) | (2, 2))
}

impl<P: Operand> Task for Attend<'_, '_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        // SAFETY: the packed operands and the worker's memory are as `Blocks` has them; the call's views are checked.
        unsafe {
            const { assert!(is_listed(S::TILE), "packed by a tile that no arm below runs") };
            match S::TILE {
                (6, 4) => self.attend::<S, 6, 4>(s),
                (6, 2) => self.attend::<S, 6, 2>(s),
                (2, 2) => self.attend::<S, 2, 2>(s),
                tile => unreachable!("the tile {tile:?} is not listed"),
            }
        }
    }
}

impl<P: Operand> Attend<'_, '_, P> {
    #[inline(always)]
    unsafe fn attend<S: Simd, const R: usize, const V: usize>(&mut self, s: S) {
        const { assert!(ROWS.is_multiple_of(R)) };
        let Self { call, layout, item, head, first, .. } = *self;
        let memory = Memory::new(self.memory, &layout);
        let rows = ROWS.min(call.queries - first);
        let groups = rows.div_ceil(R);
        let sums_stride = layout.value_panels * layout.panel;
        let masked = !matches!(call.mask, Mask::None);
        // SAFETY: everything stays inside the parts of `memory` and of the packed head; rows are the call's.
        unsafe {
            self.convert_queries(s, &memory, rows, groups * R);
            std::slice::from_raw_parts_mut(memory.max, ROW_ROOM).fill(f32::NEG_INFINITY);
            std::slice::from_raw_parts_mut(memory.sum, ROWS * MAX_LANES).fill(0.0);
            std::slice::from_raw_parts_mut(memory.sums, ROWS * sums_stride).fill(0.0);
            let visible = call.visible(first + rows - 1);
            for block in 0..visible.div_ceil(BLOCK) {
                let first_key = block * BLOCK;
                let keys = BLOCK.min(call.keys - first_key);
                let panels = keys.div_ceil(layout.panel);
                let packed = self.from.add(block * layout.block);
                for panel in 0..panels {
                    for group in 0..groups {
                        let queries = memory.queries.add(group * R * layout.converted_row);
                        let out = memory.scores.add(group * R * BLOCK + panel * layout.panel);
                        let keys = packed.add(panel * layout.key_panel);
                        score_tile::<S, P, R, V>(s, &layout, queries, keys, out);
                    }
                }
                let columns = panels * layout.panel;
                let bad = if P::QUANTISED { first_bad(s, &layout, packed, panels) } else { usize::MAX };
                for row in 0..rows {
                    let scores = std::slice::from_raw_parts_mut(memory.scores.add(row * BLOCK), columns);
                    scores[keys..].fill(f32::NEG_INFINITY);
                    let mut scale = if P::QUANTISED { *memory.scale.add(row) } else { 1.0 };
                    if masked {
                        if P::QUANTISED {
                            scores.iter_mut().for_each(|score| *score *= scale);
                            scale = 1.0;
                        }
                        call.mask_scores(item, head, first + row, first_key, &mut scores[..keys]);
                    }
                    let mut max = largest(s, scores) * scale;
                    // NaN is never the largest, and int8 cannot hold it.
                    if P::QUANTISED {
                        let seen = call.visible(first + row).saturating_sub(first_key);
                        if bad < seen || (*memory.scale.add(row)).is_nan() {
                            max = f32::NAN;
                        }
                    }
                    *memory.block_max.add(row) = max;
                }
                update_factors::<S, P>(s, &memory, rows);
                for row in 0..rows {
                    exponentials::<S, P>(s, &memory, row, columns, masked);
                }
                let words = keys.div_ceil(P::GROUP);
                for panel in 0..layout.value_panels {
                    for group in 0..groups {
                        let row = group * R;
                        let values = packed.add(layout.keys_block + panel * layout.value_panel);
                        let weights = memory.weights.add(row * (BLOCK / P::GROUP));
                        let sums = memory.sums.add(row * sums_stride + panel * layout.panel);
                        let factors = (memory.old.add(row).cast_const(), memory.new.add(row).cast_const());
                        value_tile::<S, P, R, V>(s, words, weights, values, factors, sums, sums_stride);
                    }
                }
            }
            for row in 0..rows {
                let out = std::slice::from_raw_parts_mut(call.out.row(item, head, first + row), call.width);
                let sums = std::slice::from_raw_parts(memory.sums.add(row * sums_stride), call.width);
                let sum = s.sum(s.load(memory.sum.add(row * MAX_LANES)));
                // Scores that are all NaN have no largest either, but are no hidden keys.
                if *memory.max.add(row) == f32::NEG_INFINITY && !sum.is_nan() {
                    out.fill(0.0);
                    continue;
                }
                let factor = 1.0 / sum;
                for (out, sums) in out.chunks_mut(S::LANES).zip(sums.chunks(S::LANES)) {
                    s.store_slice(out, s.mul(s.load_slice(sums, 0.0), s.splat(factor)));
                }
            }
        }
    }

    /// Converts `rows` queries, and zeros up to `padded` rows so that tiles need no edge.
    #[inline(always)]
    unsafe fn convert_queries<S: Simd>(&self, s: S, memory: &Memory, rows: usize, padded: usize) {
        for row in 0..padded {
            // SAFETY: rows of the worker's memory, and of the call.
            unsafe {
                let to = memory.queries.add(row * self.layout.converted_row);
                let scale = if row < rows {
                    let from = self.call.q.row(self.item, self.head, self.first + row);
                    P::convert::<S, true>(s, from, self.call.width, self.call.scale, to).0
                } else {
                    std::ptr::write_bytes(to, 0, self.layout.converted_row);
                    0.0
                };
                *memory.scale.add(row) = scale;
                // Rows of padding have neither scores nor factors of their own.
                *memory.old.add(row) = 0.0;
                *memory.new.add(row) = 0.0;
            }
        }
    }
}

/// Scores of `R` queries and one panel of keys; in int8 a row's scale is still to be applied.
#[inline(always)]
unsafe fn score_tile<S: Simd, P: Operand, const R: usize, const V: usize>(
    s: S,
    layout: &Blocks,
    queries: *const u32,
    keys: *const f32,
    out: *mut f32,
) {
    // SAFETY: a panel of keys, `R` rows of queries and scores.
    unsafe {
        let corrections = keys.add(layout.panel);
        let start = std::array::from_fn(|v| P::start(s, corrections.add(v * S::LANES)));
        let words = keys.add(2 * layout.panel).cast();
        let sums = tile::<S, P, R, V>(s, layout.key_words, queries, layout.converted_row, words, start);
        for v in 0..V {
            let key_scale = s.load(keys.add(v * S::LANES));
            for (r, sums) in sums.iter().enumerate() {
                let mut score = P::finish(s, sums[v]);
                if P::QUANTISED {
                    score = s.mul(score, key_scale);
                }
                s.store(out.add(r * BLOCK + v * S::LANES), score);
            }
        }
    }
}

/// The largest score.
#[inline(always)]
fn largest<S: Simd>(s: S, scores: &[f32]) -> f32 {
    let mut largest = [s.splat(f32::NEG_INFINITY); 2];
    for pair in scores.chunks_exact(2 * S::LANES) {
        let (a, b) = pair.split_at(S::LANES);
        largest = [s.max(s.load_slice(a, 0.0), largest[0]), s.max(s.load_slice(b, 0.0), largest[1])];
    }
    s.largest(s.max(largest[0], largest[1]))
}

/// The first key of a block that has no scale, as it holds an infinity or a NaN; `usize::MAX` if there is none.
#[inline(always)]
unsafe fn first_bad<S: Simd>(s: S, layout: &Blocks, packed: *const f32, panels: usize) -> usize {
    // SAFETY: each panel of keys begins with its scales.
    unsafe {
        let mut bad = s.splat(0.0);
        for panel in 0..panels {
            for at in (0..layout.panel).step_by(S::LANES) {
                bad = s.mul_add(s.load(packed.add(panel * layout.key_panel + at)), s.splat(0.0), bad);
            }
        }
        if s.sum(bad) == 0.0 {
            return usize::MAX;
        }
        let scale = |key: usize| *packed.add(key / layout.panel * layout.key_panel + key % layout.panel);
        (0..panels * layout.panel).find(|&key| !scale(key).is_finite()).unwrap_or(usize::MAX)
    }
}

/// The new running maxima, and what they make of the sums so far and of this block's.
#[inline(always)]
unsafe fn update_factors<S: Simd, P: Operand>(s: S, memory: &Memory, rows: usize) {
    // SAFETY: the arrays hold `ROW_ROOM` values, a whole number of vectors.
    unsafe {
        for row in 0..rows {
            let (old, block) = (*memory.max.add(row), *memory.block_max.add(row));
            let max = if old > block { old } else { block };
            *memory.max.add(row) = max;
            // Where nothing was seen yet, sums are zero, whatever they are multiplied by.
            let shift = if max == f32::NEG_INFINITY { 0.0 } else { max };
            *memory.old.add(row) = old - shift;
            *memory.new.add(row) = block - shift - P::PEAK;
        }
        for at in (0..rows).step_by(S::LANES) {
            for factors in [memory.old, memory.new] {
                s.store(factors.add(at), exp2::<S, false>(s, s.load(factors.add(at))));
            }
        }
    }
}

/// Exponentials of one row's scores, relative to the block's largest, stored as an operand, and the row's sums.
#[inline(always)]
unsafe fn exponentials<S: Simd, P: Operand>(s: S, memory: &Memory, row: usize, columns: usize, masked: bool) {
    // SAFETY: one row of the worker's memory.
    unsafe {
        let scores = memory.scores.add(row * BLOCK);
        let weights = memory.weights.add(row * (BLOCK / P::GROUP));
        let max = *memory.block_max.add(row);
        let shift = s.splat(if max == f32::NEG_INFINITY { 0.0 } else { P::PEAK - max });
        // Masked scores already have their row's scale.
        let scale = s.splat(if masked { 1.0 } else { *memory.scale.add(row) });
        let mut sums = [s.splat(0.0); 2];
        for at in (0..columns).step_by(2 * S::LANES) {
            for (half, sum) in sums.iter_mut().enumerate() {
                let at = at + half * S::LANES;
                let score = s.load(scores.add(at));
                let x = if P::QUANTISED { s.mul_add(score, scale, shift) } else { s.add(score, shift) };
                let p = if P::COARSE { exp2::<S, true>(s, x) } else { exp2::<S, false>(s, x) };
                *sum = s.add(*sum, P::store(s, weights, at, p));
            }
        }
        let sum = memory.sum.add(row * MAX_LANES);
        let old = s.mul(s.load(sum), s.splat(*memory.old.add(row)));
        s.store(sum, s.mul_add(s.add(sums[0], sums[1]), s.splat(*memory.new.add(row)), old));
    }
}

/// Adds the product of `R` rows of weights and one panel of values to the sums.
#[inline(always)]
unsafe fn value_tile<S: Simd, P: Operand, const R: usize, const V: usize>(
    s: S,
    words: usize,
    weights: *const u32,
    values: *const f32,
    (old, new): (*const f32, *const f32),
    sums: *mut f32,
    sums_stride: usize,
) {
    // SAFETY: a panel of values, `R` rows of weights, factors and sums.
    unsafe {
        let start = [P::zero(s); V];
        let panel = V * S::LANES;
        let products = tile::<S, P, R, V>(s, words, weights, BLOCK / P::GROUP, values.add(panel).cast(), start);
        for (r, products) in products.iter().enumerate() {
            let (old, new) = (s.splat(*old.add(r)), s.splat(*new.add(r)));
            for (v, product) in products.iter().enumerate() {
                let mut product = P::finish(s, *product);
                if P::QUANTISED {
                    product = s.mul(product, s.load(values.add(v * S::LANES)));
                }
                let at = sums.add(r * sums_stride + v * S::LANES);
                s.store(at, s.mul_add(product, new, s.mul(s.load(at), old)));
            }
        }
    }
}
