//! Log-mel features against the reference implementations' (transformers, openai/whisper), against the definition
//! written out slowly, and at the odd sizes.

mod common;

use std::f64::consts::TAU;

use common::root;
use proptest::prelude::*;
use undertone_runner::audio;
use undertone_runner::features::Features;
use undertone_runner::mel::{FRAME, HOP, LogMel, WINDOW_FRAMES, WINDOW_SAMPLES};

/// A NumPy file of little-endian f32, row-major: its shape and values.
fn npy(name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(root().join("tests/vectors").join(name)).unwrap();
    assert_eq!(&bytes[..6], b"\x93NUMPY");
    let length = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let shape: Vec<usize> = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let values = bytes[10 + length..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (shape, values)
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The first `count` of every `stride` values.
fn first(data: &[f32], stride: usize, count: usize) -> Vec<f32> {
    data.chunks(stride).flat_map(|line| &line[..count]).copied().collect()
}

fn speech(file: &str) -> Vec<f32> {
    audio::read_file(&root().join("speech/short").join(file)).unwrap().samples
}

#[test]
fn as_transformers_computes_it() {
    for (name, bins) in [("mel-short-000-en.npy", 80), ("mel-short-000-en.128.npy", 128)] {
        let (shape, expected) = npy(name);
        let features = LogMel::new(bins).hugging_face(&speech("000-en.flac"));
        assert_eq!(shape[shape.len() - 2..], [bins, WINDOW_FRAMES], "{name}");
        let difference = largest_difference(&features, &expected);
        println!("{name}: {difference:e}");
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

#[test]
fn as_openai_computes_it() {
    // Made without the 30 s of zeros: the frames at the end that would reach into them differ, all others do not.
    let (shape, expected) = npy("mel-openai-short-001-en.npy");
    let frames = shape[shape.len() - 1];
    let features = Features::of(&LogMel::new(80), &speech("001-en.flac"));
    assert_eq!(features.frames(), frames);
    let window = features.window(0).unwrap();
    let difference =
        largest_difference(&first(&window, WINDOW_FRAMES, frames - 2), &first(&expected, frames, frames - 2));
    println!("{difference:e}");
    assert!(difference < 1e-4, "{difference}");
}

/// The definition, written out: samples followed by zeros up to `length`, reflected at both ends, the discrete Fourier
/// transform as a sum, triangles over hertz. `[bins, count]` before the floor at the maximum, in f64.
fn slow_log_power(samples: &[f32], length: usize, bins: usize, count: usize) -> Vec<f64> {
    let at = |i: i64| -> f64 {
        let last = length as i64 - 1;
        let i = if i < 0 {
            -i
        } else if i > last {
            2 * last - i
        } else {
            i
        };
        samples.get(i as usize).map_or(0.0, |sample| f64::from(*sample))
    };
    let mel = |hz: f64| if hz < 1000.0 { hz * 3.0 / 200.0 } else { 15.0 + (hz / 1000.0).ln() / (6.4f64.ln() / 27.0) };
    let hertz =
        |mel: f64| if mel < 15.0 { mel * 200.0 / 3.0 } else { 1000.0 * (6.4f64.ln() / 27.0 * (mel - 15.0)).exp() };
    let edges: Vec<f64> = (0..bins + 2).map(|i| hertz(mel(8000.0) * i as f64 / (bins + 1) as f64)).collect();
    let mut values = vec![0.0; bins * count];
    for frame in 0..count {
        let windowed: Vec<f64> = (0..FRAME)
            .map(|n| (0.5 - 0.5 * (TAU * n as f64 / 400.0).cos()) * at((frame * HOP + n) as i64 - 200))
            .collect();
        let power: Vec<f64> = (0..=200)
            .map(|k| {
                let angle = |n: usize| TAU * (k * n % 400) as f64 / 400.0;
                let real: f64 = windowed.iter().enumerate().map(|(n, x)| x * angle(n).cos()).sum();
                let imaginary: f64 = windowed.iter().enumerate().map(|(n, x)| x * angle(n).sin()).sum();
                real * real + imaginary * imaginary
            })
            .collect();
        for bin in 0..bins {
            let (low, centre, high) = (edges[bin], edges[bin + 1], edges[bin + 2]);
            let energy: f64 = power
                .iter()
                .enumerate()
                .map(|(k, power)| {
                    let hz = 40.0 * k as f64;
                    let up = (hz - low) / (centre - low);
                    let down = (high - hz) / (high - centre);
                    up.min(down).max(0.0) * 2.0 / (high - low) * power
                })
                .sum();
            values[bin * count + frame] = energy.max(1e-10).log10();
        }
    }
    values
}

fn slow_normalise(values: &[f64]) -> Vec<f32> {
    let maximum = values.iter().copied().fold(-10.0, f64::max);
    values.iter().map(|value| ((value.max(maximum - 8.0) + 4.0) / 4.0) as f32).collect()
}

/// Something with a pitch and something without.
fn sound(count: usize) -> Vec<f32> {
    let mut noise = fastrand::Rng::with_seed(1);
    (0..count).map(|i| 0.4 * (i as f32 * 0.07).sin() + 0.05 * (noise.f32() - 0.5)).collect()
}

#[test]
fn as_the_definition_says_at_every_odd_length() {
    for count in [0usize, 1, 2, 159, 160, 161, 199, 200, 201, 399, 400, 401, 1_599, 3_333] {
        let samples = sound(count);
        for bins in [80, 128] {
            let mel = LogMel::new(bins);
            // Four frames after the end: it still reaches into the first of them.
            let frames = count / HOP + 4;
            let slow = slow_normalise(&slow_log_power(&samples, WINDOW_SAMPLES, bins, frames));
            let features = Features::of(&mel, &samples);
            assert_eq!(features.frames(), count / HOP);
            let padded = features.window_with_silence(0).unwrap();
            let difference = largest_difference(&first(&padded, WINDOW_FRAMES, frames), &slow);
            assert!(difference < 1e-4, "{count} samples, {bins} bins: {difference}");
            // And after those, silence: the same value to the end of the window.
            let silence = padded[frames - 1];
            assert!(padded[frames - 1..WINDOW_FRAMES].iter().all(|value| *value == silence));
            // The other way of padding is the same here.
            assert_eq!(mel.hugging_face(&samples), padded, "{count} samples, {bins} bins");
        }
    }
}

#[test]
fn a_full_window_is_reflected_at_its_end() {
    for count in [WINDOW_SAMPLES - 1, WINDOW_SAMPLES, WINDOW_SAMPLES + 12_345] {
        let samples = sound(count);
        let features = LogMel::new(80).hugging_face(&samples);
        assert_eq!(features.len(), 80 * WINDOW_FRAMES);
        // The last two frames, from the last samples only: a multiple of the hop keeps the frames in place.
        let used = &samples[..count.min(WINDOW_SAMPLES)];
        let from = WINDOW_SAMPLES - 10 * HOP;
        let slow = slow_log_power(&used[from..], 10 * HOP, 80, 10);
        let maximum = features.iter().copied().fold(f32::MIN, f32::max) * 4.0 - 4.0;
        for bin in 0..80 {
            for frame in 8..10 {
                let expected = (slow[bin * 10 + frame].max(f64::from(maximum) - 8.0) + 4.0) / 4.0;
                let value = features[bin * WINDOW_FRAMES + WINDOW_FRAMES - 10 + frame];
                assert!((f64::from(value) - expected).abs() < 1e-4, "{count}: bin {bin}, frame {frame}");
            }
        }
    }
}

#[test]
fn windows_of_long_audio() {
    let samples = sound(16_000 * 70 + 77);
    let features = Features::of(&LogMel::new(80), &samples);
    assert_eq!(features.frames(), 7_000);
    let whole = [0, 3_000, 6_000].map(|start| features.window(start).unwrap());
    for start in [0, 1, 2_999, 4_000, 4_001, 6_999, 7_000, 100_000] {
        let window = features.window(start).unwrap();
        assert_eq!(window.len(), 80 * WINDOW_FRAMES);
        for (bin, line) in window.chunks(WINDOW_FRAMES).enumerate() {
            for (offset, value) in line.iter().enumerate() {
                let at = start + offset;
                let (index, frame) = (at / WINDOW_FRAMES, at % WINDOW_FRAMES);
                let expected = if at < 7_000 { whole[index][bin * WINDOW_FRAMES + frame] } else { 0.0 };
                assert_eq!(*value, expected, "window from {start}, bin {bin}, frame {at}");
            }
        }
        // The two differ only after the audio's end.
        let padded = features.window_with_silence(start).unwrap();
        let own = 7_000usize.saturating_sub(start).min(WINDOW_FRAMES);
        for (a, b) in window.chunks(WINDOW_FRAMES).zip(padded.chunks(WINDOW_FRAMES)) {
            assert_eq!(a[..own], b[..own]);
        }
    }
    // A window that begins inside the audio's last echo continues as the one that begins before it.
    let [early, late] = [6_999, 7_001].map(|start| features.window_with_silence(start).unwrap());
    for (a, b) in early.chunks(WINDOW_FRAMES).zip(late.chunks(WINDOW_FRAMES)) {
        assert_eq!(a[2..], b[..WINDOW_FRAMES - 2]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the samples are, the features are finite, no lower than the floor, and of the right size.
    #[test]
    fn any_samples_give_finite_features(samples in prop::collection::vec(any::<f32>(), 0..2_000), bins in 1usize..130) {
        let features = Features::of(&LogMel::new(bins), &samples);
        prop_assert_eq!(features.frames(), samples.len() / HOP);
        let window = features.window_with_silence(0).unwrap();
        prop_assert_eq!(window.len(), bins * WINDOW_FRAMES);
        let maximum = window.iter().copied().fold(f32::MIN, f32::max);
        prop_assert!(window.iter().all(|value| value.is_finite() && *value >= maximum - 2.0001 && *value >= -1.5));
    }
}
