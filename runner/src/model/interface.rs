//! What an ONNX graph's inputs and outputs are called and how long their axes are, read from the file without ONNX
//! Runtime and without its weights.
//!
//! Only the fields that lead there are followed (protobuf, `onnx.proto`): everything else is passed over in the file.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::Path;

/// An input or an output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct End {
    pub(super) name: String,
    /// The lengths of its axes; `None` where a length is not fixed.
    pub(super) axes: Vec<Option<usize>>,
}

/// The ends of a graph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) inputs: Vec<End>,
    pub(super) outputs: Vec<End>,
}

impl Interface {
    /// Reads a graph's file; `None` if it is none.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        let mut reader = Reader { file: BufReader::new(file), at: 0 };
        let mut interface = Self::default();
        let found = reader.fields(length, &mut |reader, field, end| match field {
            MODEL_GRAPH => reader.fields(end, &mut |reader, field, end| match field {
                GRAPH_INPUT => reader.end_point(end).map(|found| interface.inputs.push(found)),
                GRAPH_OUTPUT => reader.end_point(end).map(|found| interface.outputs.push(found)),
                _ => reader.skip_to(end),
            }),
            _ => reader.skip_to(end),
        });
        found.ok()?;
        (!interface.outputs.is_empty()).then_some(interface)
    }

    pub(super) fn input(&self, name: &str) -> Option<&End> {
        self.inputs.iter().find(|end| end.name == name)
    }

    pub(super) fn output(&self, name: &str) -> Option<&End> {
        self.outputs.iter().find(|end| end.name == name)
    }
}

impl End {
    /// The length of an axis, where it is fixed.
    pub(super) fn axis(&self, axis: usize) -> Option<usize> {
        self.axes.get(axis).copied().flatten()
    }
}

// Numbers of fields in `onnx.proto`.
const MODEL_GRAPH: u64 = 7;
const GRAPH_INPUT: u64 = 11;
const GRAPH_OUTPUT: u64 = 12;
const VALUE_NAME: u64 = 1;
const VALUE_TYPE: u64 = 2;
const TYPE_TENSOR: u64 = 1;
const TENSOR_SHAPE: u64 = 2;
const SHAPE_AXIS: u64 = 1;
const AXIS_LENGTH: u64 = 1;
/// Longest name that is believed.
const LONGEST_NAME: u64 = 4096;

struct Reader {
    file: BufReader<File>,
    at: u64,
}

fn damaged() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

/// Called for each field with its number and where its content ends; it must go there.
type Visit<'a> = &'a mut dyn FnMut(&mut Reader, u64, u64) -> io::Result<()>;

impl Reader {
    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.file.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7F) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    fn skip_to(&mut self, end: u64) -> io::Result<()> {
        let far = end.checked_sub(self.at).and_then(|far| i64::try_from(far).ok()).ok_or_else(damaged)?;
        self.file.seek_relative(far)?;
        self.at = end;
        Ok(())
    }

    /// Calls `visit` for the fields that have a length, up to `end`.
    fn fields(&mut self, end: u64, visit: Visit<'_>) -> io::Result<()> {
        while self.at < end {
            let key = self.varint()?;
            match key & 7 {
                0 => drop(self.varint()?),
                1 => self.skip_to(self.at + 8)?,
                2 => {
                    let length = self.varint()?;
                    let stop = self.at.checked_add(length).filter(|&stop| stop <= end).ok_or_else(damaged)?;
                    visit(self, key >> 3, stop)?;
                    if self.at != stop {
                        return Err(damaged());
                    }
                }
                5 => self.skip_to(self.at + 4)?,
                _ => return Err(damaged()),
            }
        }
        Ok(())
    }

    fn text(&mut self, end: u64) -> io::Result<String> {
        let length = end.checked_sub(self.at).filter(|&length| length <= LONGEST_NAME).ok_or_else(damaged)?;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes)?;
        self.at = end;
        String::from_utf8(bytes).map_err(|_| damaged())
    }

    fn end_point(&mut self, end: u64) -> io::Result<End> {
        let mut found = End::default();
        self.fields(end, &mut |reader, field, end| match field {
            VALUE_NAME => reader.text(end).map(|name| found.name = name),
            VALUE_TYPE => reader.fields(end, &mut |reader, field, end| match field {
                TYPE_TENSOR => reader.fields(end, &mut |reader, field, end| match field {
                    TENSOR_SHAPE => reader.fields(end, &mut |reader, field, end| match field {
                        SHAPE_AXIS => reader.axis(end).map(|axis| found.axes.push(axis)),
                        _ => reader.skip_to(end),
                    }),
                    _ => reader.skip_to(end),
                }),
                _ => reader.skip_to(end),
            }),
            _ => reader.skip_to(end),
        })?;
        Ok(found)
    }

    fn axis(&mut self, end: u64) -> io::Result<Option<usize>> {
        let mut length = None;
        while self.at < end {
            let key = self.varint()?;
            match key & 7 {
                0 => {
                    let value = self.varint()?;
                    if key >> 3 == AXIS_LENGTH {
                        length = usize::try_from(value).ok().filter(|&value| value > 0);
                    }
                }
                2 => {
                    let size = self.varint()?;
                    self.skip_to(self.at.checked_add(size).filter(|&stop| stop <= end).ok_or_else(damaged)?)?;
                }
                _ => return Err(damaged()),
            }
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn reference(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/reference").join(name)
    }

    #[test]
    fn the_ends_of_real_graphs() {
        let encoder = Interface::read(&reference("encoder_model.onnx")).unwrap();
        assert_eq!(encoder.input("input_features").unwrap().axes, [None, Some(80), Some(3000)]);
        assert_eq!(encoder.output("last_hidden_state").unwrap().axis(2), Some(192));
        let decoder = Interface::read(&reference("decoder_with_past_model.onnx")).unwrap();
        assert_eq!(decoder.output("logits").unwrap().axis(2), Some(51_865));
        let key = decoder.input("past_key_values.2.decoder.key").unwrap();
        assert_eq!(key.axes, [None, Some(3), None, Some(64)]);
        assert_eq!(decoder.inputs.len(), 1 + 3 * 4);
        assert_eq!(decoder.input("nothing"), None);
    }

    #[test]
    fn what_is_no_graph_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.onnx");
        assert_eq!(Interface::read(&path), None);
        let whole = std::fs::read(reference("encoder_model.onnx")).unwrap();
        for bytes in [&[][..], b"text that is no graph", &[0xFF; 64], &[0x3A, 0xFF, 0xFF, 0xFF, 0x7F], &whole[..999]] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Interface::read(&path), None, "{} bytes", bytes.len());
        }
    }
}
