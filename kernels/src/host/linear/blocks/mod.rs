//! Weights in blocks ([`BlockWeights`](crate::BlockWeights)): they stay as few bits as they are in memory, and become
//! numbers when they are multiplied. There are two ways for that.
//!
//! - [`exact`]: the codes themselves are multiplied with rows of 16 bits, in integers; each block's sum is multiplied
//!   by its scale. Weights lose nothing. A row reads half the bytes of int8 weights, which is what takes the time where
//!   rows are few: int8 with wide rows is computed so.
//! - [`unpack`]: a panel becomes one of the plain layer's, in memory that stays in the cache, and the plain kernels
//!   multiply it with all rows of a block: f32, bf16, and int8 with narrow rows, whose weights get a scale for each
//!   output as the plain layer's have.
//!
//! A panel holds block after block, and each block its words and then its scales: `[words, columns]` words of 32 bits,
//! each of which holds the codes of a few inputs of one column; then for each column a scale (fp32, or, for int8 with
//! narrow rows, a factor and an addend of 16 bits each), and, where zero points are given, the zero point or what it
//! adds to a product, in fp32.
#![allow(unsafe_code)]

mod exact;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

use std::cell::Cell;

pub(super) use self::{
    exact::{Convert, Exact, planes as exact_planes, rows as exact_rows},
    pack::pack,
    unpack::{Unpack, Unpacked},
};
use super::tile::{Block, MAX_COLUMNS};
use crate::{
    BlockForm,
    host::{
        Isa,
        simd::{Simd, dispatch},
    },
    scratch::Buffer,
};

/// Bytes of a word of codes, and of a scale or offset.
const WORD: usize = 4;
/// Inputs of a block, at most: the integers of a longer one might not fit. It is stored as several of one scale.
const MOST_INPUTS: usize = 256;

/// How weights lie in a panel, if they are in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// Bits of a code.
    pub bits: u32,
    /// Inputs of a block.
    pub inputs: usize,
    /// Numbers of 32 bits that follow a block's words for each column: a scale, and perhaps an offset.
    pub lists: usize,
}

impl Blocks {
    /// Those of a form, with or without offsets.
    pub fn of(form: BlockForm, offsets: bool) -> Self {
        Self { bits: form.bits, inputs: Self::inputs_of(form.block), lists: 1 + usize::from(offsets) }
    }

    /// Blocks over so many inputs.
    pub fn count(&self, inputs: usize) -> usize {
        inputs.div_ceil(self.inputs)
    }

    /// Words of a block and column.
    fn words(&self) -> usize {
        self.inputs * self.bits as usize / 32
    }

    /// Bytes of a block of a panel of so many columns.
    pub fn bytes(&self, columns: usize) -> usize {
        columns * WORD * (self.words() + self.lists)
    }

    /// Inputs of one stored block, where `block` inputs, a multiple of 16, have a scale.
    fn inputs_of(block: usize) -> usize {
        if block <= MOST_INPUTS {
            return block;
        }
        [256, 128, 64, 32].into_iter().find(|inputs| block.is_multiple_of(*inputs)).unwrap_or(16)
    }
}

/// In which bits of a word the code of an input of it stands. A word's inputs are taken out in levels of `group`: those
/// of one level lie as far apart as the values of a word of activations, and the next level is in the bits above.
fn place(bits: u32, group: usize, input: usize) -> u32 {
    32 / group as u32 * (input % group) as u32 + bits * (input / group) as u32
}

/// Levels of a word.
const fn levels(bits: u32, group: usize) -> usize {
    32 / bits as usize / group
}

/// The codes of one level of words.
#[inline(always)]
fn level<S: Simd>(s: S, bits: u32, group: usize, words: S::I, level: usize) -> S::I {
    macro_rules! shifted {
        ($($by:literal)*) => {
            match bits as usize * level {
                $($by => s.shr::<$by>(words),)*
                _ => words,
            }
        };
    }
    let code = (1u32 << bits) - 1;
    let mask = match group {
        4 => code * 0x0101_0101,
        2 => code * 0x0001_0001,
        _ => code,
    };
    s.and_i(shifted!(2 4 6 8 10 12 14 16 18 20 22 24 26 28 30), s.splat_i(mask as i32))
}

/// Carries out a block for each level of a word, with the level as a constant: shifts are by constants, and a loop that
/// the compiler doesn't unroll would look for the right one at each turn.
macro_rules! each_level {
    ($bits:expr, $group:expr, $level:ident => $body:block) => {
        each_level!($bits, $group, $level => $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($bits:expr, $group:expr, $level:ident => $body:block, $($at:literal)*) => {
        $({
            const $level: usize = $at;
            if $level < levels($bits, $group) $body
        })*
    };
}
use each_level;

thread_local! {
    /// Where a thread unpacks its panels.
    static PANEL: Cell<Buffer> = Cell::default();
}

/// Computes a block of a product with weights that are unpacked.
///
/// # Safety
/// The block's pointers are valid for its rows and panels, packed for this kernel.
pub(super) unsafe fn unpack_and_multiply<P: Unpacked, const BITS: u32>(isa: Isa, block: &Block) {
    let mut panel = PANEL.take();
    let inputs = (block.steps * P::MOST_GROUP).next_multiple_of(block.blocks.inputs);
    panel.reserve(inputs * MAX_COLUMNS * P::WEIGHT_BYTES);
    let memory = panel.bytes_mut(inputs * MAX_COLUMNS * P::WEIGHT_BYTES);
    dispatch(isa, Unpack::<P, BITS>::new(block, memory));
    PANEL.set(panel);
}
