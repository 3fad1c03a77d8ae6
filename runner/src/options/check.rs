//! Whether options have values that mean something, whatever the model. Each group of options checks its own; what a
//! model cannot do is checked by [`crate::Transcriber::check`].

use super::{MOST_SEQUENCES, TranscribeOptions, clips};
use std::fmt::Display;

/// Fewest tokens of a window that has timestamps: where its text begins, one of the text, and where it ends.
const LEAST_WITH_TIMES: usize = 3;

/// An option that has a value without a meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {what}")]
pub struct OptionError {
    /// The option's name.
    pub name: &'static str,
    /// What is wrong with it, and what it may be.
    pub what: String,
}

impl OptionError {
    /// # Errors
    /// That the option `name` is `value`, and the `way_out`, unless that is `right`.
    pub(crate) fn unless(
        right: bool,
        name: &'static str,
        value: impl Display,
        way_out: impl FnOnce() -> String,
    ) -> Result<(), Self> {
        if right { Ok(()) } else { Err(Self { name, what: format!("is {value}: {}", way_out()) }) }
    }
}

impl TranscribeOptions {
    /// Whether each option has a value that means something. [`crate::Transcriber::check`] asks the same and more; this
    /// needs no model.
    ///
    /// # Errors
    /// [`OptionError`] for the first that has not.
    pub fn check(&self) -> Result<(), OptionError> {
        for &temperature in &self.temperatures {
            OptionError::unless(temperature.is_finite() && temperature >= 0.0, "temperature", temperature, || {
                "use 0, or a number above it, where tokens are drawn by chance".to_owned()
            })?;
        }
        OptionError::unless((1..=MOST_SEQUENCES).contains(&self.best_of), "best_of", self.best_of, || {
            format!("use 1 to {MOST_SEQUENCES}")
        })?;
        OptionError::unless(self.language_detection_segments > 0, "language_detection_segments", 0, || {
            "use 1 or more".to_owned()
        })?;
        let threshold = self.language_detection_threshold;
        OptionError::unless((0.0..=1.0).contains(&threshold), "language_detection_threshold", threshold, || {
            "use a probability, 0 to 1".to_owned()
        })?;
        if let Some(ratio) = self.compression_ratio_threshold {
            OptionError::unless(ratio > 0.0, "compression_ratio_threshold", ratio, || {
                "use a number above 0, for example 2.4, or none: no text has such a ratio".to_owned()
            })?;
        }
        if let Some(probability) = self.no_speech_threshold {
            OptionError::unless((0.0..=1.0).contains(&probability), "no_speech_threshold", probability, || {
                "use a probability, 0 to 1, or none".to_owned()
            })?;
        }
        if let Some(most) = self.tokens.max_new_tokens.filter(|_| !self.without_timestamps) {
            OptionError::unless(!(1..LEAST_WITH_TIMES).contains(&most), "max_new_tokens", most, || {
                format!("use {LEAST_WITH_TIMES} or more, since a text's begin and end are tokens too, or no timestamps")
            })?;
        }
        clips::check(&self.clips)?;
        self.search.check()?;
        self.voice.vad.check()?;
        self.tokens.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{SearchOptions, TokenOptions};

    #[test]
    fn what_has_no_meaning_is_named() {
        let search = |search| TranscribeOptions { search, ..TranscribeOptions::default() };
        let tokens = |tokens| TranscribeOptions { tokens, ..TranscribeOptions::default() };
        let beams = |size, patience| {
            search(SearchOptions { beam_size: Some(size), patience: Some(patience), ..SearchOptions::default() })
        };
        let penalty = |length_penalty| search(SearchOptions { length_penalty, ..SearchOptions::default() });
        for (options, name) in [
            (TranscribeOptions { temperatures: vec![0.0, -1.0], ..TranscribeOptions::default() }, "temperature"),
            (TranscribeOptions { temperatures: vec![f32::NAN], ..TranscribeOptions::default() }, "temperature"),
            (TranscribeOptions { best_of: 0, ..TranscribeOptions::default() }, "best_of"),
            (TranscribeOptions { best_of: 65, ..TranscribeOptions::default() }, "best_of"),
            (beams(0, 1.0), "beam_size"),
            (beams(1_000_000, 1.0), "beam_size"),
            (beams(5, 0.0), "patience"),
            (beams(5, -1.0), "patience"),
            (beams(5, f64::NAN), "patience"),
            (beams(5, 0.1), "patience"),
            (beams(64, 1e9), "patience"),
            (search(SearchOptions { patience: Some(1.0), ..SearchOptions::default() }), "patience"),
            (penalty(Some(-0.1)), "length_penalty"),
            (penalty(Some(1.5)), "length_penalty"),
            (
                TranscribeOptions { language_detection_segments: 0, ..TranscribeOptions::default() },
                "language_detection_segments",
            ),
            (
                TranscribeOptions { language_detection_threshold: f64::NAN, ..TranscribeOptions::default() },
                "language_detection_threshold",
            ),
            (tokens(TokenOptions { suppress_tokens: vec![-1, -2], ..TokenOptions::default() }), "suppress_tokens"),
            (tokens(TokenOptions { suppress_tokens: vec![1 << 40], ..TokenOptions::default() }), "suppress_tokens"),
            (
                tokens(TokenOptions { max_initial_timestamp: Some(-1.0), ..TokenOptions::default() }),
                "max_initial_timestamp",
            ),
            (tokens(TokenOptions { repetition_penalty: 0.0, ..TokenOptions::default() }), "repetition_penalty"),
            (tokens(TokenOptions { max_new_tokens: Some(0), ..TokenOptions::default() }), "max_new_tokens"),
            (tokens(TokenOptions { max_new_tokens: Some(2), ..TokenOptions::default() }), "max_new_tokens"),
            (
                TranscribeOptions { compression_ratio_threshold: Some(0.0), ..TranscribeOptions::default() },
                "compression_ratio_threshold",
            ),
            (
                TranscribeOptions { no_speech_threshold: Some(2.0), ..TranscribeOptions::default() },
                "no_speech_threshold",
            ),
        ] {
            let error = options.check().unwrap_err();
            assert_eq!(error.name, name, "{error}");
            assert!(error.to_string().starts_with(name) && error.what.contains("use") || error.what.contains("choose"));
        }
        assert_eq!(TranscribeOptions::default().check(), Ok(()));
        assert_eq!(TranscribeOptions::greedy().check(), Ok(()));
        let few = TokenOptions { max_new_tokens: Some(1), ..TokenOptions::default() };
        assert_eq!(TranscribeOptions { without_timestamps: true, ..tokens(few) }.check(), Ok(()));
        assert_eq!(beams(5, 2.0).check(), Ok(()));
        assert_eq!(beams(1, 1.0).check(), Ok(()));
        assert_eq!(penalty(Some(0.0)).check(), Ok(()));
    }
}
