//! How recordings are read: the options of every subcommand that does, and the reading.

use std::io;
use std::path::Path;

use clap::Args;
use undertone_runner::audio::{self, AudioError, AudioOptions, AudioStream, DecoderChoice};

use crate::choices;

/// The heading of these options in the help.
const HEADING: &str = "Reading recordings";

/// The options.
#[derive(Args)]
pub struct SoundChoice {
    /// What decodes the recordings
    #[arg(long, help_heading = HEADING, value_parser = choices::decoder(), default_value_t)]
    decoder: DecoderChoice,
    /// The audio track of a film, 1 for the first [default: the one to play; if that is silent, the first that is not]
    #[arg(long, help_heading = HEADING, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    audio_track: Option<u64>,
    /// Give no result for a recording that is damaged or cut short [default: what is there is transcribed, with a
    /// warning]
    #[arg(long, help_heading = HEADING)]
    strict: bool,
}

impl SoundChoice {
    /// The same for the runner.
    pub fn options(&self) -> AudioOptions {
        AudioOptions { decoder: self.decoder, track: self.audio_track.map(|track| track as usize), strict: self.strict }
    }

    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    /// If it is no recording, or nothing of it can be decoded.
    pub fn open(&self, file: &Path) -> Result<AudioStream, AudioError> {
        if file.as_os_str() == "-" {
            return audio::open_reader(io::stdin(), "standard input", &self.options());
        }
        audio::open(file, &self.options())
    }
}
