//! Writes files whole: a reader sees the old one or the new one, never half of it, also with several writers.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

/// Writes what `contents` writes to `path`, in the place of what was there. The error is what the system says; then the
/// old file is still there, and nothing else.
pub fn write_whole(path: &Path, contents: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let unfinished = unfinished(path);
    let write = || {
        let mut file = BufWriter::new(File::create_new(&unfinished)?);
        contents(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::rename(&unfinished, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&unfinished);
    })
}

/// A name beside `path` that no other writer has.
fn unfinished(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(format!(".{}-{}.unfinished", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_left_alone() {
        let folder = std::env::temp_dir().join(format!("undertone-file-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("a.bin");
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
        assert!(write_whole(&folder.join("no/such/folder"), |_| Ok(())).is_err());
        fs::remove_dir_all(&folder).expect("removed");
    }
}
