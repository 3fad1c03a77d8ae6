//! Targets, tiles and the sizes that follow from them.

use crate::{KernelError, ffi};

/// A generation of NPU: the shape of its cores' products differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// AIE2: int8 4×8×8, bf16 4×8×4.
    Npu1,
    /// AIE2P: int8 8×8×8, bf16 4×8×8.
    Npu4,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 2] = [Target::Npu1, Target::Npu4];

    /// The same for the C++ code.
    pub(crate) fn silicon(self) -> ffi::Silicon {
        match self {
            Target::Npu1 => ffi::Silicon::Npu1,
            Target::Npu4 => ffi::Silicon::Npu4,
        }
    }

    /// `(r, s, t)` of the product of int8 operands, `[r, s] · [s, t]`.
    pub fn int8_micro_tile(self) -> (usize, usize, usize) {
        match self {
            Target::Npu1 => (4, 8, 8),
            Target::Npu4 => (8, 8, 8),
        }
    }

    /// `(r, s, t)` of the product of bf16 operands.
    pub fn bf16_micro_tile(self) -> (usize, usize, usize) {
        match self {
            Target::Npu1 => (4, 8, 4),
            Target::Npu4 => (4, 8, 8),
        }
    }
}

/// What one core computes at a time, `[m, k] · [k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Rows, or queries.
    pub m: usize,
    /// Inputs of one step; of attention, columns of the queries in one object.
    pub k: usize,
    /// Outputs; of attention 64.
    pub n: usize,
}

/// Largest side of a tile. A core's 64 KB hold far less; it keeps every product of sides within 32 bits.
pub const LARGEST_SIDE: usize = 4096;

impl Tile {
    /// Refuses what is not made of whole micro-tiles; of attention also blocks of `keys` that are not, for its second
    /// product sums over them.
    pub(crate) fn check(
        self,
        kernel: &'static str,
        target: Target,
        micro_tiles: &[(usize, usize, usize)],
        keys: Option<usize>,
    ) -> Result<(), KernelError> {
        let refuse = |reason: String| Err(KernelError::Tile { kernel, target, tile: self, reason });
        let Tile { m, k, n } = self;
        if [m, k, n].iter().any(|side| *side == 0 || *side > LARGEST_SIDE) {
            return refuse(format!("sides are 1 to {LARGEST_SIDE}"));
        }
        if keys.is_some() && n != HEAD_WIDTH {
            return refuse(format!("heads are {HEAD_WIDTH} wide"));
        }
        for &(r, s, t) in micro_tiles {
            let whole = |keys: usize| keys > 0 && keys.is_multiple_of(t) && keys.is_multiple_of(s);
            if m % r != 0 || k % s != 0 || n % t != 0 || !keys.is_none_or(whole) {
                return refuse(format!("it is not made of whole micro-tiles {r}×{s}×{t}"));
            }
        }
        Ok(())
    }
}

/// Width of an attention head.
pub const HEAD_WIDTH: usize = 64;

/// Bytes of the control block that ends each A object.
pub const CONTROL_BYTES: usize = 64;

/// Bytes of an A object whose operand and scales take so many: the block lies at a multiple of 64 bytes.
pub(crate) fn with_control(bytes: usize) -> usize {
    bytes.next_multiple_of(64) + CONTROL_BYTES
}
