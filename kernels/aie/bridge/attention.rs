//! Attention of one tile of queries on one core.

use crate::{CONTROL_BYTES, HEAD_WIDTH, KernelError, Target, Tile, exactly, ffi, shape::with_control};

/// Queries' and keys' number format; values and probabilities are bf16 in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// int8 with an fp32 scale for each row.
    Int8,
    /// bf16.
    Bf16,
}

impl Precision {
    /// Bytes of a query's or key's number.
    fn bytes(self) -> usize {
        match self {
            Precision::Int8 => 1,
            Precision::Bf16 => 2,
        }
    }
}

/// A core's attention kernel, with what it keeps between objects.
///
/// Each object of A of a stage goes to [`queries`](Self::queries). When it says that the core's own are all there:
/// [`blocks`](Self::blocks) times [`keys`](Self::keys) and [`values`](Self::values); then [`end`](Self::end).
#[derive(Clone, Debug)]
pub struct Attention {
    precision: Precision,
    tile: Tile,
    core: ffi::Core,
    state: Vec<f32>,
}

impl Attention {
    /// For the tile of a linear layer in the same array: `m` queries, of which an object of A has `k` of the 64
    /// columns, and blocks of [`block`](Self::block) keys. `n` is 64.
    ///
    /// # Errors
    /// If the tile is not made of whole micro-tiles, of both number formats where queries are int8.
    pub fn new(target: Target, precision: Precision, tile: Tile) -> Result<Self, KernelError> {
        let core = core(target, precision, tile)?;
        let words = ffi::attention_state_words(core);
        Ok(Self { precision, tile, core, state: vec![0.0; words as usize] })
    }

    /// Keys of a block: as many as an object of B holds in bf16.
    pub fn block(&self) -> usize {
        self.core.n as usize
    }

    /// Bytes of an object of A: queries, of int8 their scales, control.
    pub fn a_bytes(&self) -> usize {
        let Tile { m, k, .. } = self.tile;
        let scales = if self.precision == Precision::Int8 { 4 * m } else { 0 };
        with_control(m * k * self.precision.bytes() + scales)
    }

    /// Bytes of a block's keys, with their scales, or of its values. An object of B is no shorter.
    pub fn b_bytes(&self) -> usize {
        2 * self.block() * HEAD_WIDTH
    }

    /// Bytes of an object of C.
    pub fn c_bytes(&self) -> usize {
        2 * self.tile.m * HEAD_WIDTH
    }

    /// Bytes that the core keeps between objects.
    pub fn state_bytes(&self) -> usize {
        4 * self.state.len()
    }

    /// Takes an object of A; copies it if it says that it is for `column`. Whether it was the last one of a stage in
    /// which this core has queries.
    ///
    /// # Errors
    /// If its length is not [`a_bytes`](Self::a_bytes), or it names a slice that there is not.
    pub fn queries(&mut self, a: &[u8], column: usize) -> Result<bool, KernelError> {
        let kernel = name(self.precision);
        exactly(kernel, "A", a.len(), self.a_bytes())?;
        let slice =
            a[a.len() - CONTROL_BYTES + 16..][..4].iter().rev().fold(0, |word, byte| word << 8 | usize::from(*byte));
        let slices = HEAD_WIDTH.div_ceil(self.tile.k);
        if slice >= slices {
            return Err(KernelError::Value { kernel, reason: format!("slice {slice} of {slices}") });
        }
        Ok(ffi::attention_queries(self.core, self.tile.k as i32, a, &mut self.state, column as i32))
    }

    /// Blocks of keys that come for the queries.
    pub fn blocks(&self) -> usize {
        ffi::attention_blocks(self.core, &self.state) as usize
    }

    /// Scores and probabilities of the keys of block number `block`.
    ///
    /// # Errors
    /// If an object has another length than it must have, or there is no such block.
    pub fn keys(&mut self, k: &[u8], block: usize) -> Result<(), KernelError> {
        let kernel = name(self.precision);
        self.whole(k, "K")?;
        let blocks = self.blocks();
        if block >= blocks {
            return Err(KernelError::Value { kernel, reason: format!("block {block} of {blocks}") });
        }
        ffi::attention_keys(self.core, k, &mut self.state, block as i32);
        Ok(())
    }

    /// Adds the values of the block whose keys came last.
    ///
    /// # Errors
    /// If the object is shorter than [`b_bytes`](Self::b_bytes).
    pub fn values(&mut self, v: &[u8]) -> Result<(), KernelError> {
        self.whole(v, "V")?;
        ffi::attention_values(self.core, v, &mut self.state);
        Ok(())
    }

    /// Writes C; zeros if there was no key.
    ///
    /// # Errors
    /// If its length is not [`c_bytes`](Self::c_bytes).
    pub fn end(&mut self, c: &mut [u8]) -> Result<(), KernelError> {
        exactly(name(self.precision), "C", c.len(), self.c_bytes())?;
        ffi::attention_end(self.core, &mut self.state, c);
        Ok(())
    }

    /// An object of B with room for a block; what it has beyond is not read.
    fn whole(&self, object: &[u8], argument: &'static str) -> Result<(), KernelError> {
        exactly(name(self.precision), argument, object.len().min(self.b_bytes()), self.b_bytes())
    }
}

/// A core as the C++ code knows it.
pub(crate) fn core(target: Target, precision: Precision, tile: Tile) -> Result<ffi::Core, KernelError> {
    let (bf16, int8) = (target.bf16_micro_tile(), target.int8_micro_tile());
    let both = [bf16, int8];
    let micro_tiles = if precision == Precision::Int8 { &both[..] } else { &both[..1] };
    let n = tile.k * precision.bytes() / 2;
    tile.check(name(precision), target, micro_tiles, Some(n))?;
    let (m, n) = (tile.m as i32, n as i32);
    Ok(ffi::Core { silicon: target.silicon(), int8: precision == Precision::Int8, m, n })
}

fn name(precision: Precision) -> &'static str {
    match precision {
        Precision::Int8 => "attention_int8",
        Precision::Bf16 => "attention_bf16",
    }
}
