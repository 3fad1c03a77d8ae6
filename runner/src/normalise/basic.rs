//! The normaliser of every language but English.

use std::sync::LazyLock;

use regex::Regex;
use unicode_segmentation::UnicodeSegmentation as _;

use super::blanks::single_blanks;
use super::pattern;
use super::symbols::{without_symbols, without_symbols_and_diacritics};

static BRACKETED: LazyLock<Regex> = LazyLock::new(|| pattern(r"[<\[][^>\]]*[>\]]"));
static PARENTHESISED: LazyLock<Regex> = LazyLock::new(|| pattern(r"\([^)]+?\)"));

/// Small letters, without what stands in brackets, without symbols and punctuation, single blanks: Whisper's
/// `BasicTextNormalizer` (openai/whisper, `whisper/normalizers/basic.py`).
///
/// A mark that does not compose with its letter becomes a blank, as there: the words of Hindi, Thai and their like are
/// cut at their vowel signs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Basic {
    /// Letters lose their diacritics: `é` is `e`.
    pub remove_diacritics: bool,
    /// Each letter is a word, so that word errors are those of letters: for languages that write no blanks.
    pub split_letters: bool,
}

impl Basic {
    /// The text as it is compared.
    pub fn apply(&self, text: &str) -> String {
        let text = without_brackets(&text.to_lowercase());
        let text = match self.remove_diacritics {
            true => without_symbols_and_diacritics(&text, ""),
            false => without_symbols(&text),
        };
        let text = text.to_lowercase();
        if self.split_letters {
            return single_blanks(&text.graphemes(true).collect::<Vec<_>>().join(" "));
        }
        single_blanks(&text)
    }
}

/// [`Basic`] with its defaults.
pub fn basic(text: &str) -> String {
    Basic::default().apply(text)
}

/// The text without what stands in brackets or in parentheses, and without those.
pub(super) fn without_brackets(text: &str) -> String {
    PARENTHESISED.replace_all(&BRACKETED.replace_all(text, ""), "").into_owned()
}
