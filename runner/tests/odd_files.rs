//! Files that are a little odd, each kind made of the reference model's good ones: they are read, and mean the same.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use undertone_runner::Model;
use undertone_runner::model::ModelConfig;
use undertone_runner::tokenizer::Tokenizer;

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("models/reference")
}

/// The small files of a model, to be changed before they are written.
struct Files {
    tokenizer: Option<Value>,
    config: Option<Value>,
    generation: Option<Value>,
    /// Other files, as they are.
    others: Vec<(&'static str, Vec<u8>)>,
    /// How the text of a JSON file becomes bytes.
    encode: fn(&str) -> Vec<u8>,
}

impl Files {
    fn good() -> Self {
        let read = |name: &str| Some(serde_json::from_slice(&fs::read(reference().join(name)).unwrap()).unwrap());
        Self {
            tokenizer: read("tokenizer.json"),
            config: read("config.json"),
            generation: read("generation_config.json"),
            others: Vec::new(),
            encode: |text| text.into(),
        }
    }

    fn tokenizer(&mut self) -> &mut Value {
        self.tokenizer.as_mut().unwrap()
    }

    fn config(&mut self) -> &mut Value {
        self.config.as_mut().unwrap()
    }

    fn generation(&mut self) -> &mut Value {
        self.generation.as_mut().unwrap()
    }

    fn added(&mut self) -> &mut Vec<Value> {
        self.tokenizer()["added_tokens"].as_array_mut().unwrap()
    }

    fn merges(&mut self) -> &mut Vec<Value> {
        self.tokenizer()["model"]["merges"].as_array_mut().unwrap()
    }

    fn copy(&mut self, name: &'static str) {
        self.others.push((name, fs::read(reference().join(name)).unwrap()));
    }

    /// Writes them, with graphs that nobody opens.
    fn write(&self) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let all = [
            ("tokenizer.json", &self.tokenizer),
            ("config.json", &self.config),
            ("generation_config.json", &self.generation),
        ];
        for (name, value) in all {
            if let Some(value) = value {
                // Marks stand for what JSON does not have.
                let text = value.to_string().replace("\"<NaN>\"", "NaN").replace("\"<-Infinity>\"", "-Infinity");
                fs::write(directory.path().join(name), (self.encode)(&text)).unwrap();
            }
        }
        for (name, bytes) in &self.others {
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        for graph in ["encoder_model", "decoder_model", "decoder_with_past_model"] {
            fs::write(directory.path().join(format!("{graph}.onnx")), "").unwrap();
        }
        directory
    }

    fn read(&self) -> (Tokenizer, ModelConfig) {
        let directory = self.write();
        let tokenizer = Tokenizer::load(directory.path()).unwrap_or_else(|error| panic!("{error}"));
        let model = Model::from_directory(directory.path(), None).unwrap_or_else(|error| panic!("{error}"));
        (tokenizer, model.config().clone())
    }
}

type Kind = (&'static str, fn(&mut Files));

/// Floats for the whole numbers in a value.
fn floats(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.as_f64().unwrap()),
        Value::Array(all) => all.iter_mut().for_each(floats),
        Value::Object(all) => all.values_mut().for_each(floats),
        _ => {}
    }
}

/// Oddities that change nothing.
const HARMLESS: &[Kind] = &[
    ("as it is", |_| {}),
    ("without the first merge", |files| drop(files.merges().remove(0))),
    ("merges as pairs", |files| {
        for merge in files.merges() {
            if let Some((left, right)) = merge.as_str().and_then(|line| line.split_once(' ')) {
                *merge = json!([left, right]);
            }
        }
    }),
    ("merges as strings", |files| {
        for merge in files.merges() {
            if let [left, right] = merge.as_array().unwrap_or(&Vec::new()).as_slice() {
                *merge = format!("{} {}", left.as_str().unwrap(), right.as_str().unwrap()).into();
            }
        }
    }),
    ("merges as strings, without the first", |files| {
        files.merges().remove(0);
        for merge in files.merges() {
            if let [left, right] = merge.as_array().unwrap_or(&Vec::new()).as_slice() {
                *merge = format!("{} {}", left.as_str().unwrap(), right.as_str().unwrap()).into();
            }
        }
    }),
    ("no merges", |files| files.tokenizer()["model"]["merges"] = json!([])),
    ("merges are null", |files| files.tokenizer()["model"]["merges"] = Value::Null),
    ("merges of tokens that are not there", |files| files.merges().insert(7, json!(["\u{4E00}", "\u{4E8C}"]))),
    ("truncation, padding and a post-processor", |files| {
        let tokenizer = files.tokenizer();
        tokenizer["truncation"] =
            json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        tokenizer["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "!"});
    }),
    ("fields of another version", |files| {
        let tokenizer = files.tokenizer();
        tokenizer["model"]["something_new"] = json!([1, 2]);
        tokenizer["version"] = json!("9.9");
        tokenizer.as_object_mut().unwrap().remove("decoder");
        tokenizer["pre_tokenizer"] = Value::Null;
        tokenizer["post_processor"] = json!({"type": "Unheard"});
    }),
    ("no names for the timestamps", |files| files.added().retain(|token| token["id"].as_u64().unwrap() < 50_364)),
    ("no name but the end of text", |files| files.added().truncate(1)),
    ("no added tokens", |files| files.tokenizer()["added_tokens"] = json!([])),
    ("added tokens are null", |files| files.tokenizer()["added_tokens"] = Value::Null),
    ("no name for one token", |files| files.added().retain(|token| token["content"] != "<|startofprev|>")),
    ("no name for the start", |files| files.added().retain(|token| token["content"] != "<|startoftranscript|>")),
    ("<|nocaptions|>", |files| {
        files.added().iter_mut().find(|token| token["content"] == "<|nospeech|>").unwrap()["content"] =
            "<|nocaptions|>".into();
    }),
    ("more tokens than the model has", |files| {
        files.added().push(json!({"id": 51_865, "content": "beyond", "special": false}));
        files.added().push(json!({"id": 60_000, "content": "<|beyond|>", "special": true}));
    }),
    ("an added token without a number", |files| files.added().push(json!({"content": "lost", "id": null}))),
    ("numbers as floats", |files| {
        for token in files.added() {
            floats(&mut token["id"]);
        }
        floats(&mut files.tokenizer()["model"]["vocab"]);
        floats(files.config());
        floats(files.generation());
    }),
    ("numbers as text", |files| {
        files.config()["d_model"] = "192".into();
        files.config()["vocab_size"] = "51865".into();
    }),
    ("only vocab.json and merges.txt", |files| {
        files.tokenizer = None;
        files.copy("vocab.json");
        files.copy("merges.txt");
    }),
    ("only vocab.json", |files| {
        files.tokenizer = None;
        files.copy("vocab.json");
    }),
    ("vocab.json, merges.txt and added_tokens.json", |files| {
        let added: serde_json::Map<String, Value> = files
            .added()
            .iter()
            .map(|token| (token["content"].as_str().unwrap().to_owned(), token["id"].clone()))
            .collect();
        files.others.push(("added_tokens.json", Value::from(added).to_string().into()));
        files.tokenizer = None;
        files.copy("vocab.json");
        files.copy("merges.txt");
    }),
    ("merges.txt of Windows, without its first line", |files| {
        files.tokenizer = None;
        files.copy("vocab.json");
        let merges = fs::read_to_string(reference().join("merges.txt")).unwrap();
        let lines: Vec<&str> = merges.lines().filter(|line| !line.starts_with('#')).collect();
        files.others.push(("merges.txt", lines.join("\r\n").into()));
    }),
    ("a byte-order mark", |files| files.encode = |text| format!("\u{FEFF}{text}").into()),
    ("UTF-16", |files| {
        files.encode = |text| [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    }),
    ("NaN and Infinity", |files| {
        files.config()["dropout"] = "<NaN>".into();
        files.config()["init_std"] = "<-Infinity>".into();
        files.generation()["temperature"] = "<NaN>".into();
    }),
    ("no generation_config.json", |files| files.generation = None),
    ("an empty generation_config.json", |files| files.generation = Some(json!({}))),
    ("a generation_config.json of nothing", |files| files.generation = Some(Value::Null)),
    ("nulls", |files| {
        for key in
            ["suppress_tokens", "begin_suppress_tokens", "is_multilingual", "lang_to_id", "no_timestamps_token_id"]
        {
            files.generation()[key] = Value::Null;
        }
        for key in ["suppress_tokens", "begin_suppress_tokens", "encoder_ffn_dim", "encoder_attention_heads"] {
            files.config()[key] = Value::Null;
        }
        files.generation()["max_initial_timestamp_index"] = Value::Null;
        files.generation()["forced_decoder_ids"] = Value::Null;
    }),
    ("-1 for the tokens that are suppressed", |files| {
        files.generation()["suppress_tokens"] = json!([-1]);
        files.config()["suppress_tokens"] = json!("-1");
    }),
    ("-1 among the tokens that are suppressed", |files| {
        files.generation()["suppress_tokens"].as_array_mut().unwrap().push(json!(-1));
    }),
    ("forced_decoder_ids", |files| {
        files.generation()["forced_decoder_ids"] = json!([[1, null], [2, 50_359], [3, 50_363]]);
        files.config()["forced_decoder_ids"] = json!([[1, 50_259], [2, 50_359], [3, 50_363]]);
    }),
    ("a config.json without positions and inner widths", |files| {
        for key in ["max_source_positions", "max_target_positions", "encoder_ffn_dim", "decoder_ffn_dim", "model_type"]
        {
            files.config().as_object_mut().unwrap().remove(key);
        }
    }),
    ("another name for a Whisper", |files| {
        files.config()["model_type"] = "lite-whisper".into();
        files.config()["architectures"] = json!(["LiteWhisperForConditionalGeneration"]);
    }),
];

#[test]
fn they_are_read_and_mean_the_same() {
    let (good, config) = Files::good().read();
    let texts =
        [" the", " The green lion, don't!", "über 12.5 %", " \u{1F9A5} 你好", "", "<|endoftext|>", " t", "  a\n"];
    let control = [50_258, 50_358, 50_359, 50_360, 50_361, 50_362];
    let suppressed = |tokenizer: &Tokenizer, config: &ModelConfig| {
        let mut all = [config.suppress_tokens.as_slice(), &control].concat();
        if config.suppress_non_speech {
            all.extend(&tokenizer.special.non_speech);
        }
        all.sort_unstable();
        all.dedup();
        let mut first = config.begin_suppress_tokens.clone();
        if config.suppress_blank {
            first.extend(tokenizer.special.blank.into_iter().chain([tokenizer.special.eot]));
        }
        (all, first)
    };
    for (kind, change) in HARMLESS {
        println!("{kind}");
        let mut files = Files::good();
        change(&mut files);
        let (tokenizer, read) = files.read();
        assert_eq!(tokenizer.special, good.special, "{kind}");
        for text in texts {
            let tokens = tokenizer.encode(text).unwrap();
            assert_eq!(tokens, good.encode(text).unwrap(), "{kind}: {text:?}");
            assert_eq!(tokenizer.decode(&tokens).unwrap(), text, "{kind}");
        }
        assert_eq!(suppressed(&tokenizer, &read), suppressed(&good, &config), "{kind}");
        let numbers = |config: &ModelConfig| ModelConfig {
            suppress_tokens: Vec::new(),
            begin_suppress_tokens: Vec::new(),
            suppress_non_speech: false,
            suppress_blank: false,
            alignment_heads: None,
            ..config.clone()
        };
        assert_eq!(numbers(&read), numbers(&config), "{kind}");
        // They stand in that file alone.
        let lost =
            ["no generation_config.json", "an empty generation_config.json", "a generation_config.json of nothing"]
                .contains(kind);
        let heads = config.alignment_heads.clone().filter(|_| !lost);
        assert_eq!(read.alignment_heads, heads, "{kind}");
    }
}

#[test]
fn a_list_that_says_nothing_is_suppressed_is_kept() {
    let mut files = Files::good();
    files.generation()["suppress_tokens"] = json!([]);
    files.generation()["begin_suppress_tokens"] = json!([]);
    let (_, config) = files.read();
    assert!(config.suppress_tokens.is_empty() && !config.suppress_non_speech);
    assert!(config.begin_suppress_tokens.is_empty() && !config.suppress_blank);
}

#[test]
fn tokens_that_a_fine_tune_added_are_text_and_a_padded_vocabulary_is_not() {
    let mut files = Files::good();
    files.config()["vocab_size"] = 51_968.into();
    files.added().push(json!({"id": 51_865, "content": " Zürich", "special": false}));
    files.added().push(json!({"id": 51_867, "content": "<|speaker|>", "special": true}));
    files.others.push(("added_tokens.json", r#"{" Zürich": 51865, "Ötzi": 51868}"#.into()));
    let (tokenizer, config) = files.read();
    let special = &tokenizer.special;
    assert_eq!(config.vocabulary, 51_968);
    assert!(special.is_text(51_865) && special.is_text(51_868));
    for token in [51_864, 51_866, 51_867, 51_869] {
        assert!(!special.is_text(token), "{token}");
    }
    assert_eq!((special.timestamp(51_864), special.timestamp(51_865)), (Some(30.0), None));
    assert_eq!(special.nameless(), [51_866..51_867, 51_869..u32::MAX]);
    let the = tokenizer.encode(" the").unwrap()[0];
    let tokens = [50_364, the, 51_865, 51_867, the, 51_868, 51_866, 50_400, 50_257];
    assert_eq!(tokenizer.decode(&tokens).unwrap(), " the Zürich theÖtzi");
    // Bytes of one letter stay together though a token that is no text stands between.
    let sloth = tokenizer.encode("\u{1F9A5}").unwrap();
    let split: Vec<u32> = sloth.iter().flat_map(|&token| [token, 51_867]).collect();
    assert_eq!(tokenizer.decode(&split).unwrap(), "\u{1F9A5}");
}

#[test]
fn values_that_cannot_be_meant_are_named_with_their_file() {
    let refused = |change: fn(&mut Files)| {
        let mut files = Files::good();
        change(&mut files);
        let directory = files.write();
        let error = Model::from_directory(directory.path(), None).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    };
    let error = refused(|files| files.config()["num_mel_bins"] = json!(80.5));
    assert!(error.contains("config.json") && error.contains("num_mel_bins is 80.5"), "{error}");
    let error = refused(|files| files.config()["decoder_layers"] = json!([3]));
    assert!(error.contains("decoder_layers is [3]"), "{error}");
    let error = refused(|files| files.config()["d_model"] = "<NaN>".into());
    assert!(error.contains("d_model is missing"), "{error}");
    let error = refused(|files| files.config = Some(json!([1])));
    assert!(error.contains("config.json") && error.contains("no JSON object"), "{error}");
    let error = refused(|files| {
        files.config()["model_type"] = "wav2vec2".into();
        files.config()["architectures"] = json!(["Wav2Vec2ForCTC"]);
    });
    assert!(error.contains("'wav2vec2', not 'whisper'"), "{error}");
}
