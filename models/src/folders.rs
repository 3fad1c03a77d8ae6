//! Where the command keeps what it fetched by other ways than the hub's, and what it converted.

use std::path::PathBuf;

/// `UNDERTONE_MODELS`, or `undertone/models` in the user's cache folder; nothing where the system has no such folder.
pub fn cache() -> Option<PathBuf> {
    match std::env::var_os("UNDERTONE_MODELS").filter(|value| !value.is_empty()) {
        Some(folder) => Some(folder.into()),
        None => Some(dirs::cache_dir()?.join("undertone").join("models")),
    }
}
