//! Which of a text's tokens are a word.
//!
//! Source: openai/whisper, `whisper/tokenizer.py` (`split_to_word_tokens`).

use crate::tokenizer::{Tokenizer, TokenizerError};

/// Languages that are written without spaces between words: each character stands by itself.
const WITHOUT_SPACES: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];
/// ASCII's marks in their order.
const MARKS: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
/// What stands for bytes that are no character.
const NO_CHARACTER: char = '\u{fffd}';

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
    if language.is_some_and(|language| WITHOUT_SPACES.contains(&language)) {
        return Ok(parts);
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
    Ok(words)
}

/// The least parts of whole characters. Bytes that are no character even in the whole text stand by themselves.
fn characters(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<Vec<WordTokens>, TokenizerError> {
    let whole: Vec<char> = tokenizer.decode(tokens)?.chars().collect();
    let mut parts = Vec::new();
    let mut pending = Vec::new();
    let mut at = 0;
    for &token in tokens {
        pending.push(token);
        let text = tokenizer.decode(&pending)?;
        let broken = text.chars().position(|c| c == NO_CHARACTER);
        // Broken here and whole in the text: the rest of the character is in the tokens that follow.
        if broken.is_some_and(|place| whole.get(at + place).is_some_and(|c| *c != NO_CHARACTER)) {
            continue;
        }
        at += text.chars().count();
        parts.push(WordTokens { word: text, tokens: std::mem::take(&mut pending) });
    }
    if !pending.is_empty() {
        parts.push(WordTokens { word: tokenizer.decode(&pending)?, tokens: pending });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;
    use std::sync::OnceLock;

    fn tokenizer() -> &'static Tokenizer {
        static LOADED: OnceLock<Tokenizer> = OnceLock::new();
        LOADED.get_or_init(|| {
            Tokenizer::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/reference")).unwrap()
        })
    }

    fn texts(parts: Vec<WordTokens>) -> Vec<String> {
        parts.into_iter().map(|part| part.word).collect()
    }

    fn of_text(text: &str, language: &str) -> Vec<String> {
        texts(words(tokenizer(), &tokenizer().encode(text).unwrap(), Some(language)).unwrap())
    }

    /// The case of the reference's own tests: a byte that is no character stands by itself.
    #[test]
    fn broken_characters_stand_by_themselves() {
        let tokens = [8404, 871, 287, 6, 246, 526, 3210, 20378];
        let parts = characters(tokenizer(), &tokens).unwrap();
        assert!(parts.iter().map(|part| &part.tokens[..]).eq(tokens.chunks(1)));
        assert_eq!(texts(parts), [" elle", " est", " l", "'", "\u{fffd}", "é", "rit", "oire"]);
        let of_spaces = texts(words(tokenizer(), &tokens, Some("fr")).unwrap());
        assert_eq!(of_spaces, [" elle", " est", " l", "'\u{fffd}éritoire"]);
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
        let tokens = tokenizer().encode(rare).unwrap();
        assert!(tokens.len() > 3);
        assert_eq!(of_text(rare, "zh"), ["龘", "靐", "齉"]);
        assert_eq!(of_text(rare, "en"), [rare]);
    }

    proptest! {
        #[test]
        fn no_token_is_lost_and_whole_text_is_whole(tokens in proptest::collection::vec(0u32..50257, 0..40), spaces: bool) {
            let parts = words(tokenizer(), &tokens, Some(if spaces { "en" } else { "ja" })).unwrap();
            prop_assert_eq!(parts.iter().flat_map(|part| part.tokens.clone()).collect::<Vec<u32>>(), tokens.clone());
            let whole = tokenizer().decode(&tokens).unwrap();
            if !whole.contains(NO_CHARACTER) {
                prop_assert_eq!(texts(parts).concat(), whole);
            }
        }
    }
}
