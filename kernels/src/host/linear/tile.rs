//! The inner loops, once for all instruction sets and precisions: register tiles over packed panels, and the epilogue.
//!
//! A tile is up to [`rows`] rows by one panel (two vectors of columns). Its sums stay in registers over all inputs;
//! then scale, bias, activation and residual are applied and the result is stored.
#![allow(unsafe_code)]

use std::ops::Range;

use super::{
    blocks::Blocks,
    format::{Format, WORD, planes},
};
use crate::{
    Activation,
    host::{
        simd::{MAX_LANES, Simd},
        vecmath::{gelu, gelu_tanh},
    },
};

/// The most rows of any tile.
pub(super) const MAX_ROWS: usize = 12;
/// The most columns of any panel.
pub(super) const MAX_COLUMNS: usize = 2 * MAX_LANES;

/// Rows of a full tile: as many as the registers hold sums for, two vectors to each plane of a row.
pub(crate) const fn rows<S: Simd, P: Format>() -> usize {
    const { assert!(S::TILE.0 * S::TILE.1 <= 2 * MAX_ROWS) };
    S::TILE.0 * S::TILE.1 / 2 / planes::<S, P>()
}

/// How far ahead weights are asked for. Panels follow one another, so what lies beyond the end of one is the next. It
/// matters most with few rows, where each weight is used too few times for the loads in flight to hide memory.
pub(super) const PREFETCH_BYTES: usize = 8192;
/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// A part of a product: some rows of it by some panels, and where its operands lie.
///
/// Pointers, because the parts of one product write to disjoint parts of the same output from several threads.
#[derive(Clone)]
pub(crate) struct Block {
    /// Rows to compute.
    pub rows: Range<usize>,
    /// Panels to compute.
    pub panels: Range<usize>,
    /// Steps over the inputs, one for each word of a row of activations.
    pub steps: usize,
    /// Converted activations, row 0.
    pub activations: *const u8,
    /// From one row of activations to the next, in bytes.
    pub row_bytes: usize,
    /// A scale for each row; read only if the sums are of quantised operands.
    pub row_scales: *const f32,
    /// Packed weights, panel 0.
    pub weights: *const u8,
    /// From one panel to the next, in bytes.
    pub panel_bytes: usize,
    /// From one step of a panel to the next, in bytes; not read of weights in blocks.
    pub step_bytes: usize,
    /// How the weights lie in a panel if they are in blocks.
    pub blocks: Blocks,
    /// A correction for each column; read only if activations are offset.
    pub corrections: *const i32,
    /// A scale for each column; read only if the sums are of quantised operands.
    pub column_scales: *const f32,
    /// A bias for each column (already times `scale`), or null.
    pub bias: *const f32,
    /// What unquantised sums are multiplied by.
    pub scale: f32,
    /// Applied after the bias.
    pub activation: Activation,
    /// `[rows, outputs]`, or null.
    pub residual: *const f32,
    /// `[rows, outputs]`.
    pub out: *mut f32,
    /// Columns of the result; the last panel may reach beyond.
    pub outputs: usize,
}

// SAFETY: a block is only a description; whoever runs it answers for its pointers, and blocks that run at the same
// moment write disjoint parts of `out`.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

/// The fp32 sums of one tile, row after row.
pub(super) type Sums = [f32; MAX_ROWS * MAX_COLUMNS];

/// Computes a block.
///
/// # Safety
/// The block's pointers must be valid for its rows and panels.
#[inline(always)]
pub(crate) unsafe fn block<S: Simd, P: Format>(s: S, b: &Block) {
    let mut sums: Sums = [0.0; MAX_ROWS * MAX_COLUMNS];
    let mut row = b.rows.start;
    while row < b.rows.end {
        let rows = (b.rows.end - row).min(self::rows::<S, P>());
        for panel in b.panels.clone() {
            // SAFETY: rows and panels are inside the block's; the rest is the caller's promise.
            unsafe {
                match rows {
                    1 => tile::<S, P, 1>(s, b, row, panel, &mut sums),
                    2 => tile::<S, P, 2>(s, b, row, panel, &mut sums),
                    3 => tile::<S, P, 3>(s, b, row, panel, &mut sums),
                    4 => tile::<S, P, 4>(s, b, row, panel, &mut sums),
                    5 => tile::<S, P, 5>(s, b, row, panel, &mut sums),
                    6 => tile::<S, P, 6>(s, b, row, panel, &mut sums),
                    7 => tile::<S, P, 7>(s, b, row, panel, &mut sums),
                    8 => tile::<S, P, 8>(s, b, row, panel, &mut sums),
                    9 => tile::<S, P, 9>(s, b, row, panel, &mut sums),
                    10 => tile::<S, P, 10>(s, b, row, panel, &mut sums),
                    11 => tile::<S, P, 11>(s, b, row, panel, &mut sums),
                    _ => tile::<S, P, 12>(s, b, row, panel, &mut sums),
                }
                epilogue(s, b, [P::QUANTISED; 2], row, rows, panel, &sums);
            }
        }
        row += rows;
    }
}

/// The sums of `R` rows from `row` by one panel.
#[inline(always)]
unsafe fn tile<S: Simd, P: Format, const R: usize>(s: S, b: &Block, row: usize, panel: usize, out: &mut Sums) {
    // A tile that the instruction set never asks for is not compiled.
    if R > rows::<S, P>() {
        return;
    }
    // SAFETY: the block's pointers are valid for this row and panel, and `out` holds `R` rows of `2 · LANES`.
    unsafe {
        let corrections = b.corrections.wrapping_add(panel * 2 * S::LANES);
        let start = [P::start(s, corrections), P::start(s, corrections.wrapping_add(S::LANES))];
        let mut sums = [start; R];
        let mut activations = b.activations.add(row * b.row_bytes);
        let mut weights = b.weights.add(panel * b.panel_bytes);
        let vector_bytes = S::LANES * P::group::<S>() * P::WEIGHT_BYTES;
        for _ in 0..b.steps {
            let ahead = weights.wrapping_add(PREFETCH_BYTES);
            s.prefetch(ahead);
            if 2 * vector_bytes > LINE {
                s.prefetch(ahead.wrapping_add(LINE));
            }
            let first = P::columns(s, weights);
            let second = P::columns(s, weights.add(vector_bytes));
            for (index, sum) in sums.iter_mut().enumerate() {
                let row = P::row(s, activations.add(index * b.row_bytes), b.steps * WORD);
                sum[0] = P::dot(s, sum[0], row, first);
                sum[1] = P::dot(s, sum[1], row, second);
            }
            activations = activations.add(WORD);
            weights = weights.add(b.step_bytes);
        }
        for (sum, out) in sums.into_iter().zip(out.chunks_exact_mut(2 * S::LANES)) {
            s.store(out.as_mut_ptr(), P::finish(s, sum[0]));
            s.store(out.as_mut_ptr().add(S::LANES), P::finish(s, sum[1]));
        }
    }
}

/// Scale, bias, activation, residual and store of one tile. Whether sums have scales of their columns and of their rows
/// is `scaled`.
///
/// # Safety
/// The block's pointers must be valid for these rows and the panel.
#[inline(always)]
pub(super) unsafe fn epilogue<S: Simd>(
    s: S,
    b: &Block,
    scaled: [bool; 2],
    row: usize,
    rows: usize,
    panel: usize,
    sums: &Sums,
) {
    let [by_column, by_row] = scaled;
    let lanes = S::LANES;
    for half in 0..2 {
        let column = panel * 2 * lanes + half * lanes;
        let valid = b.outputs.saturating_sub(column).min(lanes);
        if valid == 0 {
            return;
        }
        // SAFETY: scales and bias are padded to whole panels; rows and `valid` columns lie inside `out` and `residual`,
        // and a vector that reaches beyond the last column goes through `edge`.
        unsafe {
            let bias = if b.bias.is_null() { s.splat(0.0) } else { s.load(b.bias.add(column)) };
            let column_scale = if by_column { s.load(b.column_scales.add(column)) } else { s.splat(b.scale) };
            for index in 0..rows {
                let sum = s.load(sums.as_ptr().add(index * 2 * lanes + half * lanes));
                let scale =
                    if by_row { s.mul(column_scale, s.splat(*b.row_scales.add(row + index))) } else { column_scale };
                let mut y = s.mul_add(sum, scale, bias);
                match b.activation {
                    Activation::None => {}
                    Activation::Gelu => y = gelu(s, y),
                    Activation::GeluTanh => y = gelu_tanh(s, y),
                }
                let at = (row + index) * b.outputs + column;
                if valid == lanes {
                    if !b.residual.is_null() {
                        y = s.add(y, s.load(b.residual.add(at)));
                    }
                    s.store(b.out.add(at), y);
                } else {
                    let mut edge = [0.0f32; MAX_LANES];
                    s.store(edge.as_mut_ptr(), y);
                    for (lane, value) in edge[..valid].iter().enumerate() {
                        let residual = if b.residual.is_null() { 0.0 } else { *b.residual.add(at + lane) };
                        *b.out.add(at + lane) = value + residual;
                    }
                }
            }
        }
    }
}
