//! Where in a recording there may be a voice, and where there are pauses: by a detector's probabilities of speech (`vad`),
//! or by loudness over time, which is enough to find pauses, not to tell a voice from a door.
//!
//! By loudness: a frame's level is the mean of its log-mel features over the bins, smoothed over 0.3 s. A pause is where it lies in
//! the lowest quarter between the recording's quiet and loud levels (their 5th and 95th percentiles), silence where it
//! lies in the lowest tenth. Levels are logarithmic: where 60 dB lie between the two, a sound 50 dB below the loud
//! level is no silence.

use std::ops::Range;

/// Frames to either side that a level is smoothed over.
const SMOOTH: usize = 15;
/// Levels that are not further apart than this (6 dB) are not a voice and its pauses.
const LEAST_RANGE: f32 = 0.15;

/// Levels that stay this close together (1.2 dB) are of one sound: those of white noise, brown noise and hum stay
/// within 0.026 for a minute, those of speech at −5 dB beside white noise for 2.3 s at most.
const STEADY_RANGE: f32 = 0.03;
/// Frames for which they must.
const STEADY_FRAMES: usize = 400;

/// The loudness of a recording over time, and its pauses.
#[derive(Debug, Clone)]
pub struct Voice {
    levels: Vec<f32>,
    /// 0 in a pause, 1 elsewhere.
    voice: Vec<f32>,
    /// Whether a detector of speech found the pauses.
    detected: bool,
    /// Frames whose sound is faint; empty where that is not known.
    faint: Vec<bool>,
    pause_below: f32,
    silence_below: f32,
    digital_below: f32,
    /// How many frames before each are no pause.
    voiced: Vec<u32>,
}

impl Voice {
    /// By loudness: from each frame's mean over the bins, and the value of silence.
    pub fn of(levels: &[f32], silence: f32) -> Self {
        Self::with(levels, silence, None)
    }

    /// By each frame's probability of speech: pauses are where it is below `threshold`.
    pub fn detected(levels: &[f32], silence: f32, speech: &[f32], threshold: f32) -> Self {
        Self::with(levels, silence, Some((speech, threshold)))
    }

    /// The same with the frames at which the sound is faint.
    pub(crate) fn with_faint(self, faint: Vec<bool>) -> Self {
        Self { faint, ..self }
    }

    /// Whether the sound at a frame is much fainter than speech usually is.
    pub(crate) fn is_faint(&self, frame: usize) -> bool {
        self.faint.get(frame).copied().unwrap_or(false)
    }

    fn with(levels: &[f32], silence: f32, speech: Option<(&[f32], f32)>) -> Self {
        let levels = smooth(levels);
        // Digital silence, such as what pads a recording, says nothing of how loud its pauses are.
        let digital_below = silence + 0.01;
        let mut sorted: Vec<f32> = levels.iter().copied().filter(|level| *level > digital_below).collect();
        sorted.sort_by(f32::total_cmp);
        let at = |percent: usize| sorted.get(sorted.len() * percent / 100).copied().unwrap_or(0.0);
        let (quiet, range) = (at(5), at(95) - at(5));
        let below = |share: f32| if range < LEAST_RANGE { f32::NEG_INFINITY } else { quiet + range * share };
        let (pause_below, silence_below) = (below(0.25), below(0.1));
        let (values, threshold) = speech.unwrap_or((&levels, pause_below));
        let voice: Vec<f32> = values.iter().map(|value| f32::from(u8::from(*value >= threshold))).collect();
        let mut voiced = Vec::with_capacity(levels.len() + 1);
        voiced.push(0);
        for (i, voice) in voice.iter().enumerate() {
            voiced.push(voiced[i] + u32::from(*voice > 0.0));
        }
        Self {
            levels,
            voice,
            detected: speech.is_some(),
            faint: Vec::new(),
            pause_below,
            silence_below,
            digital_below,
            voiced,
        }
    }

    /// 0 for each frame in a pause, 1 for every other.
    pub fn voice(&self) -> &[f32] {
        &self.voice
    }

    /// Frames of the recording.
    pub fn frames(&self) -> usize {
        self.levels.len()
    }

    /// The runs of frames in which there is a pause, in order.
    pub fn pauses(&self) -> Vec<Range<usize>> {
        runs(&self.voice, 0..self.frames(), 0.5)
    }

    /// The runs of frames within `range` in which it is silent, in order.
    pub fn silences(&self, range: Range<usize>) -> Vec<Range<usize>> {
        runs(&self.levels, range, self.silence_below)
    }

    /// Frames of `range` that are in no pause.
    pub fn voiced(&self, range: Range<usize>) -> usize {
        let before = |frame: usize| self.voiced[frame.min(self.frames())];
        before(range.end).saturating_sub(before(range.start)) as usize
    }

    /// Until which frame the sound does not change, where that is for four seconds or more from `from` on, or from one
    /// of the `within` frames after it; `None` where it does.
    pub fn steady(&self, from: usize, within: usize) -> Option<usize> {
        self.steady_run(from..self.frames(), within).map(|run| run.end)
    }

    /// The runs of frames within `range` in which there is surely no voice, in order: by a detector its pauses; by
    /// loudness digital silence, and where it is silent and does not change for four seconds or more. What is quiet and
    /// changes may be a voice far from the microphone.
    pub fn voiceless(&self, range: Range<usize>) -> Vec<Range<usize>> {
        if self.detected {
            return runs(&self.voice, range, 0.5);
        }
        let mut found = runs(&self.levels, range.clone(), self.digital_below);
        for silence in self.silences(range) {
            let mut from = silence.start;
            while let Some(run) = self.steady_run(from..silence.end, silence.len()) {
                from = run.end;
                found.push(run);
            }
        }
        found.sort_by_key(|run| run.start);
        found.dedup_by(|next, kept| {
            let joined = next.start <= kept.end;
            if joined {
                kept.end = kept.end.max(next.end);
            }
            joined
        });
        found
    }

    /// The first run of four seconds or more within `range` in which the sound does not change, if it begins in the
    /// first `within` frames.
    fn steady_run(&self, range: Range<usize>, within: usize) -> Option<Range<usize>> {
        // Nearby starts make nearby runs.
        (range.start..=range.start + within).step_by(5).find_map(|from| {
            let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
            let changes = |level: &f32| {
                (low, high) = (low.min(*level), high.max(*level));
                high - low > STEADY_RANGE
            };
            let levels = self.levels.get(from..range.end)?;
            let length = levels.iter().position(changes).unwrap_or(levels.len());
            (length >= STEADY_FRAMES).then_some(from..from + length)
        })
    }

    /// Whether a detector of speech found the pauses.
    pub fn is_detected(&self) -> bool {
        self.detected
    }

    /// From the first frame of `range` that is in no pause to behind the last; `None` where there is none.
    pub fn span(&self, range: Range<usize>) -> Option<Range<usize>> {
        let range = range.start.min(self.frames())..range.end.min(self.frames());
        let is_voice = |frame: &usize| self.voice[*frame] > 0.0;
        Some(range.clone().find(is_voice)?..range.rev().find(is_voice)? + 1)
    }

    /// The pause of at least so many frames that is nearest to a frame, if one is within `reach` of it.
    pub(crate) fn pause_near(&self, frame: usize, reach: usize, least: usize) -> Option<Range<usize>> {
        let range = frame.saturating_sub(reach)..(frame + reach + 1).min(self.frames());
        let far = |pause: &Range<usize>| pause.start.saturating_sub(frame).max((frame + 1).saturating_sub(pause.end));
        let whole = |pause: Range<usize>| {
            let quiet = |frame: &usize| self.voice[*frame] == 0.0;
            let start = (0..pause.start).rev().take_while(quiet).last().unwrap_or(pause.start);
            start..(pause.end..self.frames()).take_while(quiet).last().map_or(pause.end, |last| last + 1)
        };
        let near = runs(&self.voice, range, 0.5).into_iter().map(whole);
        near.filter(|pause| pause.len() >= least).min_by_key(far)
    }

    /// Whether it is as quiet at a frame as pauses are, whatever a detector says: between two words perhaps.
    pub fn is_quiet(&self, frame: usize) -> bool {
        self.levels[frame] < self.pause_below
    }

    /// The quietest frame of `range`; its end if it is empty.
    pub fn quietest(&self, range: Range<usize>) -> usize {
        range.clone().min_by(|&a, &b| self.levels[a].total_cmp(&self.levels[b])).unwrap_or(range.end)
    }
}

/// The longest runs of frames within `range` whose levels are below `limit`.
fn runs(levels: &[f32], range: Range<usize>, limit: f32) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for frame in range.filter(|&frame| levels[frame] < limit) {
        match runs.last_mut() {
            Some(run) if run.end == frame => run.end += 1,
            _ => runs.push(frame..frame + 1),
        }
    }
    runs
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_from_the_first_voice_to_the_last() {
        let speech = [0.0, 0.0, 0.9, 0.9, 0.1, 0.4, 0.0, 0.0];
        let voice = Voice::detected(&[0.0; 8], -1.0, &speech, 0.35);
        assert!(voice.is_detected() && !Voice::of(&[0.0; 8], -1.0).is_detected());
        assert_eq!((voice.span(0..8), voice.span(3..5), voice.span(4..99)), (Some(2..6), Some(3..4), Some(5..6)));
        assert_eq!((voice.span(0..2), voice.span(6..6), voice.span(50..60)), (None, None, None));
        assert_eq!(voice.pauses(), [0..2, 4..5, 6..8]);
        assert_eq!(voice.voiceless(1..8), [1..2, 4..5, 6..8]);
    }
}
