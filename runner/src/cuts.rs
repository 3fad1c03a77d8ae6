//! Where a long recording can be cut into stretches that are heard by themselves: at pauses. No audio is left out; what a
//! stretch says is not asked here.
//!
//! The measure of voice is plain: a frame's level is the mean of its log-mel features over the bins, smoothed over 0.3 s; a pause
//! is where it lies in the lowest quarter between the recording's quiet and loud levels (their 5th and 95th percentiles).
//! A wrong guess costs at most a cut within a sentence, since nothing is dropped as silence.

use crate::mel::{Features, WINDOW_FRAMES};
use std::ops::Range;

/// The shortest stretch that is cut off: a window costs the encoder the same however short its audio is.
const SHORTEST: usize = WINDOW_FRAMES * 2 / 3;
/// Frames to either side that a level is smoothed over.
const SMOOTH: usize = 15;

/// Cuts the frames of `features` into stretches of at most a window (30 s), one after another: each ends in the middle of the
/// longest pause between its 20th and 30th second; without a pause, where it is quietest there.
pub fn stretches(features: &Features) -> Vec<Range<usize>> {
    let levels = smooth(&levels(features));
    let quiet = pause_level(&levels);
    let mut stretches = Vec::new();
    let mut from = 0;
    while features.frames - from > WINDOW_FRAMES {
        let to = cut(&levels, quiet, from + SHORTEST..from + WINDOW_FRAMES + 1);
        stretches.push(from..to);
        from = to;
    }
    if from < features.frames {
        stretches.push(from..features.frames);
    }
    stretches
}

/// Each frame's mean over the bins.
fn levels(features: &Features) -> Vec<f32> {
    let mut levels = vec![0.0; features.frames];
    for line in features.data.chunks_exact(features.frames.max(1)) {
        levels.iter_mut().zip(line).for_each(|(level, value)| *level += value);
    }
    let share = 1.0 / features.bins.max(1) as f32;
    levels.iter_mut().for_each(|level| *level *= share);
    levels
}

/// Means over [`SMOOTH`] frames to either side, or as many as there are.
fn smooth(levels: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; levels.len() + 1];
    for (i, &level) in levels.iter().enumerate() {
        sums[i + 1] = sums[i] + f64::from(level);
    }
    let mean = |i: usize| {
        let (from, to) = (i.saturating_sub(SMOOTH), (i + SMOOTH + 1).min(levels.len()));
        ((sums[to] - sums[from]) / (to - from) as f64) as f32
    };
    (0..levels.len()).map(mean).collect()
}

/// The level below which there is a pause.
fn pause_level(levels: &[f32]) -> f32 {
    let mut sorted = levels.to_vec();
    sorted.sort_by(f32::total_cmp);
    let at = |percent: usize| sorted.get(levels.len() * percent / 100).copied().unwrap_or(0.0);
    at(5) + (at(95) - at(5)) / 4.0
}

/// The middle of the longest pause in `range` (the later of equals), else the quietest frame.
fn cut(levels: &[f32], quiet: f32, range: Range<usize>) -> usize {
    let mut longest = 0..0;
    let mut begun = range.start;
    for frame in range.clone() {
        if levels[frame] >= quiet {
            begun = frame + 1;
        } else if frame + 1 - begun >= longest.len() {
            longest = begun..frame + 1;
        }
    }
    if !longest.is_empty() {
        return longest.start + longest.len() / 2;
    }
    let quietest = range.clone().min_by(|&a, &b| levels[a].total_cmp(&levels[b]));
    quietest.unwrap_or(range.end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mel::LogMel;
    use proptest::prelude::*;

    /// Noise with silence at the given hundredths of a second.
    fn features(frames: usize, pauses: &[Range<usize>]) -> Features {
        let mut state = 1u32;
        let samples: Vec<f32> = (0..frames * 160)
            .map(|i| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = state as f32 / u32::MAX as f32 - 0.5;
                if pauses.iter().any(|p| p.contains(&(i / 160))) { 0.001 * noise } else { 0.5 * noise }
            })
            .collect();
        LogMel::new(80).openai(&samples)
    }

    #[test]
    fn cuts_lie_in_the_longest_late_pause() {
        let found = stretches(&features(7000, &[500..900, 2300..2350, 2600..2720, 2900..2940, 4900..5000]));
        let cuts: Vec<usize> = found.iter().map(|s| s.end).collect();
        assert!((2640..2680).contains(&cuts[0]), "{cuts:?}");
        assert!((4930..4970).contains(&cuts[1]), "{cuts:?}");
        assert_eq!(cuts[2..], [7000]);
    }

    #[test]
    fn short_recordings_are_left_whole() {
        for frames in [1, 100, 2999, 3000] {
            assert!(stretches(&features(frames, &[])).into_iter().eq(std::iter::once(0..frames)), "{frames}");
        }
        assert!(stretches(&features(0, &[])).is_empty());
        assert_eq!(stretches(&features(3001, &[])).len(), 2);
    }

    #[test]
    fn without_a_pause_no_stretch_is_longer_than_a_window() {
        for silence in [0..0, 0..9500] {
            let found = stretches(&features(9500, &[silence]));
            assert!(found.iter().all(|s| s.len() <= 3000) && found.len() <= 5, "{found:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        #[test]
        fn stretches_tile_the_recording(frames in 0usize..10_000, pauses in prop::collection::vec((0usize..10_000, 1usize..400), 0..9)) {
            let pauses: Vec<_> = pauses.into_iter().map(|(from, length)| from..from + length).collect();
            let found = stretches(&features(frames, &pauses));
            prop_assert_eq!(found.iter().map(ExactSizeIterator::len).sum::<usize>(), frames);
            prop_assert!(found.windows(2).all(|pair| pair[0].end == pair[1].start));
            prop_assert!(found.iter().all(|s| !s.is_empty() && s.len() <= WINDOW_FRAMES));
        }
    }
}
