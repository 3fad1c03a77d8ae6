//! What the tile kernel asks of an instruction set: vectors of fp32, and a dot-product step at one precision.
//!
//! This is not a general SIMD layer: only what the linear layer's inner loop and epilogue need. Implementations are one file
//! per instruction set beside this one.
//!
//! Every method is `unsafe` for the same two reasons: the CPU must have the instructions of the implementing type (the
//! dispatch in [`super::kernel`] sees to that), and pointers must be valid for the lanes that the method names.
#![allow(unsafe_code)]

/// Vectors of fp32 of one instruction set.
pub(crate) trait Simd: 'static {
    /// A vector.
    type F: Copy;
    /// Its fp32 values.
    const LANES: usize;

    /// All lanes `v`.
    unsafe fn splat(v: f32) -> Self::F;
    /// `LANES` values from `p`, of any alignment.
    unsafe fn load(p: *const f32) -> Self::F;
    /// `LANES` values to `p`, of any alignment.
    unsafe fn store(p: *mut f32, v: Self::F);
    /// `a + b`.
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    /// `a · b`.
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + c`; rounded once where the instruction set has it.
    unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger of `bound` and `v`; NaN where `v` is NaN.
    unsafe fn at_least(bound: Self::F, v: Self::F) -> Self::F;
    /// The smaller of `bound` and `v`; NaN where `v` is NaN.
    unsafe fn at_most(bound: Self::F, v: Self::F) -> Self::F;
    /// Magnitudes.
    unsafe fn abs(v: Self::F) -> Self::F;
    /// Asks for the cache line at `p`, which need not be valid. Does nothing where there is no such instruction.
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        let _ = p;
    }
}

/// Products at one precision on one instruction set. A *step* multiplies `GROUP` inputs of one row with the same inputs of
/// `LANES` columns and adds them to the columns' sums.
pub(crate) trait Dot: 'static {
    /// The vectors that the epilogue computes in; one sum to a lane.
    type Simd: Simd;
    /// An activation as it lies in scratch.
    type Activation: Copy + 'static;
    /// A weight as it lies in a panel.
    type Weight: Copy + 'static;
    /// A vector of sums.
    type Sum: Copy;
    /// One row's `GROUP` activations, repeated over the lanes.
    type Row: Copy;
    /// `GROUP` weights of each of `LANES` columns.
    type Columns: Copy;
    /// Inputs to a step.
    const GROUP: usize;
    /// The most rows that a tile holds in registers, at most [`super::tile::MAX_ROWS`].
    const ROWS: usize;
    /// Sums are integers of quantised operands: rows and columns have scales.
    const QUANTISED: bool = false;
    /// What an activation of zero is stored as is `128`, and the packed correction takes it back.
    const OFFSET: bool = false;
    /// Activations are fp32 as they come, so that they can be read where they are.
    const DIRECT: bool = false;

    /// Sums before the first step: the `LANES` corrections at `corrections` if `OFFSET`, else zeros (`corrections` is not
    /// read).
    unsafe fn start(corrections: *const i32) -> Self::Sum;
    /// `GROUP` activations from `p`.
    unsafe fn row(p: *const Self::Activation) -> Self::Row;
    /// `GROUP · LANES` weights from `p`.
    unsafe fn columns(p: *const Self::Weight) -> Self::Columns;
    /// `sum + row · columns`.
    unsafe fn dot(sum: Self::Sum, row: Self::Row, columns: Self::Columns) -> Self::Sum;
    /// The sums as fp32.
    unsafe fn finish(sum: Self::Sum) -> <Self::Simd as Simd>::F;
    /// Converts one row of activations. Writes `x.len()` rounded up to `GROUP` values to `out` and returns the row's scale
    /// (1 if not `QUANTISED`).
    unsafe fn convert(x: &[f32], out: *mut Self::Activation) -> f32;
}
