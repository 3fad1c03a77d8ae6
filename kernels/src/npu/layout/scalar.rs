//! Packing and unpacking one value after another, as the layouts are defined: what [`super::tiles`] is compared with,
//! byte by byte, and timed beside.

use super::{
    format::{Bf16Bytes, Value},
    operand::{LeftTile, RightTile, put_word},
    tiles::part,
};
use crate::{
    npu::design::Kernels,
    numbers::{int8_bits, int8_scale, largest_magnitude},
};

/// Objects of a left operand, as [`LeftTile::write`].
pub(super) fn left<'x, T: Value + 'x>(
    tile: LeftTile,
    object: usize,
    rows: usize,
    piece: impl Fn(usize, usize) -> &'x [T],
    out: &mut [u8],
) {
    let LeftTile { micro, rows: m, columns: k, operands } = tile;
    out.fill(0);
    for index in 0..rows {
        let place = |column| micro.left(k, index, column);
        line(operands, |step| piece(index, step), 1.0, [index, m * k, object], place, out);
    }
}

/// Objects of a right operand made of its columns, as [`RightTile::write_columns`].
pub(super) fn columns<'x, T: Value + 'x>(
    tile: RightTile,
    object: usize,
    factor: f32,
    columns: usize,
    column: impl Fn(usize) -> &'x [T],
    out: &mut [u8],
) {
    let RightTile { micro, rows: k, columns: n, operands } = tile;
    out.fill(0);
    for index in 0..columns {
        let place = |row| micro.right(k, row, index);
        line(operands, |step| part(column(index), step * k, k), factor, [index, n * k, object], place, out);
    }
}

/// An object of a right operand made of its rows, as [`RightTile::write_rows`].
pub(super) fn rows<'x, T: Value + 'x>(tile: RightTile, rows: usize, row: impl Fn(usize) -> &'x [T], out: &mut [u8]) {
    let RightTile { micro, rows: k, .. } = tile;
    out.fill(0);
    for index in 0..rows {
        for (column, value) in row(index).iter().enumerate() {
            put_bf16(out, micro.right(k, index, column), value.bf16());
        }
    }
}

/// bf16 values as fp32, plus `residual`.
pub(super) fn floats(values: &[Bf16Bytes], residual: Option<&[f32]>, out: &mut [f32]) {
    for (at, (out, value)) in out.iter_mut().zip(values).enumerate() {
        let value = value.float();
        // Adding a zero would lose the sign of another.
        *out = residual.map_or(value, |residual| value + residual[at]);
    }
}

/// One row or column of an operand, a piece of it in each object, at the places of its values; with its scale behind the
/// object's `values` values.
fn line<'x, T: Value + 'x>(
    operands: Kernels,
    piece: impl Fn(usize) -> &'x [T],
    factor: f32,
    [index, values, object]: [usize; 3],
    place: impl Fn(usize) -> usize,
    out: &mut [u8],
) {
    let all: Vec<f32> = (0..out.len() / object).flat_map(&piece).map(|value| value.float()).collect();
    let scale = int8_scale(largest_magnitude(&all));
    for (step, object) in out.chunks_exact_mut(object).enumerate() {
        for (at, value) in piece(step).iter().enumerate() {
            match operands {
                Kernels::Int8 => object[place(at)] = int8_bits(value.float(), scale.inverse),
                Kernels::Bf16 => put_bf16(object, place(at), value.bf16()),
            }
        }
        if operands == Kernels::Int8 {
            put_word(&mut object[values..], index, (scale.scale * factor).to_bits());
        }
    }
}

/// Writes a value as number `at` of the bf16 values of `out`.
fn put_bf16(out: &mut [u8], at: usize, value: Bf16Bytes) {
    out[2 * at..][..2].copy_from_slice(&value);
}
