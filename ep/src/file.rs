//! Writes files whole: a reader sees the old one or the new one, never half of it, also with several writers.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::Path,
};

/// Writes what `contents` writes to `path`, in the place of what was there. The error is what the system says; then the
/// old file is still there, and nothing else. A link stays, and a device or a pipe is written to.
pub fn write_whole(path: &Path, contents: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let old = fs::metadata(path).ok();
    if old.as_ref().is_some_and(|old| !old.is_file() && !old.is_dir()) {
        let mut place = BufWriter::new(fs::OpenOptions::new().write(true).open(path)?);
        contents(&mut place)?;
        return place.flush();
    }
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut unfinished = tempfile::Builder::new();
    unfinished.prefix(".unfinished-");
    // Those of any new file; a temporary one would be its owner's alone.
    #[cfg(unix)]
    unfinished.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = BufWriter::new(unfinished.tempfile_in(path.parent().unwrap_or(path))?);
    contents(&mut file)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    if let Some(old) = old {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.bin");
        write_whole(&path, |file| file.write_all(b"first")).expect("written");
        let failed = write_whole(&path, |file| {
            file.write_all(b"second, bu")?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).expect("still there"), b"first");
        write_whole(&path, |file| file.write_all(b"third")).expect("written");
        assert_eq!(fs::read(&path).expect("the new one"), b"third");
        assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 1, "nothing is left behind");
        assert!(write_whole(&folder.path().join("no/such/folder"), |_| Ok(())).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_a_device_is_written_to() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link, device) = (folder.path().join("a"), folder.path().join("link"), folder.path().join("device"));
        fs::write(&file, "old").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
        symlink(&file, &link).expect("a link");
        symlink("/dev/null", &device).expect("a link");
        for path in [&link, &device] {
            write_whole(path, |file| file.write_all(b"new")).expect("written");
            assert!(fs::symlink_metadata(path).expect("there").is_symlink());
        }
        assert_eq!(fs::read(&file).expect("there"), b"new");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    }
}
