//! One file from an address, by the hub's client: its proxies, certificates and patience, and its way of going on where
//! a download broke off.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::address;
use crate::hub::client::{Client, Failure};
use crate::hub::transfer::{Stopped, Transfer};
use crate::hub::{HubError, Settings};

/// Why a file was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// `HF_HUB_OFFLINE` is set.
    #[error("{0} is on the network, and HF_HUB_OFFLINE is set: unset it, or name a file that is on this machine")]
    Offline(String),
    /// No connection: no such host, refused, a proxy or a certificate that does not fit.
    #[error("{url} cannot be reached ({reason}): correct the address, or try again online")]
    Unreachable {
        /// The address.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// The server has no such file, or does not give it.
    #[error("the server answers {answer} when asked for {url}: {advice}")]
    Refused {
        /// The address.
        url: String,
        /// The status.
        answer: String,
        /// What to do.
        advice: &'static str,
    },
    /// The server sends elsewhere, where nobody should follow.
    #[error("{url} is not fetched: {reason}; correct the address, or name the file's SHA-256")]
    Elsewhere {
        /// The address.
        url: String,
        /// Where it leads.
        reason: String,
    },
    /// The server promises more than there can be.
    #[error("{url} has {size} bytes, and not more than {most} are taken: correct the address")]
    TooLarge {
        /// The address.
        url: String,
        /// What was promised.
        size: u64,
        /// The limit.
        most: u64,
    },
    /// The server does not tell the file's length, by which a whole download is known.
    #[error("the server does not tell how long {0} is: fetch it by other means, and name the file")]
    NoLength(String),
    /// The server sends another length than it promised.
    #[error("{url} has {found} bytes, and the server promised {promised}: try again")]
    Length {
        /// The address.
        url: String,
        /// What came, or was announced then.
        found: u64,
        /// What was promised first.
        promised: u64,
    },
    /// Connected, then silence or breaks, again and again.
    #[error(
        "the download of {url} broke off at {done} of {total} bytes: {reason}; what came is kept, and the next try goes \
         on from there"
    )]
    BrokenOff {
        /// The address.
        url: String,
        /// Bytes that came.
        done: u64,
        /// Bytes that there are.
        total: u64,
        /// What the network said.
        reason: String,
    },
    /// A setting that cannot be used.
    #[error(transparent)]
    Setting(#[from] HubError),
    /// The folder cannot be written to.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// How far a download is trusted.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most bytes that are taken.
    pub most: u64,
    /// Whether the server may send from https to http: the caller compares what comes with a checksum of its own.
    pub plain: bool,
}

/// Fetches the file at `url` into `folder`, and says what it is called there: a name for this address and this state of
/// the file. What broke off in an earlier call is taken up. `progress` gets the bytes that are there, and all.
///
/// # Errors
///
/// [`DownloadError`]: the server is not reached, says no, or breaks off. It names the address without its secrets.
pub fn download(
    url: &str,
    limits: Limits,
    folder: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf, DownloadError> {
    let settings = Settings::for_address(url);
    let shown = || address::shown(url);
    if settings.offline {
        return Err(DownloadError::Offline(shown()));
    }
    let mut client = Client::new(&settings)?;
    client.plain = limits.plain;
    let failed = |failure| match failure {
        Failure::Network(reason) => DownloadError::Unreachable { url: shown(), reason: reason.replace(url, &shown()) },
        Failure::Elsewhere(reason) => DownloadError::Elsewhere { url: shown(), reason },
        Failure::Status { status, .. } => {
            let advice = match status.as_u16() {
                401 | 403 => "it gives the file to others only",
                408 | 425 | 429 | 500.. => "try again later",
                _ => "correct the address",
            };
            DownloadError::Refused { url: shown(), answer: status.to_string(), advice }
        }
    };
    let (size, tag) = client.look(url).map_err(failed)?;
    let size = size.ok_or_else(|| DownloadError::NoLength(shown()))?;
    if size > limits.most {
        return Err(DownloadError::TooLarge { url: shown(), size, most: limits.most });
    }
    let state = Sha256::digest(format!("{url} {size} {}", tag.as_deref().unwrap_or_default()));
    let partial = folder.join(format!("{state:x}.incomplete"));
    // Without a name for its state, what is here may be of an older file.
    if tag.is_none() {
        let _ = fs::remove_file(&partial);
    }
    let transfer = Transfer { client: &client, url, name: &shown(), size };
    transfer.run(&partial, &mut |done| progress(done, size)).map_err(|stopped| match stopped {
        Stopped::Write(error) => DownloadError::Write { path: partial.clone(), error },
        Stopped::Length(found) => DownloadError::Length { url: shown(), found, promised: size },
        Stopped::Refused(failure) => failed(failure),
        Stopped::BrokenOff { done, reason } => {
            DownloadError::BrokenOff { url: shown(), done, total: size, reason: reason.replace(url, &shown()) }
        }
    })?;
    Ok(partial)
}
