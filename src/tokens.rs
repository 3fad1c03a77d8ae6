//! The options that say which tokens a model may write, and how many. Their names are those of openai/whisper and
//! faster-whisper.

use std::str::FromStr;

use clap::Args;
use undertone_runner::{TokenOptions, TranscribeOptions};

use crate::numbers::{count, number};
use crate::spelling::switch;

/// The heading of these options in the help.
const HEADING: &str = "What may be written";

/// Which tokens a model may write.
#[derive(Args, Clone)]
pub struct TokenChoice {
    /// Numbers of tokens that are never written, separated by commas; -1 stands for marks that nobody speaks, and ""
    /// forbids none
    #[arg(long, help_heading = HEADING, value_name = "IDS", default_value = "-1", allow_hyphen_values = true)]
    suppress_tokens: Tokens,
    /// Let no window begin with a blank or end at once
    #[arg(long, help_heading = HEADING, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = true, value_name = "BOOL", value_parser = switch())]
    suppress_blank: bool,
    /// The latest time at which a window's first segment begins, in seconds; 0 allows any [default: the model's, 1.0]
    #[arg(long, help_heading = HEADING, value_name = "SECONDS", value_parser = number)]
    max_initial_timestamp: Option<f64>,
    /// Above 1, make what the window has already less likely to come again; slower
    #[arg(long, help_heading = HEADING, value_name = "FACTOR", default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Let no sequence of N tokens come twice in a window; 0 lets all repeat
    #[arg(long, help_heading = HEADING, value_name = "N", default_value_t = 0, value_parser = count::<usize>)]
    no_repeat_ngram_size: usize,
    /// Write at most N tokens for a window [default: half of what the model can]
    #[arg(long, visible_alias = "sample-len", help_heading = HEADING, value_name = "N",
        value_parser = count::<usize>)]
    max_new_tokens: Option<usize>,
}

impl TokenChoice {
    /// Puts what was chosen into `options`.
    pub fn apply(&self, options: &mut TranscribeOptions) {
        options.tokens = TokenOptions {
            suppress_tokens: self.suppress_tokens.0.clone(),
            suppress_blank: self.suppress_blank,
            max_initial_timestamp: self.max_initial_timestamp,
            repetition_penalty: self.repetition_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            max_new_tokens: self.max_new_tokens,
        };
    }
}

/// Numbers of tokens.
#[derive(Clone)]
struct Tokens(Vec<i64>);

impl FromStr for Tokens {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |word: &str| word.trim().parse().map_err(|_| format!("'{}' is no number of a token", word.trim()));
        let words = text.split(',').filter(|word| !word.trim().is_empty());
        words.map(number).collect::<Result<_, _>>().map(Self)
    }
}
