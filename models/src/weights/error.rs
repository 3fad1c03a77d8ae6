//! What can be wrong with weights on disk, or with writing a model from them.

use std::path::{Path, PathBuf};

/// Why a model was not converted. Every message names the file, the value, and where there is one the way out.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "a field is what its message says of it")]
pub enum ConvertError {
    /// No reader knows the file or directory.
    #[error(
        "'{0}' holds no weights; understood are Hugging Face's safetensors and pytorch_model.bin with a config.json, CTranslate2 \
         folders, OpenAI's .pt and whisper.cpp's ggml .bin"
    )]
    Unknown(PathBuf),
    /// ONNX graphs, which are what conversion makes.
    #[error("'{0}' is converted already: it has ONNX graphs, and can be used as it is with --model '{0}'")]
    HasGraphs(PathBuf),
    /// A file cannot be read, or one cannot be written.
    #[error("cannot {what} '{path}': {source}")]
    Io {
        /// `read`, `write`, …
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// A file is cut short or says what cannot be.
    #[error("'{path}' is damaged: {reason}; fetch it anew")]
    Damaged { path: PathBuf, reason: String },
    /// A file is sound as far as it goes, but of a kind that is not read.
    #[error("'{path}' is not supported: {reason}")]
    Unsupported { path: PathBuf, reason: String },
    /// Weights or configuration are not those of a whole Whisper.
    #[error("'{path}' is not a whole Whisper: {reason}")]
    NotWhisper {
        /// The file or directory.
        path: PathBuf,
        reason: String,
    },
    /// What is to be written is there already.
    #[error("'{0}' exists already: remove it, or name another directory")]
    Exists(PathBuf),
}

impl ConvertError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn unsupported(path: &Path, reason: impl Into<String>) -> Self {
        Self::Unsupported { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn not_whisper(path: &Path, reason: impl Into<String>) -> Self {
        Self::NotWhisper { path: path.to_owned(), reason: reason.into() }
    }
}
