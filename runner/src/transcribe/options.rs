//! How recordings are transcribed: what a caller can ask for, and openai/whisper's defaults.

use crate::options::Task;

/// What follows the audio in its last window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// 0.0 in normalised space, as openai/whisper's `transcribe`.
    Zero,
    /// The features of silence, as openai/whisper's `detect_language` and (nearly) transformers' preprocessor.
    Silence,
}

/// What to do with the audio.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscribeOptions {
    /// Language of the speech, as [`crate::language::parse`] understands it; `None` detects it from the first window.
    pub language: Option<String>,
    /// Write in the spoken language or in English.
    pub task: Task,
    /// Decode without timestamps: one segment for each window.
    pub without_timestamps: bool,
    /// Give the text written so far to the next window as prompt.
    pub condition_on_previous_text: bool,
    /// Text that comes before the first window's.
    pub initial_prompt: Option<String>,
    /// Temperatures at which a window is decoded, one after another until a text passes the thresholds below. At 0 the
    /// likeliest token comes, above it tokens are drawn by chance (the same each time). One alone never decodes again;
    /// with several, text that repeats itself at all of them is not kept, and `run.warnings` says so. None is the same
    /// as 0 alone.
    pub temperatures: Vec<f32>,
    /// Sequences that are drawn together at a temperature above 0, of which the likeliest is taken.
    pub best_of: usize,
    /// Text whose bytes are more than this many times as many as under zlib repeats itself and does not pass; `None`
    /// lets all pass.
    pub compression_ratio_threshold: Option<f64>,
    /// A window whose no-speech probability is above this is silence …; `None` never skips.
    pub no_speech_threshold: Option<f64>,
    /// … unless its mean log-probability is above this; `None` always skips. Text of which it is below this does not
    /// pass.
    pub logprob_threshold: Option<f64>,
    /// Seconds of audio below which what is left after a window is not decoded: of so little models make words that
    /// nobody said. A recording that is shorter is decoded.
    pub shortest_rest: f64,
    /// Sound that does not change for seconds is not decoded: silence, hum, hiss. See [`crate::voice::Voice::steady`].
    pub skip_steady: bool,
    /// What follows the audio in its last window.
    pub padding: Padding,
    /// Most windows that are decoded together, at least 1. Changes no text; each takes memory for its cache.
    pub batch: usize,
    /// Cut recordings of more than a window at pauses, so that their windows can be decoded together: without the text
    /// before them, and so not always to the same text.
    pub cut_at_pauses: bool,
}

/// Windows that are decoded together unless something else is asked for. They share what a step reads of the weights;
/// beyond eight of them that is little beside each one's own attention (`undertone bench --batch N`).
pub const DEFAULT_BATCH: usize = 8;

impl TranscribeOptions {
    /// The defaults without any that openai/whisper's `transcribe` does not have at temperature 0 without thresholds:
    /// every window is decoded once, to its likeliest tokens, and kept.
    pub fn greedy() -> Self {
        Self {
            temperatures: vec![0.0],
            compression_ratio_threshold: None,
            no_speech_threshold: None,
            logprob_threshold: None,
            shortest_rest: 0.0,
            skip_steady: false,
            ..Self::default()
        }
    }
}

impl Default for TranscribeOptions {
    fn default() -> Self {
        Self {
            language: None,
            task: Task::Transcribe,
            without_timestamps: false,
            condition_on_previous_text: true,
            initial_prompt: None,
            temperatures: vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
            best_of: 5,
            compression_ratio_threshold: Some(2.4),
            no_speech_threshold: Some(0.6),
            logprob_threshold: Some(-1.0),
            shortest_rest: 1.0,
            skip_steady: true,
            padding: Padding::Zero,
            batch: DEFAULT_BATCH,
            cut_at_pauses: false,
        }
    }
}
