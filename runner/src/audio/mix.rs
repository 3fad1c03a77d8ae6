//! Channels to one. They are averaged, or weighed as in ITU-R BS.775 where their places are known: the centre more than
//! the sides, the bass channel not at all.
//!
//! Channels that cancel each other, as when one of two cables is wired the wrong way round, would become silence: where
//! the mix keeps less than a tenth of what independent channels would keep, the loudest channel stands for all.

use symphonia::core::audio::{Channels, Position};

/// Seconds over which channels are compared.
const BLOCK_SECONDS: f64 = 0.5;
/// Below this share of independent channels' power the mix is cancelled …
const CANCELLED: f64 = 0.1;
/// … and above this one no longer.
const SOUND: f64 = 0.3;
/// Mean power below which a block says nothing: -80 dB.
const QUIET: f64 = 1e-8;

/// Mixes blocks of one stream.
pub(super) struct Mixer {
    weights: Vec<f32>,
    block: usize,
    pending: Vec<f32>,
    /// The channel that stands for all.
    single: Option<usize>,
}

impl Mixer {
    /// For `weights.len()` channels; the weights are relative.
    pub(super) fn new(weights: &[f32], rate: u32) -> Self {
        let equal = weights.iter().all(|weight| *weight == weights[0]);
        let sum: f32 = weights.iter().sum();
        let weights = if equal || sum <= 0.0 {
            vec![1.0 / weights.len() as f32; weights.len()]
        } else {
            weights.iter().map(|weight| weight / sum).collect()
        };
        let block = (f64::from(rate) * BLOCK_SECONDS) as usize + 1;
        Self { weights, block, pending: Vec::new(), single: None }
    }

    /// Takes interleaved frames; those that are mixed go to the end of `out`.
    pub(super) fn push(&mut self, interleaved: &[f32], out: &mut Vec<f32>) {
        // Floating-point files may hold anything.
        let finite = |sample: &f32| if sample.is_finite() { *sample } else { 0.0 };
        if self.weights.len() == 1 {
            out.extend(interleaved.iter().map(finite));
            return;
        }
        self.pending.extend(interleaved.iter().map(finite));
        let block = self.block * self.weights.len();
        let whole = self.pending.len() / block * block;
        let pending = std::mem::take(&mut self.pending);
        pending[..whole].chunks_exact(block).for_each(|block| self.mix(block, out));
        self.pending = pending[whole..].to_vec();
    }

    /// Ends the stream.
    pub(super) fn finish(mut self, out: &mut Vec<f32>) {
        let pending = std::mem::take(&mut self.pending);
        self.mix(&pending, out);
    }

    fn mix(&mut self, block: &[f32], out: &mut Vec<f32>) {
        let channels = self.weights.len();
        let begun = out.len();
        let equal = self.weights.iter().all(|weight| *weight == self.weights[0]);
        out.extend(block.chunks_exact(channels).map(|frame| {
            let mean = if equal {
                frame.iter().sum::<f32>() * self.weights[0]
            } else {
                frame.iter().zip(&self.weights).map(|(sample, weight)| sample * weight).sum()
            };
            if mean.is_finite() { mean } else { 0.0 }
        }));
        self.judge(block, &out[begun..]);
        if let Some(channel) = self.single {
            for (mixed, frame) in out[begun..].iter_mut().zip(block.chunks_exact(channels)) {
                *mixed = frame[channel];
            }
        }
    }

    /// Whether this block's channels cancel each other.
    fn judge(&mut self, block: &[f32], mixed: &[f32]) {
        let channels = self.weights.len();
        let mut powers = vec![0.0f64; channels];
        for frame in block.chunks_exact(channels) {
            powers.iter_mut().zip(frame).for_each(|(power, sample)| *power += f64::from(*sample).powi(2));
        }
        let weighed = powers.iter().zip(&self.weights).map(|(power, weight)| power * f64::from(*weight).powi(2));
        let independent: f64 = weighed.sum();
        let kept: f64 = mixed.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        if independent < QUIET * mixed.len() as f64 {
            return;
        }
        if self.single.is_none() && kept < CANCELLED * independent {
            // The first of equals.
            self.single = (0..channels).rev().max_by(|&a, &b| powers[a].total_cmp(&powers[b]));
            tracing::debug!("the channels cancel each other: channel {:?} stands for all", self.single);
        } else if self.single.is_some() && kept > SOUND * independent {
            self.single = None;
        }
    }
}

/// What each channel counts: 1 for the front, √2 for the centre, √½ for the others, 0 for the bass.
pub(super) fn weights(channels: &Channels) -> Vec<f32> {
    match channels {
        Channels::Positioned(positions) => weights_of_mask(positions.bits(), positions.bits().count_ones() as usize),
        // Only the first of an ambisonic set hears all directions alike.
        Channels::Ambisonic(_) => (0..channels.count()).map(|i| f32::from(u8::from(i == 0))).collect(),
        other => vec![1.0; other.count().max(1)],
    }
}

/// The same for a mask of positions as in WAV files, lowest bit first; equal weights if it does not fit.
pub(super) fn weights_of_mask(mask: u64, channels: usize) -> Vec<f32> {
    let front = (Position::FRONT_LEFT | Position::FRONT_RIGHT).bits();
    if mask.count_ones() as usize != channels || channels <= 2 {
        return vec![1.0; channels.max(1)];
    }
    (0..64)
        .map(|bit| 1u64 << bit)
        .filter(|bit| mask & bit != 0)
        .map(|bit| match bit {
            bit if bit & front != 0 => 1.0,
            bit if bit == Position::FRONT_CENTER.bits() => std::f32::consts::SQRT_2,
            bit if bit == Position::LFE1.bits() || bit == Position::LFE2.bits() => 0.0,
            _ => std::f32::consts::FRAC_1_SQRT_2,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(weights: &[f32], frames: &[f32]) -> Vec<f32> {
        let mut mixer = Mixer::new(weights, 100);
        let mut out = Vec::new();
        frames.chunks(7 * weights.len()).for_each(|piece| mixer.push(piece, &mut out));
        mixer.finish(&mut out);
        out
    }

    fn noise(seed: u64) -> impl Iterator<Item = f32> {
        let mut noise = fastrand::Rng::with_seed(seed);
        std::iter::repeat_with(move || noise.f32() - 0.5)
    }

    #[test]
    fn opposite_channels_are_not_silence() {
        let left: Vec<f32> = noise(1).take(1000).collect();
        let frames: Vec<f32> = left.iter().flat_map(|sample| [0.5 * sample, -sample * 0.45]).collect();
        let expected: Vec<f32> = left.iter().map(|sample| 0.5 * sample).collect();
        assert_eq!(mix(&[1.0, 1.0], &frames), expected);
    }

    #[test]
    fn other_channels_are_averaged() {
        for (left, right) in [(1, 1), (1, 2)] {
            let frames: Vec<f32> = noise(left).zip(noise(right)).take(1000).flat_map(|(l, r)| [l, r]).collect();
            let expected: Vec<f32> = frames.chunks_exact(2).map(|frame| (frame[0] + frame[1]) * 0.5).collect();
            assert_eq!(mix(&[1.0, 1.0], &frames), expected);
        }
        // One of six that speaks is quiet, and not cancelled.
        let frames: Vec<f32> = noise(3).take(600).flat_map(|sample| [0.0, 0.0, sample, 0.0, 0.0, 0.0]).collect();
        let mixed = mix(&[1.0; 6], &frames);
        assert!(mixed.iter().zip(frames.chunks_exact(6)).all(|(mixed, frame)| (mixed - frame[2] / 6.0).abs() < 1e-7));
    }

    #[test]
    fn a_film_s_centre_counts_most_and_its_bass_nothing() {
        // Front left, right, centre, bass, back left and right.
        let weights = weights_of_mask(0b11_1111, 6);
        let sum = 2.0 + 2.0 * std::f32::consts::SQRT_2;
        let share = |channel: usize| {
            let mut frame = [0.0; 6];
            frame[channel] = 1.0;
            mix(&weights, &frame)[0] * sum
        };
        for (channel, weight) in [1.0, 1.0, 2f32.sqrt(), 0.0, 0.5f32.sqrt(), 0.5f32.sqrt()].into_iter().enumerate() {
            assert!((share(channel) - weight).abs() < 1e-6, "{channel}: {}", share(channel));
        }
    }
}
