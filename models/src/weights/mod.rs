//! Weights as people have them, read into one [`Checkpoint`]: Hugging Face's safetensors and `pytorch_model.bin`,
//! CTranslate2 folders (faster-whisper), OpenAI's `.pt`, whisper.cpp's ggml `.bin`. Writes nothing, and runs nothing
//! that a file says.
//!
//! Nothing that a file says of sizes is believed before the file is seen to be as long; tensors stay in their files
//! until they are asked for, row by row.

mod checkpoint;
mod ctranslate2;
mod element;
mod error;
mod file;
mod ggml;
mod huggingface;
mod names;
mod pickle;
mod pytorch;
mod safetensors;
mod tensor;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use checkpoint::{Checkpoint, Details, Dimensions, PROJECTION, TOKENS};
pub use element::Element;
pub use error::ConvertError;
pub use file::SourceFile;
pub use tensor::Tensor;

/// The kinds of weights that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceKind {
    /// Hugging Face: `*.safetensors` with `config.json`.
    Safetensors,
    /// CTranslate2 (faster-whisper): `model.bin`.
    CTranslate2,
    /// PyTorch's container: OpenAI's `*.pt`, or Hugging Face's `pytorch_model.bin` with `config.json`.
    PyTorch,
    /// whisper.cpp: `ggml-*.bin`.
    Ggml,
}

impl std::fmt::Display for SourceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SourceKind::Safetensors => "safetensors",
            SourceKind::CTranslate2 => "CTranslate2",
            SourceKind::PyTorch => "PyTorch",
            SourceKind::Ggml => "whisper.cpp ggml",
        })
    }
}

/// What kind of weights a file or directory holds, by what is in its files. `None` if none that is read, for a
/// directory that has ONNX graphs, which need no conversion, and for one that has several files of weights of which
/// none has a usual name.
pub fn recognise(source: &Path) -> Option<SourceKind> {
    match found(source).as_slice() {
        [(kind, _)] if !has_graphs(source) => Some(*kind),
        _ => None,
    }
}

/// Reads what `source` holds.
///
/// # Errors
/// [`ConvertError`]: which file is missing, damaged or of a kind that is not read, and why.
pub fn open(source: &Path) -> Result<Checkpoint, ConvertError> {
    if !source.exists() {
        return Err(ConvertError::io("open", source)(std::io::ErrorKind::NotFound.into()));
    }
    if has_graphs(source) {
        return Err(ConvertError::HasGraphs(source.to_owned()));
    }
    if let Some(base) = adapter_of(source) {
        let reason = format!(
            "it is an adapter (LoRA), and no model by itself; merge it into {base} (peft: merge_and_unload) and take what that saves"
        );
        return Err(ConvertError::unsupported(source, reason));
    }
    let found = found(source);
    let [(kind, file)] = found.as_slice() else {
        let names: Vec<_> = found.iter().filter_map(|(_, file)| file.file_name()?.to_str()).collect();
        return Err(match names.as_slice() {
            [] => ConvertError::Unknown(source.to_owned()),
            names => ConvertError::unsupported(source, format!("name one of its files: {}", names.join(", "))),
        });
    };
    match kind {
        SourceKind::CTranslate2 => ctranslate2::open(file),
        SourceKind::Safetensors => safetensors::open(file),
        SourceKind::PyTorch => pytorch::open(file),
        SourceKind::Ggml => ggml::open(file),
    }
}

/// The file that holds the weights or lists the files that do, with its kind; several, if nothing tells which is meant.
fn found(source: &Path) -> Vec<(SourceKind, PathBuf)> {
    let with_kind = |path: PathBuf| kind_of_file(&path).map(|kind| (kind, path));
    if !source.is_dir() {
        return with_kind(source.to_owned()).into_iter().collect();
    }
    let usual = [
        "model.safetensors",
        "model.safetensors.index.json",
        "model.bin",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ];
    let mut usual = usual.iter().map(|name| source.join(name)).filter(|path| path.is_file());
    if let Some(usual) = usual.find_map(with_kind) {
        return vec![usual];
    }
    // Files of another name: `model.fp32.safetensors`, `base.pt`, `ggml-base.bin`.
    let entries = std::fs::read_dir(source).into_iter().flatten().flatten();
    let is_weights = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("safetensors" | "pt" | "pth" | "bin")) && path.is_file()
    };
    let mut others: Vec<_> = entries.map(|entry| entry.path()).filter(is_weights).filter_map(with_kind).collect();
    others.sort_by(|(_, a), (_, b)| a.cmp(b));
    others
}

/// What an adapter's folder says that it is for; `None` for one that holds a model.
fn adapter_of(directory: &Path) -> Option<String> {
    let path = directory.join("adapter_config.json");
    let text = path.is_file().then(|| std::fs::read(path).ok()).flatten()?;
    let whole =
        ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];
    let base = serde_json::from_slice::<serde_json::Value>(&text).ok()?["base_model_name_or_path"].clone();
    let named = base.as_str().map_or_else(|| "the model that it was made for".to_owned(), |base| format!("'{base}'"));
    (!whole.iter().any(|name| directory.join(name).is_file())).then_some(named)
}

fn has_graphs(directory: &Path) -> bool {
    [directory.to_owned(), directory.join("onnx")].iter().filter_map(|folder| std::fs::read_dir(folder).ok()).any(
        |entries| {
            entries.flatten().any(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("encoder_model") && name.ends_with(".onnx")
            })
        },
    )
}

/// By a file's first bytes.
fn kind_of_file(path: &Path) -> Option<SourceKind> {
    let name = path.file_name()?.to_string_lossy();
    if name.ends_with(".safetensors.index.json") {
        return Some(SourceKind::Safetensors);
    }
    if name.ends_with(".bin.index.json") {
        return Some(SourceKind::PyTorch);
    }
    let file = SourceFile::open(path).ok()?;
    let start = file.bytes(0, file.size().min(64)).ok()?;
    let number = |at: usize| Some(u32::from_le_bytes(*start.get(at..)?.first_chunk()?));
    if number(0) == Some(GGML_MAGIC) {
        return Some(SourceKind::Ggml);
    }
    if ctranslate2::is_whisper(&start) {
        return Some(SourceKind::CTranslate2);
    }
    if start.starts_with(b"PK\x03\x04") || is_legacy_pytorch(&start) {
        return Some(SourceKind::PyTorch);
    }
    // Eight bytes of the header's length, then JSON.
    let header = u64::from_le_bytes(*start.first_chunk()?);
    (start.get(8) == Some(&b'{') && (2..file.size().saturating_sub(7)).contains(&header))
        .then_some(SourceKind::Safetensors)
}

/// `ggml` as whisper.cpp writes it, little-endian.
const GGML_MAGIC: u32 = 0x6767_6d6c;

/// A pickle (protocol 2 or later) whose first value is PyTorch's magic number of ten bytes.
fn is_legacy_pytorch(start: &[u8]) -> bool {
    start.len() > 14 && start[0] == 0x80 && start[2..4] == [0x8a, 10] && start[4..14] == LEGACY_MAGIC
}

/// `0x1950a86a20f9469cfc6c`, little-endian.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
