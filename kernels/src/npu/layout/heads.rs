//! Attention's operands and results as its buffers have them.

use super::{bf16_at, put_bf16, put_word, quantise};
use crate::{
    Heads, HeadsMut, Parallel, Precision,
    host::split,
    npu::design::{CONTROL_BYTES, Design, HEAD_WIDTH},
};

/// A row of a head, of [`HEAD_WIDTH`] values.
fn row<'a>(operand: &Heads<'a>, item: usize, head: usize, row: usize) -> &'a [f32] {
    let at = item * operand.batch_stride + head * operand.head_stride + row * operand.row_stride;
    &operand.data[at..at + HEAD_WIDTH]
}

/// Packs `[batch, heads, queries, 64]` into the A buffer of an attention design, `[batch · heads][query tile][object]`, with what the cores are
/// to know of the keys: how many there are, and what multiplies the scores, which are then exponents of 2.
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
    let (m, object, micro) = (design.tile.m, design.a_object(), design.micro_tile());
    let tiles = queries.next_multiple_of(design.round_rows()) / m;
    assert_eq!(out.len(), batch * heads * tiles * object, "the A buffer of {batch}×{heads} heads of {queries} queries");
    split::chunks(pool, object, out, &|index, out| {
        let (head, tile) = (index / tiles, index % tiles);
        out.fill(0);
        let mut quantised = [0u8; HEAD_WIDTH];
        for query in tile * m..queries.min((tile + 1) * m) {
            let x = row(q, head / heads, head % heads, query);
            let query = query - tile * m;
            match design.operator.precision() {
                Precision::Int8 => {
                    let scale = quantise(x, &mut quantised);
                    for column in (0..HEAD_WIDTH).step_by(micro.s) {
                        out[micro.left(HEAD_WIDTH, query, column)..][..micro.s]
                            .copy_from_slice(&quantised[column..][..micro.s]);
                    }
                    put_word(&mut out[m * HEAD_WIDTH..], query, scale.to_bits());
                }
                Precision::Bf16 | Precision::F32 => {
                    for (piece, column) in x.chunks(micro.s).zip((0..HEAD_WIDTH).step_by(micro.s)) {
                        put_bf16(&mut out[2 * micro.left(HEAD_WIDTH, query, column)..], piece);
                    }
                }
            }
        }
        let control = out.len() - CONTROL_BYTES;
        put_word(&mut out[control..], 0, keys as u32);
        put_word(&mut out[control..], 1, (scale * std::f32::consts::LOG2_E).to_bits());
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
    let (n, object, micro) = (design.tile.n, design.b_object(), design.micro_tile());
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
            match design.operator.precision() {
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
