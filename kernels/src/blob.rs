//! Prepared kernels as plain bytes, so that they can be kept in a file and used from there; and bytes that are used
//! where they lie. Knows nothing of files.

use std::{fmt, ops::Range, sync::Arc};

/// Memory that blobs are parts of: for example a file in memory. It must not change.
pub trait Memory: Send + Sync {
    /// All of it.
    fn bytes(&self) -> &[u8];

    /// These bytes are not needed for now. Memory that can be had again may be given back to the system.
    fn forget(&self, range: Range<usize>) {
        let _ = range;
    }
}

/// Part of some memory, kept alive by whoever reads it.
#[derive(Clone)]
pub struct Blob {
    memory: Arc<dyn Memory>,
    range: Range<usize>,
}

impl Blob {
    /// The bytes `range` of `memory`; `None` if it has fewer.
    pub fn new(memory: Arc<dyn Memory>, range: Range<usize>) -> Option<Self> {
        memory.bytes().get(range.clone()).is_some().then_some(Self { memory, range })
    }

    /// The bytes.
    ///
    /// # Panics
    /// If the memory has become smaller.
    pub fn bytes(&self) -> &[u8] {
        &self.memory.bytes()[self.range.clone()]
    }

    /// These of its bytes are not needed for now.
    pub fn forget(&self, range: Range<usize>) {
        let start = self.range.start;
        self.memory.forget((start + range.start).min(self.range.end)..(start + range.end).min(self.range.end));
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
