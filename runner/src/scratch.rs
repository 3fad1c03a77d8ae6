//! Room for what does not go into memory: files without a name, which are gone when they are closed.

use std::fs::File;
use std::io;
use std::path::PathBuf;

/// A new one, where there is room: in `TMPDIR`, else `/var/tmp`, which is a disk where `/tmp` may be memory, else in
/// the system's place for such files.
pub(crate) fn file() -> io::Result<File> {
    let named = std::env::var_os("TMPDIR").filter(|path| !path.is_empty()).map(PathBuf::from);
    let places = named.into_iter().chain([PathBuf::from("/var/tmp")]);
    places.filter_map(|place| tempfile::tempfile_in(place).ok()).next().map_or_else(tempfile::tempfile, Ok)
}
