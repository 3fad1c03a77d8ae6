//! The control block that ends each A object: eight 32-bit words, by which the cores know what to do (`kernels/aie/src/core.h` has the same).

use crate::npu::design::{CONTROL_BYTES, Design, ROW_LANES, RowOperator, Tile};

/// Words of the block.
pub const WORDS: usize = CONTROL_BYTES / size_of::<u32>();

/// Flag of word 0: the first step of a row tile, whose sums start at zero; or the first queries of a stage; or gamma and beta come before these rows.
pub const FIRST: u32 = 1;
/// Flag of word 0: the last step of a row tile, whose sums are complete; or the last queries of a stage.
pub const LAST: u32 = 2;
/// Flag of word 0: results of a linear layer go through GELU.
pub const GELU: u32 = 4;
/// Flag of word 0: the object holds queries, not a linear layer's rows.
pub const QUERIES: u32 = 8;

/// Of queries: the column of the core whose they are.
pub const COLUMN: usize = 1;
/// Of queries: how many keys there are.
pub const KEYS: usize = 2;
/// Of queries: what multiplies scores, which are then exponents of 2, as fp32.
pub const SCALE: usize = 3;
/// Of queries: which slice of the head's width they are.
pub const SLICE: usize = 4;

/// What is said of an object's whole rows: word 0 has FIRST, the others follow in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowsControl {
    /// Gamma and beta come before these rows.
    pub first: bool,
    /// What is done with them.
    pub what: RowOperator,
    /// How many there are.
    pub rows: usize,
    /// Numbers of each, padding included.
    pub width: usize,
    /// Numbers of each, without.
    pub valid: usize,
    /// 1 / `valid`: a core does not divide.
    pub inverse: f32,
    /// Of layer norm: what is added to the variance.
    pub epsilon: f32,
}

impl RowsControl {
    /// As the block has it.
    pub fn words(&self) -> [u32; WORDS] {
        let Self { first, what, rows, width, valid, inverse, epsilon } = *self;
        let flags = if first { FIRST } else { 0 };
        [flags, what as u32, rows as u32, width as u32, valid as u32, inverse.to_bits(), epsilon.to_bits(), 0]
    }

    /// What a block says.
    ///
    /// # Errors
    /// If the design's objects cannot hold such rows, in words.
    pub fn read(design: &Design, words: [u32; WORDS]) -> Result<Self, String> {
        let [flags, what, rows, width, valid, inverse, epsilon, _] = words;
        let what =
            *RowOperator::ALL.get(what as usize).ok_or_else(|| format!("there is no operator {what} of rows"))?;
        let [rows, width, valid] = [rows, width, valid].map(|word| word as usize);
        let Tile { m, k, .. } = design.tile;
        if width == 0 || !width.is_multiple_of(ROW_LANES) || width > k || valid > width || rows > m * k / width {
            return Err(format!(
                "an object for {m} rows of {k} is said to hold {rows} of {width}, {valid} of them valid"
            ));
        }
        let [inverse, epsilon] = [inverse, epsilon].map(f32::from_bits);
        Ok(Self { first: flags & FIRST != 0, what, rows, width, valid, inverse, epsilon })
    }
}
