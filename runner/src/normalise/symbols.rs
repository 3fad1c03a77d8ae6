//! What is no letter and no digit is taken out of a text: marks, symbols and punctuation become blanks, and diacritics
//! go if they are not wanted.
//!
//! Source: openai/whisper, `whisper/normalizers/basic.py`.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization as _;

use super::pattern;

static SYMBOL: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\p{M}\p{S}\p{P}]"));
static DIACRITIC: LazyLock<Regex> = LazyLock::new(|| pattern(r"\p{Mn}"));

/// Marks, symbols and punctuation, by their Unicode category.
fn is_symbol(letter: char) -> bool {
    if letter.is_ascii() { letter.is_ascii_punctuation() } else { is(&SYMBOL, letter) }
}

fn is(class: &Regex, letter: char) -> bool {
    class.is_match(letter.encode_utf8(&mut [0; 4]))
}

/// Letters that Unicode does not take apart.
fn plain(letter: char) -> Option<&'static str> {
    Some(match letter {
        'œ' => "oe",
        'Œ' => "OE",
        'æ' => "ae",
        'Æ' => "AE",
        'ß' => "ss",
        'ẞ' => "SS",
        'ø' => "o",
        'Ø' => "O",
        'đ' | 'ð' => "d",
        'Đ' | 'Ð' => "D",
        // The capital has small letters there, too.
        'þ' | 'Þ' => "th",
        'ł' => "l",
        'Ł' => "L",
        _ => return None,
    })
}

/// Symbols as blanks, in the composed form (NFKC).
pub(super) fn without_symbols(text: &str) -> String {
    text.nfkc().map(|letter| if is_symbol(letter) { ' ' } else { letter }).collect()
}

/// Symbols as blanks but for those of `keep`, and letters without their diacritics (NFKD).
pub(super) fn without_symbols_and_diacritics(text: &str, keep: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    for letter in text.nfkd() {
        if keep.contains(letter) {
            bare.push(letter);
        } else if letter.is_ascii() {
            bare.push(if letter.is_ascii_punctuation() { ' ' } else { letter });
        } else if let Some(plain) = plain(letter) {
            bare.push_str(plain);
        } else if is_symbol(letter) {
            if !is(&DIACRITIC, letter) {
                bare.push(' ');
            }
        } else {
            bare.push(letter);
        }
    }
    bare
}
