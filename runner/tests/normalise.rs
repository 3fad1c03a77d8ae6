//! The normalisers against openai/whisper's, sentence by sentence, and against their own panics.

mod common;
#[path = "../../tests/common/weights.rs"]
mod weights;

use common::{json, root};
use proptest::prelude::*;
use serde_json::Value;
use undertone_runner::normalise::{Basic, English, Spellings, basic, character_errors, word_errors};

/// What openai/whisper makes of some sentences, and the words of its table of spellings that occur there.
fn vectors() -> (Vec<Value>, Spellings) {
    let mut all = json(&root().join("tests/vectors/normalised.json"));
    let pairs = all["spellings"].as_object().unwrap().iter();
    let spellings = pairs.map(|(word, spelling)| (word.clone(), spelling.as_str().unwrap().to_owned())).collect();
    let Value::Array(sentences) = all["sentences"].take() else { panic!("no sentences") };
    assert!(sentences.len() > 150, "{}", sentences.len());
    (sentences, spellings)
}

fn check_english(english: &English, sentences: &[Value]) {
    for sentence in sentences {
        let text = sentence["text"].as_str().unwrap();
        assert_eq!(english.apply(text), sentence["english"].as_str().unwrap(), "{text:?}");
    }
}

#[test]
fn sentences_as_whisper_s_normalisers_leave_them() {
    let (sentences, spellings) = vectors();
    check_english(&English::new(spellings), &sentences);
    let kinds = [
        ("basic", Basic::default()),
        ("without_diacritics", Basic { remove_diacritics: true, ..Basic::default() }),
        ("letters", Basic { split_letters: true, ..Basic::default() }),
    ];
    for (kind, normaliser) in kinds {
        for sentence in &sentences {
            let text = sentence["text"].as_str().unwrap();
            assert_eq!(normaliser.apply(text), sentence[kind].as_str().unwrap(), "{kind} of {text:?}");
        }
    }
}

#[test]
fn the_whole_table_of_spellings_is_read() {
    let Some(file) = weights::spellings() else { return };
    let spellings = Spellings::read(&file).unwrap();
    assert_eq!(spellings.count(), 1739);
    assert_eq!((spellings.of("mobilisation"), spellings.of("cancelation")), ("mobilization", "cancellation"));
    assert_eq!((spellings.of("lion"), spellings.of("mobilization")), ("lion", "mobilization"));
    check_english(&English::new(spellings), &vectors().0);
}

#[test]
fn letters_are_the_words_of_languages_without_blanks() {
    let letters = Basic { split_letters: true, ..Basic::default() };
    let (spoken, written) = ("今日は、いい天気。", "今日はいい 元気");
    assert_eq!(word_errors(&letters.apply(spoken), &letters.apply(written)), (1, 7));
    assert_eq!(character_errors(&basic(spoken), &basic(written)), (1, 7));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    /// Any text is normalised, and what comes out has single blanks.
    #[test]
    fn any_text_is_normalised(text in "(\\PC|[\\p{N}\\p{M}]| one| twenty|thousandth| point| double| minus|cents| and a half|[$.%'0-9 ]){0,30}") {
        let english = English::new(Spellings::none());
        for normalised in [english.apply(&text), basic(&text)] {
            prop_assert!(!normalised.contains("  "), "{normalised:?}");
        }
    }
}
