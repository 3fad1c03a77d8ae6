//! Why a repository's files could not be had.

use std::io;

/// What is not on this machine of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Everything.
    #[error("is not on this machine")]
    Everything,
    /// These files.
    #[error("is not whole on this machine ({0} is missing)")]
    Files(String),
    /// Perhaps nothing: what is here was only to be compared with the hub.
    #[error("cannot be compared with the hub")]
    NotAsked,
}

/// What went wrong with the hub, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "a field is what its message says of it")]
pub enum HubError {
    /// `HF_HUB_OFFLINE` is set, and the cache is not enough.
    #[error(
        "the Hugging Face repository '{repository}' {missing}, and HF_HUB_OFFLINE is set: unset it to download, or use a model that \
         `undertone model list` shows"
    )]
    Offline { repository: String, missing: Missing },
    /// No connection: no such host, refused, a proxy or a certificate that does not fit.
    #[error(
        "the Hugging Face repository '{repository}' {missing}, and {endpoint} cannot be reached ({reason}): try again online, or use a \
         model that `undertone model list` shows"
    )]
    Unreachable { repository: String, missing: Missing, endpoint: String, reason: String },
    /// Connected, then silence or breaks, again and again.
    #[error(
        "the download of {file} of the Hugging Face repository '{repository}' broke off at {done} of {total} bytes: {reason}; what came is \
         kept, and the next try goes on from there"
    )]
    BrokenOff { repository: String, file: String, done: u64, total: u64, reason: String },
    /// The repository's owner wants to know who takes it.
    #[error(
        "the Hugging Face repository '{repository}' is gated: accept its terms at {endpoint}/{repository} and log in (`hf auth login`, or a \
         token in HF_TOKEN){refused}"
    )]
    Gated {
        repository: String,
        endpoint: String,
        /// Something more where a token was sent.
        refused: &'static str,
    },
    /// Not there, or not for everybody.
    #[error(
        "there is no Hugging Face repository '{repository}', or it is private: correct the name, or log in (`hf auth login`, or a token in \
         HF_TOKEN){refused}"
    )]
    NotFound {
        /// The repository, with its revision if one was named.
        repository: String,
        /// Something more where a token was sent.
        refused: &'static str,
    },
    /// The hub answers something else than expected.
    #[error("the Hugging Face hub answers {answer} when asked for {what} of '{repository}'; try again later")]
    Refused {
        repository: String,
        what: String,
        /// The status, with the hub's words.
        answer: String,
    },
    /// The repository is of something else, or lacks what was asked for.
    #[error("the Hugging Face repository '{repository}' ({files} files) cannot be used as a model: it lacks {lacking}")]
    NothingFits { repository: String, lacking: String, files: usize },
    /// A graph wants a file that the repository has not.
    #[error(
        "the Hugging Face repository '{repository}' is not whole: a graph keeps weights in {missing}, which it does not hold"
    )]
    Incomplete { repository: String, missing: String },
    /// The bytes are not the ones that the hub promises, twice.
    #[error(
        "{file} of the Hugging Face repository '{repository}' comes damaged: {reason}; something between here and the hub changes it, such as \
         a proxy or a mirror"
    )]
    Damaged { repository: String, file: String, reason: String },
    /// A setting that cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The cache cannot be written.
    #[error("cannot write {path}: {error}; {}", crate::folders::advice(.error, "HF_HUB_CACHE"))]
    Write { path: std::path::PathBuf, error: io::Error },
}

impl HubError {
    /// Puts what the cache lacks into errors that came before anything was fetched.
    pub(crate) fn lacking(self, missing: Missing) -> Self {
        match self {
            Self::Unreachable { repository, endpoint, reason, .. } => {
                Self::Unreachable { repository, endpoint, reason, missing }
            }
            other => other,
        }
    }

    /// Whether another source of the same model is worth a try: the hub was not reached, and said nothing against it.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Refused { .. } | Self::BrokenOff { .. })
    }
}
