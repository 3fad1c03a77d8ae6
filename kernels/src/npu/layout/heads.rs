//! Attention's operands and results as its buffers have them.

use super::{
    bf16_at,
    control::{COLUMN, FIRST, KEYS, LAST, QUERIES, SCALE, SLICE},
    put_bf16, put_word, quantise,
};
use crate::{
    Heads, HeadsMut, Parallel, Precision,
    host::split,
    npu::{
        design::{CONTROL_BYTES, Design, HEAD_WIDTH, Kernels, Tile},
        target::Target,
    },
};

/// A row of a head, of [`HEAD_WIDTH`] values.
fn row<'a>(operand: &Heads<'a>, item: usize, head: usize, row: usize) -> &'a [f32] {
    let at = item * operand.batch_stride + head * operand.head_stride + row * operand.row_stride;
    &operand.data[at..at + HEAD_WIDTH]
}

/// Packs `[batch, heads, queries, 64]` into the A buffer, `[batch · heads][query tile][slice]` objects, with what the cores are to know: whose they
/// are, how many keys there are, and what multiplies the scores, which are then exponents of 2.
///
/// # Panics
/// If a view reaches outside its slice, or `out` is not as long as [`Design::buffer_bytes`] says.
pub fn pack_queries(
    design: &Design,
    q: &Heads<'_>,
    [batch, heads, queries, keys]: [usize; 4],
    scale: f32,
    out: &mut [u8],
    pool: &dyn Parallel,
) {
    let (Tile { m, k, .. }, object, micro) = (design.tile, design.a_object(), design.micro_tile());
    let (slices, columns) = (design.slices(), design.target.columns());
    let groups = queries.div_ceil(design.round_rows());
    let (tiles, jobs) = (groups * Target::ROWS, batch * heads * groups);
    assert_eq!(
        out.len(),
        batch * heads * tiles * slices * object,
        "the A buffer of {batch}×{heads} heads of {queries} queries"
    );
    split::chunks(pool, slices * object, out, &|index, out| {
        let (head, tile) = (index / tiles, index % tiles);
        let job = index / Target::ROWS;
        out.fill(0);
        let mut quantised = [0u8; HEAD_WIDTH];
        for query in tile * m..queries.min((tile + 1) * m) {
            let x = row(q, head / heads, head % heads, query);
            let query = query - tile * m;
            let scale = match design.kernels {
                Kernels::Int8 => Some(quantise(x, &mut quantised)),
                Kernels::Bf16 => None,
            };
            for (out, first) in out.chunks_exact_mut(object).zip((0..).step_by(k)) {
                for column in (first..HEAD_WIDTH.min(first + k)).step_by(micro.s) {
                    let at = micro.left(k, query, column - first);
                    match scale {
                        Some(_) => out[at..][..micro.s].copy_from_slice(&quantised[column..][..micro.s]),
                        None => put_bf16(&mut out[2 * at..], &x[column..][..micro.s]),
                    }
                }
                if let Some(scale) = scale {
                    put_word(&mut out[m * k..], query, scale.to_bits());
                }
            }
        }
        for (slice, out) in out.chunks_exact_mut(object).enumerate() {
            let flag = |on, flag| if on { flag } else { 0 };
            let (column, end) = (job % columns, job + 1 == jobs);
            let first = flag(column == 0 && slice == 0, FIRST);
            let last = flag((column + 1 == columns || end) && slice + 1 == slices, LAST);
            let control = out.len() - CONTROL_BYTES;
            let words =
                [(0, QUERIES | first | last), (COLUMN, column as u32), (KEYS, keys as u32), (SLICE, slice as u32)];
            for (word, value) in words.into_iter().chain([(SCALE, (scale * std::f32::consts::LOG2_E).to_bits())]) {
                put_word(&mut out[control..], word, value);
            }
        }
    });
}

/// Packs `[batch, heads, keys, 64]` keys and values into the B buffer, `[batch · heads][block][keys' object, values' object]`.
///
/// # Panics
/// As [`pack_queries`].
pub fn pack_keys_and_values(
    design: &Design,
    k: &Heads<'_>,
    v: &Heads<'_>,
    [batch, heads, keys]: [usize; 3],
    out: &mut [u8],
    pool: &dyn Parallel,
) {
    let (n, object, micro) = (design.block(), design.b_object(), design.micro_tile());
    let second = design.target.bf16_micro_tile();
    let blocks = keys.div_ceil(n);
    assert_eq!(out.len(), batch * heads * blocks * 2 * object, "the B buffer of {batch}×{heads} heads of {keys} keys");
    split::chunks(pool, 2 * object, out, &|index, out| {
        let (head, block) = (index / blocks, index % blocks);
        out.fill(0);
        let (keys_object, values_object) = out.split_at_mut(object);
        let mut quantised = [0u8; HEAD_WIDTH];
        for key in block * n..keys.min((block + 1) * n) {
            let (item, head) = (head / heads, head % heads);
            let (k, v) = (row(k, item, head, key), row(v, item, head, key));
            let key = key - block * n;
            match design.kernels.precision() {
                Precision::Int8 => {
                    let scale = quantise(k, &mut quantised);
                    for (at, value) in quantised.iter().enumerate() {
                        keys_object[micro.right(HEAD_WIDTH, at, key)] = *value;
                    }
                    put_word(&mut keys_object[n * HEAD_WIDTH..], key, scale.to_bits());
                }
                Precision::Bf16 | Precision::F32 => {
                    for (at, value) in k.iter().enumerate() {
                        put_bf16(&mut keys_object[2 * micro.right(HEAD_WIDTH, at, key)..], &[*value]);
                    }
                }
            }
            for (piece, column) in v.chunks(second.t).zip((0..HEAD_WIDTH).step_by(second.t)) {
                put_bf16(&mut values_object[2 * second.right(n, key, column)..], piece);
            }
        }
    });
}

/// Takes `[batch, heads, queries, 64]` results from the C buffer, `[batch · heads][padded queries][64]`.
///
/// # Panics
/// As [`pack_queries`].
pub fn unpack_heads(design: &Design, c: &[u8], [batch, heads, queries]: [usize; 3], out: &mut HeadsMut<'_>) {
    let padded = queries.next_multiple_of(design.round_rows());
    for head in 0..batch * heads {
        for query in 0..queries {
            let at = head / heads * out.batch_stride + head % heads * out.head_stride + query * out.row_stride;
            let (c, _) = c[2 * (head * padded + query) * HEAD_WIDTH..][..2 * HEAD_WIDTH].as_chunks::<2>();
            for (out, c) in out.data[at..at + HEAD_WIDTH].iter_mut().zip(c) {
                *out = bf16_at(c);
            }
        }
    }
}
