//! Where somebody speaks, by Silero's model on ONNX Runtime's CPU provider.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use undertone_runner::vad::Silero;
use undertone_runner::{Engine, EngineOptions, VadOptions};

use crate::audio::samples;

/// The model, opened when it is first needed.
static SILERO: Mutex<Option<Silero>> = Mutex::new(None);

/// The parts of float32 samples at 16 kHz in which somebody speaks, in samples.
#[pyfunction]
#[pyo3(signature = (audio, *, ort_library, threshold, neg_threshold, min_speech_duration_ms, max_speech_duration_s,
    min_silence_duration_ms, speech_pad_ms))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments, called from one place")]
pub fn speech_segments(
    py: Python<'_>,
    audio: &[u8],
    ort_library: PathBuf,
    threshold: f64,
    neg_threshold: Option<f64>,
    min_speech_duration_ms: u32,
    max_speech_duration_s: f64,
    min_silence_duration_ms: u32,
    speech_pad_ms: u32,
) -> PyResult<Vec<(u64, u64)>> {
    let options = VadOptions {
        threshold,
        neg_threshold,
        min_speech_duration_ms,
        max_speech_duration_s,
        min_silence_duration_ms,
        speech_pad_ms,
    };
    options.check().map_err(|error| PyValueError::new_err(error.to_string()))?;
    let audio = samples(audio);
    py.detach(|| {
        let failed = |error: &dyn std::fmt::Display| PyRuntimeError::new_err(error.to_string());
        let mut silero = SILERO.lock().unwrap_or_else(PoisonError::into_inner);
        let silero = match &mut *silero {
            Some(silero) => silero,
            none => {
                let engine = Engine::new(&EngineOptions::new(ort_library)).map_err(|error| failed(&error))?;
                none.insert(Silero::open(&engine, None).map_err(|error| failed(&error))?)
            }
        };
        let probabilities = silero.probabilities(&audio).map_err(|error| failed(&error))?;
        Ok(probabilities.segments(&options).into_iter().map(|part| (part.start, part.end)).collect())
    })
}
