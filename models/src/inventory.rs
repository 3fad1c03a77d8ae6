//! What is on this machine: repositories of Whisper in the hub's cache, models that were converted, what is packed of
//! them, and what processes that ended early left behind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::hub::{self, Repository, Settings};
use crate::packed::{self, Packed};
use crate::provide::converted;
use crate::{folders, names, once, pip};

/// How a model is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In the hub's cache, which other programs use too: ONNX graphs or weights as they were published.
    HubCache,
    /// Converted to ONNX graphs, in Undertone's own folder.
    Converted,
    /// In a folder of the user's; only what is packed of it is Undertone's.
    Folder,
    /// A download or a conversion that was broken off.
    Unfinished,
    /// Only what was packed: the model is gone.
    LeftOver,
}

/// A model on this machine, or what is left of one.
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
    /// Bytes on disk, without what is packed of it; of a folder of the user's they are not counted.
    pub bytes: u64,
    /// The licence of its weights, where it is known.
    pub licence: Option<String>,
    /// What is packed of it.
    pub packed: Vec<Packed>,
}

impl Entry {
    /// Bytes of all that is packed of it.
    pub fn packed_bytes(&self) -> u64 {
        self.packed.iter().map(|packed| packed.bytes).sum()
    }

    /// Whether it serves nothing any more: [`prune`] removes it.
    pub fn is_left_over(&self) -> bool {
        matches!(self.kept, Kept::Unfinished | Kept::LeftOver)
    }

    /// Removes what Undertone or the hub's cache keeps of it.
    fn remove(&self) -> io::Result<()> {
        if !matches!(self.kept, Kept::Folder | Kept::LeftOver) {
            once::remove(&self.folder)?;
        }
        self.packed.iter().try_for_each(|packed| once::remove(&packed.folder))
    }
}

/// Every model, by name, and what is left over. `packed` is the folder of packed models, if there is one.
pub fn list(packed: Option<&Path>) -> Vec<Entry> {
    let settings = Settings::from_env();
    let mut entries: Vec<Entry> = hub::cached(&settings).into_iter().filter_map(of_hub).collect();
    for folder in folders_in(converted::folder()) {
        let entry = if once::is_half(&folder) { of_half(folder) } else { of_converted(&settings, folder) };
        entries.extend(entry);
    }
    entries.extend(folders_in(folders::cache()).into_iter().filter_map(of_half));
    if let Some(root) = packed {
        for packed in packed::list(root) {
            let owner = entries.iter_mut().find(|entry| !entry.is_left_over() && packed.is_of(root, &entry.folder));
            match owner {
                Some(owner) => owner.packed.push(packed),
                None => entries.push(of_packed(packed)),
            }
        }
    }
    // Whole models first.
    let rank = |entry: &Entry| (entry.is_left_over(), entry.kept == Kept::Folder);
    entries.sort_by(|a, b| (rank(a), &a.name, &a.folder).cmp(&(rank(b), &b.name, &b.folder)));
    entries
}

fn folders_in(folder: Option<PathBuf>) -> Vec<PathBuf> {
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// What a process that ended early left of a conversion.
fn of_half(folder: PathBuf) -> Option<Entry> {
    let home = once::left_over(&folder)?;
    let key = home.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let source = converted::note(&folder).map(|note| note.source);
    let name = source.map_or_else(|| name_of_key(&key), |source| name_of_source(&source));
    Some(Entry {
        name,
        from: folder.display().to_string(),
        kept: Kept::Unfinished,
        bytes: hub::bytes_of(&folder),
        folder,
        licence: None,
        packed: Vec::new(),
    })
}

/// What is packed of a folder of the user's, or of a model that is gone.
fn of_packed(packed: Packed) -> Entry {
    let kept = if packed.is_left_over() { Kept::LeftOver } else { Kept::Folder };
    let own_name = || {
        let name = packed.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.rsplit_once('-').map_or(name.clone(), |(key, _)| name_of_key(key))
    };
    let name = match &packed.graphs {
        // One of ours is known by its name.
        Some(graphs) if kept == Kept::Folder || !is_converted(graphs) => graphs.display().to_string(),
        _ => own_name(),
    };
    Entry {
        name,
        from: packed.graphs.as_ref().unwrap_or(&packed.folder).display().to_string(),
        kept,
        folder: packed.graphs.clone().unwrap_or_else(|| packed.folder.clone()),
        bytes: 0,
        licence: None,
        packed: vec![packed],
    }
}

/// Whether graphs stood in the folder of converted models.
fn is_converted(graphs: &Path) -> bool {
    let folder = converted::folder().map(|folder| folder.canonicalize().unwrap_or(folder));
    folder.is_some_and(|folder| graphs.starts_with(folder))
}

/// What a user calls the model that a converted model's folder is called after.
fn name_of_key(key: &str) -> String {
    if let Some(name) = key.strip_prefix("pypi--") {
        return name.to_owned();
    }
    let mut parts = key.split("--");
    let repository = parts.next().zip(parts.next()).map(|(owner, name)| format!("{owner}/{name}"));
    match repository.filter(|name| Repository::parse(name).is_some() && !key.starts_with("path--")) {
        Some(name) => name_of_source(&name),
        None => key.to_owned(),
    }
}

/// The short name of what serves one, else its own.
fn name_of_source(source: &str) -> String {
    names::of_repository(source).map_or(source, |known| known.name).to_owned()
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
        packed: Vec::new(),
    })
}

fn of_converted(settings: &Settings, folder: PathBuf) -> Option<Entry> {
    let note = converted::note(&folder)?;
    let offer = pip::offer(&note.source);
    let known = names::of_repository(&note.source);
    let repository = Repository::parse(&note.source).map(|repository| repository.name);
    let fetched = hub::cached(settings).into_iter().find(|cached| repository.as_ref() == Some(&cached.name));
    Some(Entry {
        name: known.map_or(note.source.clone(), |known| known.name.to_owned()),
        from: if offer.is_some() { format!("PyPI: {}", note.revision) } else { note.source },
        licence: note.licence.or(known.map(|known| known.licence.to_owned())).or(fetched.and_then(|f| f.licence)),
        kept: Kept::Converted,
        bytes: hub::bytes_of(&folder),
        folder,
        packed: Vec::new(),
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

/// Removes what is kept of the model `name` (as in [`Entry::name`] or [`Entry::from`]) and what is packed of it below
/// `packed`, and returns what it was.
///
/// # Errors
/// If a folder cannot be removed.
pub fn remove(name: &str, packed: Option<&Path>) -> io::Result<Vec<Entry>> {
    let known = names::find(name).map(|known| known.name);
    let path = Path::new(name).canonicalize().ok();
    let is_path = |text: &str| path.as_deref() == Some(Path::new(text));
    // A repository's files that were named one by one go with it.
    let file_of = |from: &str| from.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
    let is_meant = |entry: &Entry| {
        entry.name == name
            || entry.from == name
            || known == Some(&entry.name)
            || is_path(&entry.name)
            || file_of(&entry.from)
    };
    remove_all(list(packed).into_iter().filter(is_meant).collect())
}

/// Removes what serves nothing any more: downloads and conversions that were broken off, and what was packed of models
/// that are gone. Returns what it was.
///
/// # Errors
/// If a folder cannot be removed.
pub fn prune(packed: Option<&Path>) -> io::Result<Vec<Entry>> {
    remove_all(list(packed).into_iter().filter(Entry::is_left_over).collect())
}

fn remove_all(entries: Vec<Entry>) -> io::Result<Vec<Entry>> {
    entries.iter().try_for_each(Entry::remove)?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_converted_models_tell_what_they_are() {
        assert_eq!(name_of_key("pypi--tiny.en"), "tiny.en");
        assert_eq!(name_of_key("Systran--faster-whisper-base--0123456789ab"), "base");
        assert_eq!(name_of_key("owner--fine-tune--0123456789ab"), "owner/fine-tune");
        assert_eq!(name_of_key("path--base.pt--0123456789abcdef"), "path--base.pt--0123456789abcdef");
        assert_eq!(name_of_key("sample"), "sample");
    }
}
