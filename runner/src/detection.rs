//! The languages of a window by themselves, for programs that want to know them before they transcribe, all of them, or
//! of features that they made themselves.

use crate::language::detect;
use crate::transcribe::{TranscribeError, Transcriber};

impl Transcriber {
    /// The probability of each language that the model knows for a window of log-mel features `[bins, 3000]`, the
    /// likeliest first; nothing if the model knows no languages.
    ///
    /// # Errors
    /// [`TranscribeError::Run`] where the model fails; with device `auto` too: nothing takes over here.
    pub fn language_probabilities(&mut self, window: &[f32]) -> Result<Vec<(String, f64)>, TranscribeError> {
        let special = self.tokenizer().special.clone();
        if !special.multilingual {
            return Ok(Vec::new());
        }
        let model = self.model();
        model.encode(&[window])?;
        let start = model.start(&[&[special.sot]], 0)?;
        let detected = start.first().and_then(|start| detect(&start.sot, &special.languages));
        let mut all: Vec<(String, f64)> = detected.map(|d| d.probabilities.into_iter().collect()).unwrap_or_default();
        all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        Ok(all)
    }
}
