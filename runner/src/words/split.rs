//! Which of a text's tokens are a word.
//!
//! Source: openai/whisper, `whisper/tokenizer.py` (`split_to_word_tokens`).

use crate::language::has_blanks;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// ASCII's marks in their order.
const MARKS: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

/// A word with its tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WordTokens {
    pub(super) word: String,
    pub(super) tokens: Vec<u32>,
}

/// The words of text `tokens` in a language; together they have all of the tokens.
pub(super) fn words(
    tokenizer: &Tokenizer,
    tokens: &[u32],
    language: Option<&str>,
) -> Result<Vec<WordTokens>, TokenizerError> {
    let parts = characters(tokenizer, tokens)?;
    // Without spaces between words each character stands by itself.
    if language.is_some_and(|language| !has_blanks(language)) {
        return shown(tokenizer, parts);
    }
    let eot = tokenizer.special.eot;
    let mut words: Vec<WordTokens> = Vec::new();
    for part in parts {
        let begins = part.word.starts_with(' ')
            || MARKS.contains(part.word.trim())
            || part.tokens.first().is_some_and(|token| *token >= eot);
        match words.last_mut().filter(|_| !begins) {
            Some(word) => {
                word.word.push_str(&part.word);
                word.tokens.extend(part.tokens);
            }
            None => words.push(part),
        }
    }
    shown(tokenizer, words)
}

/// The words as the text has them: without bytes that are no character. Tokens of nothing else belong to the word before
/// them, or to the first one.
fn shown(tokenizer: &Tokenizer, words: Vec<WordTokens>) -> Result<Vec<WordTokens>, TokenizerError> {
    let mut shown: Vec<WordTokens> = Vec::with_capacity(words.len());
    for WordTokens { tokens, .. } in words {
        let word = tokenizer.decode(&tokens)?;
        match shown.last_mut() {
            Some(last) if word.is_empty() || last.word.is_empty() => {
                last.word.push_str(&word);
                last.tokens.extend(tokens);
            }
            _ => shown.push(WordTokens { word, tokens }),
        }
    }
    Ok(shown)
}

/// The least parts of whole characters. Bytes that are no character even in the whole text stand by themselves.
fn characters(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<Vec<WordTokens>, TokenizerError> {
    let within = within_characters(&tokenizer.bytes(tokens));
    let mut parts = Vec::new();
    let mut pending = Vec::new();
    let mut end = 0;
    for &token in tokens {
        pending.push(token);
        end += tokenizer.bytes(&[token]).len();
        // Else the rest of the character is in the tokens that follow.
        if !within[end] {
            parts.push(WordTokens { word: tokenizer.decode_lossy(&pending)?, tokens: std::mem::take(&mut pending) });
        }
    }
    Ok(parts)
}

/// For each place between `bytes`, and before and after them, whether a character goes on there.
fn within_characters(bytes: &[u8]) -> Vec<bool> {
    let mut within = vec![false; bytes.len() + 1];
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        for (start, character) in chunk.valid().char_indices() {
            within[at + start + 1..at + start + character.len_utf8()].fill(true);
        }
        at += chunk.valid().len() + chunk.invalid().len();
    }
    within
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;
    use std::sync::LazyLock;

    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        Tokenizer::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/reference"))
            .expect("it is in the repository")
    });

    fn texts(words: &[WordTokens]) -> Vec<&str> {
        words.iter().map(|word| word.word.as_str()).collect()
    }

    /// The case of openai/whisper's own tests (`tests/test_tokenizer.py`): a byte that is no character by itself stands
    /// between whole ones. What is shown has no U+FFFD, and its token belongs to a word.
    #[test]
    fn characters_are_split_where_they_are_whole() {
        let tokens = [8404, 871, 287, 6, 246, 526, 3210, 20378];
        let parts = characters(&TOKENIZER, &tokens).unwrap();
        assert_eq!(texts(&parts), [" elle", " est", " l", "'", "\u{fffd}", "é", "rit", "oire"]);
        assert_eq!(
            parts.iter().map(|part| part.tokens[..].to_vec()).collect::<Vec<_>>(),
            tokens.map(|token| vec![token])
        );
        let shown = words(&TOKENIZER, &tokens, Some("fr")).unwrap();
        assert_eq!(texts(&shown), [" elle", " est", " l", "'éritoire"]);
    }

    fn of_text(text: &str, language: &str) -> Vec<String> {
        let words = words(&TOKENIZER, &TOKENIZER.encode(text).unwrap(), Some(language)).unwrap();
        words.into_iter().map(|word| word.word).collect()
    }

    #[test]
    fn words_begin_with_a_blank_and_marks_stand_alone() {
        let parts = of_text(" Hello, wonderful world! (Really?)", "en");
        // A mark is a part of ASCII's marks in their order, as in the reference: `?)` is none.
        assert_eq!(parts, [" Hello", ",", " wonderful", " world", "!", " (Really?)"]);
        assert_eq!(of_text(" Übergrößenträger isst", "de"), [" Übergrößenträger", " isst"]);
        assert_eq!(of_text("", "en"), Vec::<String>::new());
    }

    #[test]
    fn languages_without_spaces_are_split_at_characters() {
        let parts = of_text("こんにちは、世界。", "ja");
        assert!(parts.len() > 3 && parts.concat() == "こんにちは、世界。", "{parts:?}");
        // Some of these characters are several tokens.
        let rare = "龘靐齉";
        assert!(TOKENIZER.encode(rare).unwrap().len() > 3);
        assert_eq!(of_text(rare, "zh"), ["龘", "靐", "齉"]);
        assert_eq!(of_text(rare, "en"), [rare]);
    }

    proptest! {
        /// Whatever the tokens are, the words together are the text and have all of the tokens.
        #[test]
        fn words_are_the_text(
            tokens in prop::collection::vec(prop_oneof![0..256u32, 0..50_257u32], 1..24),
            language in prop::sample::select(vec!["en", "zh"]),
        ) {
            let words = words(&TOKENIZER, &tokens, Some(language)).unwrap();
            prop_assert_eq!(texts(&words).concat(), TOKENIZER.decode(&tokens).unwrap());
            prop_assert_eq!(words.iter().flat_map(|word| word.tokens.clone()).collect::<Vec<_>>(), tokens);
            prop_assert!(words.len() == 1 || words.iter().all(|word| !word.word.is_empty()), "{:?}", words);
        }
    }
}
