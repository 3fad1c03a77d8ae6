//! From probabilities of speech to stretches of it. The rules are faster-whisper's `get_speech_timestamps` (version
//! 1.2.1, `faster_whisper/vad.py`), which has them from Silero.

use super::VadOptions;
use crate::mel::{HOP, SAMPLE_RATE};
use std::ops::Range;

/// Samples that have one probability: 32 ms.
pub const PIECE: usize = 512;
/// Samples of silence in which a stretch that is too long may be cut, if there are more (98 ms).
const SILENCE_TO_CUT_IN: u64 = SAMPLE_RATE as u64 * 98 / 1000;

/// How probable it is that somebody speaks, all along a recording.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpeechProbabilities {
    /// One for every [`PIECE`], and one for the rest, which may be empty.
    pub values: Vec<f32>,
    /// Samples of the recording, at 16 kHz.
    pub samples: u64,
}

/// A stretch of speech whose end is not known yet, in samples.
struct Open {
    start: u64,
    /// Where the silence that is going on began; speech has not come back since.
    silent_from: Option<u64>,
    /// Where the last silence began that is long enough to cut in.
    cut_at: Option<u64>,
    /// Where speech came back after it.
    next_start: u64,
}

impl Open {
    fn at(start: u64) -> Self {
        Self { start, silent_from: None, cut_at: None, next_start: 0 }
    }
}

impl SpeechProbabilities {
    /// The stretches of speech, in samples, in order, apart or touching, inside the recording. `options` are taken as
    /// checked ([`VadOptions::check`]).
    pub fn segments(&self, options: &VadOptions) -> Vec<Range<u64>> {
        pad(self.unpadded(options), samples_of(options.speech_pad_ms), self.samples)
    }

    /// One for each of so many frames of 10 ms.
    pub(crate) fn by_frame(&self, frames: usize) -> Vec<f32> {
        (0..frames).map(|frame| self.values.get(frame * HOP / PIECE).copied().unwrap_or(0.0)).collect()
    }

    /// From one for each frame of 10 ms: the middle one of each piece.
    pub(crate) fn of_frames(frames: &[f32], samples: u64) -> Self {
        let piece = |index: usize| frames.get((index * PIECE + PIECE / 2) / HOP).copied().unwrap_or(0.0);
        Self { values: (0..=samples as usize / PIECE).map(piece).collect(), samples }
    }

    fn unpadded(&self, options: &VadOptions) -> Vec<Range<u64>> {
        // Compared at the probabilities' own precision, as faster-whisper does.
        let (upper, lower) = (options.threshold as f32, options.lower_threshold() as f32);
        let min_speech = samples_of(options.min_speech_duration_ms);
        let min_silence = samples_of(options.min_silence_duration_ms);
        let most = f64::from(SAMPLE_RATE) * options.max_speech_duration_s
            - PIECE as f64
            - 2.0 * samples_of(options.speech_pad_ms) as f64;
        let mut found: Vec<Range<u64>> = Vec::new();
        let mut open: Option<Open> = None;
        for (index, &probability) in self.values.iter().enumerate() {
            let here = (index * PIECE) as u64;
            let speech = probability >= upper;
            let Some(stretch) = &mut open else {
                open = speech.then(|| Open::at(here));
                continue;
            };
            if speech && stretch.silent_from.take().is_some() {
                // The first speech after the silence that may be cut in.
                if stretch.cut_at.is_some_and(|cut| stretch.next_start < cut) {
                    stretch.next_start = here;
                }
            }
            if (here - stretch.start) as f64 > most {
                let Some(cut) = stretch.cut_at else {
                    found.push(stretch.start..here);
                    open = None;
                    continue;
                };
                found.push(stretch.start..cut);
                if stretch.next_start < cut {
                    open = None;
                    continue;
                }
                *stretch = Open::at(stretch.next_start);
            }
            if probability < lower {
                let from = *stretch.silent_from.get_or_insert(here);
                if here - from > SILENCE_TO_CUT_IN {
                    stretch.cut_at = Some(from);
                }
                if here - from >= min_silence {
                    if from - stretch.start > min_speech {
                        found.push(stretch.start..from);
                    }
                    open = None;
                }
            }
        }
        found.extend(
            open.map(|open| open.start..self.samples).filter(|last| last.end.saturating_sub(last.start) > min_speech),
        );
        found
    }
}

/// Lengthens stretches by `pad` samples to either side; of less than twice that between two, each gets half.
fn pad(mut found: Vec<Range<u64>>, pad: u64, samples: u64) -> Vec<Range<u64>> {
    for i in 0..found.len() {
        if i == 0 {
            found[0].start = found[0].start.saturating_sub(pad);
        }
        let silence = found.get(i + 1).map(|next| next.start - found[i].end);
        let share = silence.filter(|silence| *silence < 2 * pad).map_or(pad, |silence| silence / 2);
        found[i].end = (found[i].end + share).min(samples);
        if let Some(next) = found.get_mut(i + 1) {
            next.start -= share;
        }
    }
    found
}

fn samples_of(milliseconds: u32) -> u64 {
    u64::from(SAMPLE_RATE) * u64::from(milliseconds) / 1000
}
