//! Writes a report in the place of an earlier one: a reader sees the old one or the new one, never half of it. What is
//! no file, a device or a pipe, is written to and stays what it is.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Held while a file is half written.
static WRITING: Mutex<()> = Mutex::new(());

/// Waits until a file is whole, and lets no other begin: what a process does before it ends.
pub(crate) fn end_writing() {
    std::mem::forget(WRITING.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Whether `path` is there and is no file, or another name of one that is open: each writing adds to what its reader has
/// seen.
pub fn is_stream(path: &Path) -> bool {
    let is_open = ["/dev", "/proc"].iter().any(|folder| path.starts_with(folder));
    fs::metadata(path).is_ok_and(|what| !what.is_dir() && (is_open || !what.is_file()))
}

/// Writes `text` to `path`, through links.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let old = fs::metadata(path).ok();
    let real = match fs::canonicalize(path) {
        Ok(real) if !is_stream(path) => real,
        // Nothing is there yet.
        Err(_) if fs::symlink_metadata(path).is_err() => path.to_owned(),
        // No file, or a link whose file is not there yet.
        _ => return OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes()),
    };
    let _whole = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = real.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".undertone-");
    // As any new file: under sudo the person has to be able to read it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    if let Some(old) = old {
        file.as_file().set_permissions(old.permissions())?;
    }
    // Before the name leads to it: after a crash of the machine, which a driver may bring, it is whole.
    file.as_file().sync_all()?;
    file.persist(&real)?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
    use std::process::Command;

    use super::*;

    #[test]
    fn a_file_keeps_its_mode_and_a_link_stays_a_link() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("a.json"), home.path().join("link"));
        symlink("a.json", &link).unwrap();
        // First the link leads nowhere.
        write(&link, "one").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        write(&link, "two").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&home).unwrap().count(), 2, "nothing is left behind");
        assert!(write(home.path(), "a folder").is_err());
    }

    #[test]
    fn a_pipe_is_written_to_and_stays_one() {
        let home = tempfile::tempdir().unwrap();
        let pipe = home.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::read_to_string(pipe).unwrap())
        };
        assert!(is_stream(&pipe) && !is_stream(home.path()));
        write(&pipe, "one").unwrap();
        assert_eq!(reader.join().unwrap(), "one");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }
}
