//! Log-mel features: what Whisper's encoder sees of the sound.
//!
//! The arithmetic is that of `whisper/audio.py`: periodic Hann window of 400, hop 160, centred with reflection, power,
//! slaney filterbank, clamp at 1e-10, log10, floor at the maximum − 8, (x + 4) / 4. Models were trained with two ways
//! to pad, whose maximum and last frames differ, and both are here: [`LogMel::hugging_face`] and [`LogMel::openai`].

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

/// Log-mel features in Whisper's normalised space.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Mel bins: 80, or 128 for large-v3 and turbo.
    pub bins: usize,
    /// Frames of 10 ms that belong to the audio.
    pub frames: usize,
    /// `[bins, frames]`, row-major.
    pub data: Vec<f32>,
    /// The frames after the audio's end that it still reaches into, `[bins, tail_frames]`: after them everything is
    /// `silence`.
    tail: Vec<f32>,
    tail_frames: usize,
    silence: f32,
}

impl LogMel {
    /// Tables for `bins` mel bins between 0 and 8000 Hz; a model's `num_mel_bins`.
    #[must_use]
    pub fn new(bins: usize) -> Self {
        let hann = std::array::from_fn(|i| {
            let turn = std::f64::consts::TAU * i as f64 / FRAME as f64;
            (0.5 - 0.5 * turn.cos()) as f32
        });
        let fft = realfft::RealFftPlanner::new().plan_fft_forward(FRAME);
        Self { hann, filters: slaney_filters(bins), fft }
    }

    /// Mel bins of the features.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.filters.len()
    }

    /// The way of transformers' `WhisperFeatureExtractor`, which made the exported models' own examples: the samples
    /// are cut or filled up with zeros to 30 s, and the features are of exactly that window, `[bins, 3000]`.
    #[must_use]
    pub fn hugging_face(&self, samples: &[f32]) -> Features {
        let samples = &samples[..samples.len().min(WINDOW_SAMPLES)];
        let mut data = self.log_power(samples, WINDOW_SAMPLES, 0, WINDOW_FRAMES);
        let silence = normalise(&mut data, &mut []);
        Features { bins: self.bins(), frames: WINDOW_FRAMES, data, tail: Vec::new(), tail_frames: 0, silence }
    }

    /// The way of openai/whisper's `transcribe`, for audio of any length: 30 s of zeros follow the samples, the maximum
    /// is that of the whole audio, and `frames` counts the audio's own frames, `samples / 160`.
    #[must_use]
    pub fn openai(&self, samples: &[f32]) -> Features {
        let frames = samples.len() / HOP;
        let length = samples.len() + WINDOW_SAMPLES;
        // A frame reaches 200 samples back: the last that holds some of the audio is centred before its end + 200.
        let tail_frames = (samples.len() + FRAME / 2).div_ceil(HOP) - frames;
        let mut data = self.log_power(samples, length, 0, frames);
        let mut tail = self.log_power(samples, length, frames, tail_frames);
        let silence = normalise(&mut data, &mut tail);
        Features { bins: self.bins(), frames, data, tail, tail_frames, silence }
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

impl Features {
    /// The encoder's input from frame `start` on, `[bins * 3000]`: 3000 frames, with 0.0 after the audio's own frames,
    /// as openai/whisper fills its windows.
    #[must_use]
    pub fn window(&self, start: usize) -> Vec<f32> {
        let mut window = vec![0.0; self.bins * WINDOW_FRAMES];
        let count = self.frames.saturating_sub(start).min(WINDOW_FRAMES);
        if count > 0 {
            for (to, from) in window.chunks_exact_mut(WINDOW_FRAMES).zip(self.data.chunks_exact(self.frames)) {
                to[..count].copy_from_slice(&from[start..start + count]);
            }
        }
        window
    }

    /// The value of every bin in silence.
    #[must_use]
    pub fn silence(&self) -> f32 {
        self.silence
    }

    /// As [`Self::window`], but what follows the audio are the features of silence: what openai/whisper looks at to
    /// detect the language, and close to what the other way of padding gives.
    #[must_use]
    pub fn window_with_silence(&self, start: usize) -> Vec<f32> {
        let mut window = self.window(start);
        let own = self.frames.saturating_sub(start).min(WINDOW_FRAMES);
        // Frames of the tail that lie before `start` are skipped.
        let skipped = start.saturating_sub(self.frames).min(self.tail_frames);
        for (bin, line) in window.chunks_exact_mut(WINDOW_FRAMES).enumerate() {
            let tail = &self.tail[bin * self.tail_frames..(bin + 1) * self.tail_frames];
            line[own..].fill(self.silence);
            for (to, from) in line[own..].iter_mut().zip(&tail[skipped..]) {
                *to = *from;
            }
        }
        window
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

/// Floors at the maximum of both − 8 and scales; the value of silence.
fn normalise(data: &mut [f32], tail: &mut [f32]) -> f32 {
    let maximum = data.iter().chain(tail.iter()).copied().fold(QUIETEST, f32::max);
    data.iter_mut().chain(tail).for_each(|value| *value = normalised(*value, maximum));
    normalised(QUIETEST, maximum)
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
