//! A protobuf message in a file, field by field, for those who want a few of its fields: the others, such as an ONNX
//! graph's weights, are passed over without being read.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::Path;

/// The longest text that is believed.
const LONGEST_TEXT: u64 = 1 << 16;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// A number of variable length.
    Number(u64),
    /// A message, a text or bytes, up to this place in the file.
    Bytes(u64),
}

/// A file that is read from front to back.
pub struct Reader {
    file: BufReader<File>,
    at: u64,
}

/// Called for each field with its number and value; what it does not read of that is passed over.
pub type Visit<'a> = &'a mut dyn FnMut(&mut Reader, u64, Value) -> io::Result<()>;

/// The error of a file that ends too early or is no protobuf message.
pub fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file is no whole ONNX graph")
}

impl Reader {
    /// Opens a file, and says where it ends.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<(Self, u64)> {
        // A pipe would be waited for.
        if !path.metadata()?.is_file() {
            return Err(io::Error::other("it is no plain file"));
        }
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        Ok((Self { file: BufReader::new(file), at: 0 }, end))
    }

    /// Calls `visit` for the fields up to `end`. Those of fixed length are passed over.
    ///
    /// # Errors
    /// Those of `visit` and of the system, and [`broken`].
    pub fn fields(&mut self, end: u64, visit: Visit<'_>) -> io::Result<()> {
        while self.at < end {
            let key = self.varint()?;
            let length = match key & 7 {
                0 => {
                    let number = self.varint()?;
                    visit(self, key >> 3, Value::Number(number))?;
                    continue;
                }
                1 => 8,
                2 => self.varint()?,
                5 => 4,
                _ => return Err(broken()),
            };
            let stop = self.at.checked_add(length).filter(|stop| *stop <= end).ok_or_else(broken)?;
            if key & 7 == 2 {
                visit(self, key >> 3, Value::Bytes(stop))?;
            }
            let rest = stop.checked_sub(self.at).and_then(|rest| i64::try_from(rest).ok()).ok_or_else(broken)?;
            self.file.seek_relative(rest)?;
            self.at = stop;
        }
        if self.at == end { Ok(()) } else { Err(broken()) }
    }

    /// The text up to `end`.
    ///
    /// # Errors
    /// [`broken`] if it is none, or the system's.
    pub fn text(&mut self, end: u64) -> io::Result<String> {
        let length = end.checked_sub(self.at).filter(|length| *length <= LONGEST_TEXT).ok_or_else(broken)?;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes)?;
        self.at = end;
        String::from_utf8(bytes).map_err(|_| broken())
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.file.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(broken())
    }
}
