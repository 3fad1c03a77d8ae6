//! The container: one file with the graphs of a session's groups, their packed kernels and their large constants.
//!
//! | bytes | what |
//! |---|---|
//! | 0 … 8 | [`MAGIC`] |
//! | 8 … 40 | little-endian 64-bit numbers: format, length of the description, its checksum, length of the file |
//! | 64 … | the description (postcard): a [`Origin`], then an `Index` |
//! | at the next multiple of 4096 | blobs, each at a multiple of 64, large ones of 4096 |
//!
//! Checksums are 64-bit XXH3 of a MiB at a time. A blob's is compared when the blob is first asked for: what another
//! session of the process holds already is not read.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;
use undertone_kernels::{Blob, Memory as _};

use super::{ContextError, Origin, map::Map};
use crate::{
    file::write_whole,
    graph::{Attribute, Constant, Graph},
    memory::{PackedWeights, WORTH_SHARING, WeightKey, WeightSource},
};

/// The file's first bytes.
pub const MAGIC: [u8; 8] = *b"XDNApack";
/// Grows with every change of the format.
const FORMAT: u64 = 1;
const PREAMBLE: usize = 64;
const PAGE: usize = 4096;
const LINE: usize = 64;
/// Bytes that are hashed, and forgotten where that is wanted, at a time.
const STRIDE: usize = 1 << 20;

/// What is in the file, behind the [`Origin`].
#[derive(Serialize, Deserialize)]
struct Index<'a> {
    /// Groups by the names of their `EPContext` nodes.
    partitions: Vec<(String, Graph<'a>)>,
    entries: Vec<Entry>,
    /// Where the blobs are, counted from the first one.
    extents: Vec<Extent>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    key: WeightKey,
    /// It is a constant of which a run reads only some rows.
    sparse: bool,
    /// First of its extents, and how many.
    first: usize,
    count: usize,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Extent {
    offset: u64,
    len: u64,
    checksum: u64,
}

/// Writes a container. The error is [`ContextError::Unwritable`], and [`ContextError::NotPackable`] if a device's
/// kernels cannot be kept.
pub fn write(
    path: &Path,
    origin: &Origin,
    partitions: Vec<(String, Graph<'_>)>,
    made: &BTreeMap<WeightKey, PackedWeights>,
) -> Result<(), ContextError> {
    let (mut blobs, mut entries, mut extents) = (Vec::new(), Vec::new(), Vec::new());
    let mut end = 0;
    for (key, made) in made {
        let parts = made.parts().ok_or(ContextError::NotPackable("a kernel's device keeps no packed weights"))?;
        let sparse = matches!(made, PackedWeights::Constant(_));
        entries.push(Entry { key: key.clone(), sparse, first: extents.len(), count: parts.len() });
        for part in parts {
            let start = end_of_blob(end, part.len());
            extents.push(Extent { offset: start as u64, len: part.len() as u64, checksum: checksum(part, |_| ()) });
            blobs.push((start, part));
            end = start + part.len();
        }
    }
    let partitions = partitions.into_iter().map(|(name, graph)| (name, without_weights(graph))).collect();
    let index = Index { partitions, entries, extents };
    let unwritable = |source| ContextError::Unwritable { path: path.to_owned(), source };
    let invalid = |error: postcard::Error| unwritable(io::Error::new(io::ErrorKind::InvalidData, error.to_string()));
    let mut description = postcard::to_allocvec(origin).map_err(invalid)?;
    description.extend(postcard::to_allocvec(&index).map_err(invalid)?);

    let first = first_blob(description.len());
    let numbers = [FORMAT, description.len() as u64, checksum(&description, |_| ()), (first + end) as u64];
    write_whole(path, |file| {
        file.write_all(&MAGIC)?;
        numbers.iter().try_for_each(|number| file.write_all(&number.to_le_bytes()))?;
        let mut at = MAGIC.len() + size_of_val(&numbers);
        for (start, bytes) in
            [(PREAMBLE, &description[..])].into_iter().chain(blobs.iter().map(|(s, b)| (first + s, *b)))
        {
            fill(file, start - at)?;
            file.write_all(bytes)?;
            at = start + bytes.len();
        }
        fill(file, first + end - at)
    })
    .map_err(unwritable)?;
    made.values().for_each(PackedWeights::forget);
    Ok(())
}

/// Where a blob starts that follows `end`.
fn end_of_blob(end: usize, len: usize) -> usize {
    // Pages of large blobs are forgotten by themselves.
    end.next_multiple_of(if len >= STRIDE { PAGE } else { LINE })
}

/// Where the first blob starts.
fn first_blob(description: usize) -> usize {
    (PREAMBLE + description).next_multiple_of(PAGE)
}

fn fill(file: &mut dyn Write, count: usize) -> io::Result<()> {
    file.write_all(&[0; PAGE][..count])
}

/// The graph with the contents of small constants only: large ones are entries, or in packed kernels.
fn without_weights(mut graph: Graph<'_>) -> Graph<'_> {
    for constant in graph.values.iter_mut().filter_map(|value| value.constant.as_mut()) {
        if constant.size() >= WORTH_SHARING {
            *constant = constant.emptied();
        }
    }
    graph
}

/// 64-bit XXH3 of bytes, stride by stride, each with the one before as its seed. `read` is told of each stride when it
/// was read.
fn checksum(bytes: &[u8], read: impl Fn(Range<usize>)) -> u64 {
    bytes.chunks(STRIDE).enumerate().fold(0, |seed, (at, stride)| {
        let checksum = XxHash3_64::oneshot_with_seed(seed, stride);
        read(at * STRIDE..at * STRIDE + stride.len());
        checksum
    })
}

/// An open container.
pub struct Container {
    path: PathBuf,
    map: Arc<Map>,
    index: Index<'static>,
    entries: HashMap<WeightKey, usize>,
    first_blob: usize,
}

impl Container {
    /// Opens and checks a container, all but its blobs. The error is [`ContextError`]: it cannot be read, is damaged, or
    /// is not `origin`'s.
    pub fn open(path: &Path, origin: &Origin) -> Result<Self, ContextError> {
        let map = Map::open(path).map_err(|source| ContextError::Unreadable { path: path.to_owned(), source })?;
        let damaged = |what: &str| ContextError::Damaged { path: path.to_owned(), what: what.to_owned() };
        let bytes = map.bytes();
        let preamble = bytes.get(..PREAMBLE).ok_or_else(|| damaged("it is too short"))?;
        let (magic, rest) = preamble.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(damaged("it does not begin as such a file does"));
        }
        let mut numbers = rest.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut number = || numbers.next().unwrap_or(0);
        let (format, description_len, checksum, len) = (number(), number(), number(), number());
        let foreign = |what: &str, found: &dyn ToString, wanted: &dyn ToString| ContextError::Foreign {
            path: path.to_owned(),
            what: what.to_owned(),
            found: found.to_string(),
            wanted: wanted.to_string(),
        };
        if format != FORMAT {
            return Err(foreign("format", &format, &FORMAT));
        }
        if len != bytes.len() as u64 {
            return Err(damaged(&format!("it has {} bytes of {len}", bytes.len())));
        }
        let description = usize::try_from(description_len)
            .ok()
            .and_then(|len| bytes.get(PREAMBLE..PREAMBLE.checked_add(len)?))
            .filter(|description| self::checksum(description, |_| ()) == checksum)
            .ok_or_else(|| damaged("its description has another checksum"))?;
        let unreadable = |error: postcard::Error| damaged(&error.to_string());
        let (found, rest) = postcard::take_from_bytes::<Origin>(description).map_err(unreadable)?;
        if let Some([what, found, wanted]) = found.difference(origin) {
            return Err(foreign(what, &found, &wanted));
        }
        let index: Index<'static> = postcard::from_bytes(rest).map_err(unreadable)?;
        index.partitions.iter().try_for_each(|(_, graph)| check(graph)).map_err(|what| damaged(&what))?;
        let first_blob = first_blob(description.len());
        let entries = index.entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
        Ok(Self { path: path.to_owned(), map: Arc::new(map), index, entries, first_blob })
    }

    /// The graph of a group, with the contents of small constants only.
    pub fn graph(&self, partition: &str) -> Option<&Graph<'static>> {
        self.index.partitions.iter().find(|(name, _)| name == partition).map(|(_, graph)| graph)
    }

    /// A blob whose checksum was compared.
    fn blob(&self, extent: Extent, sparse: bool) -> Option<Blob> {
        let start = self.first_blob.checked_add(usize::try_from(extent.offset).ok()?)?;
        let range = start..start.checked_add(usize::try_from(extent.len).ok()?)?;
        let blob = Blob::new(self.map.clone(), range)?;
        let found = checksum(blob.bytes(), |stride| {
            if sparse && extent.len >= STRIDE as u64 {
                blob.forget(stride);
            }
        });
        (found == extent.checksum).then_some(blob)
    }
}

impl WeightSource for Container {
    fn parts(&self, key: &WeightKey) -> Result<Vec<Blob>, String> {
        let damaged = |what: &str| ContextError::Damaged { path: self.path.clone(), what: what.to_owned() }.to_string();
        let entry = self.entries.get(key).map(|at| &self.index.entries[*at]);
        let entry = entry.ok_or_else(|| damaged("a kernel is not there"))?;
        let range: Range<usize> = entry.first..entry.first.saturating_add(entry.count);
        let extents = self.index.extents.get(range).ok_or_else(|| damaged("a kernel's place is not there"))?;
        let blobs = extents.iter().map(|extent| self.blob(*extent, entry.sparse));
        blobs.collect::<Option<_>>().ok_or_else(|| damaged("weights have another checksum"))
    }
}

/// Whether a graph's parts are all there, and its constants have the bytes that their shapes ask for.
fn check(graph: &Graph<'_>) -> Result<(), String> {
    let in_nodes = graph.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs).flatten());
    let ends = graph.inputs.iter().chain(&graph.outputs);
    if let Some(value) = in_nodes.chain(ends).find(|value| **value >= graph.values.len()) {
        return Err(format!("a graph has no value {value}"));
    }
    let attributes =
        graph.nodes.iter().flat_map(|node| node.attributes.values()).filter_map(|attribute| match attribute {
            Attribute::Tensor(tensor) => Some((tensor, false)),
            _ => None,
        });
    let constants = graph.values.iter().filter_map(|value| Some((value.constant.as_ref()?, true)));
    let is_whole = |(constant, may_be_empty): &(&Constant<'_>, bool)| {
        let is_kept_apart = *may_be_empty && constant.bytes.is_empty() && constant.size() >= WORTH_SHARING;
        constant.bytes.len() == constant.size() || is_kept_apart
    };
    match attributes.chain(constants).find(|constant| !is_whole(constant)) {
        Some((constant, _)) => Err(format!("a constant of {:?} has {} bytes", constant.shape, constant.bytes.len())),
        None => Ok(()),
    }
}
