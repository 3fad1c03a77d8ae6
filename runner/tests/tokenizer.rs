//! The tokenizer of the reference model against openai/whisper's transcripts, of damaged and mixed-up copies, and of an
//! English-only model. What is only odd is `odd_files`'s.

mod common;
#[path = "../../tests/common/weights.rs"]
mod weights;

use std::path::PathBuf;
use std::time::Instant;

use common::{json, root};
use serde_json::Value;
use undertone_runner::tokenizer::{Tokenizer, TokenizerError};

fn model() -> PathBuf {
    root().join("models/reference")
}

#[test]
fn tokens_of_every_expected_segment_become_its_text() {
    let start = Instant::now();
    let tokenizer = Tokenizer::load(&model()).unwrap();
    println!("load {:?}", start.elapsed());
    let mut segments = 0;
    for file in std::fs::read_dir(root().join("tests/vectors/transcripts")).unwrap() {
        let transcripts = json(&file.unwrap().path());
        for result in transcripts["results"].as_array().into_iter().flatten() {
            for segment in result["segments"].as_array().into_iter().flatten() {
                let tokens: Vec<u32> =
                    segment["tokens"].as_array().unwrap().iter().map(|token| token.as_u64().unwrap() as u32).collect();
                let text = segment["text"].as_str().unwrap();
                assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
                segments += 1;
            }
        }
    }
    assert!(segments > 100, "{segments}");
}

#[test]
fn ids_of_words_and_special_tokens() {
    let tokenizer = Tokenizer::load(&model()).unwrap();
    assert_eq!(tokenizer.encode(" the").unwrap(), [264]);
    assert_eq!(tokenizer.encode(" The green lion").unwrap(), [440, 3092, 17226]);
    assert!(tokenizer.encode("").unwrap().is_empty());
    let special = &tokenizer.special;
    assert_eq!((special.eot, special.sot, special.translate, special.transcribe), (50257, 50258, 50358, 50359));
    assert_eq!((special.startoflm, special.startofprev, special.nospeech), (Some(50360), 50361, 50362));
    assert_eq!((special.notimestamps, special.first_timestamp, special.multilingual), (50363, 50364, true));
    assert_eq!(special.languages.len(), 99);
    assert_eq!(
        (special.language("en"), special.language("de"), special.language("xx")),
        (Some(50259), Some(50261), None)
    );
    assert_eq!((special.timestamp(50364), special.timestamp(51864)), (Some(0.0), Some(30.0)));
    assert_eq!((special.timestamp(50363), special.timestamp(51865)), (None, None));
    assert!(special.is_text(50256) && !special.is_text(50257));
}

#[test]
fn only_text_is_decoded_and_bytes_join_across_tokens() {
    let tokenizer = Tokenizer::load(&model()).unwrap();
    assert_eq!(tokenizer.decode(&[50258, 50259, 50359, 50364, 440, 50414, 3092, 50257]).unwrap(), " The green");
    assert_eq!(tokenizer.decode(&[]).unwrap(), "");
    // Beyond the vocabulary.
    assert_eq!(tokenizer.decode(&[u32::MAX, 264]).unwrap(), " the");
    let emoji = tokenizer.encode("\u{1F9A5}").unwrap();
    assert!(emoji.len() > 1, "{emoji:?}");
    assert_eq!(tokenizer.decode(&emoji).unwrap(), "\u{1F9A5}");
}

/// Half a letter is left out, at the start, within and at the end; openai/whisper's text has U+FFFD there.
#[test]
fn half_letters_are_no_text() {
    let tokenizer = Tokenizer::load(&model()).unwrap();
    let sloth = tokenizer.encode("\u{1F9A5}").unwrap();
    let word = tokenizer.encode(" the").unwrap();
    let (first, last) = sloth.split_at(sloth.len() / 2);
    for (tokens, text, lossy) in [
        (first.to_vec(), "", "\u{FFFD}"),
        ([last, &word].concat(), " the", "\u{FFFD}\u{FFFD} the"),
        ([&word, first, &word].concat(), " the the", " the\u{FFFD} the"),
        // A timestamp between the halves is left out, and they are whole.
        ([first, &[50_364], last].concat(), "\u{1F9A5}", "\u{1F9A5}"),
        (tokenizer.encode("\u{FFFD}").unwrap(), "\u{FFFD}", "\u{FFFD}"),
    ] {
        assert_eq!(tokenizer.decode(&tokens).unwrap(), text, "{tokens:?}");
        assert_eq!(tokenizer.decode_lossy(&tokens).unwrap(), lossy, "{tokens:?}");
    }
}

/// The case of openai/whisper's own tests (`tests/test_tokenizer.py`): Korean takes fewer tokens of the multilingual
/// vocabulary than of GPT-2's, and comes back from both. Every language has its token, before the timestamps.
#[test]
fn both_vocabularies_of_whisper() {
    let text = "\u{B2E4}\u{B78C}\u{C950} \u{D5CC} \u{CCC7}\u{BC14}\u{D034}\u{C5D0} \u{D0C0}\u{ACE0}\u{D30C}";
    let multilingual = Tokenizer::load(&model()).unwrap();
    let special = &multilingual.special;
    assert!(special.languages.values().all(|id| (special.sot + 1..special.translate).contains(id)));
    let Some(home) = weights::tiny_en() else { return };
    let english = Tokenizer::load(&home).unwrap();
    assert!(!english.special.multilingual && english.special.eot == 50_256);
    let [korean, gpt2] = [&multilingual, &english].map(|tokenizer| {
        let tokens = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
        tokens.len()
    });
    assert!(korean < gpt2, "{korean} {gpt2}");
}

#[test]
fn text_that_looks_like_a_special_token_is_text() {
    let tokenizer = Tokenizer::load(&model()).unwrap();
    for text in ["<|endoftext|>", "a <|startoftranscript|><|en|> b", "<|0.00|>"] {
        let tokens = tokenizer.encode(text).unwrap();
        assert!(tokens.iter().all(|token| tokenizer.special.is_text(*token)), "{tokens:?}");
        assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
    }
}

/// A copy of the model's small files, changed.
fn changed(change: impl FnOnce(&mut Value, &mut Value, &mut Value)) -> Result<Tokenizer, TokenizerError> {
    let directory = tempfile::tempdir().unwrap();
    let [mut tokenizer, mut config, mut generation] =
        ["tokenizer.json", "config.json", "generation_config.json"].map(|name| json(&model().join(name)));
    change(&mut tokenizer, &mut config, &mut generation);
    for (name, value) in
        [("tokenizer.json", tokenizer), ("config.json", config), ("generation_config.json", generation)]
    {
        if !value.is_null() {
            std::fs::write(directory.path().join(name), value.to_string()).unwrap();
        }
    }
    Tokenizer::load(directory.path())
}

fn error_of(change: impl FnOnce(&mut Value, &mut Value, &mut Value), named: &str) -> TokenizerError {
    let error = changed(change).unwrap_err();
    let line = error.to_string();
    assert!(line.contains(named) && !line.contains('\n'), "{line}");
    error
}

fn added(tokenizer: &mut Value) -> &mut Vec<Value> {
    tokenizer["added_tokens"].as_array_mut().unwrap()
}

#[test]
fn missing_tokens_and_files() {
    // Another token stands where the missing one belongs.
    for name in ["<|translate|>", "<|transcribe|>", "<|startofprev|>", "<|notimestamps|>", "<|nospeech|>"] {
        let renamed = |tokenizer: &mut Value, _: &mut Value, _: &mut Value| {
            let token = added(tokenizer).iter_mut().find(|token| token["content"] == name).unwrap();
            token["content"] = "<|something|>".into();
        };
        let error = error_of(renamed, name);
        assert!(matches!(error, TokenizerError::MissingToken { .. }), "{error:?}");
    }
    error_of(|tokenizer, _, _| *tokenizer = Value::Null, "tokenizer.json");
    error_of(|tokenizer, _, _| *tokenizer = Value::from("text"), "tokenizer.json");
    error_of(|tokenizer, _, _| tokenizer["model"]["vocab"] = serde_json::json!({"a": 0}), "tokenizer.json");
    error_of(|tokenizer, _, _| tokenizer["model"]["vocab"] = serde_json::json!({"a": -1}), "tokenizer.json");
    error_of(|tokenizer, _, _| tokenizer["model"]["type"] = "Unigram".into(), "model.type is Unigram");
}

#[test]
fn a_lost_text_token_would_lose_words() {
    let lose = |tokenizer: &mut Value, _: &mut Value, _: &mut Value| {
        let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        vocabulary.retain(|_, id| id.as_u64() != Some(3092));
    };
    let error = error_of(lose, "tokenizer.json");
    assert!(error.to_string().contains("3092 is not there"), "{error}");
}

#[test]
fn files_of_different_models() {
    let error = error_of(|_, config, _| config["vocab_size"] = 51_864.into(), "config.json");
    assert!(matches!(error, TokenizerError::Disagreement { .. }), "{error:?}");
    error_of(|_, _, generation| generation["no_timestamps_token_id"] = 50_364.into(), "generation_config.json");
    error_of(|_, _, generation| generation["lang_to_id"]["<|de|>"] = 50_262.into(), "<|de|>");
    // large-v3 with the tokenizer of the models before it.
    let large_v3 = |_: &mut Value, config: &mut Value, generation: &mut Value| {
        config["vocab_size"] = 51_866.into();
        config["num_mel_bins"] = 128.into();
        *generation = Value::Null;
    };
    assert!(matches!(error_of(large_v3, "vocab_size is 51866"), TokenizerError::Disagreement { .. }));
}

#[test]
fn older_files() {
    // Timestamps by number only, another name for no speech, no generation_config.json.
    let expected = Tokenizer::load(&model()).unwrap().special;
    let special = changed(|tokenizer, _, generation| {
        added(tokenizer).retain(|token| token["id"].as_u64().unwrap() < 50_364);
        let nospeech = added(tokenizer).iter_mut().find(|token| token["content"] == "<|nospeech|>").unwrap();
        nospeech["content"] = "<|nocaptions|>".into();
        *generation = Value::Null;
    });
    assert_eq!(special.unwrap().special, expected);
}

#[test]
fn an_english_only_model() {
    // All special tokens one lower, as in vocabularies without the 50257th text token; no languages are used.
    let tokenizer = changed(|tokenizer, config, generation| {
        let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        let last = vocabulary.iter().find(|(_, id)| **id == 50_256).unwrap().0.clone();
        vocabulary.remove(&last);
        vocabulary.remove("<|endoftext|>");
        let made =
            |merge: &Value| merge.as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect::<String>();
        tokenizer["model"]["merges"].as_array_mut().unwrap().retain(|merge| made(merge) != last);
        for token in added(tokenizer) {
            token["id"] = (token["id"].as_u64().unwrap() - 1).into();
        }
        config["vocab_size"] = 51_864.into();
        *generation = serde_json::json!({"is_multilingual": false, "no_timestamps_token_id": 50_362});
    })
    .unwrap();
    let special = &tokenizer.special;
    assert_eq!((special.eot, special.sot, special.nospeech, special.first_timestamp), (50256, 50257, 50361, 50363));
    assert!(!special.multilingual && special.languages.is_empty());
    assert_eq!(tokenizer.encode(" the").unwrap(), [264]);
}

#[test]
fn any_text_survives() {
    let tokenizer = Tokenizer::load(&model()).unwrap();
    let runner = &mut proptest::test_runner::TestRunner::new(proptest::test_runner::Config {
        failure_persistence: None,
        ..Default::default()
    });
    let texts = "(\\PC|[ \\n\\t']|[a-zäéñ你あ]| the| don't){0,40}";
    runner
        .run(&proptest::string::string_regex(texts).unwrap(), |text| {
            let tokens = tokenizer.encode(&text).unwrap();
            proptest::prop_assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
            Ok(())
        })
        .unwrap();
}

/// Whatever a model writes, and wherever that is cut, no text has U+FFFD; what is left are the letters that are whole.
#[test]
fn any_tokens_are_text() {
    let tokenizer = Tokenizer::load(&model()).unwrap();
    let config = proptest::test_runner::Config { failure_persistence: None, cases: 400, ..Default::default() };
    // Single bytes are the first 256 tokens.
    let token = proptest::prop_oneof![0..256u32, 0..50_257u32, 50_364..51_865u32];
    let tokens = proptest::collection::vec(token, 0..40);
    proptest::test_runner::TestRunner::new(config)
        .run(&(tokens, 0..40usize), |(tokens, cut)| {
            let tokens: Vec<u32> = tokens.into_iter().filter(|token| !spells_no_letter(&tokenizer, *token)).collect();
            let (before, after) = tokens.split_at(cut.min(tokens.len()));
            let [whole, before, after] = [&tokens[..], before, after].map(|tokens| tokenizer.decode(tokens).unwrap());
            let lossy = tokenizer.decode_lossy(&tokens).unwrap();
            proptest::prop_assert_eq!(&whole, &lossy.replace('\u{FFFD}', ""));
            for text in [&whole, &before, &after] {
                proptest::prop_assert!(!text.contains('\u{FFFD}'), "{:?} of {:?}", text, tokens);
            }
            // A cut costs the letter that it goes through, and no other.
            let together = before.chars().count() + after.chars().count();
            proptest::prop_assert!(together + 1 >= whole.chars().count(), "{:?} of {:?}", whole, tokens);
            Ok(())
        })
        .unwrap();
}

/// Whether a token is the letter U+FFFD, or a part of it, which is text where a model writes it.
fn spells_no_letter(tokenizer: &Tokenizer, token: u32) -> bool {
    tokenizer.decode(&[token]).unwrap().contains('\u{FFFD}') || tokenizer.encode("\u{FFFD}").unwrap().contains(&token)
}
