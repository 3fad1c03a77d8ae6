//! A whole `tokenizer.json` where the source has none, and mending of one that lost its first merge.

use serde_json::{Value, json};

use crate::vocabulary::{self, Vocabulary};

/// The tokenizer of a model of OpenAI's vocabulary. If the source has a list of tokens of its own (as bytes, by id),
/// its text is of these; a list that is OpenAI's makes no difference, nor does one in which bytes that are no text were
/// lost, as in whisper.cpp's first files.
pub(super) fn tokenizer(vocabulary: Vocabulary, own: Option<&[Vec<u8>]>) -> Vec<u8> {
    let text = vocabulary.text();
    let own = own.map(|own| &own[..own.len().min(vocabulary.eot() as usize)]);
    let alike = |own: &Vec<u8>, known: &Vec<u8>| own == known || *own == String::from_utf8_lossy(known).as_bytes();
    let same = own.is_none_or(|own| own.iter().zip(&text).all(|(own, known)| alike(own, known)));
    let (text, merges) = match own {
        Some(own) if !same => {
            tracing::debug!("the source has a vocabulary of its own");
            (own.to_vec(), vocabulary::merges_of(own))
        }
        _ => (text, vocabulary.merges()),
    };
    write(vocabulary, &text, &merges)
}

fn write(vocabulary: Vocabulary, text: &[Vec<u8>], merges: &[[u32; 2]]) -> Vec<u8> {
    let letters = vocabulary::letters();
    let text: Vec<String> = text.iter().map(|token| vocabulary::written(token, &letters)).collect();
    let eot = vocabulary.eot();
    let added: Vec<Value> = (eot..)
        .zip(vocabulary.added())
        .map(|(id, (content, special))| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special,
            })
        })
        .collect();
    let mut tokens: serde_json::Map<String, Value> =
        text.iter().zip(0_u32..).map(|(token, id)| (token.clone(), id.into())).collect();
    // The multilingual vocabulary has an empty token between the text and its end.
    if vocabulary.multilingual {
        tokens.insert(String::new(), (eot - 1).into());
    }
    tokens.insert(END.to_owned(), eot.into());
    let merges: Vec<String> =
        merges.iter().map(|[a, b]| format!("{} {}", text[*a as usize], text[*b as usize])).collect();
    let special = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let start = ["<|startoftranscript|>", "<|notimestamps|>"];
    let mut single: Vec<Value> = start.map(special).to_vec();
    single.push(json!({"Sequence": {"id": "A", "type_id": 0}}));
    let mut pair = single.clone();
    pair.push(json!({"Sequence": {"id": "B", "type_id": 1}}));
    single.push(special(END));
    pair.push(json!({"SpecialToken": {"id": END, "type_id": 1}}));
    let ids = |token: &str, id: u32| (token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]}));
    let special_tokens: serde_json::Map<String, Value> =
        [ids(END, eot), ids(start[1], vocabulary.notimestamps()), ids(start[0], vocabulary.sot())]
            .into_iter()
            .collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let mut tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": {
            "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special_tokens,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
    });
    tokenizer["model"] = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
        "fuse_unk": false, "vocab": tokens, "merges": merges,
    });
    tokenizer.to_string().into_bytes()
}

const END: &str = "<|endoftext|>";

/// `tokenizer.json` of multilingual models was long published without its first merge, `Ġ t`: words that begin with t
/// then come out in other tokens than the model was trained with. The file with it, if it was lost; `None` if there is
/// nothing to mend.
pub(super) fn mended(file: &[u8]) -> Option<Vec<u8>> {
    let mut tokenizer: Value = serde_json::from_slice(file).ok()?;
    let model = tokenizer.get_mut("model")?;
    let id = |token: &str| model["vocab"].get(token)?.as_u64();
    // Only where the vocabulary is of this family: the token is the first that is joined.
    if id("Ġt") != Some(256) || id("Ġ")? >= 256 || id("t")? >= 256 {
        return None;
    }
    let merges = model.get_mut("merges")?.as_array_mut()?;
    let in_pairs = merges.first().is_some_and(Value::is_array);
    let first = if in_pairs { json!(["Ġ", "t"]) } else { json!("Ġ t") };
    if merges.iter().take(BYTES_OR_SO).any(|merge| *merge == first) {
        return None;
    }
    merges.insert(0, first);
    Some(tokenizer.to_string().into_bytes())
}

/// The merge is the first; a file that has it a little later was edited by hand, and is left alone.
const BYTES_OR_SO: usize = 256;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn reference() -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/tokenizer.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn pairs(merges: &Value) -> Vec<String> {
        let words = |pair: &Value| match pair {
            Value::String(pair) => pair.clone(),
            pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        };
        merges.as_array().unwrap().iter().map(words).collect()
    }

    #[test]
    fn the_multilingual_one_is_transformers_own() {
        let made: Value = serde_json::from_slice(&tokenizer(Vocabulary::of(51_865, 80).unwrap(), None)).unwrap();
        let reference = reference();
        assert_eq!(made["model"]["vocab"], reference["model"]["vocab"]);
        assert_eq!(pairs(&made["model"]["merges"]), pairs(&reference["model"]["merges"]));
        for part in ["added_tokens", "pre_tokenizer", "post_processor", "decoder", "normalizer"] {
            assert_eq!(made[part], reference[part], "{part}");
        }
    }

    #[test]
    fn a_vocabulary_of_the_source_s_own_is_written() {
        let openai = Vocabulary::of(51_864, 80).unwrap();
        let as_known = tokenizer(openai, Some(&openai.text()));
        assert_eq!(as_known, tokenizer(openai, None));
        let lossy: Vec<Vec<u8>> =
            openai.text().iter().map(|t| String::from_utf8_lossy(t).as_bytes().to_vec()).collect();
        assert_ne!(lossy, openai.text());
        assert_eq!(tokenizer(openai, Some(&lossy)), as_known);
        let mut own = openai.text();
        own.swap(300, 301);
        let made: Value = serde_json::from_slice(&tokenizer(openai, Some(&own))).unwrap();
        let known: Value = serde_json::from_slice(&as_known).unwrap();
        let written = |id: u64| known["model"]["vocab"].as_object().unwrap().iter().find(|(_, i)| **i == id).unwrap().0;
        assert_eq!(made["model"]["vocab"][written(300)], 301);
        assert_eq!(made["model"]["vocab"][written(301)], 300);
    }

    #[test]
    fn a_lost_first_merge_comes_back() {
        for in_pairs in [true, false] {
            let mut whole = reference();
            if !in_pairs {
                let merges = pairs(&whole["model"]["merges"]);
                whole["model"]["merges"] = merges.into();
            }
            assert_eq!(mended(whole.to_string().as_bytes()), None);
            let mut lost = whole.clone();
            lost["model"]["merges"].as_array_mut().unwrap().remove(0);
            let found: Value = serde_json::from_slice(&mended(lost.to_string().as_bytes()).unwrap()).unwrap();
            assert_eq!(found, whole);
        }
        assert_eq!(mended(b"{}"), None);
        assert_eq!(mended(b"no JSON"), None);
    }
}
