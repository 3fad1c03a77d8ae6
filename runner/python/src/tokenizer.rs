//! Text and tokens, as `tokenizers.Tokenizer` has them as far as programs written for faster-whisper ask.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use undertone_runner::tokenizer::{self, SpecialTokens};

/// A model's tokenizer.
#[pyclass(frozen, module = "undertone._native")]
pub struct Tokenizer(pub tokenizer::Tokenizer);

#[pymethods]
impl Tokenizer {
    /// The tokens of a text, as it stands.
    fn encode(&self, text: &str) -> PyResult<Vec<u32>> {
        self.0.encode(text).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// The text of tokens, without special ones.
    fn decode(&self, tokens: Vec<u32>) -> PyResult<String> {
        self.0.decode(&tokens).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// The special token that is written so.
    fn special_token(&self, name: &str) -> Option<u32> {
        special(&self.0.special, name.strip_prefix("<|")?.strip_suffix("|>")?)
    }

    /// Tokens of marks that are no speech.
    fn non_speech_tokens(&self) -> Vec<u32> {
        self.0.special.non_speech.clone()
    }
}

fn special(tokens: &SpecialTokens, word: &str) -> Option<u32> {
    match word {
        "endoftext" => Some(tokens.eot),
        "startoftranscript" => Some(tokens.sot),
        "translate" => Some(tokens.translate),
        "transcribe" => Some(tokens.transcribe),
        "startoflm" => tokens.startoflm,
        "startofprev" => Some(tokens.startofprev),
        "nospeech" | "nocaptions" => Some(tokens.nospeech),
        "notimestamps" => Some(tokens.notimestamps),
        word => tokens.languages.get(word).copied().or_else(|| {
            let seconds: f64 = word.parse().ok()?;
            tokens.timestamps().find(|&token| tokens.timestamp(token).is_some_and(|at| (at - seconds).abs() < 1e-6))
        }),
    }
}
