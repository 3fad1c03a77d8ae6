//! Weights as people have them, read into one [`Checkpoint`]: Hugging Face's safetensors and `pytorch_model.bin`, CTranslate2
//! folders (faster-whisper), OpenAI's `.pt`, whisper.cpp's ggml `.bin`. Writes nothing, and runs nothing that a file says.
//!
//! Nothing that a file says of sizes is believed before the file is seen to be as long; tensors stay in their files until they are
//! asked for, row by row.

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

pub use checkpoint::{Checkpoint, Details, Dimensions, PROJECTION, TOKENS};
pub use element::Element;
pub use error::ConvertError;
pub use file::SourceFile;
pub use tensor::Tensor;

/// The kinds of weights that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What kind of weights a file or directory holds, by what is in its files. `None` if none that is read, and for a directory that
/// has ONNX graphs, which need no conversion.
pub fn recognise(source: &Path) -> Option<SourceKind> {
    locate(source).map(|(kind, _)| kind)
}

/// Reads what `source` holds.
///
/// # Errors
/// [`ConvertError`]: which file is missing, damaged or of a kind that is not read, and why.
pub fn open(source: &Path) -> Result<Checkpoint, ConvertError> {
    let (kind, file) = locate(source).ok_or_else(|| ConvertError::Unknown(source.to_owned()))?;
    match kind {
        SourceKind::CTranslate2 => ctranslate2::open(&file),
        SourceKind::Safetensors => safetensors::open(&file),
        SourceKind::PyTorch => pytorch::open(&file),
        SourceKind::Ggml => ggml::open(&file),
    }
}

/// The kind, and the file that holds the weights or lists the files that do.
fn locate(source: &Path) -> Option<(SourceKind, PathBuf)> {
    if source.is_file() {
        return kind_of_file(source).map(|kind| (kind, source.to_owned()));
    }
    if !source.is_dir() || has_graphs(source) {
        return None;
    }
    let known = [
        "model.safetensors.index.json",
        "model.safetensors",
        "model.bin",
        "pytorch_model.bin.index.json",
        "pytorch_model.bin",
    ];
    let known = known.iter().map(|name| source.join(name)).filter(|path| path.is_file());
    // A folder with one file of weights of another name: `model.fp32.safetensors`, `base.pt`, `ggml-base.bin`.
    let mut others: Vec<PathBuf> = std::fs::read_dir(source)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("safetensors" | "pt" | "pth" | "bin")) && path.is_file()
        })
        .collect();
    others.sort();
    known.chain(others).find_map(|path| kind_of_file(&path).map(|kind| (kind, path)))
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
