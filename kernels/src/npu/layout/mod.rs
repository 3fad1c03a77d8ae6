//! What the bytes of a design's objects are: packing operands into tiles, and unpacking results.
//!
//! Numbers are little-endian. A tile of `[rows, columns]` lies micro-tile after micro-tile, each row-major, so that a
//! core loads an operand of its product instruction with one aligned load. Results come back row-major: the memory tile
//! turns them.

pub mod control;
mod format;
mod heads;
mod operand;
mod scalar;
#[cfg(test)]
mod tests;
mod tiles;
mod weights;

use std::ops::Range;

use super::design::{CONTROL_BYTES, Design, Tile};
use crate::{Parallel, host::split};
use control::{FIRST, GELU, LAST};
pub use format::{Bf16Bytes, Value};
pub use heads::{pack_attended, pack_keys_and_values, pack_queries, result_heads, unpack_heads};
pub use operand::PackMethod;
use operand::{LeftTile, put_word};
pub use weights::{pack_weights, unpack_weights};

/// Writes the control block at the end of an object, of which the words beyond `words` are zero already.
fn put_control(object: &mut [u8], words: &[u32]) {
    let control = object.len() - CONTROL_BYTES;
    words.iter().enumerate().for_each(|(index, word)| put_word(&mut object[control..], index, *word));
}

/// Values of a row of a C buffer of so many outputs.
fn padded_outputs(design: &Design, outputs: usize) -> usize {
    outputs.next_multiple_of(design.tile.n * design.columns())
}

/// Packs rows of activations into the A buffer of a linear design, `[row tile][step][object]`: int8 with a scale found
/// for each row over all inputs, or bf16. Padded rows and inputs are zero.
///
/// # Panics
/// If `x` is not `[rows, inputs]` or `out` is not as long as [`Design::buffer_bytes`] says.
pub fn pack_rows(
    method: PackMethod,
    design: &Design,
    x: &[f32],
    [rows, inputs]: [usize; 2],
    gelu: bool,
    out: &mut [u8],
    pool: &dyn Parallel,
) {
    assert_eq!(x.len(), rows * inputs, "x is [{rows}, {inputs}]");
    let piece = |row: usize, columns: Range<usize>| &x[row * inputs..][columns];
    pack(method, design, [rows, inputs], gelu, piece, out, pool);
}

/// As [`pack_rows`], of the results of a linear layer of `inputs` outputs, as its C buffer has them.
///
/// # Panics
/// As [`pack_rows`].
pub fn pack_results(
    method: PackMethod,
    design: &Design,
    c: &[u8],
    [rows, inputs]: [usize; 2],
    gelu: bool,
    out: &mut [u8],
    pool: &dyn Parallel,
) {
    let (c, width): (&[Bf16Bytes], _) = (c.as_chunks().0, padded_outputs(design, inputs));
    let piece = |row: usize, columns: Range<usize>| &c[row * width..][columns];
    pack(method, design, [rows, inputs], gelu, piece, out, pool);
}

/// Packs rows of which `piece` gives some columns.
fn pack<'x, T: Value + 'x>(
    method: PackMethod,
    design: &Design,
    [rows, inputs]: [usize; 2],
    gelu: bool,
    piece: impl Fn(usize, Range<usize>) -> &'x [T] + Sync,
    out: &mut [u8],
    pool: &dyn Parallel,
) {
    let Tile { m, k, .. } = design.tile;
    let (steps, object) = (inputs.div_ceil(k), design.a_object());
    let tiles = rows.next_multiple_of(design.round_rows()) / m;
    assert_eq!(out.len(), tiles * steps * object, "the A buffer of {rows}×{inputs}");
    let tile = LeftTile { micro: design.micro_tile(), rows: m, columns: k, operands: design.kernels };
    split::chunks(pool, steps * object, out, &|index, out| {
        let first = index * m;
        let piece = |row: usize, step: usize| piece(first + row, step * k..inputs.min((step + 1) * k));
        tile.write(method, object, rows.saturating_sub(first).min(m), piece, out);
        for (step, object) in out.chunks_exact_mut(object).enumerate() {
            let flag = |on, flag| if on { flag } else { 0 };
            put_control(object, &[flag(step == 0, FIRST) | flag(step + 1 == steps, LAST) | flag(gelu, GELU)]);
        }
    });
}

/// Takes the results of a linear design from its C buffer: the `[rows, outputs]` of the padded matrix, plus `residual`.
///
/// # Panics
/// If lengths do not fit.
pub fn unpack_rows(
    method: PackMethod,
    design: &Design,
    c: &[u8],
    [rows, outputs]: [usize; 2],
    residual: Option<&[f32]>,
    out: &mut [f32],
    pool: &dyn Parallel,
) {
    assert_eq!(out.len(), rows * outputs, "out is [{rows}, {outputs}]");
    assert!(residual.is_none_or(|residual| residual.len() == out.len()), "residual is [{rows}, {outputs}]");
    if out.is_empty() {
        return;
    }
    let padded = padded_outputs(design, outputs);
    split::rows(pool, outputs, out, &|range, out| {
        for (row, out) in range.zip(out.chunks_exact_mut(outputs)) {
            let residual = residual.map(|residual| &residual[row * outputs..][..outputs]);
            tiles::to_floats(method, &c[2 * row * padded..][..2 * outputs], residual, out);
        }
    });
}
