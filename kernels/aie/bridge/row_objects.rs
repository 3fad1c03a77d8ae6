//! Whole rows on one core, object by object, with gamma and beta kept between them.

use crate::{CONTROL_BYTES, KernelError, Target, Tile, exactly, ffi, rows::LANES, shape::LARGEST_SIDE};

const KERNEL: &str = "rows";

/// What a core keeps of a layer norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// What normal values are multiplied by.
    Gamma,
    /// What is added then.
    Beta,
}

/// A core of the array of whole rows.
#[derive(Clone, Debug)]
pub struct RowObjects {
    tile: Tile,
    state: Vec<f32>,
}

impl RowObjects {
    /// A core with room for `m` rows of `k` numbers in an object, or more that are narrower.
    ///
    /// # Errors
    /// If `k` is no multiple of 16, or `n` not `k`.
    pub fn new(target: Target, tile: Tile) -> Result<Self, KernelError> {
        let refuse = |reason: String| Err(KernelError::Tile { kernel: KERNEL, target, tile, reason });
        let Tile { m, k, n } = tile;
        if [m, k, n].iter().any(|side| *side == 0 || *side > LARGEST_SIDE) {
            return refuse(format!("sides are 1 to {LARGEST_SIDE}"));
        }
        if !k.is_multiple_of(LANES) || n != k {
            return refuse(format!("rows are multiples of {LANES} numbers, results as wide as they"));
        }
        Ok(Self { tile, state: vec![0.0; 2 * k] })
    }

    /// Bytes of an object of A.
    pub fn a_bytes(&self) -> usize {
        2 * self.tile.m * self.tile.k + CONTROL_BYTES
    }

    /// Bytes of an object of B.
    pub fn b_bytes(&self) -> usize {
        4 * self.tile.k
    }

    /// Bytes of an object of C.
    pub fn c_bytes(&self) -> usize {
        2 * self.tile.m * self.tile.k
    }

    /// Bytes of what is kept.
    pub fn state_bytes(&self) -> usize {
        4 * self.state.len()
    }

    /// Whether gamma and beta come before an object's rows.
    ///
    /// # Errors
    /// If `a` is not as long as [`RowObjects::a_bytes`] says.
    pub fn first(&self, a: &[u8]) -> Result<bool, KernelError> {
        exactly(KERNEL, "A", a.len(), self.a_bytes())?;
        Ok(ffi::rows_first(self.tile.m as i32, self.tile.k as i32, a))
    }

    /// Keeps gamma or beta.
    ///
    /// # Errors
    /// If `b` is not as long as [`RowObjects::b_bytes`] says.
    pub fn keep(&mut self, b: &[u8], which: Parameter) -> Result<(), KernelError> {
        exactly(KERNEL, "B", b.len(), self.b_bytes())?;
        ffi::rows_keep(self.tile.m as i32, self.tile.k as i32, b, &mut self.state, which as i32);
        Ok(())
    }

    /// Computes an object's rows; what lies behind them in `c` stays as it is.
    ///
    /// # Errors
    /// If a slice has another length than the tile says, or the control block speaks of rows that an object can't have.
    pub fn compute(&self, a: &[u8], c: &mut [u8]) -> Result<(), KernelError> {
        exactly(KERNEL, "A", a.len(), self.a_bytes())?;
        exactly(KERNEL, "C", c.len(), self.c_bytes())?;
        let control = &a[self.c_bytes()..];
        let word = |index: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| control[4 * index + byte])) as usize;
        let [operator, rows, width, valid] = [1, 2, 3, 4].map(word);
        let Tile { m, k, .. } = self.tile;
        if operator > 2
            || width == 0
            || !width.is_multiple_of(LANES)
            || width > k
            || valid > width
            || rows.checked_mul(width).is_none_or(|numbers| numbers > m * k)
        {
            let reason = format!(
                "operator {operator} of {rows} rows of {width} numbers, {valid} of them valid, in an object for {m} of {k}"
            );
            return Err(KernelError::Value { kernel: KERNEL, reason });
        }
        ffi::rows_compute(m as i32, k as i32, a, &self.state, c);
        Ok(())
    }
}
