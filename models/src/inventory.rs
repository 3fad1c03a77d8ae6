//! What is on this machine: repositories of Whisper in the hub's cache, and models that were converted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::hub::{self, Settings};
use crate::{converted, names, pip};

/// How a model is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In the hub's cache, which other programs use too: ONNX graphs or weights as they were published.
    HubCache,
    /// Converted to ONNX graphs, in Undertone's own folder.
    Converted,
}

/// A model on this machine.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What gets it with `--model`: a short name, a repository, or a path.
    pub name: String,
    /// A repository, packages, or a path.
    pub from: String,
    /// How it is kept.
    pub kept: Kept,
    /// Its folder, with all revisions if it is the hub's.
    pub folder: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
    /// The licence of its weights, where it is known.
    pub licence: Option<String>,
}

/// Every model, by name.
pub fn list() -> Vec<Entry> {
    let settings = Settings::from_env();
    let mut entries: Vec<Entry> = hub::cached(&settings).into_iter().filter_map(of_hub).collect();
    let folders = converted::folder().and_then(|folder| fs::read_dir(folder).ok());
    entries.extend(folders.into_iter().flatten().flatten().filter_map(|entry| of_converted(&settings, entry.path())));
    entries.sort_by(|a, b| (&a.name, &a.folder).cmp(&(&b.name, &b.folder)));
    entries
}

fn of_hub(cached: hub::CachedRepository) -> Option<Entry> {
    if !is_whisper(cached.snapshot.as_deref()?) {
        return None;
    }
    let known = names::of_repository(&cached.name);
    Some(Entry {
        name: known.map_or(cached.name.clone(), |known| known.name.to_owned()),
        licence: known.map(|known| known.licence.to_owned()).or(cached.licence),
        from: cached.name,
        kept: Kept::HubCache,
        folder: cached.folder,
        bytes: cached.bytes,
    })
}

fn of_converted(settings: &Settings, folder: PathBuf) -> Option<Entry> {
    let note = converted::note(&folder)?;
    let offer = pip::offer(&note.source);
    let known = names::of_repository(&note.source);
    let fetched = hub::cached(settings).into_iter().find(|cached| cached.name == note.source);
    Some(Entry {
        name: known.map_or(note.source.clone(), |known| known.name.to_owned()),
        from: if offer.is_some() { format!("PyPI: {}", note.revision) } else { note.source },
        licence: note.licence.or(known.map(|known| known.licence.to_owned())).or(fetched.and_then(|f| f.licence)),
        kept: Kept::Converted,
        bytes: hub::bytes_of(&folder),
        folder,
    })
}

/// By its small files: the hub's cache holds models of all kinds.
fn is_whisper(snapshot: &Path) -> bool {
    let config = fs::read_to_string(snapshot.join("config.json")).unwrap_or_default();
    // CTranslate2's configuration names no kind of model; alignment heads are Whisper's alone.
    let by_config = config.contains("whisper") || config.contains("\"alignment_heads\"");
    let files = || fs::read_dir(snapshot).into_iter().flatten().flatten();
    by_config || files().any(|file| file.file_name().to_string_lossy().starts_with("ggml-"))
}

/// Removes what is kept of the model `name` (as in [`Entry::name`] or [`Entry::from`]), and returns what it was.
///
/// # Errors
///
/// If a folder cannot be removed.
pub fn remove(name: &str) -> io::Result<Vec<Entry>> {
    let known = names::find(name).map(|known| known.name);
    let path = Path::new(name).canonicalize().ok();
    let is_meant = |entry: &Entry| {
        entry.name == name
            || entry.from == name
            || known == Some(&entry.name)
            || path.as_deref() == Some(Path::new(&entry.name))
    };
    let meant: Vec<Entry> = list().into_iter().filter(is_meant).collect();
    for entry in &meant {
        // Renamed first: a process that opens it just now finds all or nothing.
        let going = entry.folder.with_extension(format!("removed-{}", std::process::id()));
        fs::rename(&entry.folder, &going)?;
        fs::remove_dir_all(&going)?;
    }
    Ok(meant)
}
