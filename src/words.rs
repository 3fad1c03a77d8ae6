//! The options for words with their times. Their names and defaults are openai/whisper's.

use clap::Args;
use undertone_runner::{TranscribeOptions, WordOptions};

use crate::spelling::switch;

/// The heading of these options in the help.
const HEADING: &str = "Words";

/// Whether words get times, and what is made of them.
#[derive(Args, Clone)]
pub struct WordChoice {
    /// Find when each word was said, and how probable it is; segments then begin and end with their words. For the
    /// layout of subtitles, and in the results of --output-format json
    #[arg(long, help_heading = HEADING, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = false, hide_default_value = true, value_name = "BOOL", value_parser = switch())]
    word_timestamps: bool,
    /// Marks that are part of the word after them [default: "'“¿([{-]
    #[arg(long, help_heading = HEADING, value_name = "MARKS", allow_hyphen_values = true)]
    prepend_punctuations: Option<String>,
    /// Marks that are part of the word before them [default: "'.。,，!！?？:：”)]}、]
    #[arg(long, help_heading = HEADING, value_name = "MARKS", allow_hyphen_values = true)]
    append_punctuations: Option<String>,
    /// With --word-timestamps: where words are improbable, or much too short or long, beside more than so many seconds
    /// of silence, the silence is skipped and such words are left out
    #[arg(long, help_heading = HEADING, value_name = "SECONDS", value_parser = seconds, requires = "word_timestamps")]
    hallucination_silence_threshold: Option<f64>,
}

impl WordChoice {
    /// Puts what was chosen into `options`.
    pub fn apply(&self, options: &mut TranscribeOptions) {
        let default = WordOptions::default();
        options.words = WordOptions {
            word_timestamps: self.word_timestamps,
            prepend_punctuations: self.prepend_punctuations.clone().unwrap_or(default.prepend_punctuations),
            append_punctuations: self.append_punctuations.clone().unwrap_or(default.append_punctuations),
            hallucination_silence_threshold: self.hallucination_silence_threshold,
        };
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    seconds.ok_or_else(|| "it is a number of seconds, 0 or more".to_owned())
}
