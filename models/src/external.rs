//! Which files an ONNX graph keeps its weights in, beside its own: `encoder_model.onnx_data`,
//! `encoder_model.onnx.data`, or whatever the graph says. Reads the few bytes that say so and skips the weights.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

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
///
/// If the file cannot be read, or is no whole protobuf message.
pub fn needed(graph: &Path) -> io::Result<BTreeMap<String, u64>> {
    let file = File::open(graph)?;
    let length = file.metadata()?.len();
    let mut reader = Reader { source: BufReader::new(file), position: 0 };
    let mut files = BTreeMap::new();
    reader.message(length, Kind::Model, &mut files, 0)?;
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

struct Reader {
    source: BufReader<File>,
    position: u64,
}

impl Reader {
    /// Reads a message of `length` bytes.
    fn message(&mut self, length: u64, kind: Kind, files: &mut BTreeMap<String, u64>, depth: usize) -> io::Result<()> {
        let end = self.position.checked_add(length).ok_or_else(broken)?;
        // `external_data` of a tensor.
        let (mut location, mut offset, mut size) = (None, 0u64, 0u64);
        while self.position < end {
            let tag = self.varint()?;
            let (field, wire) = (tag >> 3, tag & 7);
            let length = match wire {
                0 => {
                    self.varint()?;
                    continue;
                }
                1 => 8,
                2 => self.varint()?,
                5 => 4,
                _ => return Err(broken()),
            };
            if self.position.checked_add(length).is_none_or(|after| after > end) {
                return Err(broken());
            }
            match kind.below(field) {
                Some(_) if depth >= DEPTH => return Err(broken()),
                Some(below) if wire == 2 => self.message(length, below, files, depth + 1)?,
                _ if kind == Kind::Tensor && field == 13 && wire == 2 => {
                    let (key, value) = self.entry(length)?;
                    match key.as_str() {
                        "location" => location = Some(value),
                        "offset" => offset = value.parse().map_err(|_| broken())?,
                        "length" => size = value.parse().map_err(|_| broken())?,
                        _ => {}
                    }
                }
                _ => self.skip(length)?,
            }
        }
        if self.position != end {
            return Err(broken());
        }
        if let Some(location) = location {
            let needed = files.entry(location).or_default();
            *needed = (*needed).max(offset.saturating_add(size));
        }
        Ok(())
    }

    /// A `StringStringEntryProto`.
    fn entry(&mut self, length: u64) -> io::Result<(String, String)> {
        if length > 1 << 16 {
            return Err(broken());
        }
        let end = self.position + length;
        let (mut key, mut value) = (String::new(), String::new());
        while self.position < end {
            let tag = self.varint()?;
            let length = if tag & 7 == 2 { self.varint()? } else { return Err(broken()) };
            if length > end.saturating_sub(self.position) {
                return Err(broken());
            }
            let mut bytes = vec![0; length as usize];
            self.source.read_exact(&mut bytes)?;
            self.position += length;
            let text = String::from_utf8(bytes).map_err(|_| broken())?;
            match tag >> 3 {
                1 => key = text,
                2 => value = text,
                _ => {}
            }
        }
        Ok((key, value))
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.source.read_exact(&mut byte)?;
            self.position += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(broken())
    }

    /// Steps over bytes that are known to be there: within the buffer where it can be, since most of what is skipped is
    /// short.
    fn skip(&mut self, length: u64) -> io::Result<()> {
        self.source.seek_relative(i64::try_from(length).map_err(|_| broken())?)?;
        self.position += length;
        Ok(())
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file is no whole ONNX graph")
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
