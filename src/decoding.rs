//! The options that say how speech is decoded, shared by the subcommands that decode: what the runner's
//! `TranscribeOptions` hold, as a person writes it.

use clap::Args;
use undertone_runner::options::DEFAULT_BATCH;
use undertone_runner::{Task, TranscribeOptions, VadModel};

use crate::choices;
use crate::fallback::FallbackChoice;
use crate::spelling::switch;
use crate::voice::VoiceChoice;

/// How speech is decoded.
#[derive(Args, Clone)]
pub struct DecodingChoice {
    /// The spoken language, such as en, English or en-US; auto detects it in each file [default: auto]
    #[arg(short, long, value_name = "LANGUAGE")]
    pub language: Option<String>,
    /// Write the words as spoken, or in English
    #[arg(long, value_parser = choices::task(), default_value_t = Task::Transcribe)]
    pub task: Task,
    /// Give the text before it to each window of long audio [default: True]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = switch(), overrides_with = "no_previous_text")]
    condition_on_previous_text: Option<bool>,
    /// Decode each window of long audio without the text before it: the same as --condition-on-previous-text=False
    #[arg(long)]
    no_previous_text: bool,
    /// Let the model write text alone: each window of up to 30 s becomes one segment. A model may then stop early and
    /// lose words. Best with --batch, which cuts at pauses; without it, windows are cut where they end, in the middle
    /// of a word too
    #[arg(long)]
    pub no_timestamps: bool,
    /// Decode N windows of 30 s together, which is faster and takes more memory. Longer recordings are cut at pauses
    /// for that, and each window is decoded without the text before it: the words can differ. 1 decodes one window
    /// after another [default: up to 8 windows of different recordings together, which changes no word; long recordings
    /// window by window]
    #[arg(short, long, value_name = "N", value_parser = choices::batch)]
    pub batch: Option<usize>,
    #[command(flatten)]
    fallback: FallbackChoice,
    #[command(flatten)]
    voice: VoiceChoice,
}

impl DecodingChoice {
    /// The runner's options.
    pub fn options(&self) -> TranscribeOptions {
        let mut options = TranscribeOptions {
            language: self.language.clone(),
            task: self.task,
            without_timestamps: self.no_timestamps,
            condition_on_previous_text: self.previous_text(),
            batch: self.windows(),
            cut_at_pauses: self.batch.is_some_and(|windows| windows > 1),
            voice: self.voice.options(),
            ..TranscribeOptions::default()
        };
        self.fallback.apply(&mut options);
        options
    }

    /// What tells speech from other sound; nothing that takes time where it is of no use.
    pub fn vad_model(&self) -> VadModel {
        let options = self.options();
        match self.voice.model() {
            VadModel::Embedded if !options.voice.vad_filter && !options.cut_at_pauses => VadModel::Loudness,
            model => model,
        }
    }

    /// Whether a window is given the text before it.
    pub fn previous_text(&self) -> bool {
        self.condition_on_previous_text.unwrap_or(!self.no_previous_text)
    }

    /// Windows that are decoded together.
    pub fn windows(&self) -> usize {
        self.batch.unwrap_or(DEFAULT_BATCH)
    }
}
