//! Which files an ONNX graph keeps its weights in, beside its own: `encoder_model.onnx_data`,
//! `encoder_model.onnx.data`, or whatever the graph says. Reads the few bytes that say so and skips the weights.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::protobuf::{Reader, Value, broken};

/// Files that `file` (a path below `folder`, with `/`) needs and that are not there or shorter than the graph says, as
/// paths below `folder`; and `file` itself if it is a graph that ends too early. Empty for what is no ONNX file.
pub(crate) fn lacking(folder: &Path, file: &str) -> Vec<String> {
    let path = folder.join(file);
    if !file.ends_with(".onnx") || !path.is_file() {
        return Vec::new();
    }
    let Ok(needed) = needed(&path) else { return vec![file.to_owned()] };
    let beside = file.rsplit_once('/').map_or(String::new(), |(above, _)| format!("{above}/"));
    let is_short = |name: &String, end: u64| !folder.join(name).metadata().is_ok_and(|data| data.len() >= end);
    let files =
        needed.into_iter().map(|(location, end)| (format!("{beside}{}", location.trim_start_matches("./")), end));
    files.filter(|(name, end)| is_short(name, *end)).map(|(name, _)| name).collect()
}

/// The files that a graph's tensors stand in, each with the number of bytes that it has to have at least.
///
/// # Errors
/// If the file cannot be read, or is no whole protobuf message.
fn needed(graph: &Path) -> io::Result<BTreeMap<String, u64>> {
    let (mut reader, end) = Reader::open(graph)?;
    let mut files = BTreeMap::new();
    message(&mut reader, end, Kind::Model, &mut files, 0)?;
    Ok(files)
}

/// The messages of `onnx.proto3` on the way to a tensor.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
}

impl Kind {
    /// What a field of this message is, if a tensor may be below it.
    fn below(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) => Some(Self::Graph),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Graph, 5) => Some(Self::Tensor),
            (Self::Graph, 15) => Some(Self::SparseTensor),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Attribute, 5 | 10) => Some(Self::Tensor),
            (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::SparseTensor, 1 | 2) => Some(Self::Tensor),
            _ => None,
        }
    }
}

/// How deep graphs may stand in each other.
const DEPTH: usize = 64;

/// Reads a message up to `end`, and those below it.
fn message(
    reader: &mut Reader,
    end: u64,
    kind: Kind,
    files: &mut BTreeMap<String, u64>,
    depth: usize,
) -> io::Result<()> {
    // `external_data` of a tensor.
    let (mut location, mut offset, mut size) = (None, 0u64, 0u64);
    reader.fields(end, &mut |reader, field, value| {
        let Value::Bytes(end) = value else { return Ok(()) };
        match kind.below(field) {
            Some(_) if depth >= DEPTH => return Err(broken()),
            Some(below) => message(reader, end, below, files, depth + 1)?,
            None if kind == Kind::Tensor && field == 13 => {
                let (key, value) = entry(reader, end)?;
                match key.as_str() {
                    "location" => location = Some(value),
                    "offset" => offset = value.parse().map_err(|_| broken())?,
                    "length" => size = value.parse().map_err(|_| broken())?,
                    _ => {}
                }
            }
            None => {}
        }
        Ok(())
    })?;
    if let Some(location) = location {
        let needed = files.entry(location).or_default();
        *needed = (*needed).max(offset.saturating_add(size));
    }
    Ok(())
}

/// A `StringStringEntryProto`.
fn entry(reader: &mut Reader, end: u64) -> io::Result<(String, String)> {
    let (mut key, mut value) = (String::new(), String::new());
    reader.fields(end, &mut |reader, field, content| {
        match (field, content) {
            (1, Value::Bytes(end)) => key = reader.text(end)?,
            (2, Value::Bytes(end)) => value = reader.text(end)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    /// A field of bytes.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(content);
        bytes
    }

    fn external(location: &str, offset: u64, length: u64) -> Vec<u8> {
        let entry =
            |key: &str, value: &str| field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
        [
            entry("location", location),
            entry("offset", &offset.to_string()),
            entry("length", &length.to_string()),
            vec![14 << 3, 1],
        ]
        .concat()
    }

    /// Two tensors in one file, one in another from a constant in the body of an `If`, and one in the graph itself.
    fn graph() -> Vec<u8> {
        let body = field(1, &field(5, &field(5, &external("other.bin", 0, 7))));
        let node = field(1, &field(5, &field(6, &body)));
        let inline = field(5, &field(9, &[7; 100_000]));
        let content =
            [field(5, &external("w.onnx.data", 0, 16)), inline, node, field(5, &external("w.onnx.data", 64, 36))];
        [vec![8, 9], field(7, &content.concat())].concat()
    }

    #[test]
    fn files_are_found_with_their_lengths_wherever_their_tensor_stands() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("m.onnx");
        fs::write(&path, graph()).unwrap();
        let expected = BTreeMap::from([("w.onnx.data".to_owned(), 100), ("other.bin".to_owned(), 7)]);
        assert_eq!(needed(&path).unwrap(), expected);
    }

    #[test]
    fn what_is_missing_or_short_is_named() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("onnx");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("m.onnx"), graph()).unwrap();
        assert_eq!(lacking(home.path(), "onnx/m.onnx"), ["onnx/other.bin", "onnx/w.onnx.data"]);
        fs::write(folder.join("other.bin"), [0; 7]).unwrap();
        fs::write(folder.join("w.onnx.data"), [0; 99]).unwrap();
        assert_eq!(lacking(home.path(), "onnx/m.onnx"), ["onnx/w.onnx.data"]);
        fs::write(folder.join("w.onnx.data"), [0; 100]).unwrap();
        assert!(lacking(home.path(), "onnx/m.onnx").is_empty());
        assert!(lacking(home.path(), "config.json").is_empty());
    }

    #[test]
    fn a_graph_cut_anywhere_is_not_taken_for_a_whole_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("m.onnx");
        let whole = graph();
        for length in (3..whole.len()).step_by(997).chain(whole.len() - 200..whole.len()) {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(lacking(home.path(), "m.onnx"), ["m.onnx"], "cut at {length} of {}", whole.len());
        }
    }

    #[test]
    fn real_graphs_keep_their_weights_inside() {
        let reference = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("reference");
        for graph in ["encoder_model", "decoder_model", "decoder_with_past_model", "decoder_model_merged"] {
            assert!(needed(&reference.join(format!("{graph}.onnx"))).unwrap().is_empty(), "{graph}");
        }
    }
}
