//! Safetensors: eight bytes of a length, a header in JSON of this length, the tensors. Source: the format's description
//! in huggingface/safetensors, README.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use super::{
    Checkpoint, ConvertError, Element, SourceFile, SourceKind, Tensor,
    huggingface::{self, Folder},
    names, tensor,
};

/// The format's own limit.
const LARGEST_HEADER: u64 = 100_000_000;

/// Reads one file, or those that an index lists.
pub(super) fn open(path: &Path) -> Result<Checkpoint, ConvertError> {
    let folder = Folder::of(path)?;
    let mut tensors = Vec::new();
    for shard in huggingface::shards(path)? {
        tensors.append(&mut read(&shard)?);
    }
    let tensors = folder.named(tensors);
    Checkpoint::new(SourceKind::Safetensors, path, tensors, folder.heads, folder.details)
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

fn read(path: &Path) -> Result<Vec<(String, Tensor)>, ConvertError> {
    let file = Arc::new(SourceFile::open(path)?);
    let mut length = [0; 8];
    file.read_at(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LARGEST_HEADER {
        return Err(file.damaged(format!("its header would have {length} bytes, more than the format allows")));
    }
    let header = file.bytes(8, length)?;
    let damaged = |error: serde_json::Error| file.damaged(format!("its header is no such JSON: {error}"));
    let header: BTreeMap<String, Value> = serde_json::from_slice(&header).map_err(damaged)?;
    let mut tensors = Vec::new();
    for (name, entry) in header {
        if name == "__metadata__" {
            continue;
        }
        let Entry { dtype, shape, data_offsets: [from, to] } = serde_json::from_value(entry).map_err(damaged)?;
        let Some(element) = element(&dtype) else {
            if names::canonical(&name).is_some() {
                return Err(ConvertError::unsupported(path, format!("{name} is stored as {dtype}")));
            }
            continue;
        };
        let bytes = tensor::count(&shape).and_then(|count| element.bytes(count));
        if to.checked_sub(from) != bytes || bytes.is_none() {
            return Err(file.damaged(format!("{name} is {shape:?} of {dtype}, but lies from {from} to {to}")));
        }
        let offset = from.checked_add(8 + length).ok_or_else(|| file.damaged(format!("{name} lies at {from}")))?;
        tensors.push((name.clone(), Tensor::in_file(&file, &name, shape, element, offset)?));
    }
    Ok(tensors)
}

fn element(dtype: &str) -> Option<Element> {
    Some(match dtype {
        "F64" => Element::F64,
        "F32" => Element::F32,
        "F16" => Element::F16,
        "BF16" => Element::BF16,
        _ => return None,
    })
}
