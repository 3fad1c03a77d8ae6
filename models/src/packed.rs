//! Folders of packed models: what they are called, which model each is of, and how many bytes it takes. The runner
//! fills them.
//!
//! ```text
//! ROOT/NAME-OF-THE-MODEL-0123456789abcdef/model.json        where the model is
//!                                         …                 its packed graphs
//! ```
//!
//! The number stands for the path of the model's graphs.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hub::bytes_of;

/// The file that says where the model is.
const NOTE: &str = "model.json";
/// Levels of folders below a model's own in which its graphs may stand: `snapshots/COMMIT/onnx` in the hub's cache.
const LEVELS: usize = 3;

#[derive(Serialize, Deserialize)]
struct Note {
    /// The folder of the model's graphs.
    graphs: PathBuf,
}

/// What is packed of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Its folder.
    pub folder: PathBuf,
    /// The folder of the graphs that it is of; `None` if an older version packed it and did not say.
    pub graphs: Option<PathBuf>,
    /// Bytes on disk.
    pub bytes: u64,
}

/// The folder below `root` for what is packed of the graphs in `graphs`, a path without links.
pub fn folder(root: &Path, graphs: &Path) -> PathBuf {
    let mut digest = DefaultHasher::new();
    graphs.hash(&mut digest);
    let name = graphs.file_name().unwrap_or_default().to_string_lossy();
    root.join(format!("{name}-{:016x}", digest.finish()))
}

/// Makes [`folder`], with a note of what it is for.
///
/// # Errors
/// If it cannot be made.
pub fn create(root: &Path, graphs: &Path) -> io::Result<()> {
    let folder = folder(root, graphs);
    fs::create_dir_all(&folder)?;
    let path = folder.join(NOTE);
    if path.is_file() {
        return Ok(());
    }
    let note = serde_json::to_vec(&Note { graphs: graphs.to_owned() })?;
    // Renamed into place: a reader never sees half of it.
    let partial = tempfile::NamedTempFile::new_in(&folder)?;
    fs::write(partial.path(), note)?;
    partial.persist(&path)?;
    Ok(())
}

/// Everything that is packed below `root`, by folder. Folders of other names are not looked at.
pub fn list(root: &Path) -> Vec<Packed> {
    let folders = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<Packed> = folders
        .filter(|folder| folder.is_dir() && is_ours(folder))
        .map(|folder| {
            let note = fs::read(folder.join(NOTE)).ok();
            let note: Option<Note> = note.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            Packed { graphs: note.map(|note| note.graphs), bytes: bytes_of(&folder), folder }
        })
        .collect();
    found.sort_by(|a, b| a.folder.cmp(&b.folder));
    found
}

/// Whether a folder is called as [`folder`] calls it.
fn is_ours(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let number = name.rsplit_once('-').map_or("", |(_, number)| number);
    number.len() == 16 && number.chars().all(|digit| digit.is_ascii_hexdigit())
}

impl Packed {
    /// Whether its graphs stand in the folder `model` or below. `root` is where it is kept.
    pub(crate) fn is_of(&self, root: &Path, model: &Path) -> bool {
        let Ok(model) = model.canonicalize() else { return false };
        match &self.graphs {
            Some(graphs) => graphs.starts_with(&model),
            None => is_named_after(&self.folder, root, &model, LEVELS),
        }
    }

    /// Whether the model that it is of is gone, or not known.
    pub(crate) fn is_left_over(&self) -> bool {
        self.graphs.as_ref().is_none_or(|graphs| !graphs.is_dir())
    }
}

fn is_named_after(packed: &Path, root: &Path, model: &Path, levels: usize) -> bool {
    if folder(root, model) == packed {
        return true;
    }
    let below = fs::read_dir(model).into_iter().flatten().flatten();
    let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    levels > 0 && below.map(|entry| entry.path()).any(|path| is_named_after(packed, root, &path, levels - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_known_by_its_note_or_by_its_name() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let (root, model, other) = (home.join("packed"), home.join("model"), home.join("mod"));
        let graphs = model.join("snapshots/0123/onnx");
        fs::create_dir_all(&graphs).unwrap();
        fs::create_dir_all(&other).unwrap();
        create(&root, &graphs).unwrap();
        create(&root, &graphs).unwrap();
        // As an older version left it, and what is not ours.
        fs::create_dir_all(folder(&root, &other)).unwrap();
        fs::create_dir_all(root.join("notes-of-mine")).unwrap();
        let found = list(&root);
        assert_eq!(found.len(), 2, "{found:?}");
        let of = |model: &Path| found.iter().filter(|packed| packed.is_of(&root, model)).count();
        assert_eq!((of(&model), of(&other), of(&root)), (1, 1, 0));
        let known = found.iter().find(|packed| packed.graphs.is_some()).unwrap();
        assert!(known.bytes > 0 && !known.is_left_over());
        fs::remove_dir_all(&model).unwrap();
        assert!(known.is_left_over());
    }
}
