//! PyTorch's container: a zip of a pickle and of the numbers that its tensors lie in, or (before 1.6) one file of
//! pickles with the numbers behind them. Inside: OpenAI's `dims` and `model_state_dict`, or Hugging Face's plain
//! dictionary of tensors.
//!
//! Nothing that the pickle asks for is carried out, see [`super::pickle`]. Source: PyTorch, `torch/serialization.py`.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    rc::Rc,
    sync::Arc,
};

use zip::{CompressionMethod, ZipArchive};

use super::{
    Checkpoint, ConvertError, Element, SourceFile, SourceKind, Tensor,
    checkpoint::Heads,
    huggingface::{self, Folder},
    is_legacy_pytorch, names,
    pickle::{Pickle, StoredTensor, Value},
};

/// A Whisper's pickle has a few hundred kilobytes.
const LARGEST_PICKLE: u64 = 32 << 20;

/// Reads OpenAI's file, or Hugging Face's, or those that an index lists.
pub(super) fn open(path: &Path) -> Result<Checkpoint, ConvertError> {
    let mut folder = Folder::default();
    let mut heads = Heads::default();
    let mut tensors = Vec::new();
    for (i, shard) in huggingface::shards(path)?.iter().enumerate() {
        let mut container = Container::open(shard)?;
        match container.heads() {
            // OpenAI's: what lies beside it in a folder of downloads is not its.
            Some(own) => heads = own,
            None if i == 0 => {
                folder = Folder::of(path)?;
                heads = folder.heads;
            }
            None => {}
        }
        tensors.append(&mut container.tensors()?);
    }
    let tensors = folder.named(tensors);
    Checkpoint::new(SourceKind::PyTorch, path, tensors, heads, folder.details)
}

/// An opened file: what its pickle says, and where its storages lie.
struct Container {
    file: Arc<SourceFile>,
    pickle: Pickle,
    root: Value,
    /// Place and bytes of each storage.
    storages: HashMap<String, (u64, u64)>,
}

impl Container {
    fn open(path: &Path) -> Result<Self, ConvertError> {
        let file = Arc::new(SourceFile::open(path)?);
        let start = file.bytes(0, file.size().min(64))?;
        if is_legacy_pytorch(&start) { Self::legacy(file) } else { Self::zipped(file) }
    }

    /// `NAME/data.pkl`, and each storage as `NAME/data/KEY`.
    fn zipped(file: Arc<SourceFile>) -> Result<Self, ConvertError> {
        let broken = |error: zip::result::ZipError| file.damaged(format!("it is no whole zip: {error}"));
        let mut archive = ZipArchive::new(file.reopen()?).map_err(broken)?;
        let mut pickle_at = None;
        let mut storages = HashMap::new();
        for index in 0..archive.len() {
            let member = archive.by_index_raw(index).map_err(broken)?;
            let name = member.name().map_err(broken)?.into_owned();
            let Some((_, name)) = name.split_once('/') else { continue };
            let place = member.data_start().ok_or_else(|| file.damaged(format!("{name} lies nowhere")))?;
            let size = member.size();
            match name {
                "data.pkl" => pickle_at = Some((place, size)),
                "byteorder" if file.bytes(place, size.min(8))? != b"little" => {
                    return Err(ConvertError::unsupported(file.path(), "its numbers are big-endian"));
                }
                _ => match name.strip_prefix("data/") {
                    Some(key) => _ = storages.insert(key.to_owned(), (place, size)),
                    None => continue,
                },
            }
            if member.compression() != CompressionMethod::Stored {
                let reason =
                    format!("{name} is compressed, which PyTorch does not do: unpack it and save it with PyTorch");
                return Err(ConvertError::unsupported(file.path(), reason));
            }
            file.within(place, size)?;
        }
        let (place, size) = pickle_at.ok_or_else(|| {
            ConvertError::unsupported(file.path(), "it is a zip, but not PyTorch's: there is no data.pkl in it")
        })?;
        if size > LARGEST_PICKLE {
            return Err(ConvertError::unsupported(file.path(), format!("its pickle has {size} bytes")));
        }
        let mut pickle = Pickle::default();
        let (root, _) = pickle.read(&file.bytes(place, size)?).map_err(|reason| file.damaged(reason))?;
        Ok(Self { file, pickle, root, storages })
    }

    /// Pickles of a magic number, a version, the machine, the object, the keys of its storages; then each storage: how
    /// many numbers (i64), and these.
    fn legacy(file: Arc<SourceFile>) -> Result<Self, ConvertError> {
        let damaged = |reason: String| file.damaged(reason);
        let start = file.bytes(0, file.size().min(LARGEST_PICKLE))?;
        let mut at = 0;
        let mut pickle = Pickle::default();
        let mut next = || -> Result<Value, ConvertError> {
            let (value, length) = pickle.read(&start[at..]).map_err(damaged)?;
            at += length;
            Ok(value)
        };
        let (_magic, _version, machine) = (next()?, next()?, next()?);
        let (root, keys) = (next()?, next()?);
        if pickle.get(&machine, "little_endian") == Some(&Value::Bool(false)) {
            return Err(ConvertError::unsupported(file.path(), "its numbers are big-endian"));
        }
        let keys = pickle.items(&keys).ok_or_else(|| damaged("it has no list of its storages".to_owned()))?;
        let mut storages = HashMap::new();
        let mut place = at as u64;
        for key in keys {
            let storage = pickle.storages.iter().find(|storage| matches!(key, Value::Text(key) if *key == storage.key));
            let storage = storage.ok_or_else(|| damaged(format!("nothing is known of its storage {key:?}")))?;
            let mut count = [0; 8];
            file.read_at(place, &mut count)?;
            let size = element(&storage.class).map_or(other_size(&storage.class), |element| element.block().1 as u64);
            let bytes = u64::from_le_bytes(count).checked_mul(size);
            let bytes = bytes.ok_or_else(|| damaged(format!("its storage {} is too large", storage.key)))?;
            file.within(place + 8, bytes)?;
            storages.insert(storage.key.to_string(), (place + 8, bytes));
            place += 8 + bytes;
        }
        Ok(Self { file, pickle, root, storages })
    }

    /// OpenAI's `dims`; only the heads cannot be seen from the tensors.
    fn heads(&self) -> Option<Heads> {
        let dims = self.pickle.get(&self.root, "dims")?;
        let heads = |key: &str| match self.pickle.get(dims, key)? {
            Value::Int(heads) => usize::try_from(*heads).ok(),
            _ => None,
        };
        Some(Heads { encoder: heads("n_audio_head"), decoder: heads("n_text_head") })
    }

    fn tensors(&mut self) -> Result<Vec<(String, Tensor)>, ConvertError> {
        let wrapped = ["model_state_dict", "state_dict", "model"];
        let state = wrapped.iter().find_map(|key| self.pickle.get(&self.root, key)).unwrap_or(&self.root);
        let entries = self.pickle.entries(state).ok_or_else(|| {
            ConvertError::unsupported(self.file.path(), "it holds no dictionary of tensors, but a whole Python object")
        })?;
        // Where a name is set twice, the last value counts.
        let mut tensors = BTreeMap::new();
        for (name, value) in entries {
            let (Value::Text(name), Value::Tensor(tensor)) = (name, value) else { continue };
            if names::canonical(name).is_some() {
                tensors.insert(name.to_string(), self.tensor(name, &self.pickle.tensors[*tensor])?);
            }
        }
        Ok(tensors.into_iter().collect())
    }

    fn tensor(&self, name: &str, stored: &StoredTensor) -> Result<Tensor, ConvertError> {
        let storage = &self.pickle.storages[stored.storage];
        let class: &Rc<str> = stored.dtype.as_ref().unwrap_or(&storage.class);
        let element = element(class)
            .ok_or_else(|| ConvertError::unsupported(self.file.path(), format!("{name} is stored as {class}")))?;
        let missing = || self.file.damaged(format!("{name} lies in storage {}, which is missing", storage.key));
        let (place, bytes) = *self.storages.get(&*storage.key).ok_or_else(missing)?;
        let offset = element.bytes(stored.offset).filter(|offset| *offset <= bytes);
        let end = stored
            .shape
            .iter()
            .zip(&stored.strides)
            .try_fold(stored.offset, |end, (size, stride)| {
                (*size as u64).saturating_sub(1).checked_mul(*stride)?.checked_add(end)
            })
            .and_then(|last| element.bytes(last.checked_add(1)?));
        let (Some(offset), Some(_)) = (offset, end.filter(|end| *end <= bytes)) else {
            let (shape, strides) = (&stored.shape, &stored.strides);
            let reason = format!("{name} {shape:?} with strides {strides:?} does not fit its storage of {bytes} bytes");
            return Err(self.file.damaged(reason));
        };
        Tensor::strided(&self.file, name, stored.shape.clone(), stored.strides.clone(), element, place + offset)
    }
}

/// By the class of a storage, or a tensor's own type.
fn element(class: &str) -> Option<Element> {
    Some(match class {
        "torch.DoubleStorage" | "torch.float64" => Element::F64,
        "torch.FloatStorage" | "torch.float32" => Element::F32,
        "torch.HalfStorage" | "torch.float16" => Element::F16,
        "torch.BFloat16Storage" | "torch.bfloat16" => Element::BF16,
        _ => return None,
    })
}

/// Bytes of numbers that are no weights.
fn other_size(class: &str) -> u64 {
    match class {
        "torch.LongStorage" => 8,
        "torch.IntStorage" => 4,
        "torch.ShortStorage" => 2,
        _ => 1,
    }
}
