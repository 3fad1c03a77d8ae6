//! Models from the Hugging Face hub: the files that are needed of a repository, fetched into the cache that Python's
//! `huggingface_hub` has too. What is there whole is used without asking the network; what is not is completed.
//!
//! This is our own code and not `hf-hub`, which has no time limit on a read, no certificates but those built in, no
//! `HF_HUB_OFFLINE`, tells nothing of sizes, and trusts whatever stands in the cache. What is needed of the hub's
//! protocol is four requests.

mod cache;
mod choose;
mod client;
mod download;
mod error;
mod settings;

use std::path::{Path, PathBuf};

pub(crate) use cache::bytes_of;
pub use cache::{CachedRepository, cached};
pub use choose::{SUFFIXES, Wish};
pub(crate) use download::sha256;
pub use error::{HubError, Missing};
pub use settings::Settings;

use crate::external;
use cache::Cache;
use choose::Choice;
use client::Client;

/// A repository, which revision of it, and which of its files: `owner/name`, `owner/name@revision`,
/// `owner/name:file.bin`, `owner/name@revision:folder/file.bin`, or `owner/name/folder/file.bin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `owner/name`.
    pub name: String,
    /// A branch, a tag or a commit; `main` if none is named.
    pub revision: String,
    /// The one file of weights that is meant, where a repository holds those of many models.
    pub file: Option<String>,
}

/// Ends of the names of files of weights.
const WEIGHTS: [&str; 4] = [".bin", ".pt", ".pth", ".safetensors"];

impl Repository {
    /// Reads a repository's name; nothing if `text` is not written like one.
    pub fn parse(text: &str) -> Option<Self> {
        let part = |s: &str| {
            !s.is_empty() && !s.starts_with('.') && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let is_path = |s: &str| s.split('/').all(part);
        let (text, file) = match text.split_once(':') {
            Some((text, file)) => (text, Some(file)),
            None => (text, None),
        };
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, rest) = name.split_once('/')?;
        let (rest, file) = match rest.split_once('/') {
            Some((rest, below)) if file.is_none() && WEIGHTS.iter().any(|end| below.ends_with(end)) => {
                (rest, Some(below))
            }
            _ => (rest, file),
        };
        let fits = part(owner) && part(rest) && is_path(revision) && file.is_none_or(is_path);
        fits.then(|| Self {
            name: format!("{owner}/{rest}"),
            revision: revision.to_owned(),
            file: file.map(str::to_owned),
        })
    }

    /// What is needed of it.
    pub fn wish<'a>(&'a self, variant: Option<&'a str>) -> Wish<'a> {
        self.file.as_deref().map_or(variant.into(), Wish::File)
    }
}

impl std::fmt::Display for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        self.file.as_ref().map_or(Ok(()), |file| write!(f, ":{file}"))
    }
}

/// What there is of a repository on this machine, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder with the files.
    pub folder: PathBuf,
    /// The commit that they are of.
    pub commit: String,
    /// Whether they are ONNX graphs; else weights, which have to be converted.
    pub is_onnx: bool,
}

/// How far a download is.
#[derive(Debug, Clone, Copy)]
pub struct Fetched<'a> {
    /// The file at work.
    pub file: &'a str,
    /// Bytes of all files that are there by now.
    pub done: u64,
    /// Bytes of all files that are known to be needed.
    pub total: u64,
}

/// The snapshot of `repository` if all that is needed of it is in the cache; asks no network.
pub fn complete(settings: &Settings, repository: &Repository, wish: Wish<'_>) -> Option<Snapshot> {
    let cache = Cache::new(settings, repository);
    local(&cache, repository, wish).ok()
}

/// Makes sure that what is needed of `repository` is in the cache.
///
/// # Errors
/// [`HubError`]: the hub is not reached, says no, or breaks off. What came is kept, and the next call goes on from
/// there.
pub fn provide(
    settings: &Settings,
    repository: &Repository,
    wish: Wish<'_>,
    progress: &mut dyn FnMut(Fetched<'_>),
) -> Result<Snapshot, HubError> {
    let cache = Cache::new(settings, repository);
    let lacking = match local(&cache, repository, wish) {
        Ok(snapshot) => return Ok(snapshot),
        Err(lacking) => lacking,
    };
    if settings.offline {
        return Err(HubError::Offline { repository: repository.to_string(), missing: lacking });
    }
    tracing::info!("{repository}: the cache lacks {lacking}");
    update(settings, repository, wish, Check::Sizes, progress).map_err(|error| error.lacking(lacking))
}

/// [`provide`] with the hub's present revision, every file's checksum compared, and what is damaged fetched anew.
pub fn repair(
    settings: &Settings,
    repository: &Repository,
    wish: Wish<'_>,
    progress: &mut dyn FnMut(Fetched<'_>),
) -> Result<Snapshot, HubError> {
    if settings.offline {
        return Err(HubError::Offline { repository: repository.to_string(), missing: Missing::NotAsked });
    }
    update(settings, repository, wish, Check::Checksums, progress)
}

/// How closely files that are already there are looked at.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Check {
    Sizes,
    Checksums,
}

/// What the cache holds of the repository, if that is enough; else what it lacks.
fn local(cache: &Cache, repository: &Repository, wish: Wish<'_>) -> Result<Snapshot, Missing> {
    let commit = cache.commit_of(&reference(repository)).or_else(|| cache.commit_of(&repository.revision));
    let commit = commit.ok_or(Missing::Everything)?;
    let folder = cache.snapshot(&commit);
    let listing = cache.listing(&commit);
    if listing.is_empty() {
        return Err(Missing::Everything);
    }
    let Choice { files, is_onnx } = choose::choose(&listing, wish).map_err(Missing::Files)?;
    let mut missing: Vec<String> = files.iter().filter(|file| !listing.contains(file)).cloned().collect();
    for file in &files {
        missing.extend(external::lacking(&folder, file));
    }
    missing.sort();
    missing.dedup();
    if missing.is_empty() { Ok(Snapshot { folder, commit, is_onnx }) } else { Err(Missing::Files(missing.join(", "))) }
}

/// Where the cache notes which commit was fetched. A single file has a place of our own: a person who names the
/// repository alone must not be given that file as if there were no other.
fn reference(repository: &Repository) -> String {
    let revision = &repository.revision;
    if repository.file.is_some() { format!("undertone/{revision}") } else { revision.clone() }
}

/// Asks the hub what there is, and fetches what is needed of it and not there.
fn update(
    settings: &Settings,
    repository: &Repository,
    wish: Wish<'_>,
    check: Check,
    progress: &mut dyn FnMut(Fetched<'_>),
) -> Result<Snapshot, HubError> {
    let (client, cache) = (&Client::new(settings)?, &Cache::new(settings, repository));
    let info = client.info(repository)?;
    let names: Vec<String> = info.files.iter().map(|file| file.name.clone()).collect();
    let choice = choose::choose(&names, wish).map_err(|lacking| HubError::NothingFits {
        repository: repository.to_string(),
        lacking,
        files: names.len(),
    })?;
    let mut wanted: Vec<_> = info.files.iter().filter(|file| choice.files.contains(&file.name)).cloned().collect();
    // In the choice's order: small files first, so that where the weights are, all else is too.
    wanted.sort_by_key(|file| choice.files.iter().position(|name| *name == file.name));
    let commit = &info.commit;
    let mut batch = download::Batch { client, cache, repository, commit, check, progress, done: 0, total: 0 };
    batch.fetch(&wanted)?;
    let folder = cache.snapshot(&info.commit);
    // Weights outside a graph's file may be called anything; only the graph says.
    let mut more: Vec<String> = choice.files.iter().flat_map(|file| external::lacking(&folder, file)).collect();
    more.sort();
    more.dedup();
    let sidecars: Vec<_> = info.files.iter().filter(|file| more.contains(&file.name)).cloned().collect();
    batch.fetch(&sidecars)?;
    if let Some(file) = more.iter().find(|name| !names.contains(name)) {
        let missing = file.clone();
        return Err(HubError::Incomplete { repository: repository.to_string(), missing });
    }
    cache.point(&reference(repository), &info.commit)?;
    cache.remember_licence(settings, info.licence.as_deref());
    Ok(Snapshot { folder, commit: info.commit, is_onnx: choice.is_onnx })
}

/// The folder of licences that repositories named when they were fetched; the hub's own cache has no place for them.
pub(crate) fn licences(settings: &Settings) -> Option<&Path> {
    settings.licences.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories() {
        for name in ["openai/whisper-tiny", "onnx-community/whisper-large-v3-turbo", "a/b.c_d"] {
            let repository = Repository::parse(name).unwrap();
            assert_eq!((repository.name.as_str(), repository.revision.as_str()), (name, "main"));
            assert_eq!(repository.to_string(), name);
        }
        let branch = Repository::parse("a/b@refs/pr/1").unwrap();
        assert_eq!((branch.name.as_str(), branch.revision.as_str()), ("a/b", "refs/pr/1"));
        assert_eq!(branch.to_string(), "a/b@refs/pr/1");
        for (text, name, file) in [
            ("ggerganov/whisper.cpp:ggml-base.en.bin", "ggerganov/whisper.cpp", "ggml-base.en.bin"),
            ("a/b@v1:old/base.pt", "a/b", "old/base.pt"),
        ] {
            let one = Repository::parse(text).unwrap();
            assert_eq!((one.name.as_str(), one.file.as_deref(), one.to_string().as_str()), (name, Some(file), text));
        }
        let below = Repository::parse("a/b/c/ggml-base.bin").unwrap();
        assert_eq!((below.name.as_str(), below.file.as_deref()), ("a/b", Some("c/ggml-base.bin")));
        assert_eq!(Repository::parse(&below.to_string()), Some(below));
        for name in [
            "a/b:",
            "a/b:../c.bin",
            "a/b/../c.bin",
            "C:/base.bin",
            "whisper",
            "/abs/path",
            "./here",
            "../up",
            "a/b/c",
            "",
            "/",
            "a/",
            "a b/c",
            "a/../b",
            "a/b@",
            "a/b@../c",
        ] {
            assert_eq!(Repository::parse(name), None, "{name}");
        }
    }
}
