//! A release of compiled NPU kernels as `kernels/aie/manifest.py` leaves it: a folder, or the zip archive of one, with
//! a folder for each bundle and the list `SHA256SUMS` (`sha256sum -c` reads it too). What is not on the list is not
//! taken, and nothing is believed before it was compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
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
/// No release has nearly as many files, on its list or in its archive.
const MOST_FILES: usize = 200;
/// Nor nearly as many bytes, packed or unpacked.
pub const MOST_BYTES: u64 = 1 << 30;

/// What failed on this machine: the release is not to blame.
#[derive(Debug)]
pub struct OfThisMachine(pub String);

impl fmt::Display for OfThisMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn cannot_write(path: &Path) -> OfThisMachine {
    OfThisMachine(format!("cannot write {}", path.display()))
}

/// A release whose list was read.
pub struct Release {
    path: PathBuf,
    source: Source,
    /// SHA-256 by name; names are `folder/file`.
    listed: BTreeMap<String, String>,
    /// Bytes that may still be read.
    left: u64,
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
            let file = plain_file(path).with_context(|| {
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
        let mut release = Self { path: path.to_owned(), source, listed: BTreeMap::new(), left: MOST_BYTES };
        let present = release.names()?;
        ensure!(present.contains(CHECKSUMS), "{} has no {CHECKSUMS} at its top: {}", path.display(), instead(&present));
        let mut list = String::new();
        release.reader(CHECKSUMS, |reader| Ok(reader.read_to_string(&mut list).map(drop)?))?;
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
        let names: Vec<String> = release.listed.keys().cloned().collect();
        let mut bytes = 0_u64;
        for name in &names {
            bytes = bytes.saturating_add(release.size(name)?);
        }
        ensure!(bytes <= MOST_BYTES, "{}", too_large(path));
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
                let cannot = || cannot_write(&place);
                fs::create_dir_all(folder).with_context(cannot)?;
                let mut out = File::create(&place).with_context(cannot)?;
                self.reader(&name, |reader| copied(reader, &mut out, &place))?;
                out.sync_all().with_context(cannot)?;
                // What was written is what has to be right.
                sha256(&place)?
            } else {
                let mut digest = Sha256::new();
                self.reader(&name, |reader| copied(reader, &mut digest, &place))?;
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
            Source::Folder => names_in(&self.path, &mut names).with_context(|| self.path.display().to_string())?,
            Source::Archive(archive) => {
                ensure!(archive.len() <= MOST_FILES, "{}", too_many(&self.path.display().to_string()));
                ensure!(!archive.has_duplicate_names(), "{} has two files of one name", self.path.display());
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

    /// How many bytes a file has, or says that it has.
    fn size(&mut self, name: &str) -> Result<u64> {
        let cannot = || format!("cannot read {name} of {}", self.path.display());
        match &mut self.source {
            Source::Folder => Ok(fs::metadata(self.path.join(name)).with_context(cannot)?.len()),
            Source::Archive(archive) => Ok(archive.by_name(name).with_context(cannot)?.size()),
        }
    }

    /// Has a file read.
    fn reader(&mut self, name: &str, read: impl FnOnce(&mut dyn Read) -> Result<()>) -> Result<()> {
        let what = format!("{name} of {}", self.path.display());
        let cannot = || format!("cannot read {what}");
        let most = LARGEST.min(self.left);
        let limited = |reader: &mut dyn Read| {
            let mut reader = reader.take(most);
            match read(&mut reader) {
                Err(error) if error.is::<OfThisMachine>() => return Err(error),
                other => other.with_context(cannot)?,
            }
            ensure!(reader.limit() > 0 || most < LARGEST, "{what} is larger than {LARGEST} bytes: this is no bundle");
            Ok(reader.limit())
        };
        let unread = match &mut self.source {
            Source::Folder => limited(&mut plain_file(&self.path.join(name)).with_context(cannot)?)?,
            Source::Archive(archive) => limited(&mut archive.by_name(name).with_context(cannot)?)?,
        };
        // Archives may hold more than they say.
        ensure!(unread > 0, "{}", too_large(&self.path));
        self.left -= most - unread;
        Ok(())
    }
}

fn too_large(path: &Path) -> String {
    format!("{} has more than {} MiB: this is no release of bundles", path.display(), MOST_BYTES >> 20)
}

fn too_many(what: &str) -> String {
    format!("{what} has more than {MOST_FILES} files: this is no release of bundles")
}

/// Opens a file; a pipe would be waited for, and a device read without end.
fn plain_file(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    File::open(path)
}

/// Copies all of `reader` into `out`, which belongs to the file `place`.
fn copied(reader: &mut dyn Read, out: &mut dyn Write, place: &Path) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(()),
            count => out.write_all(&buffer[..count]).with_context(|| cannot_write(place))?,
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

/// Adds the names of the files in a folder, and of those in its folders.
fn names_in(top: &Path, names: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(top)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_dir() {
            names.insert(name);
            continue;
        }
        for file in fs::read_dir(entry.path())? {
            names.insert(format!("{name}/{}", file?.file_name().to_string_lossy()));
        }
    }
    Ok(())
}

/// The list: a line for each file, 64 digits, a blank, a blank or an asterisk, the name.
fn parsed(list: &str) -> Result<BTreeMap<String, String>> {
    let mut listed = BTreeMap::new();
    // By their small letters: some systems take names for one that others tell apart.
    let mut alike: BTreeMap<String, &str> = BTreeMap::new();
    // Editors leave a mark of the encoding before the first line, and empty ones behind the last.
    let lines = list.strip_prefix('\u{feff}').unwrap_or(list).lines().zip(1..);
    for (line, number) in lines.filter(|(line, _)| !line.trim().is_empty()) {
        let fields = line.split_once(' ').map(|(sum, name)| (sum, name.strip_prefix([' ', '*']).unwrap_or_default()));
        let (sum, name) = fields
            .filter(|(sum, name)| is_sha256(sum) && !name.is_empty())
            .ok_or_else(|| anyhow!("line {number} is no checksum and a name"))?;
        let name = name.strip_prefix("./").unwrap_or(name);
        ensure!(is_inside(name), "line {number} names {name:?}, which leads out of the folder: nothing was taken");
        let folder = name.split_once('/').map(|(folder, _)| folder);
        ensure!(
            folder.is_none() || is_of_bundle(name),
            "line {number} names {name:?}, and a file of a bundle is named like npu4-int8-48x64x64/design.xclbin: nothing \
             was taken"
        );
        for part in [Some(name), folder].into_iter().flatten() {
            if let Some(other) = alike.insert(part.to_lowercase(), part).filter(|other| *other != part) {
                bail!("line {number} names {part:?}, which is {other:?} on some systems: nothing was taken");
            }
        }
        ensure!(listed.insert(name.to_owned(), sum.to_ascii_lowercase()).is_none(), "line {number} names {name} again");
        ensure!(listed.len() <= MOST_FILES, "{}", too_many("it"));
    }
    Ok(listed)
}

/// Whether a name stays in its folder, on every system.
fn is_inside(name: &str) -> bool {
    let odd = |c: char| c.is_control() || c == '\\' || c == ':';
    !name.contains(odd) && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether a name is `folder/file`, and both can be made on every system.
fn is_of_bundle(name: &str) -> bool {
    name.split('/').count() == 2 && name.split('/').all(is_plain)
}

fn is_plain(part: &str) -> bool {
    let lower = part.to_ascii_lowercase();
    let stem = lower.split('.').next().unwrap_or_default();
    let is_device = matches!(stem, "con" | "prn" | "aux" | "nul")
        || ["com", "lpt"].iter().any(|port| stem.strip_prefix(port).is_some_and(|rest| rest.len() == 1));
    // The ends of names that this program gives beside bundles.
    let end = lower.rsplit_once('.').map_or("", |(_, end)| end.split('-').next().unwrap_or_default());
    let is_ours = matches!(end, "lock" | "partial" | "removed" | "incomplete");
    part.len() <= 120
        && part.starts_with(|c: char| c.is_ascii_alphanumeric())
        && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && !part.ends_with('.')
        && !is_device
        && !is_ours
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
    let mut read = || io::copy(&mut plain_file(path)?, &mut digest);
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
    fn names_that_a_bundle_s_file_may_have() {
        for name in ["npu4-int8-48x64x64/design.xclbin", "a/b", "a.lock.d/console", "COM/com10.x"] {
            assert!(is_of_bundle(name), "{name}");
        }
        for part in [
            "fetch.lock",
            ".fetching",
            "a.LOCK",
            "a.partial",
            "a.partial-1",
            "a.removed-12",
            "a.",
            "CON",
            "nul.txt",
            "com1",
            "a b",
            "a\"b",
            "a\u{202e}b",
            "a\u{2028}b",
            "ü",
            "-a",
            "",
        ] {
            assert!(!is_of_bundle(&format!("{part}/b")) && !is_of_bundle(&format!("a/{part}")), "{part:?}");
        }
        assert!(!is_of_bundle("a/b/c") && !is_of_bundle("a"));
    }

    #[test]
    fn the_list_is_that_of_sha256sum() {
        let sum = "a42d519714d616e9411dbceec4b52808bd6b1ee53e6f6497a281d655357d8b71";
        let listed = parsed(&format!("{sum}  a/b\n{} *c\n", sum.to_uppercase())).unwrap();
        assert_eq!(listed, BTreeMap::from([("a/b".to_owned(), sum.to_owned()), ("c".to_owned(), sum.to_owned())]));
        assert_eq!(parsed(&format!("\u{feff}{sum}  ./a/b\r\n{sum} *c\r\n\r\n")).unwrap(), listed);
        for (list, said) in [
            (format!("{sum}  x/a\n{sum}  x/a"), "line 2 names x/a again"),
            (format!("{sum}  x/a\n{sum}  x/A"), "on some systems"),
            (format!("{sum}  x/a\n{sum}  X/b"), "on some systems"),
            (format!("{sum}  x.lock/a"), "line 1 names \"x.lock/a\", and a file"),
            ((0..=MOST_FILES).map(|i| format!("{sum}  x/{i}\n")).collect(), "more than 200 files"),
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
