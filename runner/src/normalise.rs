//! Text made comparable, and the count of wrong words: what a word error rate is made of.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization as _;

/// A pattern of this file.
fn pattern(text: &str) -> Regex {
    // All of them are literals that the tests compile.
    Regex::new(text).expect("a valid pattern")
}

static BRACKETED: LazyLock<Regex> = LazyLock::new(|| pattern(r"[<\[][^>\]]*[>\]]"));
static PARENTHESISED: LazyLock<Regex> = LazyLock::new(|| pattern(r"\([^)]+?\)"));
/// Marks, symbols and punctuation, by their Unicode category.
static SYMBOL: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\p{M}\p{S}\p{P}]"));
static BLANKS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\s+"));

/// Lower case, without what stands in brackets, without symbols and punctuation, single blanks: Whisper's
/// `BasicTextNormalizer` (`whisper/normalizers/basic.py`) with its default options.
pub fn basic(text: &str) -> String {
    let text = text.to_lowercase();
    let text = BRACKETED.replace_all(&text, "");
    let text = PARENTHESISED.replace_all(&text, "");
    let text: String = text.nfkc().collect();
    let text = SYMBOL.replace_all(&text, " ").to_lowercase();
    BLANKS.replace_all(&text, " ").into_owned()
}

/// Words that were inserted, left out or replaced on the shortest way from `reference` to `hypothesis`, and the words
/// of the reference. Words are what blanks separate: normalise both first. The word error rate of several texts is the
/// sum of the errors / the sum of the words.
pub fn word_errors(reference: &str, hypothesis: &str) -> (usize, usize) {
    let reference: Vec<&str> = reference.split_whitespace().collect();
    let hypothesis: Vec<&str> = hypothesis.split_whitespace().collect();
    // The distances from the reference's first words to the hypothesis's first 0, 1, 2, … words (Levenshtein).
    let mut row: Vec<usize> = (0..=hypothesis.len()).collect();
    for (taken, expected) in reference.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = taken + 1;
        for (at, word) in hypothesis.iter().enumerate() {
            let replaced = diagonal + usize::from(word != expected);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    (row[hypothesis.len()], reference.len())
}
