//! A release of compiled NPU kernels as `kernels/aie/manifest.py` leaves it: a folder, or the zip archive of one, with
//! a folder for each bundle and the list `SHA256SUMS` (`sha256sum -c` reads it too). What is not on the list is not
//! taken, and nothing is believed before it was compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use sha2::{Digest as _, Sha256};
use zip::ZipArchive;

/// The list's name.
const CHECKSUMS: &str = "SHA256SUMS";
/// A bundle's description; its folder holds one of these.
const DESCRIPTIONS: [&str; 2] = ["bundle.json", "trial.json"];
/// What a release's archive is called, wherever it lies.
const ARCHIVE: &str = "bundles.zip";
/// No file of a bundle is nearly as large.
const LARGEST: u64 = 256 << 20;

/// A release whose list was read.
pub struct Release {
    path: PathBuf,
    source: Source,
    /// SHA-256 by name; names are `folder/file`.
    listed: BTreeMap<String, String>,
}

enum Source {
    Folder,
    Archive(ZipArchive<File>),
}

impl Release {
    /// Reads the list and looks at the names.
    ///
    /// # Errors
    ///
    /// If there is no list, a name leads elsewhere, or a bundle or a file is on one side only.
    pub fn open(path: &Path) -> Result<Self> {
        let source = if path.is_dir() {
            Source::Folder
        } else {
            let file = File::open(path).with_context(|| {
                format!(
                    "cannot read {}: name a file, a folder, or an address that begins with https://",
                    path.display()
                )
            })?;
            let archive = ZipArchive::new(file);
            Source::Archive(archive.with_context(|| {
                format!("{} is no zip archive, or a part of one: it has to be a folder or a .zip", path.display())
            })?)
        };
        let mut release = Self { path: path.to_owned(), source, listed: BTreeMap::new() };
        let present = release.names()?;
        ensure!(present.contains(CHECKSUMS), "{} has no {CHECKSUMS} at its top: {}", path.display(), instead(&present));
        let mut list = String::new();
        release.reader(CHECKSUMS, |reader| reader.read_to_string(&mut list).map(drop))?;
        release.listed = parsed(&list).with_context(|| format!("{} of {}", CHECKSUMS, path.display()))?;
        if let Some(name) = release.listed.keys().find(|name| !present.contains(*name)) {
            bail!("{} lacks {name}, which its {CHECKSUMS} names: fetch it again", path.display());
        }
        let is_bundle = |name: &&String| name.rsplit_once('/').is_some_and(|(_, file)| DESCRIPTIONS.contains(&file));
        if let Some(name) = present.iter().filter(is_bundle).find(|name| !release.listed.contains_key(*name)) {
            bail!(
                "{} has {name}, which its {CHECKSUMS} does not name: run kernels/aie/manifest.py again",
                path.display()
            );
        }
        ensure!(!release.folders().is_empty(), "{} holds no bundle: its {CHECKSUMS} names none", path.display());
        Ok(release)
    }

    /// The bundles' folders.
    pub fn folders(&self) -> BTreeSet<&str> {
        self.listed.keys().filter_map(|name| Some(name.split_once('/')?.0)).collect()
    }

    /// Names and checksums of a bundle's files; its description comes last, so that half a bundle is none.
    pub fn files<'a>(&'a self, folder: &'a str) -> Vec<(&'a str, &'a str)> {
        let of_folder = self.listed.iter().filter_map(move |(name, sum)| {
            let below = name.strip_prefix(folder)?.strip_prefix('/')?;
            Some((below, sum.as_str()))
        });
        let mut files: Vec<_> = of_folder.collect();
        files.sort_by_key(|(name, _)| DESCRIPTIONS.contains(name));
        files
    }

    /// Compares all that is listed with its checksum, and copies the bundles' files into `into`.
    ///
    /// # Errors
    ///
    /// If one is another file than it should be, or cannot be read or written.
    pub fn copy(&mut self, into: &Path) -> Result<()> {
        for (name, expected) in self.listed.clone() {
            let place = into.join(&name);
            let is_of_bundle = name.contains('/');
            let found = if is_of_bundle {
                let folder = place.parent().unwrap_or(into);
                let cannot = || format!("cannot write {}", place.display());
                fs::create_dir_all(folder).with_context(cannot)?;
                let mut out = File::create(&place).with_context(cannot)?;
                self.reader(&name, |reader| io::copy(reader, &mut out).map(drop))?;
                out.sync_all().with_context(cannot)?;
                // What was written is what has to be right.
                sha256(&place)?
            } else {
                let mut digest = Sha256::new();
                self.reader(&name, |reader| io::copy(reader, &mut digest).map(drop))?;
                format!("{:x}", digest.finalize())
            };
            ensure!(
                found == expected,
                "{name} of {} is damaged: its SHA-256 is {found}, and {CHECKSUMS} says {expected}: fetch it again",
                self.path.display()
            );
        }
        Ok(())
    }

    /// All files, by names relative to the top.
    fn names(&mut self) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        match &mut self.source {
            Source::Folder => below(&self.path, "", &mut names).with_context(|| self.path.display().to_string())?,
            Source::Archive(archive) => {
                for name in archive.file_names() {
                    let name = name.with_context(|| format!("{} has an entry without a name", self.path.display()))?;
                    ensure!(
                        is_inside(name.strip_suffix('/').unwrap_or(&name)),
                        "{} has the entry {name:?}, which leads out of its folder: nothing was taken from it",
                        self.path.display()
                    );
                    if !name.ends_with('/') {
                        names.insert(name.into_owned());
                    }
                }
            }
        }
        Ok(names)
    }

    /// Has a file read.
    fn reader(&mut self, name: &str, read: impl FnOnce(&mut dyn Read) -> io::Result<()>) -> Result<()> {
        let what = format!("{name} of {}", self.path.display());
        let cannot = || format!("cannot read {what}");
        let limited = |reader: &mut dyn Read| {
            let mut reader = reader.take(LARGEST);
            read(&mut reader).with_context(cannot)?;
            ensure!(reader.limit() > 0, "{what} is larger than {LARGEST} bytes: this is no bundle");
            Ok(())
        };
        match &mut self.source {
            Source::Folder => limited(&mut File::open(self.path.join(name)).with_context(cannot)?),
            Source::Archive(archive) => limited(&mut archive.by_name(name).with_context(cannot)?),
        }
    }
}

/// What to give in place of that which has no list at its top.
fn instead(present: &BTreeSet<String>) -> String {
    let within = |file: &str| present.iter().find(|name| name.rsplit('/').next() == Some(file));
    if let Some(archive) = within(ARCHIVE) {
        format!("unpack its {archive}, and give that")
    } else if let Some((folder, _)) = within(CHECKSUMS).and_then(|name| name.rsplit_once('/')) {
        format!("give its folder {folder} (unpacked), or a zip that has the list at its top")
    } else if DESCRIPTIONS.iter().any(|file| present.contains(*file)) {
        format!("it is a single bundle: give the folder or the zip around it, which has {CHECKSUMS} at its top")
    } else {
        "give the folder or the zip that has it, or have kernels/aie/manifest.py write it".into()
    }
}

/// Adds the names of all files below a folder.
fn below(folder: &Path, prefix: &str, names: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            below(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.insert(name);
        }
    }
    Ok(())
}

/// The list: a line for each file, 64 digits, a blank, a blank or an asterisk, the name.
fn parsed(list: &str) -> Result<BTreeMap<String, String>> {
    let mut listed = BTreeMap::new();
    for (line, number) in list.lines().zip(1..) {
        let fields = line.split_once(' ').map(|(sum, name)| (sum, name.strip_prefix([' ', '*']).unwrap_or_default()));
        let (sum, name) = fields
            .filter(|(sum, name)| is_sha256(sum) && !name.is_empty())
            .ok_or_else(|| anyhow!("line {number} is no checksum and a name"))?;
        ensure!(is_inside(name), "line {number} names {name:?}, which leads out of the folder: nothing was taken");
        listed.insert(name.to_owned(), sum.to_ascii_lowercase());
    }
    Ok(listed)
}

/// Whether a name stays in its folder, on every system.
fn is_inside(name: &str) -> bool {
    let odd = |c: char| c.is_control() || c == '\\' || c == ':';
    !name.contains(odd) && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether these are the digits of a SHA-256.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A file's SHA-256, in hexadecimal digits.
///
/// # Errors
///
/// If it cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    let mut read = || io::copy(&mut File::open(path)?, &mut digest);
    read().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(format!("{:x}", digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere() {
        for name in ["a", "a/b.json", "npu4-int8-48x64x64/design.xclbin", "..a"] {
            assert!(is_inside(name), "{name}");
        }
        for name in ["", "/a", "../a", "a/../../b", "a//b", "./a", "a\\b", "C:a", "a\0"] {
            assert!(!is_inside(name), "{name:?}");
        }
    }

    #[test]
    fn the_list_is_that_of_sha256sum() {
        let sum = "a42d519714d616e9411dbceec4b52808bd6b1ee53e6f6497a281d655357d8b71";
        let listed = parsed(&format!("{sum}  a/b\n{} *c\n", sum.to_uppercase())).unwrap();
        assert_eq!(listed, BTreeMap::from([("a/b".to_owned(), sum.to_owned()), ("c".to_owned(), sum.to_owned())]));
        for (list, said) in [
            (format!("{sum} a"), "line 1 is no checksum"),
            (format!("{sum}  a\n{}  b", &sum[1..]), "line 2 is no checksum"),
            (format!("{sum}  ../a"), "leads out"),
            (format!("{sum}  /a"), "leads out"),
        ] {
            let error = parsed(&list).unwrap_err().to_string();
            assert!(error.contains(said), "{list}: {error}");
        }
    }
}
