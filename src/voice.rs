//! The options that say what is speech, and what becomes of the rest. Their names are those of faster-whisper and
//! whisper-ctranslate2; `--vad-model` is whisper.cpp's.

use std::path::PathBuf;

use clap::Args;
use undertone_runner::{VadModel, VadOptions, VoiceOptions};

use crate::numbers::{count, number};
use crate::spelling::switch;

/// The heading of these options in the help.
const HEADING: &str = "Voice activity";
/// What stands for no model.
const LOUDNESS: &str = "loudness";

/// What is speech.
#[derive(Args, Clone)]
pub struct VoiceChoice {
    /// Leave out what is no speech before anything is decoded. The times stay those of the whole recording
    #[arg(long, help_heading = HEADING, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = false, hide_default_value = true, value_name = "BOOL", value_parser = switch())]
    vad_filter: bool,
    /// From which probability on, from 0 to 1, speech begins
    #[arg(long, help_heading = HEADING, value_name = "P", default_value_t = 0.5, value_parser = number)]
    vad_threshold: f64,
    /// Below which probability speech ends [default: 0.15 below --vad-threshold]
    #[arg(long, help_heading = HEADING, value_name = "P", value_parser = number)]
    vad_neg_threshold: Option<f64>,
    /// Speech no longer than this is left out
    #[arg(long, help_heading = HEADING, value_name = "MS", default_value_t = 0, value_parser = count::<u32>)]
    vad_min_speech_duration_ms: u32,
    /// Speech longer than this is cut, in a short silence if there is one [default: never]
    #[arg(long, help_heading = HEADING, value_name = "SECONDS", value_parser = number)]
    vad_max_speech_duration_s: Option<f64>,
    /// Silence shorter than this is kept
    #[arg(long, help_heading = HEADING, value_name = "MS", default_value_t = 2000, value_parser = count::<u32>)]
    vad_min_silence_duration_ms: u32,
    /// How much of the silence around it speech keeps on either side
    #[arg(long, help_heading = HEADING, value_name = "MS", default_value_t = 400, value_parser = count::<u32>)]
    vad_speech_pad_ms: u32,
    /// What tells speech from other sound: a file with Silero VAD, versions 4 to 6, or `loudness`, which knows pauses
    /// alone and no model [default: Silero VAD 6.2.3, which is part of the command]
    #[arg(long, help_heading = HEADING, value_name = "FILE|loudness")]
    vad_model: Option<PathBuf>,
}

impl VoiceChoice {
    /// The runner's options.
    pub fn options(&self) -> VoiceOptions {
        let vad = VadOptions {
            threshold: self.vad_threshold,
            neg_threshold: self.vad_neg_threshold,
            min_speech_duration_ms: self.vad_min_speech_duration_ms,
            max_speech_duration_s: self.vad_max_speech_duration_s.unwrap_or(f64::INFINITY),
            min_silence_duration_ms: self.vad_min_silence_duration_ms,
            speech_pad_ms: self.vad_speech_pad_ms,
        };
        VoiceOptions { vad_filter: self.vad_filter, vad }
    }

    /// What tells speech from other sound, where that is asked for.
    pub fn model(&self) -> VadModel {
        match &self.vad_model {
            None => VadModel::Embedded,
            Some(word) if word.as_os_str() == LOUDNESS => VadModel::Loudness,
            Some(file) => VadModel::File(file.clone()),
        }
    }
}
