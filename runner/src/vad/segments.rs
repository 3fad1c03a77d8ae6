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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn probabilities(values: Vec<f32>, rest: usize) -> SpeechProbabilities {
        let samples = ((values.len().max(1) - 1) * PIECE + rest) as u64;
        SpeechProbabilities { values, samples }
    }

    /// The same as [`SpeechProbabilities::unpadded`] from what is true at each piece, without anything that is carried
    /// from one to the next.
    fn slowly(speech: &SpeechProbabilities, options: &VadOptions) -> Vec<Range<u64>> {
        let high = |i: usize| speech.values[i] >= options.threshold as f32;
        let low = |i: usize| speech.values[i] < options.lower_threshold() as f32;
        let samples = |pieces: usize| (pieces * PIECE) as f64;
        let milliseconds = |ms: u32| f64::from(ms) * 16.0;
        let most = options.max_speech_duration_s * 16_000.0 - 512.0 - 2.0 * milliseconds(options.speech_pad_ms);
        let count = speech.values.len();
        let mut found = Vec::new();
        let mut from = 0;
        'stretches: while let Some(first) = (from..count).find(|&i| high(i)) {
            // The stretch begins at `start`; silence before `known_from` is forgotten.
            let (mut start, mut known_from) = (first, first);
            for here in first + 1..count {
                let silent_from = |i: usize, start: usize, known_from: usize| {
                    let last = (start..=i).rev().find(|&k| high(k)).unwrap_or(start);
                    ((last + 1).max(known_from)..=i).find(|&k| low(k))
                };
                if samples(here - start) > most {
                    let long =
                        |i: usize| silent_from(i, start, known_from).filter(|&k| low(i) && samples(i - k) > 1568.0);
                    let end = (known_from.max(start + 1)..here).filter_map(long).next_back();
                    found.push(samples(start) as u64..samples(end.unwrap_or(here)) as u64);
                    match end.and_then(|end| (end..=here).find(|&i| high(i))) {
                        Some(next) => (start, known_from) = (next, here),
                        None => {
                            from = here + 1;
                            continue 'stretches;
                        }
                    }
                }
                if let Some(end) = silent_from(here, start, known_from).filter(|_| low(here))
                    && samples(here - end) >= milliseconds(options.min_silence_duration_ms)
                {
                    if samples(end - start) > milliseconds(options.min_speech_duration_ms) {
                        found.push(samples(start) as u64..samples(end) as u64);
                    }
                    from = here + 1;
                    continue 'stretches;
                }
            }
            if speech.samples as f64 - samples(start) > milliseconds(options.min_speech_duration_ms) {
                found.push(samples(start) as u64..speech.samples);
            }
            break;
        }
        found
    }

    fn any_options() -> impl Strategy<Value = VadOptions> {
        let seconds = prop_oneof![Just(f64::INFINITY), 0.9f64..8.0];
        (0.05f64..0.95, prop::option::of(0.0f64..1.0), 0u32..400, seconds, 0u32..2500, 0u32..450).prop_map(
            |(threshold, lower, speech, most, silence, pad)| VadOptions {
                threshold,
                neg_threshold: lower.map(|share| share * threshold),
                min_speech_duration_ms: speech,
                max_speech_duration_s: most,
                min_silence_duration_ms: silence,
                speech_pad_ms: pad,
            },
        )
    }

    /// Runs of pieces of one kind, as speech and silence are.
    fn any_speech() -> impl Strategy<Value = SpeechProbabilities> {
        let run = (0.0f32..1.0, prop_oneof![1usize..6, 1usize..80]);
        (prop::collection::vec(run, 0..20), 0..PIECE).prop_map(|(runs, rest)| {
            let values = runs.into_iter().flat_map(|(value, count)| std::iter::repeat_n(value, count)).collect();
            probabilities(values, rest)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn stretches_are_those_of_the_slow_version(speech in any_speech(), options in any_options()) {
            prop_assert_eq!(options.check(), Ok(()));
            prop_assert_eq!(speech.unpadded(&options), slowly(&speech, &options));
        }

        #[test]
        fn stretches_are_in_order_apart_and_inside(speech in any_speech(), options in any_options()) {
            let found = speech.segments(&options);
            prop_assert!(found.iter().all(|s| s.start < s.end && s.end <= speech.samples), "{:?}", found);
            prop_assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start), "{:?}", found);
            // Padding adds and takes nothing away, and at most its length to either side.
            let pad = samples_of(options.speech_pad_ms);
            for (padded, own) in found.iter().zip(speech.unpadded(&options)) {
                prop_assert!(padded.start <= own.start && own.end <= padded.end, "{:?}", found);
                prop_assert!(own.start - padded.start <= pad && padded.end <= own.end + pad, "{:?}", found);
            }
        }
    }

    /// Pieces of speech (`#`), of silence (`.`) and of neither (`-`).
    fn drawn(picture: &str) -> SpeechProbabilities {
        let value = |c| match c {
            '#' => 0.9,
            '-' => 0.4,
            _ => 0.1,
        };
        let values: Vec<f32> = picture.chars().map(value).collect();
        let samples = (values.len() * PIECE) as u64;
        SpeechProbabilities { values, samples }
    }

    fn pieces(picture: &str, options: VadOptions) -> Vec<Range<u64>> {
        let found = drawn(picture).segments(&VadOptions { speech_pad_ms: 0, ..options });
        found.into_iter().map(|s| s.start / PIECE as u64..s.end / PIECE as u64).collect()
    }

    fn one(range: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(range).collect()
    }

    #[test]
    fn silence_ends_a_stretch_only_where_it_lasts() {
        // Five pieces are 160 ms.
        let options = VadOptions { min_silence_duration_ms: 160, ..VadOptions::default() };
        assert_eq!(pieces("..###.....###..", options), one(2..15));
        assert_eq!(pieces("..###......###..", options), [2..5, 11..16]);
        // What is neither ends nothing, and takes nothing back.
        assert_eq!(pieces("..###------###..", options), one(2..16));
        assert_eq!(pieces("..###.----.###......", options), [2..5, 11..14]);
        assert_eq!(pieces("", options), []);
        assert_eq!(pieces("......", options), []);
    }

    #[test]
    fn short_speech_is_left_out() {
        let options = VadOptions { min_silence_duration_ms: 160, min_speech_duration_ms: 96, ..VadOptions::default() };
        assert_eq!(pieces(".###......####......", options), one(10..14));
    }

    #[test]
    fn long_speech_is_cut_in_its_last_silence_or_where_it_gets_too_long() {
        // A second is 31.25 pieces, of which one is kept back.
        let options = VadOptions { max_speech_duration_s: 1.0, ..VadOptions::default() };
        let speech = |count| "#".repeat(count);
        let with_silence = format!("{}.....{}", speech(20), speech(20));
        assert_eq!(pieces(&with_silence, options), [0..20, 25..45]);
        // Three pieces are too short to cut in.
        let with_less = format!("{}...{}", speech(20), speech(20));
        assert_eq!(pieces(&with_less, options), [0..31, 32..43]);
    }

    #[test]
    fn stretches_share_the_silence_between_them() {
        let options = VadOptions { min_silence_duration_ms: 160, speech_pad_ms: 100, ..VadOptions::default() };
        // Six pieces are less than twice 1600 samples, eight are more.
        let found = drawn("....####......####........####....").segments(&options);
        assert_eq!(found, [2048 - 1600..4096 + 1536, 7168 - 1536..9216 + 1600, 13_312 - 1600..17_408]);
    }

    #[test]
    fn frames_and_pieces_agree() {
        let speech = drawn("..###..#");
        let frames = speech.by_frame(25);
        assert_eq!(frames.iter().filter(|p| **p > 0.5).count(), 11);
        let back = SpeechProbabilities::of_frames(&frames, speech.samples);
        assert_eq!(back.values[..7], speech.values[..7]);
    }
}
