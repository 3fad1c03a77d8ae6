//! Faint voices: a person far from the microphone, beside one who is near. Silero takes a voice for none where it is
//! some 60 dB below full scale, and hears it when the same sound is made louder. So what is quiet for a while goes
//! through it a second time, amplified.

use super::silero::{Heard, Silero, VadError};
use super::{PIECE, SpeechProbabilities};
use crate::mel::HOP;
use std::collections::VecDeque;

/// Pieces that are amplified alike: a quarter of a second.
const UNIT: usize = 8;
/// Units to either side that are as quiet: what ordinary speech has between its words is not amplified.
const AROUND: usize = 2;
/// Sound is quiet whose peak is below this (−26 dB of full scale) …
const QUIET: f32 = 0.05;
/// … and below this (−60 dB) there is nothing but what devices add.
const NOTHING: f32 = 0.001;
/// Peaks are amplified to this …
const LOUD: f32 = 0.3;
/// … but by no more than 40 dB.
const MOST: f32 = 100.0;

/// When somebody speaks, faint voices included.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct HeardSpeech {
    /// Of the recording as it is.
    pub(crate) plain: SpeechProbabilities,
    /// Where it is quiet, amplified: the first piece of each run, and the probabilities from it on.
    pub(crate) amplified: Vec<(usize, Vec<f32>)>,
}

impl HeardSpeech {
    /// For each of so many frames of 10 ms the probability of speech, the higher of the two where it was amplified, and
    /// whether it was.
    pub(crate) fn by_frame(&self, frames: usize) -> (Vec<f32>, Vec<bool>) {
        let (mut speech, mut faint) = (self.plain.by_frame(frames), vec![false; frames]);
        for (first, values) in &self.amplified {
            let begin = |piece: usize| (piece * PIECE).div_ceil(HOP).min(frames);
            for frame in begin(*first)..begin(first + values.len()) {
                speech[frame] = speech[frame].max(values[frame * HOP / PIECE - first]);
                faint[frame] = true;
            }
        }
        (speech, faint)
    }
}

/// Listens to the quiet parts of a recording while it comes.
#[derive(Debug, Default)]
pub(crate) struct FaintListener {
    units: Units,
    /// Units that were given.
    given: usize,
    /// The quiet run that is going on, and its first piece.
    open: Option<(usize, Heard)>,
    amplified: Vec<(usize, Vec<f32>)>,
}

impl FaintListener {
    /// Takes the next samples. In what pieces they come changes nothing.
    pub(crate) fn push(&mut self, silero: &mut Silero, samples: &[f32]) -> Result<(), VadError> {
        self.units.samples.extend(samples);
        while let Some((samples, gain)) = self.units.next(false) {
            self.hear(silero, samples, gain)?;
        }
        Ok(())
    }

    /// Ends the recording: [`HeardSpeech::amplified`].
    pub(crate) fn finish(mut self, silero: &mut Silero) -> Result<Vec<(usize, Vec<f32>)>, VadError> {
        while let Some((samples, gain)) = self.units.next(true) {
            self.hear(silero, samples, gain)?;
        }
        self.close(silero)?;
        Ok(self.amplified)
    }

    fn hear(&mut self, silero: &mut Silero, mut samples: Vec<f32>, gain: Option<f32>) -> Result<(), VadError> {
        match gain {
            Some(gain) => {
                samples.iter_mut().for_each(|sample| *sample *= gain);
                let (_, heard) = self.open.get_or_insert_with(|| (self.given * UNIT, silero.begin()));
                silero.push(heard, &samples)?;
            }
            None => self.close(silero)?,
        }
        self.given += 1;
        Ok(())
    }

    fn close(&mut self, silero: &mut Silero) -> Result<(), VadError> {
        if let Some((first, heard)) = self.open.take() {
            let mut values = silero.finish(heard)?.values;
            // What fills up the last piece of all is no part of the run.
            values.truncate(self.given * UNIT - first);
            self.amplified.push((first, values));
        }
        Ok(())
    }
}

/// Cuts a recording into units, and tells by how much each is to be amplified.
#[derive(Debug, Default)]
struct Units {
    /// Those that were not given yet.
    samples: VecDeque<f32>,
    /// Peaks of the last [`AROUND`] units that were given, and of those that follow as far as they are there.
    peaks: VecDeque<f32>,
    /// How many of them were given.
    given: usize,
}

impl Units {
    /// The next unit, and its gain if it is quiet; `None` where that cannot be known yet. `ended`: no samples follow.
    fn next(&mut self, ended: bool) -> Option<(Vec<f32>, Option<f32>)> {
        const SAMPLES: usize = UNIT * PIECE;
        loop {
            let from = (self.peaks.len() - self.given) * SAMPLES;
            let count = self.samples.len().saturating_sub(from).min(SAMPLES);
            if count == 0 || count < SAMPLES && !ended {
                break;
            }
            let peak = self.samples.range(from..from + count).fold(0.0f32, |peak, sample| peak.max(sample.abs()));
            self.peaks.push_back(peak);
        }
        let ready = self.peaks.len() - self.given > if ended { 0 } else { AROUND };
        if !ready {
            return None;
        }
        let loudest = self.peaks.iter().take(self.given + 1 + AROUND).copied().fold(0.0, f32::max);
        let gain = (NOTHING..QUIET).contains(&loudest).then(|| MOST.min(LOUD / loudest));
        match self.given {
            AROUND => drop(self.peaks.pop_front()),
            _ => self.given += 1,
        }
        Some((self.samples.drain(..SAMPLES.min(self.samples.len())).collect(), gain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Units in which the sound has these peaks; they come in pieces of these lengths.
    fn gains(peaks: &[f32], pieces: &[usize]) -> Vec<Option<f32>> {
        let sound: Vec<f32> =
            peaks.iter().flat_map(|peak| [vec![0.0; UNIT * PIECE - 1], vec![-peak]].concat()).collect();
        let (mut units, mut gains, mut rest) = (Units::default(), Vec::new(), &sound[..]);
        let mut given = Vec::new();
        for piece in pieces.iter().cycle() {
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            units.samples.extend(now);
            rest = later;
            while let Some((samples, gain)) = units.next(rest.is_empty()) {
                given.extend(samples);
                gains.push(gain);
            }
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(given, sound);
        gains
    }

    #[test]
    fn what_is_quiet_for_a_while_is_amplified() {
        let found = gains(&[0.5, 0.01, 0.01, 0.01, 0.02, 0.01, 0.01, 0.01, 0.5, 0.5], &[1000]);
        // Half a second beside the loud sound is left as it is; all that is near the peak is amplified alike.
        let most = Some(0.3f32 / 0.02);
        assert_eq!(found, [None, None, None, most, most, most, None, None, None, None]);
        // By no more than 40 dB; and not where there is nothing.
        assert_eq!(gains(&[0.002; 3], &[999_999]), [Some(100.0); 3]);
        assert_eq!(gains(&[0.0009; 3], &[7]), [None; 3]);
        assert_eq!(gains(&[0.05; 3], &[7]), [None; 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        #[test]
        fn pieces_change_nothing(
            peaks in prop::collection::vec(prop_oneof![Just(0.0005f32), Just(0.01), Just(0.03), Just(0.5)], 1..12),
            pieces in prop::collection::vec(1usize..9000, 1..4),
        ) {
            let around = |at: usize| peaks[at.saturating_sub(AROUND)..(at + AROUND + 1).min(peaks.len())].iter().copied();
            let loudest = |at: usize| around(at).fold(0.0f32, f32::max);
            let gain = |at| Some(loudest(at)).filter(|l| (0.001..0.05).contains(l)).map(|l| (0.3 / l).min(100.0));
            prop_assert_eq!(gains(&peaks, &pieces), (0..peaks.len()).map(gain).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_frame_has_the_higher_probability() {
        // Pieces of 3.2 frames.
        let plain = SpeechProbabilities { values: vec![0.6, 0.1, 0.1, 0.3], samples: 4 * 512 };
        let heard = HeardSpeech { plain, amplified: vec![(1, vec![0.9, 0.05])] };
        let (speech, faint) = heard.by_frame(12);
        assert_eq!(speech, [0.6, 0.6, 0.6, 0.6, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.3, 0.3]);
        assert!(faint.iter().enumerate().all(|(frame, faint)| *faint == (4..10).contains(&frame)), "{faint:?}");
        // More of it than there are frames.
        assert_eq!(heard.by_frame(5).0.len(), 5);
    }
}
