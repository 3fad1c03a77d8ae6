//! What a core's vector unit does for a piece of work, counted while the kernels run: what a cost model has to charge
//! beside the products of micro-tiles.

use crate::{KernelError, Precision, Target, Tile, attention, ffi};

/// Values that were worked through, by what was done with them. A vector of 16 counts as 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// fp32 products, which the compiler makes of bf16 ones.
    pub products: u64,
    /// bf16 products, by themselves or added to an fp32 sum.
    pub macs: u64,
    /// Additions and subtractions of fp32 or int32, and shifts.
    pub additions: u64,
    /// The larger or the smaller of two, comparisons, selections.
    pub comparisons: u64,
    /// fp32 to bf16.
    pub conversions: u64,
}

impl From<ffi::Counts> for Counts {
    fn from(counts: ffi::Counts) -> Self {
        let ffi::Counts { products, macs, additions, comparisons, conversions } = counts;
        Self { products, macs, additions, comparisons, conversions }
    }
}

/// What is done with a block of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its keys came: scores, the soft-max's statistics, probabilities.
    Keys,
    /// Its values came: what was summed up is scaled.
    Values,
    /// All blocks came.
    End,
}

/// The epilogue of a tile of a linear layer.
///
/// # Errors
/// If the tile is not made of the target's micro-tiles.
pub fn epilogue(target: Target, precision: Precision, tile: Tile, gelu: bool) -> Result<Counts, KernelError> {
    let int8 = precision == Precision::Int8;
    let micro = if int8 { target.int8_micro_tile() } else { target.bf16_micro_tile() };
    tile.check("epilogue", target, &[micro], None)?;
    let Tile { m, k, n } = tile;
    Ok(ffi::counted_epilogue(target.silicon(), int8, m as i32, k as i32, n as i32, gelu).into())
}

/// A stage of attention, of a block of which each key counts.
///
/// # Errors
/// As [`crate::Attention::new`].
pub fn attention(target: Target, precision: Precision, tile: Tile, stage: Stage) -> Result<Counts, KernelError> {
    let stage = match stage {
        Stage::Keys => ffi::Stage::Keys,
        Stage::Values => ffi::Stage::Values,
        Stage::End => ffi::Stage::End,
    };
    Ok(ffi::counted_attention(attention::core(target, precision, tile)?, stage).into())
}
