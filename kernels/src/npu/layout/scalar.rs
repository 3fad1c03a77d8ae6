//! Packing and unpacking one value after another, as the layouts are defined: what [`super::tiles`] is compared with,
//! byte by byte, and timed beside.

use super::operand::{LeftTile, RightTile, put_word};
use crate::{
    npu::design::Kernels,
    numbers::{bf16_at, bf16_bits, int8_bits, int8_scale, largest_magnitude},
};

/// Objects of a left operand, as [`LeftTile::write`].
pub(super) fn left<'x>(tile: LeftTile, object: usize, rows: usize, row: impl Fn(usize) -> &'x [f32], out: &mut [u8]) {
    let LeftTile { micro, rows: m, columns: k, operands } = tile;
    out.fill(0);
    for index in 0..rows {
        let place = |column| micro.left(k, index, column);
        line(operands, row(index), 1.0, [index, k, m * k, object], place, out);
    }
}

/// Objects of a right operand made of its columns, as [`RightTile::write_columns`].
pub(super) fn columns<'x>(
    tile: RightTile,
    object: usize,
    factor: f32,
    columns: usize,
    column: impl Fn(usize) -> &'x [f32],
    out: &mut [u8],
) {
    let RightTile { micro, rows: k, columns: n, operands } = tile;
    out.fill(0);
    for index in 0..columns {
        let place = |row| micro.right(k, row, index);
        line(operands, column(index), factor, [index, k, n * k, object], place, out);
    }
}

/// An object of a right operand made of its rows, as [`RightTile::write_rows`].
pub(super) fn rows<'x>(tile: RightTile, rows: usize, row: impl Fn(usize) -> &'x [f32], out: &mut [u8]) {
    let RightTile { micro, rows: k, .. } = tile;
    out.fill(0);
    for index in 0..rows {
        for (column, value) in row(index).iter().enumerate() {
            put_bf16(out, micro.right(k, index, column), *value);
        }
    }
}

/// bf16 values as fp32, plus `residual`.
pub(super) fn floats(values: &[[u8; 2]], residual: Option<&[f32]>, out: &mut [f32]) {
    for (at, (out, value)) in out.iter_mut().zip(values).enumerate() {
        let value = bf16_at(value);
        // Adding a zero would lose the sign of another.
        *out = residual.map_or(value, |residual| value + residual[at]);
    }
}

/// One row or column of an operand, `k` of its values in each object, at their places; with its scale behind the
/// object's `values` values.
fn line(
    operands: Kernels,
    x: &[f32],
    factor: f32,
    [index, k, values, object]: [usize; 4],
    place: impl Fn(usize) -> usize,
    out: &mut [u8],
) {
    let scale = int8_scale(largest_magnitude(x));
    for (step, object) in out.chunks_exact_mut(object).enumerate() {
        for (at, value) in x.iter().skip(step * k).take(k).enumerate() {
            match operands {
                Kernels::Int8 => object[place(at)] = int8_bits(*value, scale.inverse),
                Kernels::Bf16 => put_bf16(object, place(at), *value),
            }
        }
        if operands == Kernels::Int8 {
            put_word(&mut object[values..], index, (scale.scale * factor).to_bits());
        }
    }
}

/// Writes a value as number `at` of the bf16 values of `out`.
fn put_bf16(out: &mut [u8], at: usize, value: f32) {
    out[2 * at..][..2].copy_from_slice(&bf16_bits(value).to_le_bytes());
}
