//! Whisper's features of a recording: what the example needs beside ONNX Runtime.

use std::error::Error;
use std::f64::consts::PI;

pub const MELS: usize = 80;
pub const FRAMES: usize = 3000;
const WINDOW: usize = 400;
const HOP: usize = 160;
const BINS: usize = WINDOW / 2 + 1;

/// The first 30 s of a WAV file of 16 kHz, one channel, 16 bits, from -1 to 1; silence after its end.
pub fn read_wav(path: &str) -> Result<Vec<f32>, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let number = |at: usize, length: usize| {
        bytes
            .get(at..at + length)
            .map_or(0, |bytes| bytes.iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte)))
    };
    let (mut at, mut known) = (12, false);
    while let Some(name) = bytes.get(at..at + 4) {
        let size = number(at + 4, 4);
        if name == b"fmt " {
            known =
                (number(at + 8, 2), number(at + 10, 2), number(at + 12, 4), number(at + 22, 2)) == (1, 1, 16000, 16);
        } else if name == b"data" && known {
            let (pairs, _) = bytes[at + 8..bytes.len().min(at + 8 + size)].as_chunks();
            let mut samples: Vec<f32> =
                pairs.iter().map(|pair| f32::from(i16::from_le_bytes(*pair)) / 32768.0).collect();
            samples.resize(FRAMES * HOP, 0.0);
            return Ok(samples);
        }
        at += 8 + size + size % 2;
    }
    Err(format!("{path} has no sound of 16 kHz, one channel, 16 bits").into())
}

/// Slaney's mel: linear below 1000 Hz, logarithmic above.
fn hertz(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1000.0 * 6.4_f64.powf((mel - 15.0) / 27.0) }
}

/// Features of 30 s of samples, `[80, 3000]`.
pub fn log_mel(samples: &[f32]) -> Vec<f32> {
    let last = 15.0 + 27.0 * 8.0_f64.ln() / 6.4_f64.ln();
    let edges: Vec<f64> = (0..MELS + 2).map(|edge| hertz(last * edge as f64 / (MELS + 1) as f64)).collect();
    let filters: Vec<Vec<f64>> = edges
        .windows(3)
        .map(|edges| {
            let (low, middle, high) = (edges[0], edges[1], edges[2]);
            let height = |at: f64| ((at - low) / (middle - low)).min((high - at) / (high - middle)).max(0.0);
            (0..BINS).map(|bin| height(16000.0 * bin as f64 / WINDOW as f64) * 2.0 / (high - low)).collect()
        })
        .collect();
    let waves: Vec<Vec<(f32, f32)>> = (0..BINS)
        .map(|bin| {
            let wave = |at: usize| {
                let hann = 0.5 - 0.5 * (2.0 * PI * at as f64 / WINDOW as f64).cos();
                let angle = 2.0 * PI * (bin * at) as f64 / WINDOW as f64;
                ((hann * angle.cos()) as f32, (hann * angle.sin()) as f32)
            };
            (0..WINDOW).map(wave).collect()
        })
        .collect();
    let mut features = vec![-10.0_f32; MELS * FRAMES];
    for frame in 0..FRAMES {
        // Mirrored at both ends.
        let place = |at: usize| (frame * HOP + at).abs_diff(WINDOW / 2);
        let window: Vec<f32> =
            (0..WINDOW).map(|at| samples[place(at).min(2 * (samples.len() - 1) - place(at))]).collect();
        if window.iter().all(|sample| *sample == 0.0) {
            continue;
        }
        let power: Vec<f64> = waves
            .iter()
            .map(|wave| {
                let (real, imaginary) =
                    window.iter().zip(wave).fold((0.0, 0.0), |sums, (x, w)| (sums.0 + x * w.0, sums.1 + x * w.1));
                f64::from(real).powi(2) + f64::from(imaginary).powi(2)
            })
            .collect();
        for (mel, filter) in filters.iter().enumerate() {
            let sum: f64 = filter.iter().zip(&power).map(|(height, power)| height * power).sum();
            features[mel * FRAMES + frame] = sum.max(1e-10).log10() as f32;
        }
    }
    let most = features.iter().copied().fold(f32::MIN, f32::max);
    features.iter().map(|value| (value.max(most - 8.0) + 4.0) / 4.0).collect()
}
