//! Why a model cannot be provided, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::hub::HubError;
use crate::weights::ConvertError;
use crate::{folders, pip};

/// Why there is no folder to open.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "a field is what its message says of it")]
pub enum ProvideError {
    /// Neither a path, nor a repository, nor a name.
    #[error("no such model: '{source_name}' is no folder, no file and no name; {}", hint(.similar))]
    Unknown {
        source_name: String,
        /// Names that begin alike.
        similar: Vec<&'static str>,
    },
    /// A file that is there and is none of the known kinds.
    #[error(
        "'{0}' is not a model file; understood are safetensors, CTranslate2's model.bin, OpenAI's .pt, and whisper.cpp's ggml .bin"
    )]
    NoWeights(PathBuf),
    /// The hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// What is written like a repository may have been meant as a path.
    #[error("there is no file or folder '{source_name}' here; {hub}")]
    NoPath { source_name: String, hub: Box<HubError> },
    /// A model with a name that only the hub has, and which others can be had.
    #[error("{hub}; {others}")]
    Named {
        hub: Box<HubError>,
        /// In words.
        others: String,
    },
    /// pip.
    #[error(transparent)]
    Pip(#[from] pip::PipError),
    /// The hub and pip.
    #[error("{hub}; and through pip: {pip}")]
    Neither { hub: Box<HubError>, pip: Box<pip::PipError> },
    /// The converter.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// A converted model whose files have changed, and that could not be converted again.
    #[error("the model in {folder} is damaged ({damage}), and cannot be converted again: {reason}")]
    Damaged { folder: PathBuf, damage: String, reason: Box<ProvideError> },
    /// Weights have no variants.
    #[error(
        "'{source_name}' holds weights and no ONNX graphs, which alone have variants: leave --variant '{variant}' out"
    )]
    NoVariants { source_name: String, variant: String },
    /// There is no place for what is converted.
    #[error(
        "this system has no folder for caches, and a model has to be kept converted: name a folder with UNDERTONE_MODELS"
    )]
    NoFolder,
    /// The folder of models cannot be written.
    #[error("cannot write to {folder}, the folder of models: {error}; {}", folders::advice(.error, "UNDERTONE_MODELS"))]
    Folder { folder: PathBuf, error: io::Error },
}

impl From<io::Error> for ProvideError {
    /// Everything that is written here is written there.
    fn from(error: io::Error) -> Self {
        Self::Folder { folder: folders::cache().unwrap_or_default(), error }
    }
}

impl ProvideError {
    /// Whether a network was all that was missing, or was forbidden.
    pub fn is_for_want_of_a_network(&self) -> bool {
        match self {
            Self::Hub(error) => error.is_unreachable() || matches!(error, HubError::Offline { .. }),
            Self::NoPath { hub, .. } | Self::Named { hub, .. } => {
                hub.is_unreachable() || matches!(**hub, HubError::Offline { .. })
            }
            Self::Neither { .. } => true,
            _ => false,
        }
    }
}

fn hint(similar: &[&str]) -> String {
    let question = match similar {
        [] => "names are tiny, base, small, medium, large-v3, turbo and others".to_owned(),
        [first] => format!("did you mean {first}?"),
        [others @ .., last] => format!("did you mean {} or {last}?", others.join(", ")),
    };
    format!("{question} (`undertone model list` shows all); a Hugging Face repository is written owner/name")
}
