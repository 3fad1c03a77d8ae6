//! The KV cache against the slow way without it, both layouts against each other, and models that do not fit, on the
//! CPU provider.

mod common;

use common::{copy_reference, reference, root};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use undertone_runner::choice::Ask;
use undertone_runner::decoder::{OrtModel, WithoutCache};
use undertone_runner::speech_model::SpeechModel;
use undertone_runner::tokenizer::Tokenizer;
use undertone_runner::{
    Audio, Engine, EngineOptions, Layout, Model, TranscribeError, TranscribeOptions, Transcriber, audio,
};

const ANYTHING: Ask<'_> = Ask { forbidden: &[], first_timestamp: Ask::NO_TIMESTAMPS };

fn options() -> EngineOptions {
    EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"))
}

fn load(layout: Layout) -> (Model, OrtModel) {
    let model = Model::with_layout(&reference(), None, Some(layout)).unwrap();
    let loaded = OrtModel::load(&model, &Engine::new(&options()).unwrap()).unwrap();
    (model, loaded)
}

fn transcriber(cache: bool, layout: Layout) -> Transcriber {
    let (model, loaded) = load(layout);
    let loaded: Box<dyn SpeechModel> = if cache { Box::new(loaded) } else { Box::new(WithoutCache::new(loaded)) };
    Transcriber::with_model(loaded, Tokenizer::load(&reference()).unwrap(), model.config().clone())
}

/// The tokens of every segment, the previous text being prompted: prompts get long.
fn tokens(transcriber: &mut Transcriber, audio: &Audio) -> Vec<Vec<u32>> {
    let options = TranscribeOptions::greedy();
    let result = transcriber.transcribe(audio, &options, &mut ()).unwrap();
    result.segments.into_iter().map(|s| s.tokens).collect()
}

#[test]
fn the_same_tokens_with_and_without_cache_in_both_layouts() {
    let mut audio = audio::read_file(&root().join("speech/long/meeting-3min.flac")).unwrap();
    audio.samples.truncate(50 * 16_000);
    let expected = tokens(&mut transcriber(false, Layout::Split), &audio);
    assert!(expected.iter().map(Vec::len).sum::<usize>() > 40, "too little text to compare: {expected:?}");
    for (cache, layout) in [(true, Layout::Split), (true, Layout::Merged), (false, Layout::Merged)] {
        assert_eq!(tokens(&mut transcriber(cache, layout), &audio), expected, "cache {cache}, {layout:?}");
    }
}

/// Drives a model through a fixed sequence and returns the logits at some of its steps.
fn logits(model: &mut OrtModel, window: &[f32], steps: usize, kept: &[usize]) -> Vec<Vec<f32>> {
    model.encode(&[window]).unwrap();
    let mut logits = model.start(&[&[50258, 50259, 50359, 50363]], 0).unwrap().remove(0).last;
    let mut all = Vec::new();
    for step in 0..steps {
        if kept.contains(&step) {
            all.push(logits.clone());
        }
        model.step_logits(&[440 + (step as u32 * 37) % 3000], &mut |_, found| logits = found.to_vec()).unwrap();
    }
    all
}

#[test]
fn logits_stay_the_same_up_to_the_last_position() {
    let window: Vec<f32> = (0..80 * 3000).map(|i| ((i as f32 * 0.37).sin() - 0.2) * 0.5).collect();
    let kept = [0, 1, 60, 300, 443];
    let steps = 444; // 4 + 444 are the model's 448 positions
    let cached = logits(&mut load(Layout::Split).1, &window, steps, &kept);
    let merged = logits(&mut load(Layout::Merged).1, &window, steps, &kept);
    // The slow way only where it is looked at.
    let (_, slow) = load(Layout::Split);
    let mut slow = WithoutCache::new(slow);
    slow.encode(&[&window]).unwrap();
    for (i, &step) in kept.iter().enumerate() {
        let mut prefix = vec![50258, 50259, 50359, 50363];
        prefix.extend((0..step as u32).map(|s| 440 + (s * 37) % 3000));
        let expected = slow.start(&[&prefix], 0).unwrap().remove(0).last;
        for (name, got) in [("split", &cached[i]), ("merged", &merged[i])] {
            assert_eq!(got.len(), 51865);
            let largest = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
            assert!(largest < 2e-3, "{name} differs by {largest} at step {step}");
        }
    }
}

#[test]
fn a_step_without_a_sequence_is_an_error() {
    for layout in [Layout::Split, Layout::Merged] {
        let (_, mut model) = load(layout);
        assert!(model.start(&[&[50258]], 0).unwrap_err().to_string().contains("no window was encoded"));
        model.encode(&[&vec![0.0; 80 * 3000]]).unwrap();
        assert!(
            model
                .step(&[440], &[ANYTHING], 1, &mut Vec::new())
                .unwrap_err()
                .to_string()
                .contains("before a sequence was started")
        );
        // A wrong window is ONNX Runtime's error or ort's, not a crash.
        assert!(model.encode(&[&[0.0; 7]]).is_err());
    }
}

/// The reference model with some files exchanged.
fn copy_with(change: impl Fn(&Path)) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    copy_reference(directory.path());
    change(directory.path());
    directory
}

fn refusal(directory: &TempDir) -> TranscribeError {
    let model = Model::from_directory(directory.path(), None).unwrap();
    let error = Transcriber::load(&model, &options()).err().expect("it must be refused");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    error
}

#[test]
fn truncated_graphs_are_named() {
    for graph in ["encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"] {
        for length in [0, 1, 1000, 100_000] {
            let directory = copy_with(|d| {
                let bytes = fs::read(d.join(graph)).unwrap();
                fs::write(d.join(graph), &bytes[..length]).unwrap();
            });
            let error = refusal(&directory).to_string();
            assert!(error.contains(graph), "{graph} of {length} bytes: {error}");
        }
    }
}

#[test]
fn graphs_of_another_model_are_named() {
    let set = |key: &'static str, value: u64| {
        copy_with(move |d| {
            let path = d.join("config.json");
            let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            config[key] = value.into();
            fs::write(&path, config.to_string()).unwrap();
        })
    };
    let refused = |key, value| refusal(&set(key, value)).to_string();
    let layers = refused("decoder_layers", 4);
    assert!(layers.contains("decoder_model.onnx") && layers.contains("decoder layers is 3, not 4"), "{layers}");
    assert!(refused("decoder_layers", 2).contains("decoder layers is 3, not 2"));
    assert!(refused("num_mel_bins", 128).contains("mel bins is 80, not 128"));
    assert!(refused("d_model", 384).contains("width is 192, not 384"));
    assert!(refused("decoder_attention_heads", 6).contains("heads is 3, not 6"));
    // A decoder in the encoder's place, and the first step's graph in the cached one's.
    let swapped =
        copy_with(|d| fs::copy(d.join("decoder_model.onnx"), d.join("encoder_model.onnx")).map(drop).unwrap());
    assert!(refusal(&swapped).to_string().contains("without 'input_features'"));
    let twice = copy_with(|d| {
        fs::copy(d.join("decoder_model.onnx"), d.join("decoder_with_past_model.onnx")).map(drop).unwrap()
    });
    assert!(refusal(&twice).to_string().contains("decoder_with_past_model.onnx"));
}
