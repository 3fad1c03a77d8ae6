//! Models by name: what there are, and where one is, fetched and converted if it is not here.

use std::path::PathBuf;

use pyo3::prelude::*;
use undertone_models::hub::Settings;
use undertone_models::names::NAMES;
use undertone_models::{ConvertOptions, LANGUAGES, Step};

use crate::error::of_providing;
use crate::interrupt::interruptible;

/// The names of models, and other words for them.
#[pyfunction]
pub fn available_models() -> Vec<&'static str> {
    NAMES.iter().flat_map(|known| [known.name].into_iter().chain(known.aliases.iter().copied())).collect()
}

/// The folder of a model's graphs. `said` is called with a line for each thing that takes time.
///
/// `output_dir`: a new folder to put the model into; `offline`: the network is not asked; `cache`: the hub's cache;
/// `revision`: of the repository; `token`: for the hub, none at all where `anonymous`.
#[pyfunction]
#[pyo3(signature = (source, said, *, output_dir, offline, cache, revision, token, anonymous))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments, called from one place")]
pub fn provide(
    py: Python<'_>,
    source: String,
    said: Py<PyAny>,
    output_dir: Option<PathBuf>,
    offline: bool,
    cache: Option<PathBuf>,
    revision: Option<String>,
    token: Option<String>,
    anonymous: bool,
) -> PyResult<PathBuf> {
    let mut settings = Settings::from_env();
    settings.offline |= offline;
    settings.token = if anonymous { None } else { token.or(settings.token) };
    if let Some(cache) = cache {
        settings.cache = cache;
    }
    interruptible(py, move || {
        let mut last = String::new();
        let mut progress = |step: Step<'_>| {
            let line = match step {
                Step::Fetching { from, total, .. } => format!("fetching {from} ({} MB)", total.div_ceil(1_000_000)),
                Step::Converting { .. } => "converting to ONNX".to_owned(),
                Step::Notice(text) => text.to_owned(),
            };
            if line != last {
                // What cannot be said is no reason to end.
                let _ = Python::attach(|py| said.call1(py, (&line,)));
                last = line;
            }
        };
        let provided = undertone_models::provide_with(&settings, &source, revision.as_deref(), &mut progress);
        let folder = provided.map_err(|error| of_providing(&error))?.folder;
        let Some(out) = output_dir else { return Ok(folder) };
        undertone_models::copy_folder(&folder, &out).map_err(|error| of_providing(&error.into()))?;
        Ok(out)
    })
}

/// The codes of all languages that a Whisper model knows.
#[pyfunction]
pub fn language_codes() -> Vec<&'static str> {
    LANGUAGES.iter().map(|(code, _)| *code).collect()
}

/// The folder for packed models when none is named, if this system has one for such files.
#[pyfunction]
pub fn packed_folder() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("undertone").join("packed"))
}

/// Converts the weights in the folder `source` to ONNX graphs in the new folder `out`.
#[pyfunction]
pub fn convert(py: Python<'_>, source: PathBuf, out: PathBuf) -> PyResult<()> {
    interruptible(py, move || {
        undertone_models::convert(&source, &out, &ConvertOptions::default(), &mut |_, _| ())
            .map(drop)
            .map_err(|error| of_providing(&error.into()))
    })
}
