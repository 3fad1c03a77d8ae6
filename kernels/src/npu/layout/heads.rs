//! Attention's operands and results as its buffers have them.

use std::ops::Range;

use super::{
    control::{COLUMN, FIRST, KEYS, LAST, QUERIES, SCALE, SLICE, WORDS},
    format::{Bf16Bytes, Value},
    operand::{LeftTile, PackMethod, RightTile},
    pack, padded_outputs, put_control,
    tiles::{part, to_floats},
};
use crate::{
    Heads, HeadsMut, Parallel,
    host::split,
    npu::design::{Design, HEAD_WIDTH, Kernels, Tile},
};

/// A row of a head, of [`HEAD_WIDTH`] values.
fn row<'a, T>(operand: &Heads<'a, T>, item: usize, head: usize, row: usize) -> &'a [T] {
    let at = item * operand.batch_stride + head * operand.head_stride + row * operand.row_stride;
    &operand.data[at..at + HEAD_WIDTH]
}

/// The results of a linear layer of `heads` times [`HEAD_WIDTH`] outputs, as its C buffer has them, as the heads of
/// items of `length` rows each.
pub fn result_heads<'c>(design: &Design, c: &'c [u8], [heads, length]: [usize; 2]) -> Heads<'c, Bf16Bytes> {
    let row = padded_outputs(design, heads * HEAD_WIDTH);
    Heads::new(c.as_chunks().0, [length * row, HEAD_WIDTH, row])
}

/// Packs `[batch, heads, queries, 64]` into the A buffer, `[batch · heads][query tile][slice]` objects, with what the
/// cores are to know: whose queries they are, how many keys there are, and what multiplies the scores, which are then
/// exponents of 2.
///
/// # Panics
/// If a view reaches outside its slice, or `out` is not as long as [`Design::buffer_bytes`] says.
pub fn pack_queries<T: Value>(
    method: PackMethod,
    design: &Design,
    q: &Heads<'_, T>,
    [batch, heads, queries, keys]: [usize; 4],
    scale: f32,
    out: &mut [u8],
    pool: &dyn Parallel,
) {
    let (Tile { m, k, .. }, object, slices) = (design.tile, design.a_object(), design.slices());
    let (tiles, columns) = (queries.next_multiple_of(design.round_rows()) / m, design.columns());
    let jobs = batch * heads * tiles / design.rows();
    assert_eq!(
        out.len(),
        batch * heads * tiles * slices * object,
        "the A buffer of {batch}×{heads} heads of {queries} queries"
    );
    let tile = LeftTile { micro: design.micro_tile(), rows: m, columns: k, operands: design.kernels };
    split::chunks(pool, slices * object, out, &|index, out| {
        let (head, first) = (index / tiles, index % tiles * m);
        let query = |query: usize, slice: usize| part(row(q, head / heads, head % heads, first + query), slice * k, k);
        tile.write(method, object, queries.saturating_sub(first).min(m), query, out);
        // A stage has a job for each column.
        let job = index / design.rows();
        let column = job % columns;
        let ends = column + 1 == columns || job + 1 == jobs;
        for (slice, object) in out.chunks_exact_mut(object).enumerate() {
            let flag = |on, flag| if on { flag } else { 0 };
            let mut control = [0; WORDS];
            control[0] = QUERIES | flag(column == 0 && slice == 0, FIRST) | flag(ends && slice + 1 == slices, LAST);
            (control[COLUMN], control[KEYS], control[SLICE]) = (column as u32, keys as u32, slice as u32);
            control[SCALE] = (scale * std::f32::consts::LOG2_E).to_bits();
            put_control(object, &control);
        }
    });
}

/// Packs `[batch, heads, keys, 64]` keys and values into the B buffer,
/// `[batch · heads][block][keys' object, values' object]`.
///
/// # Panics
/// As [`pack_queries`].
pub fn pack_keys_and_values<T: Value>(
    method: PackMethod,
    design: &Design,
    [k, v]: [&Heads<'_, T>; 2],
    [batch, heads, keys]: [usize; 3],
    out: &mut [u8],
    pool: &dyn Parallel,
) {
    let (n, object, micro) = (design.block(), design.b_object(), design.micro_tile());
    let blocks = keys.div_ceil(n);
    assert_eq!(out.len(), batch * heads * blocks * 2 * object, "the B buffer of {batch}×{heads} heads of {keys} keys");
    let keys_tile = RightTile { micro, rows: HEAD_WIDTH, columns: n, operands: design.kernels };
    let second = design.target.bf16_micro_tile();
    let values_tile = RightTile { micro: second, rows: n, columns: HEAD_WIDTH, operands: Kernels::Bf16 };
    split::chunks(pool, 2 * object, out, &|index, out| {
        let (head, first) = (index / blocks, index % blocks * n);
        let here = keys.saturating_sub(first).min(n);
        let (keys_object, values_object) = out.split_at_mut(object);
        let key = |key: usize| row(k, head / heads, head % heads, first + key);
        keys_tile.write_columns(method, object, 1.0, here, key, keys_object);
        let value = |key: usize| row(v, head / heads, head % heads, first + key);
        values_tile.write_rows(method, here, value, values_object);
    });
}

/// Packs the results of attention, as its C buffer has them, as `[batch · queries, heads · 64]` rows into the A buffer of
/// a linear layer.
///
/// # Panics
/// If a step of the design does not lie in one head, or lengths do not fit.
pub fn pack_attended(
    method: PackMethod,
    design: &Design,
    c: &[u8],
    [batch, heads, queries]: [usize; 3],
    gelu: bool,
    out: &mut [u8],
    pool: &dyn Parallel,
) {
    let padded = queries.next_multiple_of(design.round_rows()) * HEAD_WIDTH;
    let c = Heads::new(c.as_chunks().0, [heads * padded, padded, HEAD_WIDTH]);
    assert!(HEAD_WIDTH.is_multiple_of(design.tile.k), "steps of {} inputs are parts of heads", design.tile.k);
    let piece = |index: usize, columns: Range<usize>| -> &[Bf16Bytes] {
        let first = columns.start % HEAD_WIDTH;
        &row(&c, index / queries, columns.start / HEAD_WIDTH, index % queries)[first..first + columns.len()]
    };
    pack(method, design, [batch * queries, heads * HEAD_WIDTH], gelu, piece, out, pool);
}

/// Takes `[batch, heads, queries, 64]` results from the C buffer, `[batch · heads][padded queries][64]`.
///
/// # Panics
/// As [`pack_queries`]; also if rows of `out` overlap.
pub fn unpack_heads(
    method: PackMethod,
    design: &Design,
    c: &[u8],
    [batch, heads, queries]: [usize; 3],
    out: &mut HeadsMut<'_>,
    pool: &dyn Parallel,
) {
    const BYTES: usize = 2 * HEAD_WIDTH;
    let padded = queries.next_multiple_of(design.round_rows());
    split::heads(pool, out, [batch, heads, queries, HEAD_WIDTH], &|[item, head, query], out| {
        to_floats(method, &c[((item * heads + head) * padded + query) * BYTES..][..BYTES], None, out);
    });
}
