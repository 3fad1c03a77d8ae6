//! The options that say how the words of a window are searched for. Their names are those of openai/whisper and
//! faster-whisper.

use clap::Args;
use undertone_runner::{SearchOptions, TranscribeOptions};

use crate::numbers::{count, number};

/// The heading of these options in the help.
const HEADING: &str = "Search";
/// Texts that are followed where nothing is said: as many as in the commands of openai/whisper, whisper.cpp and
/// whisper-ctranslate2.
const BEAM_SIZE: usize = 5;

/// How words are searched for.
#[derive(Args, Clone)]
pub struct SearchChoice {
    /// Follow N texts of a window side by side at temperature 0 and take the likeliest; with 1 the likeliest word
    /// follows each time, which is faster and makes more mistakes [default: 5]
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
        let beam_size = beam_size.unwrap_or(BEAM_SIZE);
        // A search of one text is the likeliest token each time, which is cheaper without a search's lists.
        let greedy = beam_size == 1 && patience.is_none();
        options.search = SearchOptions { beam_size: (!greedy).then_some(beam_size), patience, length_penalty };
    }
}
