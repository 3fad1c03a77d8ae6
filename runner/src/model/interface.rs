//! What an ONNX graph's inputs and outputs are called and how long their axes are, read from the file without ONNX
//! Runtime and without its weights: only the fields of `onnx.proto` that lead there are followed.

use std::io;
use std::path::Path;

use undertone_models::protobuf::{Reader, Value};

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
        let (mut reader, end) = Reader::open(path).ok()?;
        let mut interface = Self::default();
        let found = reader.fields(end, &mut |reader, field, value| {
            let (MODEL_GRAPH, Value::Bytes(end)) = (field, value) else { return Ok(()) };
            reader.fields(end, &mut |reader, field, value| {
                match (field, value) {
                    (GRAPH_INPUT, Value::Bytes(end)) => interface.inputs.push(End::read(reader, end)?),
                    (GRAPH_OUTPUT, Value::Bytes(end)) => interface.outputs.push(End::read(reader, end)?),
                    _ => {}
                }
                Ok(())
            })
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
    /// Reads a `ValueInfoProto` up to `end`.
    fn read(reader: &mut Reader, end: u64) -> io::Result<Self> {
        let mut found = Self::default();
        reader.fields(end, &mut |reader, field, value| {
            match (field, value) {
                (VALUE_NAME, Value::Bytes(end)) => found.name = reader.text(end)?,
                (VALUE_TYPE, Value::Bytes(end)) => read_axes(reader, end, &AXES, &mut found.axes)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(found)
    }

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
/// The way from a type to an axis of it: the tensor, its shape, the axis.
const AXES: [u64; 3] = [1, 2, 1];
const AXIS_LENGTH: u64 = 1;

/// Goes `way` down in a message up to `end`, and reads the lengths of the axes that are there.
fn read_axes(reader: &mut Reader, end: u64, way: &[u64], axes: &mut Vec<Option<usize>>) -> io::Result<()> {
    let [next, rest @ ..] = way else {
        let mut length = None;
        reader.fields(end, &mut |_, field, value| {
            if let (AXIS_LENGTH, Value::Number(number)) = (field, value) {
                length = usize::try_from(number).ok().filter(|&number| number > 0);
            }
            Ok(())
        })?;
        axes.push(length);
        return Ok(());
    };
    reader.fields(end, &mut |reader, field, value| match value {
        Value::Bytes(end) if field == *next => read_axes(reader, end, rest, axes),
        _ => Ok(()),
    })
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
