//! Sound in: files and bytes to samples, by the runner's decoders.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use undertone_runner::audio::{Audio, AudioError, AudioOptions, Side, open, open_bytes};

use crate::error::of_audio;
use crate::interrupt::interruptible;

/// Where sound comes from.
#[derive(FromPyObject)]
pub enum Source {
    /// A file's whole content.
    Bytes(PyBackedBytes),
    /// A file.
    Path(PathBuf),
}

/// The samples of a file, or of a file's content, as float32 in native order, at `rate` Hz: mixed to one channel, or of
/// each side where `sides`; and in words what is missing.
#[pyfunction]
#[pyo3(signature = (source, name, *, rate, sides))]
pub fn decode_audio<'py>(
    py: Python<'py>,
    source: Source,
    name: String,
    rate: u32,
    sides: bool,
) -> PyResult<(Vec<Bound<'py, PyBytes>>, Vec<String>)> {
    let wanted: &[Option<Side>] = if sides { &[Some(Side::Left), Some(Side::Right)] } else { &[None] };
    let decoded = interruptible(py, move || {
        let all: Result<Vec<Audio>, AudioError> =
            wanted.iter().map(|side| decoded(&source, &name, rate, *side)).collect();
        all.map_err(|error| of_audio(&error))
    })?;
    let warnings = decoded.first().map(|audio| audio.warnings.iter().map(ToString::to_string).collect());
    let channels = decoded.iter().map(|audio| PyBytes::new(py, bytemuck::cast_slice(&audio.samples)));
    Ok((channels.collect(), warnings.unwrap_or_default()))
}

fn decoded(source: &Source, name: &str, rate: u32, side: Option<Side>) -> Result<Audio, AudioError> {
    let options = AudioOptions::default();
    let stream = match source {
        Source::Bytes(bytes) => open_bytes(bytes.to_vec(), name, &options)?,
        Source::Path(path) => open(path, &options)?,
    };
    let stream = stream.at_rate(rate)?;
    match side {
        Some(side) => stream.of_side(side).read(),
        None => stream.read(),
    }
}

/// Samples out of Python's bytes, which need not lie as floats do.
pub fn samples(bytes: &[u8]) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(bytes)
}
