//! Every container gives back the values that were written into it, under Hugging Face's names; quantised ones those
//! that their formats' own slow definitions give.

mod common;

use std::path::Path;

use common::{CTranslate2, Kind, Matrices, Model, blocks, pickles};
use undertone_models::{
    SourceKind, recognise,
    weights::{self, Checkpoint},
};
use zip::CompressionMethod;

const VOCABULARY: usize = 200;
const HEADS: [usize; 2] = [2, 4];

fn open(path: &Path, kind: SourceKind) -> Checkpoint {
    assert_eq!(recognise(path), Some(kind));
    weights::open(path).unwrap()
}

/// All of the model's tensors, and no others, with the same values.
fn same(checkpoint: &Checkpoint, model: &Model) {
    let names: Vec<&str> = checkpoint.tensors().map(|(name, _)| name).collect();
    assert_eq!(names, model.keys().map(String::as_str).collect::<Vec<_>>());
    for (name, tensor) in checkpoint.tensors() {
        let (shape, values) = &model[name];
        assert_eq!((tensor.shape(), &tensor.read().unwrap()), (shape.as_slice(), values), "{name}");
    }
    let sizes = checkpoint.dimensions;
    assert_eq!([sizes.encoder_heads, sizes.decoder_heads], HEADS);
    assert_eq!((sizes.vocabulary, sizes.mel_bins), (model["model.decoder.embed_tokens.weight"].0[0], common::MEL_BINS));
    assert_eq!((sizes.encoder_layers, sizes.decoder_layers), (common::ENCODER_LAYERS, common::DECODER_LAYERS));
    assert!(!checkpoint.has_own_projection());
}

#[test]
fn safetensors_of_every_type() {
    let model = common::model(VOCABULARY, 1);
    for kind in [Kind::F32, Kind::F16, Kind::BF16, Kind::F64] {
        let home = tempfile::tempdir().unwrap();
        common::write_json(&home.path().join("config.json"), &common::config(VOCABULARY));
        std::fs::write(home.path().join("model.safetensors"), common::safetensors(&model, kind)).unwrap();
        same(&open(home.path(), SourceKind::Safetensors), &model);
        same(&open(&home.path().join("model.safetensors"), SourceKind::Safetensors), &model);
    }
}

#[test]
fn safetensors_under_other_names() {
    let model = common::model(VOCABULARY, 2);
    let home = tempfile::tempdir().unwrap();
    common::write_json(&home.path().join("config.json"), &common::config(VOCABULARY));
    let short = |name: &String| name.strip_prefix("model.").unwrap().to_owned();
    for rename in [&short as &dyn Fn(&String) -> String, &|name| common::openai_name(name)] {
        let mut renamed: Model = model.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect();
        // What is no Whisper's is left out, and a projection that transformers would overwrite too.
        renamed.insert("adapter.weight".to_owned(), (vec![3], vec![1.0, 2.0, 3.0]));
        renamed.insert(
            "proj_out.weight".to_owned(),
            (vec![VOCABULARY, common::WIDTH], vec![0.5; VOCABULARY * common::WIDTH]),
        );
        std::fs::write(home.path().join("model.safetensors"), common::safetensors(&renamed, Kind::F32)).unwrap();
        same(&open(home.path(), SourceKind::Safetensors), &model);
    }
}

#[test]
fn a_projection_of_its_own_is_kept_where_the_configuration_says_so() {
    let model = common::model(VOCABULARY, 3);
    let home = tempfile::tempdir().unwrap();
    let mut config = common::config(VOCABULARY);
    config["tie_word_embeddings"] = false.into();
    common::write_json(&home.path().join("config.json"), &config);
    let mut with = model.clone();
    with.insert("proj_out.weight".to_owned(), (vec![VOCABULARY, common::WIDTH], vec![0.5; VOCABULARY * common::WIDTH]));
    std::fs::write(home.path().join("model.safetensors"), common::safetensors(&with, Kind::F32)).unwrap();
    let checkpoint = open(home.path(), SourceKind::Safetensors);
    assert!(checkpoint.has_own_projection());
    assert_eq!(checkpoint.tensor("proj_out.weight").unwrap().read().unwrap()[0], 0.5);
}

#[test]
fn safetensors_in_shards() {
    let model = common::model(VOCABULARY, 4);
    let home = tempfile::tempdir().unwrap();
    // A byte-order mark in front is no harm.
    let config = format!("\u{feff}{}", common::config(VOCABULARY));
    std::fs::write(home.path().join("config.json"), config).unwrap();
    let file = |i: usize| format!("model-{:05}-of-00003.safetensors", i % 3 + 1);
    let map: serde_json::Map<String, serde_json::Value> =
        model.keys().enumerate().map(|(i, name)| (name.clone(), file(i).into())).collect();
    common::write_json(&home.path().join("model.safetensors.index.json"), &serde_json::json!({"weight_map": map}));
    for shard in 0..3 {
        let share = model.iter().enumerate().filter(|(i, _)| i % 3 == shard).map(|(_, entry)| entry);
        std::fs::write(home.path().join(file(shard)), common::safetensors(share, Kind::F16)).unwrap();
    }
    same(&open(home.path(), SourceKind::Safetensors), &model);
    std::fs::remove_file(home.path().join(file(1))).unwrap();
    let error = weights::open(home.path()).unwrap_err().to_string();
    assert!(error.contains(&file(1)), "{error}");
}

#[test]
fn what_belongs_to_weights_and_is_not_there_is_named() {
    let home = tempfile::tempdir().unwrap();
    let adapter = serde_json::json!({ "base_model_name_or_path": "openai/whisper-tiny" });
    common::write_json(&home.path().join("adapter_config.json"), &adapter);
    std::fs::write(home.path().join("adapter_model.safetensors"), b"\x02\0\0\0\0\0\0\0{}").unwrap();
    let error = weights::open(home.path()).unwrap_err().to_string();
    assert!(error.contains("adapter") && error.contains("'openai/whisper-tiny'") && error.contains("merge"), "{error}");

    let index = serde_json::json!({ "weight_map": { "a": "model-00002-of-00002.safetensors" } });
    common::write_json(&home.path().join("model.safetensors.index.json"), &index);
    common::write_json(&home.path().join("config.json"), &common::config(300));
    let error = weights::open(home.path()).unwrap_err().to_string();
    assert!(error.contains("index.json") && error.contains("'model-00002-of-00002.safetensors'"), "{error}");
}

#[test]
fn ctranslate2_of_every_version_and_type() {
    let model = common::model(VOCABULARY, 5);
    for (version, matrices) in [
        (6, Matrices::Plain(Kind::F16)),
        (6, Matrices::Plain(Kind::F32)),
        (6, Matrices::Plain(Kind::BF16)),
        (5, Matrices::Plain(Kind::F16)),
        (4, Matrices::Plain(Kind::F32)),
        (3, Matrices::Plain(Kind::F32)),
        (2, Matrices::Plain(Kind::F32)),
    ] {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("model.bin"), CTranslate2::file(&model, version, matrices, [2, 4])).unwrap();
        // The stacked biases have zeros for the keys, which no Whisper has: the reader leaves them out.
        same(&open(home.path(), SourceKind::CTranslate2), &model);
    }
}

#[test]
fn ctranslate2_s_integers_are_divided_by_their_scales() {
    let model = common::model(VOCABULARY, 6);
    for (matrices, version) in [(Matrices::Int8, 6), (Matrices::Int16, 6), (Matrices::Int8, 3)] {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("model.bin"), CTranslate2::file(&model, version, matrices, [2, 4])).unwrap();
        let checkpoint = open(home.path(), SourceKind::CTranslate2);
        let stored: Model =
            model.iter().map(|(name, tensor)| (name.clone(), divided(&model, name, tensor, matrices))).collect();
        same(&checkpoint, &stored);
    }
}

/// A tensor as it comes back: rounded in the steps of its row or, for int16, of all that are stacked with it.
fn divided(
    model: &Model,
    name: &str,
    (shape, values): &(Vec<usize>, Vec<f32>),
    matrices: Matrices,
) -> (Vec<usize>, Vec<f32>) {
    let whole = name.ends_with("bias") || name.contains("norm") || name.contains("embed_positions");
    if whole {
        return (shape.clone(), values.clone());
    }
    let width = values.len() / shape[0];
    let largest = |values: &[f32]| values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let step = |row: &[f32]| match matrices {
        Matrices::Int8 => common::ctranslate2_scale(row),
        _ => {
            let stacked = ["q", "k", "v"].map(|part| {
                let cross = name.contains("encoder_attn");
                let of = ["q_proj", "k_proj", "v_proj"].iter().find(|of| name.contains(*of));
                let with = if cross { &["k", "v"][..] } else { &["q", "k", "v"] };
                match of.filter(|of| with.contains(&&of[..1]) && with.contains(&part)) {
                    Some(of) => largest(&model[&name.replace(of, &format!("{part}_proj"))].1),
                    None => largest(values),
                }
            });
            1024.0 / stacked.into_iter().fold(0.0, f32::max)
        }
    };
    let rows = values.chunks(width).flat_map(|row| {
        let step = step(row);
        row.iter().map(move |value| (value * step).round_ties_even() / step)
    });
    (shape.clone(), rows.collect())
}

#[test]
fn pytorch_in_every_form() {
    let model = common::model(VOCABULARY, 7);
    for (kind, form, legacy) in [
        (Kind::F16, pickles::Form::OpenAi { heads: HEADS }, false),
        (Kind::F32, pickles::Form::OpenAi { heads: HEADS }, false),
        (Kind::F32, pickles::Form::HuggingFace, false),
        (Kind::BF16, pickles::Form::HuggingFace, false),
        (Kind::F64, pickles::Form::HuggingFace, false),
        (Kind::F16, pickles::Form::OpenAi { heads: HEADS }, true),
        (Kind::F32, pickles::Form::HuggingFace, true),
    ] {
        let home = tempfile::tempdir().unwrap();
        let (pickle, storages) = pickles::state(&model, kind, form, legacy);
        let file = match legacy {
            true => pickles::legacy(&pickle, &storages, kind),
            false => pickles::zipped(&pickle, &storages, CompressionMethod::Stored),
        };
        let name = if form == pickles::Form::HuggingFace { "pytorch_model.bin" } else { "small.pt" };
        if form == pickles::Form::HuggingFace {
            common::write_json(&home.path().join("config.json"), &common::config(VOCABULARY));
        }
        std::fs::write(home.path().join(name), file).unwrap();
        same(&open(home.path(), SourceKind::PyTorch), &model);
    }
}

#[test]
fn ggml_of_every_type() {
    let model = common::model(VOCABULARY, 8);
    let blocks = blocks::ALL.map(blocks::Matrices::Blocks);
    for matrices in [blocks::Matrices::F32, blocks::Matrices::F16].into_iter().chain(blocks) {
        let home = tempfile::tempdir().unwrap();
        let tokens = [b"a".to_vec(), b"\xff".to_vec(), Vec::new()];
        let (file, stored) = blocks::ggml(&model, &tokens, matrices, HEADS.map(|heads| heads as u32));
        let path = home.path().join("ggml-small.bin");
        std::fs::write(&path, file).unwrap();
        let checkpoint = open(&path, SourceKind::Ggml);
        same(&checkpoint, &stored);
        assert_eq!(checkpoint.details.vocabulary.as_deref(), Some(&tokens[..]));
    }
}

#[test]
fn onnx_folders_need_no_conversion() {
    let model = common::model(VOCABULARY, 9);
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("model.safetensors"), common::safetensors(&model, Kind::F32)).unwrap();
    std::fs::create_dir(home.path().join("onnx")).unwrap();
    std::fs::write(home.path().join("onnx/encoder_model_fp16.onnx"), []).unwrap();
    assert_eq!(recognise(home.path()), None);
    let text = weights::open(home.path()).unwrap_err().to_string();
    assert!(text.contains("converted already"), "{text}");
    assert_eq!(recognise(&home.path().join("missing")), None);
    assert!(weights::open(&home.path().join("missing")).unwrap_err().to_string().contains("missing"));
}

#[test]
fn of_several_files_the_usual_one_is_meant_or_one_must_be_named() {
    let model = common::model(VOCABULARY, 10);
    let home = tempfile::tempdir().unwrap();
    let bytes = common::safetensors(&model, Kind::F16);
    std::fs::write(home.path().join("b.safetensors"), &bytes).unwrap();
    // What only looks like weights does not count.
    std::fs::write(home.path().join("training_args.bin"), b"PK").unwrap();
    std::fs::write(home.path().join("optimizer.pt"), b"other").unwrap();
    assert_eq!(recognise(home.path()), Some(SourceKind::Safetensors));
    std::fs::write(home.path().join("a.safetensors"), &bytes).unwrap();
    assert_eq!(recognise(home.path()), None);
    let text = weights::open(home.path()).unwrap_err().to_string();
    assert!(text.contains("a.safetensors, b.safetensors"), "{text}");
    std::fs::write(home.path().join("model.safetensors"), &bytes).unwrap();
    assert_eq!(recognise(home.path()), Some(SourceKind::Safetensors));
}
