//! Prepared kernels as plain bytes, so that they can be kept in a file and used from there; and bytes that are used where they lie.
//! Knows nothing of files.

use std::{fmt, ops::Range, sync::Arc};

/// Part of some memory that is kept alive by whoever reads it: for example of a file in memory. It must not change.
#[derive(Clone)]
pub struct Blob {
    memory: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Blob {
    /// The bytes `range` of `memory`; `None` if it has fewer.
    pub fn new(memory: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Option<Self> {
        let whole = (*memory).as_ref();
        whole.get(range.clone()).is_some().then_some(Self { memory, range })
    }

    /// The bytes.
    ///
    /// # Panics
    /// If the memory has become smaller.
    pub fn bytes(&self) -> &[u8] {
        &(*self.memory).as_ref()[self.range.clone()]
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({:?})", self.range)
    }
}

/// Kept parts are not those of the kernel that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packed {operator} does not fit its description: {reason}")]
pub struct Unfit {
    /// `linear`, `convolution`.
    pub operator: &'static str,
    /// What does not fit.
    pub reason: String,
}
