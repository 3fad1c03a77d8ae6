//! One step of a linear layer on one core.

use crate::{CONTROL_BYTES, KernelError, Target, Tile, exactly, ffi, shape::with_control};

/// Sizes of a linear kernel's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearSizes {
    /// Bytes of an object of A.
    pub a: usize,
    /// Bytes of an object of B.
    pub b: usize,
    /// Words of the sums that the core keeps between steps.
    pub sums: usize,
    /// Bytes of an object of C.
    pub c: usize,
}

impl LinearSizes {
    /// Of int8 operands, with `m` row scales and `n` column scales.
    pub fn int8(tile: Tile) -> Self {
        let Tile { m, k, n } = tile;
        Self { a: with_control(m * k + 4 * m), b: k * n + 8 * n, sums: m * n, c: 2 * m * n }
    }

    /// Of bf16 operands.
    pub fn bf16(tile: Tile) -> Self {
        let Tile { m, k, n } = tile;
        Self { a: with_control(2 * m * k), b: 2 * k * n + 4 * n, sums: m * n, c: 2 * m * n }
    }

    /// Whether this step is the last one, which writes C.
    fn check(&self, kernel: &'static str, a: &[u8], b: &[u8], sums: usize, c: &[u8]) -> Result<bool, KernelError> {
        exactly(kernel, "A", a.len(), self.a)?;
        exactly(kernel, "B", b.len(), self.b)?;
        exactly(kernel, "sums", sums, self.sums)?;
        // Bit 1 of the first control word.
        let last = a[self.a - CONTROL_BYTES] & 2 != 0;
        if last {
            exactly(kernel, "C", c.len(), self.c)?;
        }
        Ok(last)
    }
}

/// Adds one step's products to `sums` (int32, laid out as C), from nothing if the control block says FIRST. If it says
/// LAST, writes C: bf16 of `sums · (row scale · column scale) + bias`, with GELU if it says so. Returns whether C was
/// written; before the last step it may be empty.
///
/// # Errors
/// If the tile is not made of the target's micro-tiles, or a slice has another length than [`LinearSizes::int8`] says.
pub fn linear_int8(
    target: Target,
    tile: Tile,
    a: &[u8],
    b: &[u8],
    sums: &mut [i32],
    c: &mut [u8],
) -> Result<bool, KernelError> {
    const KERNEL: &str = "linear_int8";
    tile.check(KERNEL, target, &[target.int8_micro_tile()], None)?;
    let last = LinearSizes::int8(tile).check(KERNEL, a, b, sums.len(), c)?;
    ffi::linear_int8(target.silicon(), tile.m as i32, tile.k as i32, tile.n as i32, last, a, b, sums, c);
    Ok(last)
}

/// The same with bf16 operands and fp32 sums, without scales.
///
/// # Errors
/// As [`linear_int8`], with [`LinearSizes::bf16`].
pub fn linear_bf16(
    target: Target,
    tile: Tile,
    a: &[u8],
    b: &[u8],
    sums: &mut [f32],
    c: &mut [u8],
) -> Result<bool, KernelError> {
    const KERNEL: &str = "linear_bf16";
    tile.check(KERNEL, target, &[target.bf16_micro_tile()], None)?;
    let last = LinearSizes::bf16(tile).check(KERNEL, a, b, sums.len(), c)?;
    ffi::linear_bf16(target.silicon(), tile.m as i32, tile.k as i32, tile.n as i32, last, a, b, sums, c);
    Ok(last)
}

/// The epilogue of int8 sums on npu1 where `UNDERTONE_SPLIT_PRODUCTS` is 1, from objects of a tile whose `k` is 8.
///
/// # Errors
/// As [`linear_int8`].
pub fn split_int8_epilogue(tile: Tile, a: &[u8], b: &[u8], sums: &[i32], c: &mut [u8]) -> Result<(), KernelError> {
    const KERNEL: &str = "split_int8_epilogue";
    let tile = Tile { k: 8, ..tile };
    tile.check(KERNEL, Target::Npu1, &[Target::Npu1.int8_micro_tile()], None)?;
    let sizes = LinearSizes::int8(tile);
    sizes.check(KERNEL, a, b, sums.len(), c)?;
    exactly(KERNEL, "C", c.len(), sizes.c)?;
    ffi::split_scaled(sums, a, b, c, tile.m as i32, tile.n as i32);
    Ok(())
}
