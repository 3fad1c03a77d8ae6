//! A loaded model.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use undertone_runner::features::Features;
use undertone_runner::mel::{LogMel, WINDOW_FRAMES};
use undertone_runner::{Audio, EngineOptions, Model as Files, Transcriber};

use crate::audio::samples;
use crate::error::{of_model, of_transcribing};
use crate::interrupt::{Signals, interruptible};
use crate::options::transcribe_options;
use crate::pool::Pool;
use crate::segments::Segments;
use crate::tokenizer::Tokenizer;

/// A model on its device.
#[pyclass(frozen, module = "undertone._native")]
pub struct Model {
    pool: Arc<Pool>,
    /// Its tokenizer.
    #[pyo3(get)]
    tokenizer: Py<Tokenizer>,
    /// The codes of the languages that it knows; `None` where it knows English only.
    #[pyo3(get)]
    languages: Option<Vec<String>>,
    /// Mel bins of its input.
    #[pyo3(get)]
    n_mels: usize,
    /// What a person should know about it before waiting for it.
    #[pyo3(get)]
    warning: Option<String>,
}

#[pymethods]
impl Model {
    /// Loads the model in `folder`.
    #[new]
    #[pyo3(signature = (folder, *, ort_library, ep_library, device, precision, threads, workers, packed))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments, called from one place")]
    fn new(
        py: Python<'_>,
        folder: PathBuf,
        ort_library: PathBuf,
        ep_library: Option<PathBuf>,
        device: &str,
        precision: &str,
        threads: Option<usize>,
        workers: usize,
        packed: Option<PathBuf>,
    ) -> PyResult<Self> {
        let options = EngineOptions {
            ep_library,
            device: device.parse().map_err(|error| PyValueError::new_err(format!("{error}")))?,
            precision: precision.parse().map_err(|error| PyValueError::new_err(format!("{error}")))?,
            threads,
            packed,
            ..EngineOptions::new(ort_library)
        };
        let (transcribers, n_mels) = interruptible(py, move || {
            let model = Files::from_directory(&folder, None).map_err(|error| of_model(&error))?;
            let load = || Transcriber::load(&model, &options).map_err(|error| of_transcribing(&error));
            let transcribers: Vec<Transcriber> = (0..workers.max(1)).map(|_| load()).collect::<PyResult<_>>()?;
            Ok((transcribers, model.config().mel_bins))
        })?;
        let first = transcribers.first().ok_or_else(|| PyRuntimeError::new_err("no transcriber"))?;
        let (tokenizer, warning) = (first.tokenizer().clone(), first.warning().map(str::to_owned));
        let special = &tokenizer.special;
        let languages = special.multilingual.then(|| special.languages.keys().cloned().collect());
        let tokenizer = Py::new(py, Tokenizer(tokenizer))?;
        Ok(Self { pool: Arc::new(Pool::new(transcribers)), tokenizer, languages, n_mels, warning })
    }

    /// The log-mel features of float32 samples, `[n_mels, frames]` float32, and how many frames. A frame of silence
    /// follows those of the samples.
    fn features<'py>(&self, py: Python<'py>, audio: &[u8]) -> PyResult<(Bound<'py, PyBytes>, usize)> {
        let audio = samples(audio);
        let bins = self.n_mels;
        let made = py.detach(|| {
            let features = Features::of(&LogMel::new(bins), &audio);
            let frames = features.frames() + 1;
            let mut lines = vec![0.0f32; bins * frames];
            for start in (0..frames).step_by(WINDOW_FRAMES) {
                let window = features.window_with_silence(start)?;
                let count = WINDOW_FRAMES.min(frames - start);
                for (line, from) in lines.chunks_exact_mut(frames).zip(window.chunks_exact(WINDOW_FRAMES)) {
                    line[start..start + count].copy_from_slice(&from[..count]);
                }
            }
            Ok::<_, std::io::Error>((lines, frames))
        });
        let (lines, frames) = made?;
        Ok((PyBytes::new(py, bytemuck::cast_slice(&lines)), frames))
    }

    /// The probabilities of the languages of a window of features, `[n_mels, 3000]` float32, the likeliest first.
    fn language_probabilities(&self, py: Python<'_>, window: &[u8]) -> PyResult<Vec<(String, f64)>> {
        let window = samples(window);
        if window.len() != self.n_mels * WINDOW_FRAMES {
            let wanted = format!("a window of features is [{}, {WINDOW_FRAMES}]", self.n_mels);
            return Err(PyValueError::new_err(format!("{wanted}, and this has {} numbers", window.len())));
        }
        py.detach(|| {
            let mut signals = Signals::new();
            let taken = self.pool.take(&mut || signals.stop());
            signals.raised()?;
            let Some(mut taken) = taken else { return Ok(Vec::new()) };
            let transcriber = taken.get_mut().ok_or_else(|| PyRuntimeError::new_err("no transcriber"))?;
            transcriber.language_probabilities(&window).map_err(|error| of_transcribing(&error))
        })
    }

    /// Begins to transcribe pieces of float32 samples at 16 kHz, each by itself: nothing is computed before the first
    /// segment is asked for.
    #[pyo3(signature = (pieces, **options))]
    fn transcribe(
        &self,
        py: Python<'_>,
        pieces: Vec<PyBackedBytes>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Segments> {
        let options = match options {
            Some(options) => transcribe_options(options)?,
            None => return Err(PyValueError::new_err("transcribe needs its options")),
        };
        py.detach(|| {
            let audio = pieces.iter().map(|piece| Audio::from_samples(samples(piece))).collect();
            Segments::new(self.pool.clone(), audio, &options)
        })
    }
}
