//! Sounds out of which real models make words that nobody said, and speech that they must transcribe all the same:
//! OpenAI's base on the host device in int8, with the defaults. The weights and the ten seconds of a person come
//! through pip; where they cannot be had, this says so and does not run.

mod common;

use std::sync::{Mutex, OnceLock};

use common::weights;
use undertone_runner::normalise::basic;
use undertone_runner::{
    Audio, Device, EngineOptions, Model, Precision, TranscribeOptions, Transcriber, Transcription, audio,
};

/// Samples of a second.
const RATE: usize = 16_000;

/// What the person says.
const WORDS: [&str; 12] =
    ["ever", "tried", "ever", "failed", "no", "matter", "try", "again", "fail", "again", "fail", "better"];

struct Setup {
    transcriber: Mutex<Transcriber>,
    person: Vec<f32>,
}

/// The model and the recording, or `None` where they cannot be had.
fn setup() -> Option<&'static Setup> {
    static SETUP: OnceLock<Option<Setup>> = OnceLock::new();
    SETUP.get_or_init(make).as_ref()
}

fn make() -> Option<Setup> {
    let model = weights::base_onnx()?;
    let sample = weights::sample()?;
    let mut options = EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"));
    options.device = Device::Host;
    options.precision = Precision::Int8;
    options.ep_library = Some(common::ep_library());
    let model = Model::from_directory(&model, None).unwrap();
    let transcriber = Mutex::new(Transcriber::load(&model, &options).unwrap());
    let person = audio::read_file(&sample).unwrap().samples;
    Some(Setup { transcriber, person })
}

fn transcribe(setup: &Setup, samples: Vec<f32>, language: &str) -> Transcription {
    let options = TranscribeOptions { language: Some(language.to_owned()), ..TranscribeOptions::default() };
    setup.transcriber.lock().unwrap().transcribe(&Audio::from_samples(samples), &options, &mut ()).unwrap()
}

/// The words without case and punctuation. What comes before the first one decides whether base writes "ever" or
/// "never" there.
fn words(text: &str) -> Vec<String> {
    basic(text).split_whitespace().map(|word| if word == "never" { "ever" } else { word }.to_owned()).collect()
}

/// That the person's words were written, once.
fn assert_transcribed(result: &Transcription, what: &str) {
    assert_eq!(words(&result.text), WORDS, "{what}: {:?}", result.text);
}

fn silence(seconds: usize) -> Vec<f32> {
    vec![0.0; seconds * RATE]
}

/// White noise of this amplitude, the same each time.
fn noise(seconds: usize, amplitude: f32) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..seconds * RATE).map(|_| amplitude * (2.0 * random.f32() - 1.0)).collect()
}

/// Mains hum: 50 Hz and its harmonics.
fn hum(seconds: usize) -> Vec<f32> {
    let at = |i: usize| {
        let time = i as f64 / RATE as f64;
        let tone = |k: f64| (std::f64::consts::TAU * 50.0 * k * time).sin() * 0.1 / k;
        (1..6).map(|k| tone(f64::from(k))).sum::<f64>() as f32
    };
    (0..seconds * RATE).map(at).collect()
}

/// Chords that change every half second, with attack and decay.
fn music(seconds: usize) -> Vec<f32> {
    const ROOTS: [f32; 4] = [220.0, 174.6, 261.6, 196.0];
    let at = |i: usize| {
        let time = i as f32 / RATE as f32;
        let root = ROOTS[(time / 0.5) as usize % ROOTS.len()];
        let decay = (-4.0 * (time % 0.5)).exp();
        let tone = |ratio: f32| (std::f32::consts::TAU * root * ratio * time).sin();
        0.15 * decay * (tone(1.0) + tone(1.25) + tone(1.5))
    };
    (0..seconds * RATE).map(at).collect()
}

#[test]
fn what_is_no_speech_gives_no_words() {
    let Some(setup) = setup() else { return };
    for (what, samples) in
        [("silence", silence(40)), ("hum", hum(60)), ("faint noise", noise(45, 0.001)), ("loud noise", noise(45, 0.3))]
    {
        let result = transcribe(setup, samples, "en");
        assert_eq!(result.text.trim(), "", "{what}");
    }
}

#[test]
fn music_is_no_loop() {
    let Some(setup) = setup() else { return };
    let result = transcribe(setup, music(60), "en");
    // Models write a mark such as "(music)" for it; a line a window is what is let pass.
    assert!(words(&result.text).len() <= 12, "{:?}", result.text);
}

#[test]
fn a_pause_of_a_minute_has_no_words_in_it() {
    let Some(setup) = setup() else { return };
    for (what, pause) in [("silence", silence(60)), ("noise", noise(60, 0.002)), ("hum", hum(60))] {
        let samples = [&setup.person[..], &pause, &setup.person].concat();
        let result = transcribe(setup, samples, "en");
        assert_eq!(words(&result.text), [WORDS, WORDS].concat(), "{what}: {:?}", result.text);
        let first = setup.person.len() as f64 / RATE as f64;
        for segment in &result.segments {
            let within = segment.end <= first + 1.5 || segment.start >= first + 58.5;
            assert!(within, "{what}: {} to {}: {:?}", segment.start, segment.end, segment.text);
        }
    }
}

#[test]
fn speech_after_a_long_silence_is_transcribed_at_its_time() {
    let Some(setup) = setup() else { return };
    let result = transcribe(setup, [&silence(35)[..], &setup.person].concat(), "en");
    assert_transcribed(&result, "after 35 s");
    assert!((34.0..37.0).contains(&result.segments[0].start), "{:?}", result.segments[0]);
}

#[test]
fn quiet_and_loud_copies_are_transcribed_alike() {
    let Some(setup) = setup() else { return };
    for decibels in [6.0_f32, -30.0, -45.0] {
        let gain = 10_f32.powf(decibels / 20.0);
        let copy = setup.person.iter().map(|sample| (sample * gain).clamp(-1.0, 1.0)).collect();
        assert_transcribed(&transcribe(setup, copy, "en"), &format!("{decibels} dB"));
    }
}

#[test]
fn words_that_end_with_the_window_are_not_followed_by_others() {
    let Some(setup) = setup() else { return };
    // The rest behind the first window is shorter than a second, and silent or the end of a word.
    for tail in [0.1, 0.31, 0.9] {
        let fill = 30 * RATE - setup.person.len();
        let rest = noise(1, 0.01)[..(tail * RATE as f64) as usize].to_vec();
        let samples = [&setup.person[..], &vec![0.0; fill], &rest].concat();
        assert_transcribed(&transcribe(setup, samples, "en"), &format!("{tail} s after the window"));
    }
}

#[test]
fn the_wrong_language_gives_no_loop() {
    let Some(setup) = setup() else { return };
    let result = transcribe(setup, setup.person[..4 * RATE].to_vec(), "he");
    assert!(words(&result.text).len() <= 15, "{:?}", result.text);
}
