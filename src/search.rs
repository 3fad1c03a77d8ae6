//! The options that say how the words of a window are searched for. Their names are those of openai/whisper and
//! faster-whisper.

use clap::Args;
use undertone_runner::{SearchOptions, TranscribeOptions};

use crate::numbers::{count, number};

/// The heading of these options in the help.
const HEADING: &str = "Search";

/// How words are searched for.
#[derive(Args, Clone)]
pub struct SearchChoice {
    /// Follow N texts of a window side by side at temperature 0 and take the likeliest: fewer wrong words, and slower
    /// [default: the likeliest word follows each time, as with 1]
    #[arg(long, help_heading = HEADING, value_name = "N", value_parser = count::<usize>)]
    beam_size: Option<usize>,
    /// With --beam-size: a window is done when N times as many of its texts have ended as are followed [default: 1]
    #[arg(long, help_heading = HEADING, value_name = "N", value_parser = number)]
    patience: Option<f64>,
    /// How a long text is weighed against a short one: from 0 (by its probability) to 1 (Google's length penalty)
    /// [default: by the mean over its tokens]
    #[arg(long, help_heading = HEADING, value_name = "ALPHA", value_parser = number)]
    length_penalty: Option<f64>,
}

impl SearchChoice {
    /// Puts what was chosen into `options`.
    pub fn apply(&self, options: &mut TranscribeOptions) {
        let Self { beam_size, patience, length_penalty } = *self;
        options.search = SearchOptions { beam_size, patience, length_penalty };
    }
}
