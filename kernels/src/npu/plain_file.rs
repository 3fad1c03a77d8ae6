//! Files that somebody names, read whole: a pipe would be waited for, and a device read without end.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

/// The bytes of a file that has at most `most` of them.
///
/// # Errors
/// The system's, or that it is no plain file, or a larger one.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// The text of such a file.
///
/// # Errors
/// Those of [`read`], or that it is no text.
pub(super) fn text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| io::Error::other("it is no text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_of_a_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "text").unwrap();
        assert_eq!(text(&file, 4).unwrap(), "text");
        assert!(read(&file, 3).unwrap_err().to_string().contains("more than 3 bytes"));
        assert!(read(folder.path(), 4).unwrap_err().to_string().contains("no plain file"));
        assert_eq!(read(&folder.path().join("none"), 4).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&file, [255]).unwrap();
        assert!(text(&file, 4).unwrap_err().to_string().contains("UTF-8"));
        #[cfg(unix)]
        assert!(read(Path::new("/dev/zero"), 4).unwrap_err().to_string().contains("no plain file"));
    }
}
