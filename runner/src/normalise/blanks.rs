//! Blanks and the edges of words, as Python's `str` and `re` know them: Rust's own differ for a few control characters,
//! marks and joiners.

use std::sync::LazyLock;

use regex::Regex;

use super::pattern;

static LETTER_OR_NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\p{L}\p{N}]"));

/// Whether Python's `str.isspace` and `\s` say so: Unicode's white space, and the four separators of ASCII.
pub(super) fn is_blank(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

/// The words between blanks: Python's `str.split()`.
pub(super) fn words(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(is_blank).filter(|word| !word.is_empty())
}

/// Each run of blanks as one.
pub(super) fn single_blanks(text: &str) -> String {
    let mut single = String::with_capacity(text.len());
    let mut after_blank = false;
    for letter in text.chars() {
        let blank = is_blank(letter);
        match (blank, after_blank) {
            (true, true) => {}
            (true, false) => single.push(' '),
            (false, _) => single.push(letter),
        }
        after_blank = blank;
    }
    single
}

/// Whether Python's `\w` matches.
fn is_of_word(letter: char) -> bool {
    if letter.is_ascii() {
        return letter == '_' || letter.is_ascii_alphanumeric();
    }
    LETTER_OR_NUMBER.is_match(letter.encode_utf8(&mut [0; 4]))
}

/// Whether no word goes on before `at`.
pub(super) fn is_start(text: &str, at: usize) -> bool {
    !text[..at].chars().next_back().is_some_and(is_of_word)
}

/// Whether no word goes on at `at`.
pub(super) fn is_end(text: &str, at: usize) -> bool {
    !text[at..].chars().next().is_some_and(is_of_word)
}

/// Replaces what stands in `text` as the end of a word (or, with `whole`, as a word); `from` begins and ends with a letter
/// or with an apostrophe that is not its end.
pub(super) fn replace(text: &mut String, from: &str, to: &str, whole: bool) {
    let mut places = text
        .match_indices(from)
        .map(|(at, _)| at)
        .filter(|&at| (!whole || is_start(text, at)) && is_end(text, at + from.len()));
    let Some(first) = places.next() else { return };
    let mut replaced = String::with_capacity(text.len() + to.len());
    let mut done = 0;
    for at in std::iter::once(first).chain(places) {
        replaced.push_str(&text[done..at]);
        replaced.push_str(to);
        done = at + from.len();
    }
    replaced.push_str(&text[done..]);
    *text = replaced;
}

/// `text` without the words of which `is_unwanted` says so.
pub(super) fn without(text: &str, is_unwanted: impl Fn(&str) -> bool) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(from) = rest.find(is_of_word) {
        let (between, word) = rest.split_at(from);
        let (word, after) = word.split_at(word.find(|letter| !is_of_word(letter)).unwrap_or(word.len()));
        kept.push_str(between);
        if !is_unwanted(word) {
            kept.push_str(word);
        }
        rest = after;
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_where_python_s_do() {
        // A joiner and a mark end a word there, an underscore and a fraction do not.
        for (text, expected) in [
            ("mr x", "MR x"),
            ("mr", "MR"),
            ("a mr. mr", "a MR. MR"),
            ("mrs amr mr_ mr½ mré", "mrs amr mr_ mr½ mré"),
            ("mr\u{200d}x mr\u{301}", "MR\u{200d}x MR\u{301}"),
        ] {
            let mut replaced = text.to_owned();
            replace(&mut replaced, "mr", "MR", true);
            assert_eq!(replaced, expected, "{text}");
        }
        let mut replaced = "don't, 'tis can'tx isn't".to_owned();
        replace(&mut replaced, "n't", " not", false);
        assert_eq!(replaced, "do not, 'tis can'tx is not");
    }

    #[test]
    fn blanks_and_words() {
        assert_eq!(single_blanks(" a \u{1c}\u{a0}b\n"), " a b ");
        assert_eq!(words("\u{1f}a\u{85}bc\u{2028}").collect::<Vec<_>>(), ["a", "bc"]);
        assert_eq!(without("uh, uh-huh uhm (uh)", |word| word == "uh"), ", -huh uhm ()");
        assert_eq!(without("", |_| true), "");
    }
}
