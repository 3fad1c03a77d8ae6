//! The control block that ends each A object: sixteen 32-bit words, by which the cores know what to do
//! (`kernels/aie/src/core.h` has the same).

use crate::npu::design::CONTROL_BYTES;

/// Words of the block.
pub const WORDS: usize = CONTROL_BYTES / size_of::<u32>();

/// Flag of word 0: the first step of a row tile, whose sums start at zero; or the first queries of a stage.
pub const FIRST: u32 = 1;
/// Flag of word 0: the last step of a row tile, whose sums are complete; or the last queries of a stage.
pub const LAST: u32 = 2;
/// Flag of word 0: results of a linear layer go through GELU.
pub const GELU: u32 = 4;
/// Flag of word 0: the object holds queries, not a linear layer's rows.
pub const QUERIES: u32 = 8;

/// Word of a block of queries: the column of the core that they are for.
pub const COLUMN: usize = 1;
/// Word of a block of queries: how many keys there are.
pub const KEYS: usize = 2;
/// Word of a block of queries: the factor of the scores, which are then exponents of 2, as fp32.
pub const SCALE: usize = 3;
/// Word of a block of queries: which slice of the head's width they are.
pub const SLICE: usize = 4;
