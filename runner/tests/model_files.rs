//! Which files of a directory are taken as a model, and what is said when some are missing. No ONNX Runtime: the graphs
//! are empty files.

use std::fs;
use std::path::Path;
use tempfile::TempDir;
use undertone_runner::model::DecoderFiles;
use undertone_runner::{Layout, Model, ModelError};

const CONFIG: &str = r#"{"model_type": "whisper", "d_model": 384, "encoder_layers": 4, "decoder_layers": 4,
  "decoder_attention_heads": 6, "num_mel_bins": 80, "vocab_size": 51865, "max_source_positions": 1500,
  "max_target_positions": 448, "suppress_tokens": [1], "begin_suppress_tokens": null}"#;

fn directory(graphs: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.json"), CONFIG).unwrap();
    fs::write(directory.path().join("tokenizer.json"), "{}").unwrap();
    for graph in graphs {
        let path = directory.path().join(format!("{graph}.onnx"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    directory
}

fn open(directory: &TempDir) -> Model {
    Model::from_directory(directory.path(), None).unwrap()
}

/// The error's one line, which names the directory.
fn refusal(directory: &TempDir, variant: Option<&str>) -> String {
    let error = Model::from_directory(directory.path(), variant).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(directory.path().to_str().unwrap()), "{error}");
    error
}

const SPLIT: [&str; 3] = ["encoder_model", "decoder_model", "decoder_with_past_model"];

#[test]
fn split_is_preferred_and_merged_can_be_asked_for() {
    let directory = directory(&["encoder_model", "decoder_model", "decoder_with_past_model", "decoder_model_merged"]);
    let model = open(&directory);
    assert_eq!(model.variant(), "f32");
    assert_eq!(model.encoder(), directory.path().join("encoder_model.onnx"));
    assert!(matches!(model.decoder(), DecoderFiles::Split { .. }));
    assert_eq!(model.graphs().len(), 4);
    let merged = Model::with_layout(directory.path(), None, Some(Layout::Merged)).unwrap();
    assert_eq!(merged.decoder(), &DecoderFiles::Merged(directory.path().join("decoder_model_merged.onnx")));
}

#[test]
fn half_a_split_decoder_gives_way_to_a_merged_one() {
    let directory = directory(&["encoder_model", "decoder_model", "decoder_model_merged"]);
    assert!(matches!(open(&directory).decoder(), DecoderFiles::Merged(_)));
}

#[test]
fn variants_are_taken_in_order_and_by_name() {
    let names = |suffix: &str| SPLIT.map(|g| format!("onnx/{g}{suffix}"));
    let graphs: Vec<String> = ["_quantized", "_fp16", "_q4"].iter().flat_map(|s| names(s)).collect();
    let directory = directory(&graphs.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(open(&directory).variant(), "fp16");
    for word in ["quantized", "_quantized"] {
        let model = Model::from_directory(directory.path(), Some(word)).unwrap();
        assert_eq!(model.variant(), "quantized");
        assert_eq!(model.encoder(), directory.path().join("onnx/encoder_model_quantized.onnx"));
    }
    let error = refusal(&directory, Some("f32"));
    assert!(error.contains("no variant 'f32'") && error.contains("fp16, quantized, q4"), "{error}");
}

#[test]
fn an_incomplete_variant_is_not_taken() {
    let directory =
        directory(&["encoder_model", "encoder_model_int8", "decoder_model_int8", "decoder_with_past_model_int8"]);
    assert_eq!(open(&directory).variant(), "int8");
}

#[test]
fn the_missing_file_is_named() {
    let missing = |graphs: &[&str]| refusal(&directory(graphs), None);
    assert!(missing(&[]).contains("encoder_model.onnx (or one with a suffix"));
    assert!(missing(&["decoder_model_merged"]).contains("encoder_model.onnx"));
    assert!(missing(&["encoder_model"]).contains("decoder_model.onnx and decoder_with_past_model.onnx, or"));
    let half = missing(&["encoder_model", "decoder_model"]);
    assert!(half.contains("lacks decoder_with_past_model.onnx (or decoder_model_merged.onnx in its place)"), "{half}");
    assert!(missing(&["encoder_model", "decoder_with_past_model"]).contains("lacks decoder_model.onnx"));
    for file in ["config.json", "tokenizer.json"] {
        let directory = directory(&SPLIT);
        fs::remove_file(directory.path().join(file)).unwrap();
        assert!(refusal(&directory, None).contains(&format!("lacks {file}")));
    }
    assert!(refusal(&directory(&[]), Some("q4")).contains("lacks encoder_model_q4.onnx"));
}

#[test]
fn configurations_that_are_not_whispers() {
    let directory = directory(&SPLIT);
    let config = directory.path().join("config.json");
    fs::write(&config, CONFIG.replace("whisper", "bert")).unwrap();
    assert!(refusal(&directory, None).contains("'bert', not 'whisper'"));
    fs::write(&config, CONFIG.replace("\"d_model\": 384,", "")).unwrap();
    assert!(refusal(&directory, None).contains("d_model"));
    fs::write(&config, "{\"model_type\"").unwrap();
    assert!(matches!(Model::from_directory(directory.path(), None), Err(ModelError::Unreadable { .. })));
    fs::write(&config, CONFIG).unwrap();
    fs::write(directory.path().join("generation_config.json"), r#"{"begin_suppress_tokens": [220, 50257]}"#).unwrap();
    let model = open(&directory);
    assert_eq!(model.config().begin_suppress_tokens, [220, 50257]);
    assert_eq!(model.config().suppress_tokens, [1], "where generation_config.json has none, config.json's");
}

#[test]
fn sources_that_are_no_models() {
    for source in ["no-such-directory", "/no/such/directory", "./none", "", "a/b/c"] {
        let error = Model::open(source, None).unwrap_err();
        assert!(matches!(error, ModelError::NoDirectory(_)), "{source}: {error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(Model::open(file.path().to_str().unwrap(), None), Err(ModelError::NoDirectory(_))));
}

#[test]
fn the_reference_model_is_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/reference");
    let model = Model::open(path.to_str().unwrap(), None).unwrap();
    let config = model.config();
    assert_eq!((config.width, config.decoder_layers, config.decoder_heads, config.mel_bins), (192, 3, 3, 80));
    assert_eq!((config.vocabulary, config.decoder_positions, config.max_initial_timestamp), (51865, 448, 50));
    assert_eq!(config.suppress_tokens.len(), 88);
}
