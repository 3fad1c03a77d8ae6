//! Bytes of a file or a stream, read once from front to back with a look ahead: what the readers of containers stand
//! on.
//!
//! An error while reading ends the bytes; [`Bytes::trouble`] has it. What came before can still be decoded.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex};

/// Bytes that are read from the source at once.
const PIECE: usize = 64 * 1024;

/// Where bytes come from.
pub(super) trait Source: Read + Send {
    /// Leaves out `count` bytes without reading them, where that is possible; how many were left out.
    fn leap(&mut self, _count: u64) -> io::Result<u64> {
        Ok(0)
    }
}

impl Source for File {
    fn leap(&mut self, count: u64) -> io::Result<u64> {
        let here = self.stream_position()?;
        // Never beyond the end, so that a missing end is seen.
        let count = count.min(self.metadata()?.len().saturating_sub(here));
        self.seek(SeekFrom::Start(here + count))?;
        Ok(count)
    }
}

/// Any reader, without leaps.
pub(super) struct Stream<R>(pub(super) R);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Send> Source for Stream<R> {}

/// A reader that keeps what it has read until it is told that this is no longer wanted.
pub(super) struct Recorded<R> {
    inner: R,
    log: Log,
}

/// What a [`Recorded`] has read; `None` once it is no longer wanted.
pub(super) type Log = Arc<Mutex<Option<Vec<u8>>>>;

impl<R: Read> Recorded<R> {
    pub(super) fn new(inner: R) -> (Self, Log) {
        let log = Log::new(Mutex::new(Some(Vec::new())));
        (Self { inner, log: log.clone() }, log)
    }
}

impl<R: Read> Read for Recorded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        // A poisoned lock means that another thread panicked while it held the log: what is in it is whole all the
        // same.
        if let Some(log) = &mut *self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            log.extend_from_slice(&buffer[..count]);
        }
        Ok(count)
    }
}

/// A source with a look ahead.
pub(super) struct Bytes {
    source: Box<dyn Source>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were consumed.
    done: usize,
    position: u64,
    ended: bool,
    trouble: Option<io::Error>,
}

impl Bytes {
    pub(super) fn new(source: Box<dyn Source>) -> Self {
        Self { source, buffer: Vec::new(), done: 0, position: 0, ended: false, trouble: None }
    }

    /// The next `count` bytes, or as many as there are until the end; they stay.
    pub(super) fn peek(&mut self, count: usize) -> &[u8] {
        if self.buffer.len() - self.done < count && !self.ended {
            self.buffer.drain(..self.done);
            self.done = 0;
            while self.buffer.len() < count && !self.ended {
                let have = self.buffer.len();
                self.buffer.resize(have + PIECE.max(count - have).min(16 * PIECE), 0);
                let read = match self.source.read(&mut self.buffer[have..]) {
                    Ok(read) => {
                        self.ended = read == 0;
                        read
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                    Err(error) => {
                        self.trouble = Some(error);
                        self.ended = true;
                        0
                    }
                };
                self.buffer.truncate(have + read);
            }
        }
        let end = self.buffer.len().min(self.done.saturating_add(count));
        &self.buffer[self.done..end]
    }

    /// The next `N` bytes, which stay; `None` where fewer are left.
    pub(super) fn peek_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.peek(N).try_into().ok()
    }

    /// Takes `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = self.peek_array();
        if array.is_some() {
            self.skip(N as u64);
        }
        array
    }

    /// Takes `count` bytes, or as many as there are.
    pub(super) fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.peek(count).to_vec();
        self.skip(taken.len() as u64);
        taken
    }

    /// Leaves out `count` bytes, or as many as there are; how many they were.
    pub(super) fn skip(&mut self, count: u64) -> u64 {
        let begun = self.position;
        let mut left = count;
        loop {
            let here = left.min((self.buffer.len() - self.done) as u64);
            self.done += here as usize;
            self.position += here;
            left -= here;
            if left == 0 || self.ended {
                break;
            }
            if left > PIECE as u64 {
                match self.source.leap(left) {
                    Ok(leapt) => {
                        self.position += leapt;
                        left -= leapt;
                    }
                    Err(error) => {
                        self.trouble = Some(error);
                        self.ended = true;
                    }
                }
            }
            if left > 0 {
                self.peek(PIECE.min(usize::try_from(left).unwrap_or(PIECE)));
            }
        }
        self.position - begun
    }

    /// Whether all bytes were taken.
    pub(super) fn at_end(&mut self) -> bool {
        self.peek(1).is_empty()
    }

    /// The error that ended the bytes, if one did.
    pub(super) fn trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peeks_takes_and_skips_go_through_the_same_bytes() {
        let all: Vec<u8> = (0..300_000u32).map(|i| (i * 7 / 3) as u8).collect();
        let mut bytes = Bytes::new(Box::new(Stream(io::Cursor::new(all.clone()))));
        let mut at = 0;
        for count in [1, 70_000, 3, 65_536, 0, 100_000] {
            assert_eq!(bytes.peek(count), &all[at..at + count]);
            assert_eq!(bytes.take(count), &all[at..at + count]);
            at += count;
            assert_eq!(bytes.skip(5), 5);
            at += 5;
        }
        assert_eq!(bytes.skip(1 << 40), (all.len() - at) as u64);
        assert!(bytes.at_end() && bytes.peek(9).is_empty());
    }

    #[test]
    fn files_are_left_out_by_leaps_that_see_their_end() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[7; 500_000]).unwrap();
        file.rewind().unwrap();
        let mut bytes = Bytes::new(Box::new(file));
        assert_eq!(bytes.skip(400_000), 400_000);
        assert_eq!(bytes.skip(400_000), 100_000);
        assert!(bytes.at_end());
    }
}
