//! What a packed operand is: its sizes, where each element lies, and how it is packed.

use crate::{
    host::Isa,
    npu::{kernels::Kernels, target::MicroTile},
};

/// How values are packed and unpacked; the bytes are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackMethod {
    /// One value after another: for tests and benchmarks.
    OneByOne,
    /// With the vectors of an instruction set.
    Vectors(Isa),
}

impl PackMethod {
    /// With this machine's best vectors.
    pub fn best() -> Self {
        PackMethod::Vectors(Isa::best())
    }
}

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
pub(super) fn put_word(bytes: &mut [u8], index: usize, value: u32) {
    bytes[4 * index..][..4].copy_from_slice(&value.to_le_bytes());
}

/// Sizes of a left operand: activations, queries.
#[derive(Clone, Copy, Debug)]
pub struct LeftTile {
    /// The shape of the product's instruction.
    pub micro: MicroTile,
    /// Rows, m.
    pub rows: usize,
    /// Columns, k: what is summed over in one step.
    pub columns: usize,
    /// int8 with scales, or bf16.
    pub operands: Kernels,
}

/// Sizes of a right operand: weights, keys, values.
#[derive(Clone, Copy, Debug)]
pub struct RightTile {
    /// The shape of the product's instruction.
    pub micro: MicroTile,
    /// Rows, k: what is summed over in one step.
    pub rows: usize,
    /// Columns, n.
    pub columns: usize,
    /// int8 with scales, or bf16.
    pub operands: Kernels,
}
