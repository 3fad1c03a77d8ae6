//! Bytes at a cache line's alignment, for packed weights: made here, or part of a file in memory.

use crate::{
    Blob,
    scratch::{Line, ask_for_large_pages},
};

/// A fixed number of bytes, aligned to 64.
pub(crate) enum Aligned {
    /// Packed in this process.
    Owned { lines: Box<[Line]>, len: usize },
    /// Packed before.
    Kept(Blob),
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        let mut lines = vec![Line::ZERO; len.div_ceil(size_of::<Line>())].into_boxed_slice();
        // With small pages, reading weights from memory takes up to a third longer.
        ask_for_large_pages(lines.as_mut_ptr(), len);
        Self::Owned { lines, len }
    }

    /// Kept bytes, if they are aligned.
    pub(crate) fn kept(blob: Blob) -> Option<Self> {
        let aligned = blob.bytes().is_empty() || (blob.bytes().as_ptr() as usize).is_multiple_of(size_of::<Line>());
        aligned.then_some(Self::Kept(blob))
    }

    /// All of them.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned { lines, len } => &bytemuck::cast_slice(lines)[..*len],
            Self::Kept(blob) => blob.bytes(),
        }
    }

    /// All of them, to be written; none of bytes that are kept elsewhere.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Owned { lines, len } => &mut bytemuck::cast_slice_mut(lines)[..*len],
            Self::Kept(_) => &mut [],
        }
    }
}
