//! Attention of one tile of queries on one core.

use crate::{CONTROL_BYTES, HEAD_WIDTH, KernelError, Target, Tile, exactly, ffi};

/// Queries' and keys' number format; values and probabilities are bf16 in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// int8 with an fp32 scale for each row.
    Int8,
    /// bf16.
    Bf16,
}

/// A core's attention kernel, with what it keeps between objects.
///
/// For each object of A: [`begin`](Self::begin); then [`blocks`](Self::blocks) times [`keys`](Self::keys) and [`values`](Self::values);
/// then [`end`](Self::end).
#[derive(Clone, Debug)]
pub struct Attention {
    target: Target,
    precision: Precision,
    tile: Tile,
    state: Vec<f32>,
}

impl Attention {
    /// For tiles of `m` queries, heads 64 wide (`k`), and blocks of `n` keys.
    ///
    /// # Errors
    /// If the tile is not made of whole micro-tiles, of both number formats where queries are int8.
    pub fn new(target: Target, precision: Precision, tile: Tile) -> Result<Self, KernelError> {
        let (bf16, int8) = (target.bf16_micro_tile(), target.int8_micro_tile());
        let both = [bf16, int8];
        let micro_tiles = if precision == Precision::Int8 { &both[..] } else { &both[..1] };
        tile.check(name(precision), target, micro_tiles, true)?;
        let words = ffi::attention_state_words(tile.m as i32, tile.n as i32);
        Ok(Self { target, precision, tile, state: vec![0.0; words as usize] })
    }

    /// Bytes of an object of A: queries, of int8 their scales, control.
    pub fn a_bytes(&self) -> usize {
        let m = self.tile.m;
        CONTROL_BYTES
            + match self.precision {
                Precision::Int8 => m * HEAD_WIDTH + 4 * m,
                Precision::Bf16 => 2 * m * HEAD_WIDTH,
            }
    }

    /// Bytes of an object of B: a block's keys, or its values.
    pub fn b_bytes(&self) -> usize {
        2 * self.tile.n * HEAD_WIDTH
    }

    /// Bytes of an object of C.
    pub fn c_bytes(&self) -> usize {
        2 * self.tile.m * HEAD_WIDTH
    }

    /// Bytes that the core keeps between objects.
    pub fn state_bytes(&self) -> usize {
        4 * self.state.len()
    }

    /// Blocks of keys that come for an object of A.
    ///
    /// # Errors
    /// If its length is not [`a_bytes`](Self::a_bytes).
    pub fn blocks(&self, a: &[u8]) -> Result<usize, KernelError> {
        exactly(name(self.precision), "A", a.len(), self.a_bytes())?;
        let control = &a[a.len() - CONTROL_BYTES..];
        Ok(u32::from_le_bytes([control[0], control[1], control[2], control[3]]).div_ceil(self.tile.n as u32) as usize)
    }

    /// Forgets what was there.
    pub fn begin(&mut self) {
        ffi::attention_begin(self.tile.m as i32, self.tile.n as i32, &mut self.state);
    }

    /// Scores and probabilities of the keys of block number `block`.
    ///
    /// # Errors
    /// If an object has another length than it must have, or there is no such block.
    pub fn keys(&mut self, a: &[u8], k: &[u8], block: usize) -> Result<(), KernelError> {
        let kernel = name(self.precision);
        exactly(kernel, "K", k.len(), self.b_bytes())?;
        let blocks = self.blocks(a)?;
        if block >= blocks {
            return Err(KernelError::Value { kernel, reason: format!("block {block} of {blocks}") });
        }
        let Self { target, precision, tile, state } = self;
        let (npu4, int8) = (*target == Target::Npu4, *precision == Precision::Int8);
        ffi::attention_keys(npu4, int8, tile.m as i32, tile.n as i32, a, k, state, block as i32);
        Ok(())
    }

    /// Adds the values of the block whose keys came last.
    ///
    /// # Errors
    /// If the object has another length than [`b_bytes`](Self::b_bytes).
    pub fn values(&mut self, v: &[u8]) -> Result<(), KernelError> {
        exactly(name(self.precision), "V", v.len(), self.b_bytes())?;
        let Self { target, tile, state, .. } = self;
        ffi::attention_values(*target == Target::Npu4, tile.m as i32, tile.n as i32, v, state);
        Ok(())
    }

    /// Writes C; zeros if there was no key.
    ///
    /// # Errors
    /// If its length is not [`c_bytes`](Self::c_bytes).
    pub fn end(&mut self, c: &mut [u8]) -> Result<(), KernelError> {
        exactly(name(self.precision), "C", c.len(), self.c_bytes())?;
        let Self { target, tile, state, .. } = self;
        ffi::attention_end(*target == Target::Npu4, tile.m as i32, tile.n as i32, state, c);
        Ok(())
    }
}

fn name(precision: Precision) -> &'static str {
    match precision {
        Precision::Int8 => "attention_int8",
        Precision::Bf16 => "attention_bf16",
    }
}
