//! A file of weights, read at any place: only what is asked for comes into memory, and a lying size is found before
//! memory is taken for it.

use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
};

use super::ConvertError;

/// An open file and its length.
#[derive(Debug)]
pub struct SourceFile {
    path: PathBuf,
    file: File,
    len: u64,
}

impl SourceFile {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, ConvertError> {
        // A pipe would be waited for.
        if path.metadata().is_ok_and(|data| !data.is_file()) {
            return Err(ConvertError::io("open", path)(io::Error::other("it is no plain file")));
        }
        let file = File::open(path).map_err(ConvertError::io("open", path))?;
        let len = file.metadata().map_err(ConvertError::io("read", path))?.len();
        Ok(Self { path: path.to_owned(), file, len })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in it.
    pub fn size(&self) -> u64 {
        self.len
    }

    /// The file itself, with a place of its own to read from.
    pub fn reopen(&self) -> Result<File, ConvertError> {
        File::open(&self.path).map_err(ConvertError::io("open", &self.path))
    }

    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`ConvertError::Damaged`] if the file ends before, [`ConvertError::Io`].
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ConvertError> {
        self.within(offset, bytes.len() as u64)?;
        read_exact_at(&self.file, offset, bytes).map_err(ConvertError::io("read", &self.path))
    }

    /// `len` bytes from `offset` on; no more memory is taken than the file has bytes.
    pub fn bytes(&self, offset: u64, len: u64) -> Result<Vec<u8>, ConvertError> {
        self.within(offset, len)?;
        let len =
            usize::try_from(len).map_err(|_| self.damaged(format!("{len} bytes are more than this machine has")))?;
        let mut bytes = vec![0; len];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Whether `len` bytes from `offset` on are in the file.
    ///
    /// # Errors
    /// [`ConvertError::Damaged`] if not.
    pub fn within(&self, offset: u64, len: u64) -> Result<(), ConvertError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(self.damaged(format!("it should have {len} bytes at {offset}, but has {} in all", self.len))),
        }
    }

    /// An error about this file.
    pub fn damaged(&self, reason: impl Into<String>) -> ConvertError {
        ConvertError::damaged(&self.path, reason)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

/// Reads small numbers and strings one after another.
#[derive(Debug)]
pub struct Cursor<'f> {
    file: &'f SourceFile,
    reader: BufReader<File>,
    at: u64,
}

impl<'f> Cursor<'f> {
    /// From the file's first byte on.
    pub fn new(file: &'f SourceFile) -> Result<Self, ConvertError> {
        Ok(Self { file, reader: BufReader::new(file.reopen()?), at: 0 })
    }

    /// Where the next byte is read.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Passes over `count` bytes, which must be there.
    ///
    /// # Errors
    /// [`ConvertError::Damaged`] if they are not.
    pub fn skip(&mut self, count: u64) -> Result<(), ConvertError> {
        self.file.within(self.at, count)?;
        self.at += count;
        // Within the file, and so within an i64.
        self.reader.seek_relative(count as i64).map_err(ConvertError::io("read", &self.file.path))
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`ConvertError::Damaged`] if they are not there.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], ConvertError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`ConvertError::Damaged`] if they are not there.
    pub fn take(&mut self, len: usize) -> Result<Vec<u8>, ConvertError> {
        self.file.within(self.at, len as u64)?;
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A little-endian number.
    ///
    /// # Errors
    /// [`ConvertError::Damaged`] if the file ends before.
    pub fn u8(&mut self) -> Result<u8, ConvertError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// See [`Self::u8`].
    pub fn u16(&mut self) -> Result<u16, ConvertError> {
        self.array().map(u16::from_le_bytes)
    }

    /// See [`Self::u8`].
    pub fn u32(&mut self) -> Result<u32, ConvertError> {
        self.array().map(u32::from_le_bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ConvertError> {
        self.file.within(self.at, bytes.len() as u64)?;
        self.at += bytes.len() as u64;
        self.reader.read_exact(bytes).map_err(ConvertError::io("read", &self.file.path))
    }
}
