//! Memory that several tasks of a pool use at the same moment, each its own part.
#![allow(unsafe_code)]

/// The address of memory that is shared out among tasks.
pub(crate) struct Shared<T>(*mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: only an address; whoever writes through it says why no other task has that part.
unsafe impl<T> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Shared<T> {}

impl<T> Shared<T> {
    /// The memory of a slice.
    pub fn new(memory: &mut [T]) -> Self {
        Self(memory.as_mut_ptr())
    }

    /// The value at `offset`.
    #[inline(always)]
    pub fn at(self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}
