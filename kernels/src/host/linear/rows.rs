//! The rows that products read: as their caller has them, and in the operand format of a kernel.
#![allow(unsafe_code)]

use std::ops::Range;

use super::{
    format::WORD,
    kernel::{Conversion, Kernel},
    tile::LINE,
};
use crate::{Rows, host::shared::Shared};

/// Rows as a kernel reads them.
#[derive(Clone, Copy)]
pub(crate) struct Operand {
    /// The first row.
    pub values: *const u8,
    /// From row to row.
    pub row_bytes: usize,
    /// A scale for each row.
    pub scales: *const f32,
}

// SAFETY: only addresses; whoever reads through them says that nobody writes there at that moment.
unsafe impl Sync for Operand {}

/// Memory for some rows in a kernel's format: the rows, and behind them their scales.
#[derive(Clone, Copy)]
pub(crate) struct Converted {
    /// The first row.
    values: Shared<f32>,
    rows: usize,
    row_bytes: usize,
}

impl Converted {
    /// fp32 values' worth of memory that `rows` rows of `inputs` take; whole cache lines.
    pub(crate) fn floats(kernel: &Kernel, rows: usize, inputs: usize) -> usize {
        whole_lines(rows * row_bytes(kernel, inputs) / size_of::<f32>() + rows)
    }

    /// Lays out `rows` rows in memory of at least [`Converted::floats`].
    pub(crate) fn new(kernel: &Kernel, rows: usize, inputs: usize, memory: &mut [f32]) -> Self {
        assert!(memory.len() >= Self::floats(kernel, rows, inputs), "{} values for {rows} rows", memory.len());
        Self { values: Shared::new(memory), rows, row_bytes: row_bytes(kernel, inputs) }
    }

    fn row(&self, row: usize) -> *mut f32 {
        self.values.at(row * self.row_bytes / size_of::<f32>())
    }

    fn scale(&self, row: usize) -> *mut f32 {
        self.values.at(self.rows * self.row_bytes / size_of::<f32>() + row)
    }

    /// The rows for a kernel to read.
    pub(crate) fn operand(&self) -> Operand {
        Operand { values: self.row(0).cast(), row_bytes: self.row_bytes, scales: self.scale(0) }
    }
}

impl Rows<'_> {
    /// The rows where they are, if the kernel can read them there. They are all or none.
    pub(crate) fn in_place(&self, kernel: &Kernel) -> Option<Operand> {
        let row_bytes = self.inputs * size_of::<f32>();
        let readable = kernel.direct && self.norm.is_none() && (self.rows < kernel.rows || !collides(row_bytes));
        readable.then(|| Operand { values: self.x.as_ptr().cast(), row_bytes, scales: std::ptr::null() })
    }

    /// fp32 values of the memory for one row on its way ([`Rows::convert`]).
    pub(crate) fn normed_floats(&self) -> usize {
        if self.norm.is_some() { whole_lines(self.inputs) } else { 0 }
    }

    /// Norms and converts `rows`; the first of them becomes row `to` of `converted`. `normed` holds one row on its way.
    ///
    /// # Safety
    /// `converted` has room for the rows from `to`, in memory that is still valid, and no other thread touches them.
    pub(crate) unsafe fn convert(
        &self,
        kernel: &Kernel,
        rows: Range<usize>,
        normed: &mut [f32],
        converted: &Converted,
        to: usize,
    ) {
        let conversion = Conversion {
            rows: rows.len(),
            x: &self.x[rows.start * self.inputs..rows.end * self.inputs],
            inputs: self.inputs,
            norm: self.norm,
            normed,
            out: converted.row(to).cast(),
            row_bytes: converted.row_bytes,
            scales: converted.scale(to),
            block: kernel.blocks.inputs,
        };
        // SAFETY: the caller's promise; a row of `converted` holds the values of one row in whole words.
        unsafe { kernel.convert(conversion) };
    }
}

/// Bytes from row to row: an odd number of lines, at which rows do not collide.
fn row_bytes(kernel: &Kernel, inputs: usize) -> usize {
    ((kernel.row_words(inputs) * WORD).div_ceil(LINE) | 1) * LINE
}

/// Whether rows this far apart fall into so few sets of a first-level cache (64 sets of lines) that a tile's rows push
/// each other out.
fn collides(row_bytes: usize) -> bool {
    row_bytes.is_multiple_of(1024)
}

/// `floats`, rounded up to whole cache lines.
pub(crate) fn whole_lines(floats: usize) -> usize {
    floats.next_multiple_of(LINE / size_of::<f32>())
}
