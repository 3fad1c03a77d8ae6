//! Results, in files and on standard output. Files are written under a temporary name and renamed when they are whole,
//! so that a run that fails or is stopped leaves no part of one. The runner
//! says what is in a file (`undertone_runner::format`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use undertone_runner::format::Format;

/// A directory that files can be written to.
pub struct OutputDirectory(PathBuf);

impl OutputDirectory {
    /// Creates the directory if it is missing, and tries it.
    ///
    /// # Errors
    /// If no file can be written there: better known before the work than after it.
    pub fn open(path: &Path) -> Result<Self> {
        let way_out = "name another with --output-dir";
        fs::create_dir_all(path)
            .with_context(|| format!("cannot create the output directory {} ({way_out})", path.display()))?;
        temporary(path)
            .with_context(|| format!("cannot write to the output directory {} ({way_out})", path.display()))?;
        Ok(Self(path.to_path_buf()))
    }

    /// Whether there is a file of this name.
    pub fn holds(&self, name: &str) -> bool {
        self.0.join(name).symlink_metadata().is_ok()
    }

    /// Writes the files, by name, all whole or none.
    ///
    /// # Errors
    /// If one of them cannot be written; those before it in the same call may then stand.
    pub fn write(&self, files: &BTreeMap<String, String>) -> Result<()> {
        let mut whole = Vec::new();
        for (name, text) in files {
            let path = self.0.join(name);
            let mut file = temporary(&self.0).with_context(|| format!("cannot write {}", path.display()))?;
            file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
            whole.push((file, path));
        }
        for (file, path) in whole {
            file.persist(&path)
                .map_err(|error| error.error)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// A file that a result goes to, beside standard output.
pub struct OutputFile(PathBuf);

impl OutputFile {
    /// Tries whether the file can be written.
    ///
    /// # Errors
    /// If it cannot, or is a directory: better known before the work than after it.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        if path.is_dir() {
            bail!("{}: it is a directory", cannot());
        }
        temporary(directory_of(path)).with_context(cannot)?;
        Ok(Self(path.to_path_buf()))
    }

    /// Writes it whole, in the place of what is there.
    ///
    /// # Errors
    /// If it cannot be written any more.
    pub fn write(self, text: &str) -> Result<()> {
        let written = temporary(directory_of(&self.0)).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.persist(&self.0).map(drop).map_err(|error| error.error)
        });
        written.with_context(|| format!("cannot write {}", self.0.display()))
    }
}

/// Where a file is.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The longest name of a file that common file systems take, in bytes.
const LONGEST_NAME: usize = 255;

/// The name of a result: `stem.txt` and the like, with `part` before the extension. A name that is too long loses its
/// end, not what follows that.
pub fn file_name(stem: &str, part: &str, format: Format) -> String {
    let extension = format.word();
    let mut length = stem.len().min(LONGEST_NAME - 1 - part.len() - extension.len());
    while !stem.is_char_boundary(length) {
        length -= 1;
    }
    format!("{}{part}.{extension}", &stem[..length])
}

/// A file that removes itself unless it is renamed, with the permissions that any new file has.
fn temporary(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".undertone-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(directory)
}

/// The names, without extension, of the results of `inputs`: the file's own name as whisper's command gives it.
///
/// # Errors
/// If two inputs would write the same file, one is given twice, or one has no name.
pub fn stems(inputs: &[PathBuf]) -> Result<Vec<String>> {
    let mut taken: BTreeMap<String, &Path> = BTreeMap::new();
    let mut stems = Vec::new();
    for input in inputs {
        let stem = if input.as_os_str() == "-" {
            "stdin".to_string()
        } else {
            let name = input.file_stem().with_context(|| format!("{} names no file", input.display()))?;
            name.to_string_lossy().into_owned()
        };
        if let Some(other) = taken.insert(stem.clone(), input) {
            if other == input {
                bail!("{} is given twice: name it once", input.display());
            }
            bail!(
                "{} and {} would both write {stem}.*: transcribe them in two calls with different --output-dir",
                other.display(),
                input.display()
            );
        }
        stems.push(stem);
    }
    Ok(stems)
}

/// Standard output, since it is kept for results alone.
static RESULTS: OnceLock<File> = OnceLock::new();

/// Whether standard output has refused a result, or its reader has gone away.
static LOST: AtomicBool = AtomicBool::new(false);

/// Whether standard output has refused a result, or its reader has gone away (`| head`). It takes nothing more.
pub fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Keeps standard output for results alone: what libraries below print there by themselves goes to standard error from
/// now on. XRT's driver library does, a line for each buffer, when an NPU is lost; and somebody may be reading JSON.
pub fn keep_for_results() {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd as _;
        // Where it does not work, all goes on as it would without.
        if let Ok(own) = io::stdout().as_fd().try_clone_to_owned()
            && rustix::stdio::dup2_stdout(io::stderr()).is_ok()
        {
            // This is called once.
            let _ = RESULTS.set(own.into());
        }
    }
}

/// Warns where standard output was closed (`>&-`), before work whose result would be lost. The start of a Rust program
/// puts `/dev/null` in its place, opened for reading and writing. Some programs give their children the same on
/// purpose, so it is no error; a shell's `>/dev/null` is opened for writing only.
pub fn warn_if_lost() {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
        let Some(results) = RESULTS.get() else { return };
        let (Ok(own), Ok(null)) = (results.metadata(), fs::metadata("/dev/null")) else { return };
        let is_null = own.file_type().is_char_device() && own.rdev() == null.rdev();
        let reads = |flags: rustix::fs::OFlags| flags.contains(rustix::fs::OFlags::RDWR);
        if is_null && rustix::fs::fcntl_getfl(results).is_ok_and(reads) {
            say("warning: standard output is closed, and the result goes nowhere: let it go to a file or a pipe");
        }
    }
}

/// Whether somebody looks at standard output as it comes.
pub fn is_terminal() -> bool {
    RESULTS.get().map_or_else(|| io::stdout().is_terminal(), IsTerminal::is_terminal)
}

/// A line on standard error. Nothing is left to be told if that is closed or full.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes to standard output; a reader that has gone away (`| head`) is no error.
///
/// # Errors
/// If standard output cannot be written to for another reason.
pub fn print(text: &str) -> Result<()> {
    let done = match RESULTS.get() {
        Some(results) => write_all(results, text),
        None => write_all(io::stdout().lock(), text),
    };
    match done {
        Ok(()) => Ok(()),
        Err(error) => {
            LOST.store(true, Ordering::Relaxed);
            if error.kind() == io::ErrorKind::BrokenPipe {
                return Ok(());
            }
            Err(error).context("cannot write to standard output")
        }
    }
}

fn write_all(mut out: impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole_and_nothing_else_stays() {
        let home = tempfile::tempdir().unwrap();
        let directory = OutputDirectory::open(&home.path().join("new/deep")).unwrap();
        let files =
            BTreeMap::from([("a.txt".to_string(), "one".to_string()), ("a.srt".to_string(), "two".to_string())]);
        directory.write(&files).unwrap();
        directory.write(&files).unwrap();
        let mut names: Vec<_> = fs::read_dir(&directory.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["a.srt", "a.txt"]);
        assert_eq!(fs::read_to_string(directory.0.join("a.txt")).unwrap(), "one");
    }

    #[test]
    fn a_file_in_the_directory_s_place_is_an_error_that_names_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, "kept").unwrap();
        let error = OutputDirectory::open(&path).err().unwrap().to_string();
        assert!(error.contains("file") && error.contains("--output-dir"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
    }

    #[test]
    fn the_longest_names_keep_their_extension() {
        assert_eq!(file_name("talk", "", Format::Srt), "talk.srt");
        assert_eq!(file_name("talk", ".partial", Format::Srt), "talk.partial.srt");
        assert_eq!(file_name(&"x".repeat(251), "", Format::Txt), format!("{}.txt", "x".repeat(251)));
        assert_eq!(file_name(&"x".repeat(251), "", Format::Json), format!("{}.json", "x".repeat(250)));
        let part = file_name(&"x".repeat(251), ".partial", Format::Json);
        assert_eq!(part, format!("{}.partial.json", "x".repeat(242)));
        // Letters of several bytes are not cut apart.
        assert_eq!(file_name(&"é".repeat(126), "", Format::Txt), format!("{}.txt", "é".repeat(125)));
    }

    #[test]
    fn two_inputs_never_share_a_result() {
        let stems_of = |names: &[&str]| stems(&names.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(stems_of(&["a/x.wav", "b/y.tar.flac", "-"]).unwrap(), ["x", "y.tar", "stdin"]);
        assert!(stems_of(&["a/x.wav", "b/x.mp3"]).unwrap_err().to_string().contains("b/x.mp3"));
        assert_eq!(stems_of(&["a/x.wav", "a/x.wav"]).unwrap_err().to_string(), "a/x.wav is given twice: name it once");
        assert!(stems_of(&[".."]).is_err());
    }
}
