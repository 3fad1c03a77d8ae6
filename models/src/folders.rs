//! The folder of converted models and of what pip fetched; what the hub gave is in the hub's own cache.

use std::io;
use std::path::{Path, PathBuf};

/// `UNDERTONE_MODELS`, or `undertone/models` in the user's cache folder; nothing where the system has no such folder.
pub fn cache() -> Option<PathBuf> {
    match std::env::var_os("UNDERTONE_MODELS").filter(|value| !value.is_empty()) {
        Some(folder) => Some(folder.into()),
        None => Some(dirs::cache_dir()?.join("undertone").join("models")),
    }
}

/// Makes `folder`, and tries whether files can be made in it.
pub(crate) fn try_to_write(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    tempfile::tempfile_in(folder).map(drop)
}

/// What helps against an error of writing into a folder that `variable` names.
pub(crate) fn advice(error: &io::Error, variable: &str) -> String {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => format!("make room there, or name another folder with {variable}"),
        PermissionDenied | ReadOnlyFilesystem => format!("make it writable, or name another folder with {variable}"),
        _ => format!("name another folder with {variable}"),
    }
}
