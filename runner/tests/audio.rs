//! Audio that people have: every format, rate and channel count, against the samples that went in. What is wrong with
//! files is in `audio_damage.rs`.

mod common;

use std::f64::consts::TAU;

use common::{best_shift, correlation, root, wav};
use hound::{SampleFormat, WavSpec};
use proptest::prelude::*;
use undertone_runner::audio::{self, Audio, AudioError, AudioOptions, SAMPLE_RATE};

fn decode(bytes: Vec<u8>) -> Audio {
    audio::decode_bytes(bytes, "test", &AudioOptions::default()).unwrap()
}

fn pcm(rate: u32, channels: u16, bits: u16, samples: &[i32]) -> Vec<u8> {
    wav(WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format: SampleFormat::Int }, samples)
}

/// With nothing that says where the channels are.
fn float(rate: u32, channels: u16, samples: &[f32]) -> Vec<u8> {
    let mut file = wav(
        WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 32, sample_format: SampleFormat::Float },
        samples,
    );
    let format = file.windows(4).position(|name| name == b"fmt ").unwrap() + 8;
    file[format..format + 2].copy_from_slice(&3u16.to_le_bytes());
    file[format + 2..format + 4].copy_from_slice(&channels.to_le_bytes());
    file[format + 8..format + 12].copy_from_slice(&(rate.wrapping_mul(4 * u32::from(channels))).to_le_bytes());
    file[format + 12..format + 14].copy_from_slice(&(4 * channels).to_le_bytes());
    file
}

#[test]
fn every_sample_type_keeps_its_values() {
    for bits in [8, 16, 24, 32] {
        let full = 1i64 << (bits - 1);
        let samples: Vec<i32> = [0, 1, -1, full / 2, -full / 2, full - 1, -full].map(|value| value as i32).to_vec();
        let audio = decode(pcm(16_000, 1, bits, &samples));
        assert_eq!(audio.samples.len(), samples.len());
        for (decoded, sample) in audio.samples.iter().zip(&samples) {
            let expected = f64::from(*sample) / full as f64;
            assert!((f64::from(*decoded) - expected).abs() < 1e-6, "{bits} bits: {sample} became {decoded}");
        }
    }
    let samples = [0.0, 0.1, -0.7, 1.0, -1.0, 1.5];
    assert_eq!(decode(float(16_000, 1, &samples)).samples, samples);
}

#[test]
fn what_is_no_number_is_silence() {
    let samples = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.5];
    assert_eq!(decode(float(16_000, 1, &samples)).samples, [0.0, 0.0, 0.0, 0.5]);
}

#[test]
fn channels_are_averaged() {
    for channels in [1u16, 2, 3, 6, 8] {
        let frames: Vec<f32> = (0..100).flat_map(|i| (0..channels).map(move |c| (i + c) as f32 / 128.0)).collect();
        let audio = decode(float(16_000, channels, &frames));
        assert_eq!(audio.channels, usize::from(channels));
        for (i, sample) in audio.samples.iter().enumerate() {
            let expected = (i as f32 + f32::from(channels - 1) / 2.0) / 128.0;
            assert!((sample - expected).abs() < 1e-6, "{channels} channels, frame {i}: {sample}");
        }
    }
}

#[test]
fn eight_channels_at_192_khz() {
    let tone = |i: usize| (TAU * 440.0 * i as f64 / 192_000.0).sin() as f32;
    // Channel 0 holds eight times the tone, the others nothing.
    let frames: Vec<f32> = (0..192_000 * 8).map(|i| if i % 8 == 0 { tone(i / 8) } else { 0.0 }).collect();
    let audio = decode(float(192_000, 8, &frames));
    assert_eq!((audio.source_rate, audio.channels, audio.samples.len()), (192_000, 8, 16_000));
    assert_eq!(audio.duration(), 1.0);
    for (i, sample) in audio.samples.iter().enumerate().skip(800).take(14_400) {
        let expected = (TAU * 440.0 * i as f64 / 16_000.0).sin() / 8.0;
        assert!((f64::from(*sample) - expected).abs() < 1e-3, "{i}: {sample} {expected}");
    }
}

const RATES: [u32; 13] =
    [2_000, 8_000, 11_025, 12_000, 16_001, 22_050, 24_000, 32_000, 44_100, 44_101, 48_000, 96_000, 768_000];

#[test]
fn a_pulse_stays_where_it_is() {
    for rate in RATES {
        // A Gaussian pulse that the lowest rate can hold, at 0.123 s of 0.3 s.
        let at = 0.123;
        let width = 0.002;
        let pulse = |t: f64| (-((t - at) / width).powi(2)).exp();
        let count = rate as usize * 3 / 10;
        let samples: Vec<f32> = (0..count).map(|i| pulse(i as f64 / f64::from(rate)) as f32).collect();
        let audio = decode(float(rate, 1, &samples));
        assert_eq!(audio.source_rate, rate);
        for (i, sample) in audio.samples.iter().enumerate() {
            let expected = pulse(i as f64 / f64::from(SAMPLE_RATE));
            assert!((f64::from(*sample) - expected).abs() < 1e-3, "{rate} Hz, sample {i}: {sample} {expected}");
        }
    }
}

#[test]
fn tones_below_8_khz_pass_and_those_above_do_not() {
    for (hertz, passes) in [(100.0, true), (3_000.0, true), (7_000.0, true), (9_000.0, false), (15_000.0, false)] {
        let samples: Vec<f32> = (0..48_000).map(|i| (TAU * hertz * f64::from(i) / 48_000.0).sin() as f32).collect();
        let audio = decode(float(48_000, 1, &samples));
        let middle = &audio.samples[2_000..14_000];
        let power: f64 = middle.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / middle.len() as f64;
        let gain = 10.0 * (2.0 * power).log10();
        if passes {
            assert!(gain.abs() < 0.1, "{hertz} Hz: {gain} dB");
        } else {
            assert!(gain < -60.0, "{hertz} Hz: {gain} dB");
        }
    }
}

#[test]
fn a_few_samples_are_valid_audio() {
    for count in [1usize, 2, 199, 200, 201, 399, 400, 401] {
        for rate in [8_000u32, 16_000, 44_100, 192_000] {
            let audio = decode(pcm(rate, 1, 16, &vec![1000; count]));
            let expected = ((count as u64 * 16_000 + u64::from(rate) / 2) / u64::from(rate)) as usize;
            assert_eq!(audio.samples.len(), expected.max(1), "{count} samples at {rate} Hz");
        }
    }
}

#[test]
fn no_samples_are_an_error() {
    let error = audio::decode_bytes(pcm(16_000, 1, 16, &[]), "nothing.wav", &AudioOptions::default()).unwrap_err();
    assert!(matches!(error, AudioError::NoAudio(_)), "{error:?}");
    assert!(error.to_string().starts_with("no audio in nothing.wav"), "{error}");
}

#[test]
fn rates_that_cannot_be_meant() {
    for rate in [1, 1_999, 768_001, u32::MAX] {
        let error = audio::decode_bytes(pcm(rate, 1, 16, &[1; 100]), "odd.wav", &AudioOptions::default()).unwrap_err();
        assert!(matches!(error, AudioError::Rate { .. }), "{rate}: {error:?}");
    }
}

#[test]
fn compressed_formats_give_the_same_sound_at_the_same_time() {
    let original = audio::read_file(&root().join("speech/short/000-en.flac")).unwrap();
    assert_eq!((original.source_rate, original.channels), (16_000, 1));
    let cases = [
        ("000-en.mp3", 16_000, 1, 0.95),
        ("000-en-44100-stereo.mp3", 44_100, 2, 0.95),
        ("000-en.ogg", 16_000, 1, 0.95),
        ("000-en.m4a", 16_000, 1, 0.95),
        ("000-en-alac.m4a", 16_000, 1, 0.9999),
        ("000-en.aac", 16_000, 1, 0.95),
    ];
    for (file, rate, channels, least) in cases {
        let path = root().join("tests/audio").join(file);
        let audio = audio::read_file(&path).unwrap();
        assert_eq!((audio.source_rate, audio.channels), (rate, channels), "{file}");
        let shift = best_shift(&original.samples, &audio.samples, 3_000);
        let longer = audio.samples.len() as i64 - original.samples.len() as i64;
        println!("{file}: shift {shift}, {longer} samples longer");
        // The delay of AAC's encoder stays, as the module says.
        let delay = if matches!(file, "000-en.m4a" | "000-en.aac") { 1024 } else { 0 };
        assert_eq!(shift, delay, "{file}");
        let sound = &audio.samples[delay as usize..];
        assert!(correlation(&original.samples, sound) > least, "{file}: {}", correlation(&original.samples, sound));
        assert!((0..=3_000).contains(&longer), "{file}: {longer}");

        // The same through a stream, without the name.
        let streamed = audio::read(std::fs::File::open(&path).unwrap(), &AudioOptions::default()).unwrap();
        assert_eq!(streamed, audio, "{file}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// n samples in give round(n · 16000 / rate) out, with nothing before or after.
    #[test]
    fn length_is_rounded(count in 1usize..20_000, rate in prop::sample::select(&RATES[1..])) {
        let audio = decode(pcm(rate, 1, 16, &vec![8_000; count]));
        let expected = ((count as u64 * 16_000 + u64::from(rate) / 2) / u64::from(rate)) as usize;
        prop_assert_eq!(audio.samples.len(), expected.max(1));
        // A constant stays itself, away from the ends.
        for sample in audio.samples.iter().skip(200).rev().skip(200) {
            prop_assert!((sample - 8_000.0 / 32_768.0).abs() < 5e-3, "{} at {} Hz", sample, rate);
        }
    }
}
