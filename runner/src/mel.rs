//! Log-mel features: what Whisper's encoder sees of the sound.
//!
//! The arithmetic is that of `whisper/audio.py`: periodic Hann window of 400, hop 160, centred with reflection, power,
//! slaney filterbank, clamp at 1e-10, log10, floor at the maximum − 8, (x + 4) / 4. Models were trained with two ways
//! to pad, whose maximum and last frames differ, and both are there: [`LogMel::hugging_face`] and
//! [`Features`](crate::features::Features).

use std::fmt;
use std::sync::Arc;

use realfft::RealToComplex;

/// Samples per second of the sound that features are made of; the readers of [`crate::audio`] bring everything to it.
pub const SAMPLE_RATE: u32 = 16_000;
/// Samples in a frame, and the FFT's length.
pub const FRAME: usize = 400;
/// Samples from one frame to the next: 10 ms.
pub const HOP: usize = 160;
/// Frames in the encoder's window: 30 s.
pub const WINDOW_FRAMES: usize = 3000;
/// Samples in the encoder's window.
pub const WINDOW_SAMPLES: usize = WINDOW_FRAMES * HOP;

/// Frequencies of the power spectrum.
const SPECTRUM: usize = FRAME / 2 + 1;
/// Frames that are computed side by side; a multiple of every vector's length.
const BLOCK: usize = 16;
/// Samples beyond this are no sound; their square would overflow, so they count as silence, like NaN and infinity.
const LOUDEST: f32 = 1e9;
/// log10 of the power below which everything is silence.
pub(crate) const QUIETEST: f32 = -10.0;

/// Turns samples into features. Make it once and share it: the tables take longer than a short clip.
#[derive(Clone)]
pub struct LogMel {
    hann: [f32; FRAME],
    filters: Vec<Filter>,
    fft: Arc<dyn RealToComplex<f32>>,
}

/// A triangle over neighbouring frequencies; everything outside it is 0 and not stored.
#[derive(Debug, Clone)]
struct Filter {
    first: usize,
    weights: Vec<f32>,
}

impl LogMel {
    /// Tables for `bins` mel bins between 0 and 8000 Hz; a model's `num_mel_bins`.
    pub fn new(bins: usize) -> Self {
        let hann = std::array::from_fn(|i| {
            let turn = std::f64::consts::TAU * i as f64 / FRAME as f64;
            (0.5 - 0.5 * turn.cos()) as f32
        });
        let fft = realfft::RealFftPlanner::new().plan_fft_forward(FRAME);
        Self { hann, filters: slaney_filters(bins), fft }
    }

    /// Mel bins of the features.
    pub fn bins(&self) -> usize {
        self.filters.len()
    }

    /// The way of transformers' `WhisperFeatureExtractor`, which made the exported models' own examples: the samples
    /// are cut or filled up with zeros to 30 s, and the features are of exactly that window, `[bins, 3000]`.
    pub fn hugging_face(&self, samples: &[f32]) -> Vec<f32> {
        let samples = &samples[..samples.len().min(WINDOW_SAMPLES)];
        let mut data = self.log_power(samples, WINDOW_SAMPLES, 0, WINDOW_FRAMES);
        let maximum = data.iter().copied().fold(QUIETEST, f32::max);
        data.iter_mut().for_each(|value| *value = normalised(*value, maximum));
        data
    }

    /// log10 of the mel power, `[bins, count]`, of frames `first..first + count` of `samples` followed by zeros up to
    /// `length`.
    pub(crate) fn log_power(&self, samples: &[f32], length: usize, first: usize, count: usize) -> Vec<f32> {
        let mut data = vec![QUIETEST; self.bins() * count];
        let mut frame = [0.0; FRAME];
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        // Frames side by side, so that what is done to one is done to all of a block by vector instructions.
        let mut power = [[0.0f32; BLOCK]; SPECTRUM];
        for start in (0..count).step_by(BLOCK) {
            let rows = BLOCK.min(count - start);
            let mut silent = true;
            for row in 0..rows {
                if !self.frame(samples, length, first + start + row, &mut frame) {
                    power.iter_mut().for_each(|frames| frames[row] = 0.0);
                    continue;
                }
                silent = false;
                self.fft
                    .process_with_scratch(&mut frame, &mut spectrum, &mut scratch)
                    // It fails only on lengths that differ from the plan's, and all three were made by the plan.
                    .expect("buffers of the plan's own lengths");
                for (frames, value) in power.iter_mut().zip(&spectrum) {
                    frames[row] = value.norm_sqr();
                }
            }
            if silent {
                continue;
            }
            for (filter, line) in self.filters.iter().zip(data.chunks_exact_mut(count)) {
                let mut sums = [0.0f32; BLOCK];
                for (frames, weight) in power[filter.first..].iter().zip(&filter.weights) {
                    for (sum, power) in sums.iter_mut().zip(frames) {
                        *sum += power * weight;
                    }
                }
                line[start..start + rows].copy_from_slice(&sums.map(log10)[..rows]);
            }
        }
        data
    }

    /// Puts frame `index`, windowed, into `frame`; `false` if it lies wholly in the zeros after the samples.
    fn frame(&self, samples: &[f32], length: usize, index: usize, frame: &mut [f32; FRAME]) -> bool {
        let quiet = |sample: f32| if sample.abs() <= LOUDEST { sample } else { 0.0 };
        let centre = index * HOP;
        let end = centre + FRAME / 2;
        if centre >= FRAME / 2 && end <= samples.len() {
            let source = &samples[centre - FRAME / 2..end];
            for ((value, sample), weight) in frame.iter_mut().zip(source).zip(&self.hann) {
                *value = quiet(*sample) * weight;
            }
            return true;
        }
        // Reflection at `length` brings back nothing but zeros unless the samples reach that far.
        if centre >= samples.len() + FRAME / 2 && end <= length {
            return false;
        }
        for (offset, (value, weight)) in frame.iter_mut().zip(&self.hann).enumerate() {
            let at = (centre + offset).abs_diff(FRAME / 2);
            let at = if at < length { at } else { 2 * (length - 1) - at };
            *value = samples.get(at).map_or(0.0, |sample| quiet(*sample) * weight);
        }
        true
    }
}

impl fmt::Debug for LogMel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogMel").field("bins", &self.bins()).finish_non_exhaustive()
    }
}

/// log10(x) down to 1e-10, and −10 below it and for NaN; off by at most 2e-7, or that share of itself. Without a branch
/// or a call, so that loops over it become vector instructions.
#[inline(always)]
fn log10(x: f32) -> f32 {
    const LEAST: f32 = 1e-10;
    // The bits of √½: with them as zero, mantissas lie between √½ and √2, around 1.
    const MIDDLE: i32 = 0x3f35_04f3;
    let loud = if x > LEAST { x } else { LEAST };
    let exponent = (loud.to_bits() as i32 - MIDDLE) >> 23;
    let mantissa = f32::from_bits((loud.to_bits() as i32 - (exponent << 23)) as u32);
    // ln m = 2 artanh s, |s| < 0.172: five terms leave 1e-9.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut series = 2.0 / 9.0;
    for coefficient in [2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0] {
        series = series * square + coefficient;
    }
    let value = exponent as f32 * std::f32::consts::LOG10_2 + series * s * std::f32::consts::LOG10_E;
    if x > LEAST && value > QUIETEST { value } else { QUIETEST }
}

/// From log10 of the mel power to Whisper's space: floored at `maximum` − 8 and scaled.
pub(crate) fn normalised(value: f32, maximum: f32) -> f32 {
    (value.max(maximum - 8.0) + 4.0) / 4.0
}

/// The filterbank of Slaney's Auditory Toolbox (librosa's default): linear to 1000 Hz, logarithmic above, each triangle
/// with an area of 1.
fn slaney_filters(bins: usize) -> Vec<Filter> {
    let nyquist = f64::from(SAMPLE_RATE) / 2.0;
    let top = hz_to_mel(nyquist);
    let edge = |i: usize| mel_to_hz(top * i as f64 / (bins + 1) as f64);
    let frequency = |i: usize| nyquist * i as f64 / (SPECTRUM - 1) as f64;
    (0..bins)
        .map(|bin| {
            let (low, centre, high) = (edge(bin), edge(bin + 1), edge(bin + 2));
            let area = 2.0 / (high - low);
            let weight = |i: usize| {
                let rising = (frequency(i) - low) / (centre - low);
                let falling = (high - frequency(i)) / (high - centre);
                (rising.min(falling).max(0.0) * area) as f32
            };
            let inside = |i: &usize| weight(*i) > 0.0;
            let first = (0..SPECTRUM).find(inside).unwrap_or(0);
            let weights = (first..SPECTRUM).map(weight).take_while(|weight| *weight > 0.0).collect();
            Filter { first, weights }
        })
        .collect()
}

/// Hertz in a mel, below the break.
const HZ_PER_MEL: f64 = 200.0 / 3.0;
/// Where the scale turns logarithmic, in Hz.
const BREAK_HZ: f64 = 1000.0;
/// Mels over which the frequency grows 6.4 times, above the break.
const MELS_PER_FACTOR: f64 = 27.0;

fn hz_to_mel(hz: f64) -> f64 {
    if hz < BREAK_HZ {
        hz / HZ_PER_MEL
    } else {
        BREAK_HZ / HZ_PER_MEL + (hz / BREAK_HZ).ln() / 6.4_f64.ln() * MELS_PER_FACTOR
    }
}

fn mel_to_hz(mel: f64) -> f64 {
    let break_mel = BREAK_HZ / HZ_PER_MEL;
    if mel < break_mel {
        mel * HZ_PER_MEL
    } else {
        BREAK_HZ * ((mel - break_mel) / MELS_PER_FACTOR * 6.4_f64.ln()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_keeps_its_bound() {
        let mut worst = 0.0f64;
        for bits in (1e-10f32.to_bits()..f32::MAX.to_bits()).step_by(997) {
            let x = f32::from_bits(bits);
            worst = worst.max((f64::from(log10(x)) - f64::from(x).log10()).abs() / f64::from(x).log10().abs().max(1.0));
        }
        println!("largest error of log10: {worst:e}");
        assert!(worst < 2e-7, "{worst:e}");
        for x in [0.0, -1.0, 1e-10, 1e-11, f32::NAN, f32::NEG_INFINITY] {
            assert_eq!(log10(x), QUIETEST, "{x}");
        }
    }
}
