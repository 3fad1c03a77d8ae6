//! What the exporter writes computes Whisper: a small seeded model, converted in every format, on ONNX Runtime's CPU
//! provider and on the execution provider, against the model written out in the plainest way. Uses the writers of the
//! converter's own tests.

#[path = "../models/tests/common/mod.rs"]
mod common;
#[path = "converted/slow.rs"]
mod slow;

mod ep_host;

use std::collections::BTreeMap;
use std::path::Path;

use common::{AUDIO, DECODER_LAYERS, ENCODER_LAYERS, Kind, MEL_BINS, Model, WIDTH};
use fastrand::Rng;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;
use slow::{Rows, Slow};
use undertone_models::{ConvertOptions, WeightFormat, convert};

const VOCABULARY: usize = 300;
const HEADS: usize = 1;
const FORMATS: [WeightFormat; 3] = [WeightFormat::F32, WeightFormat::F16, WeightFormat::Int8];

/// A model's folder, as safetensors, and converted.
fn converted(model: &Model, home: &Path, weights: WeightFormat) -> std::path::PathBuf {
    let source = home.join("source");
    std::fs::create_dir_all(&source).unwrap();
    let mut config = common::config(VOCABULARY);
    config["encoder_attention_heads"] = HEADS.into();
    config["decoder_attention_heads"] = HEADS.into();
    config["tie_word_embeddings"] = (!model.contains_key("proj_out.weight")).into();
    common::write_json(&source.join("config.json"), &config);
    common::write_json(&source.join("tokenizer.json"), &serde_json::json!({}));
    std::fs::write(source.join("model.safetensors"), common::safetensors(model, Kind::F32)).unwrap();
    let out = home.join(weights.to_string());
    let (mut last, mut all) = (0, 0);
    let options = ConvertOptions { weights: Some(weights) };
    let made = convert(&source, &out, &options, &mut |done, of| {
        assert!(done > last && done <= of, "{last} → {done} of {of}");
        (last, all) = (done, of);
    });
    assert_eq!(made.unwrap().weights, weights);
    assert_eq!(last, all, "the progress ends where it said");
    out
}

/// The model as int8 has it: each output's row in 127 steps.
fn rounded(model: &Model) -> Model {
    let round = |(name, (shape, values)): (&String, &(Vec<usize>, Vec<f32>))| {
        let matrix = shape.len() == 2 && !name.ends_with("embed_positions.weight");
        let row = |row: &[f32]| -> Vec<f32> {
            let step = row.iter().fold(0.0_f32, |most, value| most.max(value.abs())) / 127.0;
            row.iter().map(|value| (value / step).round_ties_even() * step).collect()
        };
        let values = if matrix { values.chunks(shape[1]).flat_map(row).collect() } else { values.clone() };
        (name.clone(), (shape.clone(), values))
    };
    model.iter().map(round).collect()
}

type Outputs = BTreeMap<String, (Vec<i64>, Vec<f32>)>;

fn run(session: &mut Session, inputs: Vec<(String, SessionInputValue<'_>)>) -> Outputs {
    let outputs = session.run(inputs).unwrap();
    let read = |(name, value): (&str, ort::value::ValueRef<'_>)| {
        let (shape, values) = value.try_extract_tensor::<f32>().unwrap();
        (name.to_owned(), (shape.to_vec(), values.to_vec()))
    };
    outputs.iter().map(read).collect()
}

fn floats(shape: &[i64], values: Vec<f32>) -> SessionInputValue<'static> {
    Tensor::from_array((shape.to_vec(), values)).unwrap().into()
}

fn ids(rows: &[&[usize]]) -> SessionInputValue<'static> {
    let values: Vec<i64> = rows.concat().into_iter().map(|id| id as i64).collect();
    Tensor::from_array(([rows.len(), rows[0].len()], values)).unwrap().into()
}

fn near(what: &str, found: &[f32], expected: &Rows) {
    let expected: Vec<f64> = expected.concat();
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
    for (found, expected) in found.iter().zip(&expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-4 * largest, "{what}: {found} where {expected} is expected");
    }
}

/// Encoder, first step and later steps of two windows at once, in sessions that `open` makes.
fn computes(model: &Model, folder: &Path, open: &dyn Fn(&Path) -> Session) {
    // Tensors are ONNX Runtime's: it has to be there before the first of them.
    ep_host::environment();
    let slow = Slow { model, encoder_heads: HEADS, decoder_heads: HEADS };
    let mut random = Rng::with_seed(11);
    let mut window = || -> Rows {
        (0..2 * AUDIO).map(|_| (0..MEL_BINS).map(|_| f64::from(common::float(&mut random))).collect()).collect()
    };
    let mels = [window(), window()];
    let encoded_windows: Vec<Rows> = mels.iter().map(|mel| slow.encoder(mel, ENCODER_LAYERS)).collect();

    let features =
        mels.iter().flat_map(|mel| (0..MEL_BINS).flat_map(|bin| mel.iter().map(move |frame| frame[bin] as f32)));
    let features = floats(&[2, MEL_BINS as i64, 2 * AUDIO as i64], features.collect());
    let encoded = run(&mut open(&folder.join("encoder_model.onnx")), vec![("input_features".to_owned(), features)]);
    let (shape, states) = &encoded["last_hidden_state"];
    assert_eq!(shape, &[2, AUDIO as i64, WIDTH as i64]);
    near("last_hidden_state", states, &encoded_windows.concat());

    let rows: [&[usize]; 2] = [&[7, 299, 0, 41, 3, 3, 150], &[299, 12, 12, 5, 8, 200, 1]];
    let expected: Vec<Rows> = rows
        .iter()
        .zip(&encoded_windows)
        .map(|(tokens, window)| slow.decoder(tokens, window, DECODER_LAYERS))
        .collect();
    let logits = |from: usize, to: usize| expected.iter().flat_map(|row| row[from..to].to_vec()).collect::<Rows>();
    let part = |from: usize, to: usize| ids(&[&rows[0][from..to], &rows[1][from..to]]);
    let hidden = floats(shape, states.clone());
    let first = vec![("input_ids".to_owned(), part(0, 3)), ("encoder_hidden_states".to_owned(), hidden)];
    let mut outputs = run(&mut open(&folder.join("decoder_model.onnx")), first);
    assert_eq!(outputs["logits"].0, [2, 3, VOCABULARY as i64]);
    near("logits of the first step", &outputs["logits"].1, &logits(0, 3));

    // One token, then three at once: what is within a step is masked too.
    let mut later = open(&folder.join("decoder_with_past_model.onnx"));
    for (from, to) in [(3, 4), (4, 7)] {
        let cached = outputs.iter().filter(|(name, _)| name.starts_with("present."));
        let past = cached.map(|(name, (shape, values))| {
            (name.replace("present.", "past_key_values."), floats(shape, values.clone()))
        });
        let mut inputs: Vec<_> = past.collect();
        inputs.push(("input_ids".to_owned(), part(from, to)));
        let step = run(&mut later, inputs);
        near(&format!("logits of the step after {from}"), &step["logits"].1, &logits(from, to));
        assert_eq!(step["present.1.decoder.value"].0, [2, HEADS as i64, to as i64, (WIDTH / HEADS) as i64]);
        assert!(!step.contains_key("present.0.encoder.key"), "what is of the audio does not change");
        outputs.extend(step);
    }
}

#[test]
fn every_format_computes_whisper_on_the_cpu_provider() {
    let home = tempfile::tempdir().unwrap();
    let model = common::model(VOCABULARY, 21);
    for weights in FORMATS {
        let folder = converted(&model, home.path(), weights);
        let stored = if weights == WeightFormat::Int8 { rounded(&model) } else { model.clone() };
        computes(&stored, &folder, &ep_host::cpu_session_of);
    }
}

#[test]
fn every_format_computes_whisper_on_the_execution_provider() {
    let home = tempfile::tempdir().unwrap();
    let model = common::model(VOCABULARY, 22);
    for weights in FORMATS {
        let folder = converted(&model, home.path(), weights);
        let stored = if weights == WeightFormat::Int8 { rounded(&model) } else { model.clone() };
        // A model as small as this one is taken where somebody says so.
        let whole = [("device", "host"), ("precision", "f32"), ("claim", "all")];
        computes(&stored, &folder, &|path| {
            let builder = ep_host::ep_builder(&whole).unwrap();
            // Nothing is left to the CPU provider: the execution provider knows all of what is written.
            builder.with_config_entry("session.disable_cpu_ep_fallback", "1").unwrap().commit_from_file(path).unwrap()
        });
    }
}

#[test]
fn a_projection_of_its_own_is_computed_with() {
    let home = tempfile::tempdir().unwrap();
    let mut model = common::model(VOCABULARY, 23);
    let mut random = Rng::with_seed(24);
    let own = (0..VOCABULARY * WIDTH).map(|_| common::float(&mut random)).collect();
    model.insert("proj_out.weight".to_owned(), (vec![VOCABULARY, WIDTH], own));
    computes(&model, &converted(&model, home.path(), WeightFormat::F32), &ep_host::cpu_session_of);
}

#[test]
fn each_weight_is_on_the_disk_once() {
    let home = tempfile::tempdir().unwrap();
    // Large enough that the tokens' matrix is most of the model.
    let model = common::model(VOCABULARY, 25);
    let folder = converted(&model, home.path(), WeightFormat::F32);
    let size = |name: &str| std::fs::metadata(folder.join(name)).unwrap().len() as usize;
    let matrix = VOCABULARY * WIDTH * 4;
    let data = size("decoder_model.onnx_data");
    assert!((matrix..2 * matrix).contains(&data), "{data} bytes for a matrix of {matrix}");
    assert!(size("decoder_with_past_model.onnx") < size("decoder_model.onnx"));
    for graph in ["decoder_model.onnx", "decoder_with_past_model.onnx"] {
        let bytes = std::fs::read(folder.join(graph)).unwrap();
        let names = bytes.windows(23).filter(|window| window == b"decoder_model.onnx_data").count();
        assert_eq!(names, 1, "{graph} refers to it for the one weight that is worth it");
    }
}
