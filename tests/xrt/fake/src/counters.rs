//! What is open and what was done, so that a test can show that nothing leaks: the file `counters` of its folder, as
//! JSON.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Counts. `open` means now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Open file descriptors of the device node.
    pub clients: u64,
    /// Hardware contexts.
    pub contexts: u64,
    /// Buffer objects.
    pub buffers: u64,
    /// Their bytes.
    pub buffer_bytes: u64,
    /// Mappings of buffer objects into the program.
    pub mappings: u64,
    /// Their bytes.
    pub mapped_bytes: u64,
    /// Commands that were taken and are not done.
    pub pending: u64,
    /// Most contexts that were open at the same time.
    pub most_contexts: u64,
    /// Most bytes of buffer objects at the same time.
    pub most_buffer_bytes: u64,
    /// Contexts made since the start.
    pub contexts_made: u64,
    /// Buffer objects made since the start.
    pub buffers_made: u64,
    /// Submissions taken: single commands and chains.
    pub submissions: u64,
    /// Commands executed: those of chains one by one.
    pub executed: u64,
    /// Commands that failed, for a fault that was asked for or because they were wrong (see `log`).
    pub failed: u64,
    /// Commands that were refused because they were wrong: not for a fault. 0 in every test that does not provoke it.
    pub wrong: u64,
}

impl Counters {
    /// Reads what the last process with this folder wrote.
    ///
    /// # Errors
    /// If there is none, or it is something else.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(folder.join("counters"))?)?)
    }
}
