//! Bytes at a cache line's alignment, for packed weights.
#![allow(unsafe_code)]

use crate::scratch::Line;

/// A fixed number of bytes, aligned to 64.
pub(crate) struct Aligned {
    lines: Box<[Line]>,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        Self { lines: vec![Line::ZERO; len.div_ceil(size_of::<Line>())].into_boxed_slice(), len }
    }

    /// Bytes held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first byte.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.lines.as_ptr().cast()
    }

    /// All of them.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: lines are plain bytes without padding, and there are at least `len` of them.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
