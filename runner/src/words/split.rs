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

/// The least parts of whole characters. Bytes that are no character even in the whole text are left out, as in the
/// text.
fn characters(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<Vec<WordTokens>, TokenizerError> {
    let whole: Vec<char> = tokenizer.decode_lossy(tokens)?.chars().collect();
    let mut parts = Vec::new();
    let mut pending = Vec::new();
    let mut at = 0;
    for &token in tokens {
        pending.push(token);
        let text = tokenizer.decode_lossy(&pending)?;
        let broken = text.chars().position(|c| c == NO_CHARACTER);
        // Broken here and whole in the text: the rest of the character is in the tokens that follow.
        if broken.is_some_and(|place| whole.get(at + place).is_some_and(|c| *c != NO_CHARACTER)) {
            continue;
        }
        at += text.chars().count();
        parts.push(WordTokens { word: tokenizer.decode(&pending)?, tokens: std::mem::take(&mut pending) });
    }
    if !pending.is_empty() {
        parts.push(WordTokens { word: tokenizer.decode(&pending)?, tokens: pending });
    }
    Ok(parts)
}
