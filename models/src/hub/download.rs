//! Files of a repository into the cache: what is there is kept, what was begun goes on, what broke off is taken up
//! again, and what came is compared with what the hub promised.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::cache::Cache;
use super::client::{Client, RemoteFile};
use super::transfer::{Stopped, Transfer};
use super::{Check, Fetched, HubError, Repository};
use crate::once;

/// Files of one commit that are fetched together, with one count of bytes.
pub(crate) struct Batch<'a> {
    pub(super) client: &'a Client,
    pub(super) cache: &'a Cache,
    pub(super) repository: &'a Repository,
    pub(super) commit: &'a str,
    pub(super) check: Check,
    pub(super) progress: &'a mut dyn FnMut(Fetched<'_>),
    /// Bytes of files that are done.
    pub(super) done: u64,
    /// Bytes of all files so far.
    pub(super) total: u64,
}

/// A file with what is needed to fetch it.
struct Wanted {
    name: String,
    size: u64,
    digest: String,
}

impl Batch<'_> {
    /// Makes sure that all of `files` are in the cache.
    pub(crate) fn fetch(&mut self, files: &[RemoteFile]) -> Result<(), HubError> {
        let wanted = files.iter().map(|file| self.look(file)).collect::<Result<Vec<_>, _>>()?;
        self.total += wanted.iter().map(|file| file.size).sum::<u64>();
        for file in &wanted {
            let fetched = self.one(file)?;
            self.done += file.size;
            // A file that was only looked at has nothing to show.
            if fetched {
                self.tell(&file.name, 0);
            }
        }
        Ok(())
    }

    fn tell(&mut self, file: &str, bytes: u64) {
        (self.progress)(Fetched { file, done: self.done + bytes, total: self.total });
    }

    /// Size and digest, asked for where the listing did not tell them.
    fn look(&self, file: &RemoteFile) -> Result<Wanted, HubError> {
        let name = file.name.clone();
        if let (Some(size), Some(digest)) = (file.size, &file.digest) {
            return Ok(Wanted { name, size, digest: digest.clone() });
        }
        let url = self.client.address(self.repository, self.commit, &file.name);
        let (size, digest) =
            self.client.look(&url).map_err(|failure| self.client.words(self.repository, &file.name, failure))?;
        match (size, digest) {
            (Some(size), Some(digest)) => Ok(Wanted { name, size, digest }),
            _ => Err(HubError::Refused {
                repository: self.repository.to_string(),
                what: name,
                answer: "without a size or an ETag".into(),
            }),
        }
    }

    /// Makes sure that a file is there; whether it had to be fetched.
    fn one(&mut self, file: &Wanted) -> Result<bool, HubError> {
        let blob = self.cache.blob(&file.digest);
        let lock_path = self.cache.lock(&file.digest);
        // Without links the file is in the snapshot itself.
        let place = self.cache.snapshot(self.commit).join(&file.name);
        if self.is_whole(&blob, file, Check::Sizes) || self.is_whole(&place, file, Check::Sizes) {
            let path = if blob.is_file() { &blob } else { &place };
            if self.is_whole(path, file, self.check) {
                if blob.is_file() {
                    self.link(file)?;
                }
                return Ok(false);
            }
            tracing::info!("{} is damaged in the cache, and is fetched anew", file.name);
        }
        for folder in [&blob, &lock_path].into_iter().filter_map(|path| path.parent()) {
            fs::create_dir_all(folder).map_err(write(folder))?;
        }
        let lock = once::lock_file(&lock_path).map_err(write(&lock_path))?;
        let partial = self.cache.blob(&format!("{}.incomplete", file.digest));
        self.wait_for(&lock, file, &partial);
        // What another process finished while this one waited.
        if !self.is_whole(&blob, file, self.check) {
            if self.is_whole(&place, file, self.check) {
                return Ok(true);
            }
            self.bytes(file, &partial)?;
            fs::rename(&partial, &blob).map_err(write(&blob))?;
        }
        self.link(file)?;
        Ok(true)
    }

    /// Waits until no other process fetches the same bytes, and shows how far that one is.
    fn wait_for(&mut self, lock: &File, file: &Wanted, partial: &Path) {
        while let Err(fs::TryLockError::WouldBlock) = lock.try_lock() {
            self.tell(&file.name, partial.metadata().map_or(0, |data| data.len()).min(file.size));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn link(&self, file: &Wanted) -> Result<(), HubError> {
        let path = self.cache.snapshot(self.commit).join(&file.name);
        self.cache.link(self.commit, &file.name, &file.digest).map_err(write(&path))
    }

    /// Whether a file of the cache is what it should be.
    fn is_whole(&self, path: &Path, file: &Wanted, check: Check) -> bool {
        let is_long_enough = path.metadata().is_ok_and(|data| data.is_file() && data.len() == file.size);
        is_long_enough
            && (check == Check::Sizes
                || !is_sha256(&file.digest)
                || sha256(path).is_ok_and(|found| found == file.digest))
    }

    /// Leaves the file's bytes in `partial`, checked; damage is fetched once more.
    fn bytes(&mut self, file: &Wanted, partial: &Path) -> Result<(), HubError> {
        let mut damage = None;
        for _ in 0..2 {
            self.download(file, partial)?;
            let found =
                if is_sha256(&file.digest) { sha256(partial).map_err(write(partial))? } else { file.digest.clone() };
            if found == file.digest {
                return Ok(());
            }
            fs::remove_file(partial).map_err(write(partial))?;
            damage = Some(format!("its SHA-256 is {found} and should be {}", file.digest));
        }
        Err(self.damaged(file, damage.unwrap_or_default()))
    }

    fn damaged(&self, file: &Wanted, reason: String) -> HubError {
        HubError::Damaged { repository: self.repository.to_string(), file: file.name.clone(), reason }
    }

    /// Appends to `partial` until it is as long as it should be.
    fn download(&mut self, file: &Wanted, partial: &Path) -> Result<(), HubError> {
        let url = self.client.address(self.repository, self.commit, &file.name);
        let transfer = Transfer { client: self.client, url: &url, name: &file.name, size: file.size };
        transfer.run(partial, &mut |bytes| self.tell(&file.name, bytes)).map_err(|stopped| match stopped {
            Stopped::Write(error) => write(partial)(error),
            Stopped::Length(length) => {
                self.damaged(file, format!("it has {length} bytes and should have {}", file.size))
            }
            Stopped::Refused(refusal) => self.client.words(self.repository, &file.name, refusal),
            Stopped::BrokenOff { done, reason } => {
                let (repository, file, total) = (self.repository.to_string(), file.name.clone(), file.size);
                HubError::BrokenOff { repository, file, done, total, reason }
            }
        })
    }
}

fn write(path: &Path) -> impl FnOnce(io::Error) -> HubError + '_ {
    move |error| HubError::Write { path: path.to_owned(), error }
}

/// Whether the hub's name of a file's bytes is their SHA-256, as it is of every large file.
fn is_sha256(digest: &str) -> bool {
    digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit())
}

/// A file's SHA-256, in hexadecimal digits.
pub(crate) fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    io::copy(&mut file, &mut digest)?;
    Ok(format!("{:x}", digest.finalize()))
}
