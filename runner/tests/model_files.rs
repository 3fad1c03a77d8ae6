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
fn an_unknown_suffix_is_a_variant_too() {
    let split = directory(&SPLIT.map(|graph| format!("onnx/{graph}_q8b32")).each_ref().map(String::as_str));
    assert!(matches!(open(&split).decoder(), DecoderFiles::Split { .. }));
    assert_eq!(open(&split).variant(), "q8b32");
    let merged = directory(&["encoder_model_mine", "decoder_model_merged_mine"]);
    assert!(matches!(open(&merged).decoder(), DecoderFiles::Merged(_)));
}

#[test]
fn an_incomplete_variant_is_not_taken() {
    let directory =
        directory(&["encoder_model", "encoder_model_int8", "decoder_model_int8", "decoder_with_past_model_int8"]);
    assert_eq!(open(&directory).variant(), "int8");
}

#[test]
fn one_variant_for_each_graph() {
    let all = ["encoder_model", "encoder_model_fp16", "decoder_model_merged_q4", "decoder_model_merged_quantized"];
    let directory = directory(&all);
    let of = |variant: Option<&str>| {
        let model = Model::from_directory(directory.path(), variant).unwrap();
        let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let DecoderFiles::Merged(decoder) = model.decoder() else { panic!("{:?}", model.decoder()) };
        (name(model.encoder()), name(decoder), model.variant().to_owned())
    };
    let expected = |encoder: &str, decoder: &str, variant: &str| {
        (format!("encoder_model{encoder}"), format!("decoder_model_merged{decoder}"), variant.to_owned())
    };
    let fp16_q4 = expected("_fp16", "_q4", "encoder=fp16,decoder=q4");
    for wish in ["encoder=fp16,decoder=q4", "decoder=_q4 , encoder=fp16", "encoder_model=fp16,decoder_model_merged=q4"]
    {
        assert_eq!(of(Some(wish)), fp16_q4, "{wish}");
    }
    assert_eq!(of(Some("decoder=q8")), expected("", "_quantized", "encoder=f32,decoder=quantized"));
    assert_eq!(of(Some("encoder=fp16")), expected("_fp16", "_quantized", "encoder=fp16,decoder=quantized"));
    assert_eq!(of(None), expected("", "_quantized", "encoder=f32,decoder=quantized"), "nothing is of one suffix");
    let error = Model::from_directory(directory.path(), Some("encoder=fp16,coder=q4")).unwrap_err();
    assert!(matches!(error, ModelError::Variant(_)) && error.to_string().contains("'coder=q4'"), "{error}");
}

#[test]
fn words_for_the_same_variant() {
    let names = |suffix: &str| SPLIT.map(|g| format!("{g}{suffix}"));
    let graphs: Vec<String> = ["", "_fp16", "_q8"].iter().flat_map(|s| names(s)).collect();
    let directory = directory(&graphs.iter().map(String::as_str).collect::<Vec<_>>());
    let suffix = |word: &str| Model::from_directory(directory.path(), Some(word)).unwrap().variant().to_owned();
    for word in ["f32", "fp32", "", "FP32"] {
        assert_eq!(suffix(word), "f32", "{word}");
    }
    for word in ["fp16", "_fp16", "half"] {
        assert_eq!(suffix(word), "fp16", "{word}");
    }
    for word in ["q8", "quantized"] {
        assert_eq!(suffix(word), "q8", "{word}");
    }
}

#[test]
fn a_decoder_alone_serves_where_there_is_none_with_a_cache() {
    let alone = |graphs: &[&str], variant: Option<&str>| {
        let directory = directory(graphs);
        let model = Model::from_directory(directory.path(), variant).unwrap();
        let DecoderFiles::Alone(decoder) = model.decoder() else { panic!("{:?}", model.decoder()) };
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        (name(model.encoder()), name(decoder), model.variant().to_owned())
    };
    let names =
        |encoder: &str, decoder: &str, variant: &str| (encoder.to_owned(), decoder.to_owned(), variant.to_owned());
    assert_eq!(
        alone(&["encoder_model", "decoder_model"], None),
        names("encoder_model.onnx", "decoder_model.onnx", "f32")
    );
    let amd = ["encoder_model", "decoder_model", "encoder_model_static", "decoder_model_static"];
    assert_eq!(alone(&amd, Some("static")), names("encoder_model_static.onnx", "decoder_model_static.onnx", "static"));
    assert_eq!(alone(&amd[2..], None), names("encoder_model_static.onnx", "decoder_model_static.onnx", "static"));
    let sherpa = ["tiny-encoder", "tiny-decoder", "tiny-encoder.int8", "tiny-decoder.int8"];
    assert_eq!(alone(&sherpa, None), names("tiny-encoder.onnx", "tiny-decoder.onnx", "f32"));
    assert_eq!(alone(&sherpa, Some("int8")), names("tiny-encoder.int8.onnx", "tiny-decoder.int8.onnx", "int8"));
    assert_eq!(
        alone(&sherpa, Some("decoder=int8")),
        names("tiny-encoder.onnx", "tiny-decoder.int8.onnx", "encoder=f32,decoder=int8")
    );
    let ort = ["onnx/whisper-tiny_encoder", "onnx/whisper-tiny_decoder", "onnx/whisper-tiny_encoder_decoder_init"];
    assert_eq!(alone(&ort, None), names("whisper-tiny_encoder.onnx", "whisper-tiny_decoder.onnx", "f32"));
    // Those of two models are not mixed.
    let mixed = directory(&["a-encoder", "b-decoder"]);
    assert!(refusal(&mixed, None).contains("lacks encoder_model.onnx"));
}

#[test]
fn the_folder_of_the_graphs_is_named_for_the_model() {
    let names = SPLIT.map(|g| format!("onnx/{g}"));
    let directory = directory(&names.each_ref().map(String::as_str));
    let model = Model::from_directory(&directory.path().join("onnx"), None).unwrap();
    assert_eq!(model.directory(), directory.path());
}

#[test]
fn the_missing_file_is_named() {
    let missing = |graphs: &[&str]| refusal(&directory(graphs), None);
    assert!(missing(&[]).contains("encoder_model.onnx (or one with a suffix"));
    assert!(missing(&["decoder_model_merged"]).contains("encoder_model.onnx"));
    assert!(missing(&["encoder_model"]).contains("decoder_model.onnx and decoder_with_past_model.onnx, or"));
    assert!(missing(&["encoder_model", "decoder_with_past_model"]).contains("lacks decoder_model.onnx"));
    let search = missing(&["whisper-tiny_beamsearch"]);
    assert!(search.contains("'whisper-tiny_beamsearch.onnx' holds a whole search in one graph"), "{search}");
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
    assert!(!model.config().suppress_non_speech && !model.config().suppress_blank);
    fs::write(&config, CONFIG.replace("whisper", "lite-whisper")).unwrap();
    assert_eq!(open(&directory).config().width, 384);
    let named = CONFIG.replace("\"whisper\",", "\"kin\", \"architectures\": [\"KinWhisperForAll\"],");
    fs::write(&config, named).unwrap();
    assert_eq!(open(&directory).config().width, 384);
}

#[test]
fn sources_that_are_no_models() {
    for source in ["no-such-directory", "/no/such/directory", "./none", "", "a/b/c"] {
        let error = Model::open(source, None).unwrap_err();
        assert!(matches!(error, ModelError::Provide(_)), "{source}: {error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(Model::open(file.path().to_str().unwrap(), None), Err(ModelError::Provide(_))));
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
