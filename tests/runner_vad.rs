//! Voice activity: the embedded detector beside Silero's own, its other exports, faster-whisper's rules, and what a
//! transcript loses and keeps by it. `tests/python/make_vad_vectors.py` made the expected values.

mod common;

use common::{reference, root, weights};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use undertone_runner::audio::{self, AudioOptions};
use undertone_runner::vad::{PIECE, Silero, SpeechProbabilities};
use undertone_runner::{
    Audio, Engine, EngineOptions, Model, TranscribeOptions, Transcriber, Transcription, VadModel, VadOptions,
    VoiceOptions,
};

#[derive(Deserialize)]
struct Vectors {
    recordings: Vec<Recording>,
    drawn: Vec<Drawn>,
}

#[derive(Deserialize)]
struct Recording {
    file: String,
    samples: usize,
    every: usize,
    probabilities: Vec<f32>,
}

#[derive(Deserialize)]
struct Drawn {
    options: Options,
    samples: u64,
    hundredths: Vec<f32>,
    stretches: Vec<(u64, u64)>,
}

#[derive(Debug, Deserialize)]
struct Options {
    threshold: f64,
    neg_threshold: Option<f64>,
    min_speech_duration_ms: u32,
    /// None is without end.
    max_speech_duration_s: Option<f64>,
    min_silence_duration_ms: u32,
    speech_pad_ms: u32,
}

fn vectors() -> Vectors {
    serde_json::from_slice(&std::fs::read(root().join("tests/vectors/vad.json")).unwrap()).unwrap()
}

fn engine() -> Engine {
    Engine::new(&EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"))).unwrap()
}

fn speech(file: &str) -> Audio {
    audio::read_file(&root().join("speech").join(file)).unwrap()
}

/// Where they differ most.
fn apart(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn probabilities_are_silero_s() {
    let mut silero = Silero::open(&engine(), None).unwrap();
    let mut compared = 0;
    for recording in vectors().recordings {
        let path = match recording.file.as_str() {
            "sample" => weights::sample(),
            file => Some(root().join("speech").join(file)),
        };
        // Without the sample this was said.
        let Some(path) = path else { continue };
        let samples = audio::read_file(&path).unwrap().samples;
        let found = silero.probabilities(&samples[..recording.samples]).unwrap();
        assert_eq!((found.samples, found.values.len()), (recording.samples as u64, recording.samples / PIECE + 1));
        let every: Vec<f32> = found.values.iter().copied().step_by(recording.every).collect();
        let apart = apart(&every, &recording.probabilities);
        assert!(apart < 1e-3, "{}: {apart}", recording.file);
        compared += 1;
    }
    assert!(compared > 0);
}

#[test]
fn stretches_are_faster_whisper_s() {
    let drawn = vectors().drawn;
    assert!(drawn.len() >= 50 && drawn.iter().any(|case| case.stretches.len() > 5));
    for case in drawn {
        let Options { threshold, neg_threshold, min_speech_duration_ms, .. } = case.options;
        let options = VadOptions {
            threshold,
            neg_threshold,
            min_speech_duration_ms,
            max_speech_duration_s: case.options.max_speech_duration_s.unwrap_or(f64::INFINITY),
            min_silence_duration_ms: case.options.min_silence_duration_ms,
            speech_pad_ms: case.options.speech_pad_ms,
        };
        let values = case.hundredths.iter().map(|value| value / 100.0).collect();
        let found = SpeechProbabilities { values, samples: case.samples }.segments(&options);
        let expected: Vec<_> = case.stretches.iter().map(|&(start, end)| start..end).collect();
        assert_eq!(found, expected, "{:?}", case.options);
    }
}

/// A file of a package that holds a detector.
fn from_package(package: &str, file: &str) -> PathBuf {
    common::python::packages(&["--no-deps", package]).join(file)
}

#[test]
fn other_exports_of_silero_run_too() {
    let engine = engine();
    let samples = speech("long/pauses-4min.flac").samples[..20 * 16_000].to_vec();
    let embedded = Silero::open(&engine, None).unwrap().probabilities(&samples).unwrap();
    let is_speech = |found: &SpeechProbabilities| found.values.iter().map(|p| *p >= 0.5).collect::<Vec<_>>();
    // Version 6.2.3 is the embedded one; the others were trained on other data, and mostly agree.
    for (package, file, same) in [
        ("silero-vad==6.2.3", "silero_vad/data/silero_vad_16k_sequence.onnx", true),
        ("silero-vad==6.2.3", "silero_vad/data/silero_vad.onnx", true),
        ("silero-vad==6.2.3", "silero_vad/data/silero_vad_openvino_16k.onnx", true),
        ("silero-vad==5.1.2", "silero_vad/data/silero_vad.onnx", false),
        ("faster-whisper==1.2.1", "faster_whisper/assets/silero_vad_v6.onnx", false),
        ("faster-whisper==1.0.3", "faster_whisper/assets/silero_vad.onnx", false),
    ] {
        let path = from_package(package, file);
        let found = Silero::open(&engine, Some(&path)).unwrap().probabilities(&samples).unwrap();
        if same {
            let apart = apart(&found.values, &embedded.values);
            assert!(apart < 1e-3, "{package} {file}: {apart}");
        }
        let agreeing = is_speech(&found).iter().zip(is_speech(&embedded)).filter(|(a, b)| **a == *b).count();
        assert!(agreeing * 10 >= found.values.len() * 9, "{package} {file}: {agreeing} of {}", found.values.len());
    }
}

#[test]
fn what_is_no_detector_is_named() {
    let engine = engine();
    let other = reference().join("encoder_model.onnx");
    for path in [other.as_path(), Path::new("no/such.onnx"), &root().join("README.md")] {
        let error = Silero::open(&engine, Some(path)).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.lines().count() == 1, "{error}");
        assert!(error.ends_with("take an ONNX file of the package silero-vad, or name none"), "{error}");
        assert!(!error.contains("protobuf"), "{error}");
    }
}

fn transcriber(vad_model: VadModel) -> Transcriber {
    let options = EngineOptions { vad_model, ..EngineOptions::new(env!("UNDERTONE_ORT_DYLIB")) };
    Transcriber::load(&Model::from_directory(&reference(), None).unwrap(), &options).unwrap()
}

fn with_filter() -> TranscribeOptions {
    let voice = VoiceOptions { vad_filter: true, ..VoiceOptions::default() };
    TranscribeOptions { language: Some("en".to_owned()), voice, ..TranscribeOptions::default() }
}

fn check(result: &Transcription, what: &str) {
    let mut before = 0.0;
    for segment in &result.segments {
        assert!(before <= segment.start && segment.start < segment.end, "{what}: {segment:?} after {before}");
        before = segment.end;
    }
    assert!(before <= result.duration, "{what}: {before} of {}", result.duration);
}

#[test]
fn audio_of_any_length_ends() {
    let mut transcriber = transcriber(VadModel::Embedded);
    let voice = speech("short/000-en.flac").samples;
    let sound = |samples: usize| Audio::from_samples(voice.iter().copied().cycle().take(samples).collect());
    for samples in [0, 1, 159, 160, 511, 512, 513, 1024, 16_000, 30 * 16_000 - 1, 30 * 16_000 + 1] {
        for cut_at_pauses in [false, true] {
            let options = TranscribeOptions { cut_at_pauses, ..with_filter() };
            let result = transcriber.transcribe(&sound(samples), &options, &mut ()).unwrap();
            check(&result, &format!("{samples} samples"));
            assert!(result.duration_after_vad.unwrap() <= result.duration);
        }
    }
}

#[test]
fn what_is_read_is_transcribed_as_what_is_there() {
    let mut transcriber = transcriber(VadModel::Embedded);
    for (file, cut_at_pauses) in [("short/003-en.flac", false), ("long/meeting-3min.flac", true)] {
        let path = root().join("speech").join(file);
        let options = TranscribeOptions { cut_at_pauses, ..with_filter() };
        let read = transcriber.listen(audio::open(&path, &AudioOptions::default()).unwrap()).unwrap();
        let read = transcriber.transcribe(&read, &options, &mut ()).unwrap();
        let there = transcriber.transcribe(&speech(file), &options, &mut ()).unwrap();
        assert!(!there.segments.is_empty());
        assert!(!there.run.warnings.iter().any(|warning| warning.what.contains("loudness")), "{file}");
        assert_eq!((read.segments, read.duration_after_vad), (there.segments, there.duration_after_vad), "{file}");
    }
}

#[test]
fn what_is_no_speech_gives_no_text() {
    let mut transcriber = transcriber(VadModel::Embedded);
    // Chords, each with its overtones, that fade.
    let chord = |i: usize| {
        let second = i as f32 / 16_000.0;
        let root = [220.0, 174.6, 130.8, 196.0][second as usize % 4];
        let tone =
            |pitch: f32| (1..5).map(move |n| (pitch * n as f32 * second * std::f32::consts::TAU).sin() / n as f32);
        let sum: f32 = [1.0, 1.25, 1.5].into_iter().flat_map(|third| tone(root * third)).sum();
        0.1 * sum * (1.0 - second.fract())
    };
    let music = Audio::from_samples((0..40 * 16_000).map(chord).collect());
    for (what, sound) in
        [("silence", speech("silence-20s.flac")), ("noise", speech("noise-20s.flac")), ("music", music)]
    {
        for cut_at_pauses in [false, true] {
            let options = TranscribeOptions { cut_at_pauses, ..with_filter() };
            let result = transcriber.transcribe(&sound, &options, &mut ()).unwrap();
            assert_eq!((result.segments.len(), result.duration_after_vad), (0, Some(0.0)), "{what}");
        }
    }
}

/// A person far away, whom Silero does not hear beside those who are near.
#[test]
fn a_faint_voice_between_loud_ones_is_transcribed() {
    let mut near = Vec::new();
    for file in ["003-en", "005-en", "007-en", "009-en", "011-en", "012-en"] {
        near.extend(speech(&format!("short/{file}.flac")).samples);
        near.extend([0.0; 9600]);
    }
    let far: Vec<f32> = speech("short/001-en.flac").samples.iter().map(|sample| 0.01 * sample).collect();
    let (from, to) = (near.len() as f64 / 16_000.0, (near.len() + far.len()) as f64 / 16_000.0);
    let heard = Silero::open(&engine(), None).unwrap().probabilities(&[&near[..], &far, &near].concat()).unwrap();
    let pieces = near.len() / PIECE + 2..(near.len() + far.len()) / PIECE;
    assert!(heard.values[pieces].iter().all(|probability| *probability < 0.35), "it is faint");
    let audio = Audio::from_samples([&near[..], &far, &near].concat());
    let options = TranscribeOptions { cut_at_pauses: true, voice: VoiceOptions::default(), ..with_filter() };
    let result = transcriber(VadModel::Embedded).transcribe(&audio, &options, &mut ()).unwrap();
    check(&result, "near and far");
    let of_it: Vec<_> = result.segments.iter().filter(|s| s.end > from + 0.3 && s.start < to - 0.3).collect();
    assert!(!of_it.is_empty() && of_it.iter().all(|s| s.start > from - 0.3 && s.end < to + 0.3), "{of_it:?}");
}

#[test]
fn silence_is_left_out_and_times_stay() {
    let recording = speech("long/pauses-4min.flac");
    let truth = common::json(&root().join("speech/long/pauses-4min.json"));
    let utterances = truth["segments"].as_array().unwrap().iter();
    let spoken: Vec<_> = utterances.map(|u| (u["start"].as_f64().unwrap(), u["end"].as_f64().unwrap())).collect();
    for model in [VadModel::Embedded, VadModel::Loudness] {
        let mut transcriber = transcriber(model.clone());
        // Without the filter all is decoded, so that windows tell how much was left out.
        let all = TranscribeOptions { skip_steady: false, ..with_filter() };
        let with = transcriber.transcribe(&recording, &all, &mut ()).unwrap();
        let windows = with.run.windows;
        let options = TranscribeOptions { voice: VoiceOptions::default(), ..all };
        let without = transcriber.transcribe(&recording, &options, &mut ()).unwrap();
        check(&with, "filtered");
        assert!(with.duration_after_vad.unwrap() < 0.8 * with.duration, "{model:?}: {:?}", with.duration_after_vad);
        assert!(windows < without.run.windows && without.duration_after_vad.is_none(), "{model:?}");
        // No segment begins or ends where nobody speaks, and the last one is where the last utterances are.
        let is_speech = |time: f64| spoken.iter().any(|(start, end)| (start - 0.6..end + 0.6).contains(&time));
        for segment in &with.segments {
            assert!(is_speech(segment.start) && is_speech(segment.end), "{model:?}: {segment:?}");
        }
        assert!(with.segments.last().is_some_and(|last| last.start > 223.0), "{model:?}");
    }
}

#[test]
fn options_that_mean_nothing_are_refused() {
    let mut transcriber = transcriber(VadModel::Embedded);
    let vad = VadOptions { threshold: 1.5, ..VadOptions::default() };
    let options = TranscribeOptions { voice: VoiceOptions { vad_filter: true, vad }, ..TranscribeOptions::default() };
    let error = transcriber.transcribe(&speech("short/000-en.flac"), &options, &mut ()).unwrap_err();
    assert_eq!(error.to_string(), transcriber.check(&options).unwrap_err().to_string());
    assert!(error.to_string().contains("vad_threshold is 1.5"), "{error}");
}
