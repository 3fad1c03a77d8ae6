//! The options that say how speech is decoded, shared by the subcommands that decode: what the runner's
//! `TranscribeOptions` hold, as a person writes it.

use anyhow::{Result, anyhow};
use clap::Args;
use undertone_runner::options::{DEFAULT_BATCH, OptionError};
use undertone_runner::{Clip, Task, TranscribeError, TranscribeOptions, VadModel};

use crate::choices;
use crate::fallback::FallbackChoice;
use crate::given::Given;
use crate::numbers::{count, number};
use crate::prompting::PromptChoice;
use crate::search::SearchChoice;
use crate::spelling::switch;
use crate::tokens::TokenChoice;
use crate::voice::VoiceChoice;
use crate::without_effect::Chosen;
use crate::words::WordChoice;

/// How speech is decoded.
#[derive(Args, Clone)]
pub struct DecodingChoice {
    /// The spoken language, such as en, English or en-US; auto detects it in each file [default: auto]
    #[arg(short, long, value_name = "LANGUAGE")]
    pub language: Option<String>,
    /// Write the words as spoken, or in English
    #[arg(long, value_parser = choices::task(), default_value_t = Task::Transcribe)]
    pub task: Task,
    /// Detect the language of each window of 30 s by itself, in recordings where several are spoken
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = false, hide_default_value = true, value_parser = switch())]
    multilingual: bool,
    /// Listen to up to N windows for the language, until one is sure of it; else most of them decide
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<usize>)]
    language_detection_segments: usize,
    /// A language that is more probable than this is sure
    #[arg(long, value_name = "P", default_value_t = 0.5, value_parser = number)]
    language_detection_threshold: f64,
    /// Transcribe these parts of the recording alone: start,end,start,end,... in seconds; without the last end, up to
    /// the recording's [default: all of it]
    #[arg(long, value_name = "TIMES", value_parser = clips)]
    clip_timestamps: Option<Clips>,
    /// Let the model write text alone: each window of up to 30 s becomes one segment. A model may then stop early and
    /// lose words. With --batch 1 windows are cut where they end, in the middle of a word too
    #[arg(long, visible_alias = "without-timestamps", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false, hide_default_value = true, value_name = "BOOL",
        value_parser = switch())]
    pub no_timestamps: bool,
    /// Decode N windows of 30 s together, which is faster and takes more memory. Longer recordings are cut for that where
    /// nobody speaks, and no window is given the text before it. 1 decodes one window after another, each with the text
    /// before it, as openai/whisper does [default: 8; long recordings one window after another with
    /// --condition-on-previous-text, --no-previous-text or --initial-prompt]
    #[arg(short, long, value_name = "N", value_parser = choices::batch)]
    pub batch: Option<usize>,
    #[command(flatten)]
    prompt: PromptChoice,
    #[command(flatten)]
    search: SearchChoice,
    #[command(flatten)]
    fallback: FallbackChoice,
    #[command(flatten)]
    voice: VoiceChoice,
    #[command(flatten)]
    tokens: TokenChoice,
    #[command(flatten)]
    words: WordChoice,
}

impl DecodingChoice {
    /// The runner's options.
    ///
    /// # Errors
    /// If one has a value without a meaning.
    pub fn options(&self) -> Result<TranscribeOptions> {
        let mut options = TranscribeOptions {
            language: self.language.clone(),
            multilingual: self.multilingual,
            language_detection_segments: self.language_detection_segments,
            language_detection_threshold: self.language_detection_threshold,
            prompt: self.prompt.options(),
            clips: self.clip_timestamps.clone().unwrap_or_default().0,
            task: self.task,
            without_timestamps: self.no_timestamps,
            batch: self.windows(),
            cut_at_pauses: self.cuts(),
            voice: self.voice.options(),
            ..TranscribeOptions::default()
        };
        self.search.apply(&mut options);
        self.fallback.apply(&mut options);
        self.tokens.apply(&mut options);
        self.words.apply(&mut options);
        options.check().map_err(|error| named(error.into()))?;
        Ok(options)
    }

    /// Warns of options that stand on the command line and change nothing; `options` are [`Self::options`].
    pub fn warn_of_options_without_effect(&self, given: &Given<'_>, options: &TranscribeOptions) {
        Chosen { options, cuts: self.cuts(), previous_text: self.previous_text() }.warn(given);
    }

    /// What tells speech from other sound; nothing that takes time where it is of no use.
    pub fn vad_model(&self) -> VadModel {
        match self.voice.model() {
            VadModel::Embedded if !self.voice.options().vad_filter && !self.cuts() => VadModel::Loudness,
            model => model,
        }
    }

    /// Whether long recordings are cut into chunks that are decoded together.
    pub fn cuts(&self) -> bool {
        self.batch.map_or(!self.prompt.goes_from_window_to_window(), |windows| windows > 1)
    }

    /// Whether a window is given the text before it.
    pub fn previous_text(&self) -> bool {
        self.prompt.previous_text()
    }

    /// Windows that are decoded together.
    pub fn windows(&self) -> usize {
        self.batch.unwrap_or(DEFAULT_BATCH)
    }
}

/// An error that calls an option what the command calls it.
pub fn named(error: TranscribeError) -> anyhow::Error {
    match error {
        TranscribeError::Option(OptionError { name, what }) => anyhow!("--{} {what}", name.replace('_', "-")),
        other => other.into(),
    }
}

/// Parts of a recording.
#[derive(Clone, Default)]
struct Clips(Vec<Clip>);

/// `start,end,start,…` in seconds. Whether they follow one another is the runner's to say.
fn clips(text: &str) -> Result<Clips, String> {
    let times = text.split(',').map(str::trim).filter(|time| !time.is_empty());
    let seconds = |time: &str| time.parse::<f64>().map_err(|_| format!("'{time}' is no number of seconds"));
    let times = times.map(seconds).collect::<Result<Vec<_>, _>>()?;
    Ok(Clips(times.chunks(2).map(|pair| Clip { start: pair[0], end: pair.get(1).copied() }).collect()))
}
