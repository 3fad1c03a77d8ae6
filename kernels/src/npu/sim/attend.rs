//! Attention on one core, step for step as in `kernels/aie/src/attention.h`: for each block of keys the scores, a new
//! largest one for each row, probabilities as bf16, and results scaled to the new largest.

use super::{
    core::{CoreState, RowState, bytes_of, float, word, zeroed},
    floats::{
        exp2, larger, multiply_narrow, multiply_parts, narrow, parts, probability, reciprocal, reduce_add, reduce_max,
        whole,
    },
    network::Output,
    product::{Number, product, widen},
};
use crate::{
    npu::{
        design::{CONTROL_BYTES, Design, HEAD_WIDTH, Kernels, Tile},
        layout::control::{KEYS, SCALE, SLICE},
        target::MicroTile,
    },
    numbers::bf16_bits,
};

/// Below every score; 2 to the power of its distance to any is 0.
const NO_SCORE: f32 = -3.0e38;
/// Below the sum of a row's probabilities if there is a key at all.
const LEAST_SUM: f32 = 0.0625;

/// One result.
#[inline(always)]
pub(super) fn attention(design: &Design, output: &Output, a: &[u8], b: &[u8], state: &mut CoreState, c: &mut [u8]) {
    let (m, n, micro) = (design.tile.m, design.block(), design.micro_tile());
    let second = design.target.bf16_micro_tile();
    let CoreState { integers, wide_integers, floats, wide_floats, scores, rows, queries, gathered, .. } = state;
    let [a_gathered, b_gathered] = gathered;
    let (keys, scale) = take_queries(design, output, a, a_gathered, queries);
    let q = &queries[..];
    let results = zeroed(floats, m * HEAD_WIDTH);
    let [scores, products] = scores;
    let (scores, probabilities) = (zeroed(scores, m * n), zeroed(products, m * n));
    rows.clear();
    rows.resize(m, RowState { largest: NO_SCORE, sum: 0.0 });
    for (block, objects) in output.b.chunks_exact(2).enumerate() {
        let k = bytes_of(&objects[0], b, b_gathered);
        if design.kernels == Kernels::Int8 {
            let exact = zeroed(integers, m * n);
            multiply(design, q, k, wide_integers, exact);
            let (query_scales, key_scales) = (&q[m * HEAD_WIDTH..], &k[n * HEAD_WIDTH..]);
            row_major(micro, n, exact, scores, |row, column, sum| {
                let by_row = multiply_parts(parts(float(query_scales, row)), parts(scale));
                let by_key = multiply_parts(parts(float(key_scales, column)), parts(by_row));
                multiply_parts(parts(sum as f32), parts(by_key))
            });
        } else {
            probabilities.fill(0.0);
            multiply(design, q, k, wide_floats, probabilities);
            let scale = parts(scale);
            row_major(micro, n, probabilities, scores, |_, _, sum| multiply_parts(parts(sum), scale));
        }
        let visible = (keys - block * n).min(n);
        for (row, (scores, statistics)) in scores.chunks_exact_mut(n).zip(&mut *rows).enumerate() {
            let factor = match n {
                _ if n % 32 == 0 => soft_max::<32>(visible, scores, statistics),
                _ if n % 16 == 0 => soft_max::<16>(visible, scores, statistics),
                _ => soft_max::<8>(visible, scores, statistics),
            };
            for (column, scores) in scores.chunks_exact(second.s).enumerate() {
                let at = second.left(n, row, column * second.s);
                probabilities[at..at + second.s].copy_from_slice(scores);
            }
            for column in (0..HEAD_WIDTH).step_by(second.t) {
                let at = second.result(HEAD_WIDTH, row, column);
                for result in &mut results[at..at + second.t] {
                    *result = multiply_narrow(parts(*result), factor);
                }
            }
        }
        let [_, values] = &mut *wide_floats;
        let values = zeroed(values, n * HEAD_WIDTH);
        widen(bytes_of(&objects[1], b, b_gathered), values);
        product(second, n, HEAD_WIDTH, probabilities, values, results);
    }
    // Results lie in the order of the second product, C in that of the operands.
    for (row, statistics) in rows.iter().enumerate() {
        let sum = statistics.sum;
        let factor = parts(if sum < LEAST_SUM { 0.0 } else { reciprocal(larger(sum, LEAST_SUM)) });
        for column in (0..HEAD_WIDTH).step_by(second.t) {
            let from = &results[second.result(HEAD_WIDTH, row, column)..][..second.t];
            let to = &mut c[2 * micro.result(HEAD_WIDTH, row, column)..][..2 * second.t];
            for (to, result) in to.chunks_exact_mut(2).zip(from) {
                to.copy_from_slice(&bf16_bits(multiply_parts(parts(*result), factor)).to_le_bytes());
            }
        }
    }
}

/// Puts the slices of the core's queries together, as a left operand of the head's width with its scales behind it;
/// gives the number of keys and what multiplies scores.
#[inline(always)]
fn take_queries(
    design: &Design,
    output: &Output,
    a: &[u8],
    gathered: &mut Vec<u8>,
    queries: &mut Vec<u8>,
) -> (usize, f32) {
    let Tile { m, k, .. } = design.tile;
    let (size, r) = (design.kernels.operand_bytes(), design.micro_tile().r);
    let wide = zeroed(queries, m * HEAD_WIDTH * size + 4 * m);
    let mut said = (0, 0.0);
    for object in &output.a {
        let object = bytes_of(object, a, gathered);
        let (object, control) = object.split_at(object.len() - CONTROL_BYTES);
        said = (word(control, KEYS) as usize, float(control, SCALE));
        let (operand, scales) = object.split_at(m * k * size);
        // The control block begins at a multiple of a vector.
        let scales = &scales[..scales.len().min(4 * m)];
        let first = word(control, SLICE) as usize * k;
        let width = k.min(HEAD_WIDTH - first);
        for (row, from) in operand.chunks_exact(r * k * size).enumerate() {
            let at = r * size * (row * HEAD_WIDTH + first);
            wide[at..][..r * size * width].copy_from_slice(&from[..r * size * width]);
        }
        wide[m * HEAD_WIDTH * size..][..scales.len()].copy_from_slice(scales);
    }
    said
}

/// The sums of queries and keys, in the layout of a result.
#[inline(always)]
fn multiply<T: Number>(design: &Design, q: &[u8], k: &[u8], wide: &mut [Vec<T>; 2], sums: &mut [T]) {
    let [wide_q, wide_k] = wide;
    let (wide_q, wide_k) = (zeroed(wide_q, design.tile.m * HEAD_WIDTH), zeroed(wide_k, design.block() * HEAD_WIDTH));
    widen(q, wide_q);
    widen(k, wide_k);
    product(design.micro_tile(), HEAD_WIDTH, design.block(), wide_q, wide_k, sums);
}

/// From the layout of a result of `n` columns to rows, through a function of row, column and value.
#[inline(always)]
fn row_major<T: Copy>(micro: MicroTile, n: usize, from: &[T], to: &mut [f32], f: impl Fn(usize, usize, T) -> f32) {
    let MicroTile { r, t, .. } = micro;
    for (index, from) in from.chunks_exact(t).enumerate() {
        let (row, column) = (index / (r * (n / t)) * r + index % r, index / r % (n / t) * t);
        for (at, (to, from)) in to[row * n + column..][..t].iter_mut().zip(from).enumerate() {
            *to = f(row, column + at, *from);
        }
    }
}

/// Makes probabilities, rounded to bf16, of a row of scores, of which `visible` count. Gives the factor for what was
/// summed before.
#[inline(always)]
fn soft_max<const LANES: usize>(visible: usize, scores: &mut [f32], row: &mut RowState) -> f32 {
    scores[visible..].fill(NO_SCORE);
    let mut lanes = [NO_SCORE; LANES];
    for scores in scores.chunks_exact(LANES) {
        lanes.iter_mut().zip(scores).for_each(|(lane, score)| *lane = larger(*lane, *score));
    }
    let before = row.largest;
    row.largest = larger(before, whole(reduce_max(&lanes)));
    let factor = narrow(exp2(before - row.largest));
    let mut lanes = [0.0; LANES];
    for scores in scores.chunks_exact_mut(LANES) {
        for (lane, score) in lanes.iter_mut().zip(scores) {
            *score = probability(*score - row.largest);
            *lane += *score;
        }
    }
    row.sum = row.sum * factor + reduce_add(lanes);
    factor
}
