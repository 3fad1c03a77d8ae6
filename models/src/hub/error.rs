//! Why a repository's files could not be had.

use std::io;

/// What went wrong with the hub, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// `HF_HUB_OFFLINE` is set, and the cache is not enough.
    #[error(
        "the cache lacks {missing} of the Hugging Face repository '{repository}', and HF_HUB_OFFLINE forbids to fetch it: unset it, or \
         name a model that is there (`undertone model list`)"
    )]
    Offline {
        /// The repository.
        repository: String,
        /// What is not in the cache.
        missing: String,
    },
    /// No connection: no such host, refused, a proxy or a certificate that does not fit.
    #[error(
        "cannot fetch {missing} of the Hugging Face repository '{repository}': {endpoint} is not reached: {reason}; try again online, or \
         name a folder that holds a model"
    )]
    Unreachable {
        /// The repository.
        repository: String,
        /// What is not in the cache.
        missing: String,
        /// The hub's address.
        endpoint: String,
        /// What the network said.
        reason: String,
    },
    /// Connected, then silence or breaks, again and again.
    #[error(
        "the download of {file} of the Hugging Face repository '{repository}' broke off at {done} of {total} bytes: {reason}; what came is \
         kept, and the next try goes on from there"
    )]
    BrokenOff {
        /// The repository.
        repository: String,
        /// The file.
        file: String,
        /// Bytes that came.
        done: u64,
        /// Bytes that there are.
        total: u64,
        /// What the network said.
        reason: String,
    },
    /// The repository's owner wants to know who takes it.
    #[error(
        "the Hugging Face repository '{repository}' is gated: accept its terms at {endpoint}/{repository} and log in (`hf auth login`, or a \
         token in HF_TOKEN){refused}"
    )]
    Gated {
        /// The repository.
        repository: String,
        /// The hub's address.
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
        /// The repository.
        repository: String,
        /// What was asked for.
        what: String,
        /// The status, with the hub's words.
        answer: String,
    },
    /// The repository is of something else, or lacks what was asked for.
    #[error(
        "the Hugging Face repository '{repository}' ({files} files) holds no model that is understood: it lacks {lacking}"
    )]
    NothingFits {
        /// The repository.
        repository: String,
        /// What is missing.
        lacking: String,
        /// How many files it has.
        files: usize,
    },
    /// A graph wants a file that the repository has not.
    #[error(
        "the Hugging Face repository '{repository}' is not whole: a graph keeps weights in {missing}, which it does not hold"
    )]
    Incomplete {
        /// The repository.
        repository: String,
        /// The file.
        missing: String,
    },
    /// The bytes are not the ones that the hub promises, twice.
    #[error(
        "{file} of the Hugging Face repository '{repository}' comes damaged: {reason}; something between here and the hub changes it, such as \
         a proxy or a mirror"
    )]
    Damaged {
        /// The repository.
        repository: String,
        /// The file.
        file: String,
        /// What differs.
        reason: String,
    },
    /// A setting that cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The cache cannot be written.
    #[error("cannot write {path}: {error}; make room or name another folder with HF_HUB_CACHE")]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl HubError {
    /// Puts what the cache lacks into errors that came before anything was fetched.
    pub(crate) fn lacking(self, what: &str) -> Self {
        match self {
            Self::Unreachable { repository, endpoint, reason, .. } => {
                Self::Unreachable { repository, endpoint, reason, missing: what.to_owned() }
            }
            other => other,
        }
    }

    /// Whether another source of the same model is worth a try: the hub was not reached, and said nothing against it.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Refused { .. } | Self::BrokenOff { .. })
    }
}
