//! A file in memory: bytes that are read from the disk when they are first used, and can be forgotten again.

#![allow(unsafe_code, reason = "maps a file")]

use std::{fs::File, io, ops::Range, path::Path};

use memmap2::Mmap;
use undertone_kernels::Memory;

/// A whole file, mapped for reading.
///
/// The file must not be cut or written to while it is mapped. Containers are not: they are replaced by other files of
/// the same name ([`crate::file`]), and a mapped file lives on without a name.
pub struct Map(Mmap);

impl Map {
    /// Maps a file. The error is what the system says; an empty file cannot be mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty"));
        }
        // SAFETY: nobody changes the file while it is mapped, as the type asks.
        Ok(Self(unsafe { Mmap::map(&file)? }))
    }
}

impl Memory for Map {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn forget(&self, range: Range<usize>) {
        #[cfg(unix)]
        if range.end <= self.0.len() {
            // SAFETY: pages of a file that is mapped for reading hold nothing that is not in the file.
            let _ =
                unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}
