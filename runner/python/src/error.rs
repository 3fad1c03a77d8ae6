//! The runner's errors as Python's exceptions, with the runner's words.

use pyo3::PyErr;
use pyo3::exceptions::{PyFileNotFoundError, PyIsADirectoryError, PyOSError, PyRuntimeError, PyValueError};
use undertone_models::ProvideError;
use undertone_runner::audio::AudioError;
use undertone_runner::{ModelError, TranscribeError};

/// What was asked for does not fit the model: `ValueError`; everything else went wrong: `RuntimeError`.
pub fn of_transcribing(error: &TranscribeError) -> PyErr {
    let words = error.to_string();
    match error {
        TranscribeError::Option(_)
        | TranscribeError::UnknownLanguage(_)
        | TranscribeError::Language { .. }
        | TranscribeError::EnglishOnly(_) => PyValueError::new_err(words),
        _ => PyRuntimeError::new_err(words),
    }
}

/// `FileNotFoundError`, `IsADirectoryError`, `OSError` for what is not there or cannot be read, `ValueError` for what
/// is no audio.
pub fn of_audio(error: &AudioError) -> PyErr {
    let words = error.to_string();
    match error {
        AudioError::NotFound(_) => PyFileNotFoundError::new_err(words),
        AudioError::IsDirectory(_) => PyIsADirectoryError::new_err(words),
        AudioError::Read { .. } => PyOSError::new_err(words),
        _ => PyValueError::new_err(words),
    }
}

/// `ValueError` for a name that is none, `FileNotFoundError` for a model that is not here while the network may not be
/// asked or is not reached, else `RuntimeError`.
pub fn of_providing(error: &ProvideError) -> PyErr {
    let words = error.to_string();
    match error {
        ProvideError::Unknown { .. } | ProvideError::NoWeights(_) | ProvideError::NoVariants { .. } => {
            PyValueError::new_err(words)
        }
        error if error.is_for_want_of_a_network() => PyFileNotFoundError::new_err(words),
        _ => PyRuntimeError::new_err(words),
    }
}

/// As [`of_providing`] and [`of_transcribing`].
pub fn of_model(error: &ModelError) -> PyErr {
    match error {
        ModelError::Provide(error) => of_providing(error),
        ModelError::NoDirectory(_) => PyFileNotFoundError::new_err(error.to_string()),
        _ => PyRuntimeError::new_err(error.to_string()),
    }
}
