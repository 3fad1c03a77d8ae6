//! Several windows decoded in lock-step against each of them alone, on real speech: the same tokens in f32, whatever
//! leaves when, in both layouts of the decoder, on the CPU provider and on the host device. And the rows of the cache
//! by themselves.

mod common;

use undertone_runner::choice::{Ask, Choice};
use undertone_runner::decode::{Decoded, Decoding};
use undertone_runner::decoder::{OrtModel, WithoutCache};
use undertone_runner::features::Features;
use undertone_runner::mel::LogMel;
use undertone_runner::ranking::MaximumLikelihood;
use undertone_runner::rules::{Rule, TimestampRules};
use undertone_runner::speech_model::SpeechModel;
use undertone_runner::tokenizer::Tokenizer;
use undertone_runner::{
    Audio, Device, Engine, EngineOptions, Layout, Model, Precision, SearchOptions, TranscribeOptions, Transcriber,
    Transcription, audio,
};

const ANYTHING: Ask<'_> = Ask { forbidden: &[], first_timestamp: Ask::NO_TIMESTAMPS };

fn load(device: Device, layout: Layout) -> OrtModel {
    let model = Model::with_layout(&common::reference(), None, Some(layout)).unwrap();
    let mut options = EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"));
    options.device = device;
    options.precision = Precision::F32;
    options.ep_library = Some(common::ep_library());
    OrtModel::load(&model, &Engine::new(&options).unwrap()).unwrap()
}

/// The first window of recordings in `speech`.
fn windows(files: &[&str]) -> Vec<Vec<f32>> {
    let mel = LogMel::new(80);
    let window = |file: &&str| {
        let samples = audio::read_file(&common::root().join("speech").join(file)).unwrap().samples;
        Features::of(&mel, &samples).window(0).unwrap()
    };
    files.iter().map(window).collect()
}

/// Decodes windows together, with timestamps, each prompted with its language.
fn greedy(model: &mut dyn SpeechModel, windows: &[Vec<f32>], languages: &[&str]) -> Vec<Decoded> {
    let special = Tokenizer::load(&common::reference()).unwrap().special;
    let prompts: Vec<[u32; 3]> =
        languages.iter().map(|code| [special.sot, special.language(code).unwrap(), special.transcribe]).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(<[u32; 3]>::as_slice).collect();
    let (first, notimestamps) = (special.first_timestamp, special.notimestamps);
    let rules: [Box<dyn Rule>; 1] =
        [Box::new(TimestampRules { eot: special.eot, notimestamps, first, max_initial: 50 })];
    let windows: Vec<&[f32]> = windows.iter().map(Vec::as_slice).collect();
    model.encode(&windows).unwrap();
    let decoding = Decoding {
        prompts: &prompts,
        sot: 0,
        rules: &rules,
        own: &[],
        penalties: &[],
        ranking: &MaximumLikelihood::default(),
        first_timestamp: first,
        eot: special.eot,
        no_speech: Some(special.nospeech),
        max_new_tokens: 224,
        ends_in_time: false,
        positions: 448,
        stop: &|| false,
    };
    decoding.greedy(model).unwrap()
}

#[test]
fn windows_together_as_each_alone() {
    let files = [
        "short/000-en.flac",
        "long/meeting-3min.flac",
        "short/006-de.flac",
        "silence-20s.flac",
        "long/spanish-60s.flac",
        "short/004-en.flac",
        "long/german-60s.flac",
    ];
    let languages = ["en", "en", "de", "en", "es", "en", "de"];
    let windows = windows(&files);
    for (device, layout) in [(Device::Cpu, Layout::Split), (Device::Cpu, Layout::Merged), (Device::Host, Layout::Split)]
    {
        let mut model = load(device, layout);
        let together = greedy(&mut model, &windows, &languages);
        let lengths: Vec<usize> = together.iter().map(|d| d.tokens.len()).collect();
        assert!(lengths.iter().max() > lengths.iter().min(), "all rows left at once: {lengths:?}");
        for i in 0..files.len() {
            let alone = &greedy(&mut model, &windows[i..=i], &languages[i..=i])[0];
            let place = format!("{} on {device}, {layout:?}", files[i]);
            assert_eq!(together[i].tokens, alone.tokens, "{place}");
            assert_eq!(together[i].steps, alone.steps, "{place}");
            assert!((together[i].avg_logprob - alone.avg_logprob).abs() < 1e-4, "{place}");
            assert!((together[i].no_speech_prob - alone.no_speech_prob).abs() < 1e-4, "{place}");
        }
        if layout == Layout::Split && device == Device::Cpu {
            let slow = greedy(&mut WithoutCache::new(model), &windows[..4], &languages[..4]);
            let tokens = |all: &[Decoded]| all.iter().map(|d| d.tokens.clone()).collect::<Vec<_>>();
            assert_eq!(tokens(&slow), tokens(&together[..4]));
        }
    }
}

#[test]
fn beams_of_several_recordings_as_of_each_alone() {
    let files = ["short/000-en.flac", "short/001-en.flac", "short/004-en.flac", "long/meeting-3min.flac"];
    let recordings: Vec<Audio> = files
        .iter()
        .map(|file| {
            let mut audio = audio::read_file(&common::root().join("speech").join(file)).unwrap();
            audio.samples.truncate(20 * 16_000);
            Audio::from_samples(audio.samples)
        })
        .collect();
    let search = SearchOptions { beam_size: Some(3), ..SearchOptions::default() };
    let options =
        TranscribeOptions { search, batch: 4, language: Some("en".to_owned()), ..TranscribeOptions::greedy() };
    let mut first: Option<Vec<Vec<u32>>> = None;
    for (device, layout) in [
        (Device::Cpu, Layout::Split),
        (Device::Cpu, Layout::Merged),
        (Device::Host, Layout::Split),
        (Device::Host, Layout::Merged),
    ] {
        let model = Model::with_layout(&common::reference(), None, Some(layout)).unwrap();
        let mut engine = EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"));
        (engine.device, engine.precision, engine.ep_library) = (device, Precision::F32, Some(common::ep_library()));
        let mut transcriber = Transcriber::load(&model, &engine).unwrap();
        let tokens = |result: &Transcription| -> Vec<u32> {
            result.segments.iter().flat_map(|segment| segment.tokens.iter().copied()).collect()
        };
        let all: Vec<&Audio> = recordings.iter().collect();
        let together = transcriber.transcribe_all(&all, &options, &mut ()).unwrap();
        assert_eq!(together[0].run.batch, 4);
        let together: Vec<Vec<u32>> = together.iter().map(tokens).collect();
        for ((recording, together), file) in recordings.iter().zip(&together).zip(files) {
            let alone = transcriber.transcribe(recording, &options, &mut ()).unwrap();
            assert_eq!(*together, tokens(&alone), "{file} on {device}, {layout:?}");
        }
        assert_eq!(*first.get_or_insert_with(|| together.clone()), together, "{device}, {layout:?}");
    }
}

/// The logits of every row after one more step.
fn step(model: &mut OrtModel, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    model.step_logits(tokens, &mut |_, logits| all.push(logits.to_vec())).unwrap();
    all
}

fn assert_close(a: &[f32], b: &[f32], place: &str) {
    let largest = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
    assert!(a.len() == b.len() && largest < 2e-3, "{place} differs by {largest}");
}

#[test]
fn a_long_prompt_is_fed_in_pieces_on_host_and_whole_on_cpu() {
    let special = Tokenizer::load(&common::reference()).unwrap().special;
    let windows = windows(&["short/000-en.flac", "short/006-de.flac"]);
    let prompt = |language: &str, offset: u32, text: u32| -> Vec<u32> {
        let before = (0..text).map(|i| 300 + (offset + 37 * i) % 2000);
        let after = [special.sot, special.language(language).unwrap(), special.transcribe];
        std::iter::once(special.startofprev).chain(before).chain(after).collect()
    };
    let [mut cpu, mut host] = [Device::Cpu, Device::Host].map(|device| load(device, Layout::Split));
    // Start-of-transcript at either side of a piece's end, and in the same piece as the last token.
    for text in [0, 27, 28, 29, 30, 31, 62, 150, 220] {
        let prompts = [prompt("en", 0, text), prompt("de", 900, text)];
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let [expected, found] = [&mut cpu, &mut host].map(|model| {
            model.encode(&windows.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
            let start = model.start(&prompts, text as usize + 1).unwrap();
            (start, step(model, &[special.first_timestamp, special.first_timestamp]))
        });
        for row in 0..2 {
            assert_close(&expected.0[row].sot, &found.0[row].sot, &format!("start of transcript after {text}"));
            assert_close(&expected.0[row].last, &found.0[row].last, &format!("the prompt's end after {text}"));
            assert_close(&expected.1[row], &found.1[row], &format!("the next step after {text}"));
        }
    }
}

#[test]
fn rows_leave_change_places_and_go_on_in_two_ways() {
    let windows = windows(&["short/000-en.flac", "short/006-de.flac", "short/001-en.flac", "short/004-en.flac"]);
    let prompt: &[u32] = &[50258, 50259, 50359, 50363];
    for (device, layout) in [(Device::Cpu, Layout::Merged), (Device::Host, Layout::Split)] {
        let mut model = load(device, layout);
        // What a row's logits are after its tokens, alone.
        let mut alone = |row: usize, tokens: &[u32]| {
            model.encode(&[&windows[row]]).unwrap();
            model.start(&[&[prompt, tokens].concat()], 0).unwrap().remove(0).last
        };
        let expected = [alone(3, &[440, 443]), alone(1, &[420, 423]), alone(1, &[420, 425]), alone(2, &[430, 436])];
        let last = alone(2, &[430, 436, 450, 451]);

        let all: Vec<&[f32]> = windows.iter().map(Vec::as_slice).collect();
        model.encode(&all).unwrap();
        model.start(&[prompt; 4], 0).unwrap();
        step(&mut model, &[410, 420, 430, 440]);
        model.keep(&[3, 1, 2]).unwrap();
        let split = step(&mut model, &[443, 423, 436]);
        assert_close(&split[0], &expected[0], "row 3");
        assert_close(&split[1], &expected[1], "row 1");
        assert_close(&split[2], &expected[3], "row 2");
        // Two tokens at once are two steps, after one has left and the tensors were copied.
        model.keep(&[2]).unwrap();
        assert_close(&step(&mut model, &[450, 451])[0], &last, "row 2 after two tokens");

        model.encode(&all).unwrap();
        model.keep(&[1, 2]).unwrap();
        model.start(&[prompt; 2], 0).unwrap();
        step(&mut model, &[420, 430]);
        model.keep(&[0, 0, 1]).unwrap();
        let twice = step(&mut model, &[423, 425, 436]);
        assert_close(&twice[0], &expected[1], "the first way");
        assert_close(&twice[1], &expected[2], "the second way");
        assert_close(&twice[2], &expected[3], "the other row");
    }
}

#[test]
fn what_does_not_fit_the_rows_is_an_error() {
    let mut model = load(Device::Cpu, Layout::Split);
    assert!(model.encode(&[]).is_err());
    assert!(model.keep(&[0]).is_err());
    let windows = windows(&["short/000-en.flac", "short/006-de.flac"]);
    model.encode(&[&windows[0], &windows[1]]).unwrap();
    assert!(model.start(&[&[50258]], 0).is_err(), "one prompt for two rows");
    assert!(model.start(&[&[50258, 50259]], 0).is_err(), "one prompt of two tokens for two rows");
    assert!(model.start(&[&[50258], &[50258, 50259, 50359]], 0).is_err(), "prompts of two lengths");
    model.start(&[&[50258], &[50258]], 0).unwrap();
    let mut answers = Vec::new();
    assert!(model.step(&[50259], &[ANYTHING; 2], 1, &mut answers).is_err(), "one token for two rows");
    assert!(model.step(&[50259, 50259], &[ANYTHING], 1, &mut answers).is_err(), "one ask for two rows");
    assert!(model.keep(&[2]).unwrap_err().to_string().contains("no row 2"));
    assert!(model.keep(&[]).is_err());
    model.step(&[50259, 50261], &[ANYTHING; 2], 1, &mut answers).unwrap();
    let tokens: Vec<_> = answers.iter().map(|a| a.choose().map(|Choice { token, .. }| token)).collect();
    assert_eq!(tokens, [Some(50359); 2], "transcribe follows the language");
}
