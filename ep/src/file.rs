//! Writes files whole: a reader sees the old one or the new one, never half of it, also with several writers.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

/// Writes what `contents` writes to `path`, in the place of what was there. The error is what the system says; then the
/// old file is still there, and nothing else.
pub fn write_whole(path: &Path, contents: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut unfinished = tempfile::Builder::new();
    unfinished.prefix(".unfinished-");
    // Those of any new file; a temporary one would be its owner's alone.
    #[cfg(unix)]
    unfinished.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = BufWriter::new(unfinished.tempfile_in(path.parent().unwrap_or(path))?);
    contents(&mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

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
}
