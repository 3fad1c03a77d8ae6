//! Encoded windows that are taken from one model to another: the same windows decoded in another arithmetic.

use super::{OrtModel, tensor};
use crate::engine::words;
use crate::speech_model::{RunError, SpeechModel};
use ort::value::DynValue;

/// Encoded windows, `[windows, 1500, width]`.
pub struct Encoded {
    /// As the encoder gave them, each `[windows, …]`.
    values: Vec<DynValue>,
    windows: usize,
}

impl Encoded {
    /// The values, one window after another.
    ///
    /// # Errors
    /// [`RunError`] if they are no floating-point numbers.
    pub fn values(&self) -> Result<Vec<f32>, RunError> {
        let failed = |e: ort::Error| RunError { stage: "encoder".to_owned(), reason: words(&e) };
        let all = self.values.iter().map(|value| tensor::floats(value).map_err(failed));
        Ok(all.collect::<Result<Vec<_>, _>>()?.concat())
    }
}

impl OrtModel {
    /// A copy of what the encoder gave for the windows that were encoded last, for [`Self::set_encoded`] of a model
    /// with another device or precision.
    ///
    /// # Errors
    /// [`RunError`] if none were encoded.
    pub fn encoded(&self) -> Result<Encoded, RunError> {
        let failed = |reason: String| RunError { stage: "encoder".to_owned(), reason };
        if self.encoded.is_empty() {
            return Err(failed("no window was encoded before".to_owned()));
        }
        let windows = self.encoded[0].shape().first().map_or(0, |&count| count as usize);
        let all: Vec<usize> = (0..windows).collect();
        let copy = |value: &DynValue| tensor::pick(value, &all).map_err(|e| failed(words(&e)));
        Ok(Encoded { values: self.encoded.iter().map(copy).collect::<Result<_, _>>()?, windows })
    }

    /// Goes on as after encoding these windows.
    ///
    /// # Errors
    /// [`RunError`] if they cannot be copied.
    pub fn set_encoded(&mut self, encoded: &Encoded) -> Result<(), RunError> {
        let failed = |e: ort::Error| RunError { stage: "encoder".to_owned(), reason: words(&e) };
        let all: Vec<usize> = (0..encoded.windows).collect();
        self.encoded =
            encoded.values.iter().map(|v| tensor::pick(v, &all)).collect::<Result<_, _>>().map_err(failed)?;
        self.restart(&all)
    }
}
