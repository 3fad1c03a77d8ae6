//! Attention's operands and results as its buffers have them.

use super::{
    control::{COLUMN, FIRST, KEYS, LAST, QUERIES, SCALE, SLICE, WORDS},
    operand::{LeftTile, PackMethod, RightTile},
    put_control,
    tiles::to_floats,
};
use crate::{
    Heads, HeadsMut, Parallel,
    host::split,
    npu::design::{Design, HEAD_WIDTH, Kernels, Tile},
};

/// A row of a head, of [`HEAD_WIDTH`] values.
fn row<'a>(operand: &Heads<'a>, item: usize, head: usize, row: usize) -> &'a [f32] {
    let at = item * operand.batch_stride + head * operand.head_stride + row * operand.row_stride;
    &operand.data[at..at + HEAD_WIDTH]
}

/// Packs `[batch, heads, queries, 64]` into the A buffer, `[batch · heads][query tile][slice]` objects, with what the
/// cores are to know: whose queries they are, how many keys there are, and what multiplies the scores, which are then
/// exponents of 2.
///
/// # Panics
/// If a view reaches outside its slice, or `out` is not as long as [`Design::buffer_bytes`] says.
pub fn pack_queries(
    method: PackMethod,
    design: &Design,
    q: &Heads<'_>,
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
        let query = |query: usize| row(q, head / heads, head % heads, first + query);
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
pub fn pack_keys_and_values(
    method: PackMethod,
    design: &Design,
    [k, v]: [&Heads<'_>; 2],
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
