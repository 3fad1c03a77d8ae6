//! The hub's cache on this machine, in the layout that Python's `huggingface_hub` has:
//!
//! ```text
//! models--owner--name/blobs/DIGEST             a file's bytes (DIGEST.incomplete while they come)
//! models--owner--name/snapshots/COMMIT/FILE    a link to them (a file where the system has no links)
//! models--owner--name/refs/REVISION            the commit that a branch was at
//! .locks/models--owner--name/DIGEST.lock       held while the bytes come
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{HubError, Repository, Settings, licences};

/// One repository's part of the cache.
pub(crate) struct Cache {
    root: PathBuf,
    folder_name: String,
}

impl Cache {
    pub(crate) fn new(settings: &Settings, repository: &Repository) -> Self {
        let folder_name = format!("models--{}", repository.name.replace('/', "--"));
        Self { root: settings.cache.clone(), folder_name }
    }

    fn folder(&self) -> PathBuf {
        self.root.join(&self.folder_name)
    }

    /// The commit that `revision` was at when it was fetched; a commit is its own.
    pub(crate) fn commit_of(&self, revision: &str) -> Option<String> {
        if let Ok(text) = fs::read_to_string(self.folder().join("refs").join(revision)) {
            return Some(text.trim().to_owned()).filter(|commit| !commit.is_empty());
        }
        self.snapshot(revision).is_dir().then(|| revision.to_owned())
    }

    /// Notes the commit of a branch or tag.
    pub(crate) fn point(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.folder().join("refs").join(revision);
        if revision == commit || fs::read_to_string(&path).is_ok_and(|text| text == commit) {
            return Ok(());
        }
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            // Renamed into place: a reader never sees half a commit.
            let partial = path.with_extension(format!("partial-{}", std::process::id()));
            fs::write(&partial, commit)?;
            fs::rename(&partial, &path)
        };
        write().map_err(|error| HubError::Write { path: path.clone(), error })
    }

    /// The folder of a commit's files.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder().join("snapshots").join(commit)
    }

    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        self.folder().join("blobs").join(digest)
    }

    pub(crate) fn lock(&self, digest: &str) -> PathBuf {
        self.root.join(".locks").join(&self.folder_name).join(format!("{digest}.lock"))
    }

    /// Names of a commit's files that are there, with `/` between folders. A link whose bytes are gone does not count.
    pub(crate) fn listing(&self, commit: &str) -> Vec<String> {
        let mut names = Vec::new();
        collect(&self.snapshot(commit), "", &mut names);
        names.sort();
        names
    }

    /// Makes a commit's file of a blob.
    pub(crate) fn link(&self, commit: &str, file: &str, digest: &str) -> io::Result<()> {
        let path = self.snapshot(commit).join(file);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        // Put together from its parts: Windows follows no link with the other kind of slash in it.
        let up = std::iter::repeat_n("..", file.split('/').count() + 1);
        let target: PathBuf = up.chain(["blobs", digest]).collect();
        if fs::read_link(&path).is_ok_and(|present| present == target) {
            return Ok(());
        }
        let _ = fs::remove_file(&path);
        match symlink(&target, &path) {
            // Wine says that it has made one, and has not.
            Ok(()) if path.is_file() => Ok(()),
            // Another process made it just now.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // Windows wants a privilege for links; Python's library then does this.
            _ => fs::rename(self.blob(digest), &path),
        }
    }

    /// Notes a licence, for lists; that it cannot be noted is no error.
    pub(crate) fn remember_licence(&self, settings: &Settings, licence: Option<&str>) {
        let (Some(folder), Some(licence)) = (licences(settings), licence) else { return };
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(folder.join(&self.folder_name), licence));
        if let Err(error) = written {
            tracing::debug!("the licence of {} is not noted: {error}", self.folder_name);
        }
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (path, name) = (entry.path(), format!("{prefix}{name}"));
        if path.is_dir() {
            collect(&path, &format!("{name}/"), names);
        } else if path.is_file() {
            names.push(name);
        }
    }
}

/// A repository that is in the cache.
#[derive(Debug, Clone)]
pub struct CachedRepository {
    /// `owner/name`.
    pub name: String,
    /// Its folder in the cache.
    pub folder: PathBuf,
    /// The folder of the commit that `main` was at, or of the only one that there is.
    pub snapshot: Option<PathBuf>,
    /// Bytes that it takes, of all commits, with what is not whole.
    pub bytes: u64,
    /// The licence that it named when it was fetched from here.
    pub licence: Option<String>,
}

/// Every repository of models in the cache, by name.
pub fn cached(settings: &Settings) -> Vec<CachedRepository> {
    let mut found = Vec::new();
    for entry in fs::read_dir(&settings.cache).into_iter().flatten().flatten() {
        let Ok(folder_name) = entry.file_name().into_string() else { continue };
        // Names of repositories hold no two dashes in a row.
        let Some(name) = folder_name.strip_prefix("models--").map(|name| name.replacen("--", "/", 1)) else { continue };
        let Some(repository) = Repository::parse(&name) else { continue };
        let cache = Cache::new(settings, &repository);
        let snapshot = cache.commit_of("main").map(|commit| cache.snapshot(&commit)).or_else(|| {
            let mut commits = fs::read_dir(entry.path().join("snapshots")).ok()?.flatten();
            commits.next().map(|commit| commit.path())
        });
        let licence = licences(settings).and_then(|folder| fs::read_to_string(folder.join(&folder_name)).ok());
        found.push(CachedRepository { name, snapshot, bytes: bytes_of(&entry.path()), licence, folder: entry.path() });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Bytes of a folder's files; links count nothing.
pub(crate) fn bytes_of(folder: &Path) -> u64 {
    let size = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_of(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |data| data.len()),
        _ => 0,
    };
    fs::read_dir(folder).into_iter().flatten().flatten().map(size).sum()
}
