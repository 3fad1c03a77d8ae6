//! What the bytes of a design's objects are: packing operands into tiles, and unpacking results.
//!
//! Numbers are little-endian. A tile of `[rows, columns]` lies micro-tile after micro-tile, each row-major, so that a core loads an
//! operand of its product instruction with one aligned load. Results come back row-major: the memory tile turns them.

pub mod control;
mod heads;
mod weights;

use super::{
    design::{CONTROL_BYTES, Design, Tile},
    target::MicroTile,
};
use crate::{
    Parallel, Precision,
    host::{bf16_bits, int8_bits, split},
    linear::int8_scale,
};
use control::{FIRST, GELU, LAST};
pub use heads::{pack_keys_and_values, pack_queries, unpack_heads};
pub use weights::{pack_weights, unpack_weights};

impl MicroTile {
    /// Index of element (row, column) in a left operand of `columns` columns: `[rows/r][columns/s][r][s]`.
    #[inline(always)]
    pub fn left(self, columns: usize, row: usize, column: usize) -> usize {
        let Self { r, s, .. } = self;
        (row / r * (columns / s) + column / s) * (r * s) + row % r * s + column % s
    }

    /// Index of element (row, column) in a right operand of `rows` rows: `[columns/t][rows/s][s][t]`.
    #[inline(always)]
    pub fn right(self, rows: usize, row: usize, column: usize) -> usize {
        let Self { s, t, .. } = self;
        (column / t * (rows / s) + row / s) * (s * t) + row % s * t + column % t
    }

    /// Index of element (row, column) in a result of `columns` columns: `[rows/r][columns/t][r][t]`.
    #[inline(always)]
    pub fn result(self, columns: usize, row: usize, column: usize) -> usize {
        let Self { r, t, .. } = self;
        (row / r * (columns / t) + column / t) * (r * t) + row % r * t + column % t
    }
}

/// Writes `value` as word `index` of the words at the start of `bytes`.
fn put_word(bytes: &mut [u8], index: usize, value: u32) {
    bytes[4 * index..][..4].copy_from_slice(&value.to_le_bytes());
}

/// Packs rows of activations into the A buffer of a linear design, `[row tile][step][object]`: int8 with a scale found for each row over
/// all inputs, or bf16. Padded rows and inputs are zero.
///
/// # Panics
/// If `x` is not `[rows, inputs]` or `out` is not as long as [`Design::buffer_bytes`] says.
pub fn pack_rows(
    design: &Design,
    x: &[f32],
    rows: usize,
    inputs: usize,
    gelu: bool,
    out: &mut [u8],
    pool: &dyn Parallel,
) {
    let Tile { m, k, .. } = design.tile;
    assert_eq!(x.len(), rows * inputs, "x is [{rows}, {inputs}]");
    let (steps, object) = (inputs.div_ceil(k), design.a_object());
    let tiles = rows.next_multiple_of(design.round_rows()) / m;
    assert_eq!(out.len(), tiles * steps * object, "the A buffer of {rows}×{inputs}");
    split::chunks(pool, steps * object, out, &|tile, out| {
        let rows_here = tile * m..rows.min((tile + 1) * m);
        pack_tile(design, x, rows_here, inputs, gelu, out);
    });
}

/// One row tile: its rows of `x`, all steps.
fn pack_tile(design: &Design, x: &[f32], rows: std::ops::Range<usize>, inputs: usize, gelu: bool, out: &mut [u8]) {
    let Tile { m, k, .. } = design.tile;
    let (micro, object) = (design.micro_tile(), design.a_object());
    let steps = out.len() / object;
    out.fill(0);
    match design.kernels.precision() {
        Precision::Int8 => {
            let mut quantised = vec![0u8; steps * k];
            for (row, x) in rows.clone().zip(x.chunks_exact(inputs.max(1)).skip(rows.start)) {
                let scale = quantise(x, &mut quantised);
                let row = row - rows.start;
                for (step, object) in out.chunks_exact_mut(object).enumerate() {
                    for column in (0..k).step_by(micro.s) {
                        let at = micro.left(k, row, column);
                        object[at..][..micro.s].copy_from_slice(&quantised[step * k + column..][..micro.s]);
                    }
                    put_word(&mut object[m * k..], row, scale.to_bits());
                }
            }
        }
        Precision::Bf16 | Precision::F32 => {
            for (row, x) in rows.clone().zip(x.chunks_exact(inputs.max(1)).skip(rows.start)) {
                let row = row - rows.start;
                for (step, (object, x)) in out.chunks_exact_mut(object).zip(x.chunks(k)).enumerate() {
                    debug_assert!(step < steps);
                    for (piece, column) in x.chunks(micro.s).zip((0..k).step_by(micro.s)) {
                        put_bf16(&mut object[2 * micro.left(k, row, column)..], piece);
                    }
                }
            }
        }
    }
    for (step, object) in out.chunks_exact_mut(object).enumerate() {
        let flag = |on, flag| if on { flag } else { 0 };
        let flags = flag(step == 0, FIRST) | flag(step + 1 == steps, LAST) | flag(gelu, GELU);
        let control = object.len() - CONTROL_BYTES;
        put_word(&mut object[control..], 0, flags);
    }
}

/// Quantises a row into the start of `out`; returns its scale. What `out` has beyond the row stays zero.
fn quantise(x: &[f32], out: &mut [u8]) -> f32 {
    let largest = x.iter().fold(0u32, |largest, value| largest.max(value.to_bits() & 0x7fff_ffff));
    let scale = int8_scale(f32::from_bits(largest));
    for (out, value) in out.iter_mut().zip(x) {
        *out = int8_bits(*value, scale.inverse);
    }
    scale.scale
}

/// Writes values as bf16.
fn put_bf16(out: &mut [u8], values: &[f32]) {
    for (out, value) in out.chunks_exact_mut(2).zip(values) {
        out.copy_from_slice(&bf16_bits(*value).to_le_bytes());
    }
}

/// A bf16 value as fp32.
#[inline(always)]
fn bf16_at(bytes: &[u8]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16)
}

/// Takes the results of a linear design from its C buffer: the `[rows, outputs]` of the padded matrix, plus `residual`.
///
/// # Panics
/// If lengths do not fit.
pub fn unpack_rows(
    design: &Design,
    c: &[u8],
    rows: usize,
    outputs: usize,
    residual: Option<&[f32]>,
    out: &mut [f32],
    pool: &dyn Parallel,
) {
    assert_eq!(out.len(), rows * outputs, "out is [{rows}, {outputs}]");
    assert!(residual.is_none_or(|residual| residual.len() == out.len()), "residual is [{rows}, {outputs}]");
    if out.is_empty() {
        return;
    }
    let padded = outputs.next_multiple_of(design.tile.n * design.target.columns());
    split::rows(pool, outputs, out, &|range, out| {
        for (row, out) in range.zip(out.chunks_exact_mut(outputs)) {
            let (c, _) = c[2 * row * padded..][..2 * outputs].as_chunks::<2>();
            for (out, c) in out.iter_mut().zip(c) {
                *out = bf16_at(c);
            }
            if let Some(residual) = residual {
                for (out, residual) in out.iter_mut().zip(&residual[row * outputs..][..outputs]) {
                    *out += residual;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Serial,
        npu::{Kernels, Target},
    };

    #[test]
    fn micro_tiles_cover_a_tile_once() {
        for target in Target::ALL {
            for micro in [target.int8_micro_tile(), target.bf16_micro_tile()] {
                let (rows, columns) = (micro.r * 3, micro.s * micro.t);
                let all = |index: &dyn Fn(usize, usize) -> usize, rows: usize, columns: usize| {
                    let mut seen: Vec<usize> = (0..rows)
                        .flat_map(|row| (0..columns).map(move |column| (row, column)))
                        .map(|(row, column)| index(row, column))
                        .collect();
                    seen.sort_unstable();
                    assert_eq!(seen, (0..rows * columns).collect::<Vec<_>>());
                };
                all(&|row, column| micro.left(columns, row, column), rows, columns);
                all(&|row, column| micro.right(columns, row, column), columns, micro.t * 3);
                all(&|row, column| micro.result(columns, row, column), rows, columns);
            }
        }
    }

    #[test]
    fn rows_lie_as_documented() {
        let design = Design::new(Target::Npu1, Kernels::Int8, Tile { m: 8, k: 16, n: 64 }).unwrap();
        let (rows, inputs) = (33, 20);
        let x: Vec<f32> = (0..rows * inputs).map(|at| ((at * 37) % 255) as f32 - 127.0).collect();
        let problem = crate::npu::Problem::Linear { rows, inputs, outputs: 1 };
        let mut a = vec![1; design.buffer_bytes(&problem, crate::npu::Argument::A)];
        pack_rows(&design, &x, rows, inputs, true, &mut a, &Serial);
        let object = |tile: usize, step: usize| &a[(tile * 2 + step) * design.a_object()..][..design.a_object()];
        let micro = design.micro_tile();
        for (row, input) in [(0, 0), (5, 7), (32, 19), (20, 16), (7, 15)] {
            let object = object(row / 8, input / 16);
            let scale = f32::from_le_bytes(object[128 + 4 * (row % 8)..][..4].try_into().unwrap());
            let value = object[micro.left(16, row % 8, input % 16)] as i8;
            assert!((f32::from(value) * scale - x[row * inputs + input]).abs() <= scale * 0.5001, "{row} {input}");
        }
        assert_eq!(object(4, 1)[micro.left(16, 0, 5)], 0, "beyond the inputs");
        let flags = |object: &[u8]| u32::from_le_bytes(object[160..164].try_into().unwrap());
        assert_eq!((flags(object(0, 0)), flags(object(7, 1))), (FIRST | GELU, LAST | GELU));
    }

    #[test]
    fn no_rows_and_no_inputs_pack() {
        let design = Design::new(Target::Npu4, Kernels::Bf16, Tile { m: 8, k: 16, n: 64 }).unwrap();
        pack_rows(&design, &[], 0, 5, false, &mut [], &Serial);
        pack_rows(&design, &[], 3, 0, false, &mut [], &Serial);
        unpack_rows(&design, &[], 0, 5, None, &mut [], &Serial);
    }
}
