//! What is asked of voice activity: faster-whisper's `VadOptions` under their names and with their defaults, whether
//! silence is left out, and which model tells.

use crate::options::OptionError;
use std::path::PathBuf;

/// When a stretch of a recording is speech: faster-whisper's `VadOptions` (version 1.2.1), which are Silero's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VadOptions {
    /// A piece of 32 ms that is speech with at least this probability begins a stretch of speech.
    pub threshold: f64,
    /// One with less than this probability may end it; `None` is 0.15 below `threshold`, but at least 0.01.
    pub neg_threshold: Option<f64>,
    /// Stretches that are no longer than this are left out.
    pub min_speech_duration_ms: u32,
    /// Stretches that would be longer are cut: at their last silence of more than 98 ms, or where there is none just
    /// before this length.
    pub max_speech_duration_s: f64,
    /// A stretch ends only where it is silent for this long.
    pub min_silence_duration_ms: u32,
    /// Stretches get this much of the silence before and behind them, or half of what lies between two.
    pub speech_pad_ms: u32,
}

impl Default for VadOptions {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            neg_threshold: None,
            min_speech_duration_ms: 0,
            max_speech_duration_s: f64::INFINITY,
            min_silence_duration_ms: 2000,
            speech_pad_ms: 400,
        }
    }
}

impl VadOptions {
    /// Whether every value means something.
    ///
    /// # Errors
    /// [`OptionError`]: the first that does not.
    pub fn check(&self) -> Result<(), OptionError> {
        let probability = |value: f64, name| {
            OptionError::unless((0.0..=1.0).contains(&value), name, value, || "use a probability, 0 to 1".to_owned())
        };
        probability(self.threshold, "vad_threshold")?;
        if let Some(value) = self.neg_threshold {
            probability(value, "vad_neg_threshold")?;
            OptionError::unless(value <= self.threshold, "vad_neg_threshold", value, || {
                format!("use one that is not above vad_threshold, {}", self.threshold)
            })?;
        }
        let shortest = 2.0 * f64::from(self.speech_pad_ms) / 1000.0;
        let most = self.max_speech_duration_s;
        // Not a number is no number of seconds.
        OptionError::unless(most > shortest, "vad_max_speech_duration_s", most, || {
            format!("use more than {shortest} seconds, twice vad_speech_pad_ms")
        })
    }

    /// The threshold below which speech may end.
    pub(crate) fn lower_threshold(&self) -> f64 {
        self.neg_threshold.unwrap_or((self.threshold - 0.15).max(0.01))
    }
}

/// What is done with voice activity.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct VoiceOptions {
    /// Leave out what is no speech by `vad` before anything is decoded, as faster-whisper's `vad_filter` does. The
    /// times of the text are those of the whole recording.
    pub vad_filter: bool,
    /// What is speech for that.
    pub vad: VadOptions,
}

/// What tells speech from other sound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum VadModel {
    /// The model that is part of this library: Silero VAD 6.2.3.
    #[default]
    Embedded,
    /// Another file: any ONNX export of Silero VAD, versions 4 to 6, or faster-whisper's.
    File(PathBuf),
    /// No model: a pause is where it is quieter than elsewhere.
    Loudness,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_mean_nothing_are_named() {
        let options = VadOptions::default();
        assert_eq!(options.check(), Ok(()));
        let of = |options: VadOptions| options.check().unwrap_err().name;
        assert_eq!(of(VadOptions { threshold: 1.5, ..options }), "vad_threshold");
        assert_eq!(of(VadOptions { threshold: f64::NAN, ..options }), "vad_threshold");
        assert_eq!(of(VadOptions { neg_threshold: Some(-0.1), ..options }), "vad_neg_threshold");
        assert_eq!(of(VadOptions { neg_threshold: Some(0.6), ..options }), "vad_neg_threshold");
        assert_eq!(of(VadOptions { max_speech_duration_s: 0.8, ..options }), "vad_max_speech_duration_s");
        assert_eq!(of(VadOptions { max_speech_duration_s: f64::NAN, ..options }), "vad_max_speech_duration_s");
        let error = VadOptions { threshold: 2.0, ..options }.check().unwrap_err().to_string();
        assert_eq!(error, "vad_threshold is 2: use a probability, 0 to 1");
    }

    #[test]
    fn the_lower_threshold_follows_the_upper_one_unless_it_is_given() {
        let lower = |threshold, neg_threshold| {
            VadOptions { threshold, neg_threshold, ..VadOptions::default() }.lower_threshold()
        };
        assert_eq!((lower(0.5, None), lower(0.1, None), lower(0.5, Some(0.45))), (0.35, 0.01, 0.45));
    }
}
