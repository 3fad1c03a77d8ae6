//! The normaliser of English: contractions, titles, numbers and spellings in one form each.
//!
//! Source: openai/whisper, `whisper/normalizers/english.py`.

use std::sync::LazyLock;

use regex::Regex;

use super::basic::without_brackets;
use super::blanks::{is_blank, replace, single_blanks, without, words};
use super::numbers::Numbers;
use super::pattern;
use super::spellings::Spellings;
use super::symbols::without_symbols_and_diacritics;

/// Sounds that are no words.
const HESITATIONS: [&str; 6] = ["hmm", "mm", "mhm", "mmm", "uh", "um"];

/// Words, and what is written for them. One replacement after another, in this order.
const WORDS: [(&str, &str); 35] = [
    // Contractions that follow no rule.
    ("won't", "will not"),
    ("can't", "can not"),
    ("let's", "let us"),
    ("ain't", "aint"),
    ("y'all", "you all"),
    ("wanna", "want to"),
    ("gotta", "got to"),
    ("gonna", "going to"),
    ("i'ma", "i am going to"),
    ("imma", "i am going to"),
    ("woulda", "would have"),
    ("coulda", "could have"),
    ("shoulda", "should have"),
    ("ma'am", "madam"),
    // Titles.
    ("mr", "mister "),
    ("mrs", "missus "),
    ("st", "saint "),
    ("dr", "doctor "),
    ("prof", "professor "),
    ("capt", "captain "),
    ("gov", "governor "),
    ("ald", "alderman "),
    ("gen", "general "),
    ("sen", "senator "),
    ("rep", "representative "),
    ("pres", "president "),
    ("rev", "reverend "),
    ("hon", "honorable "),
    ("asst", "assistant "),
    ("assoc", "associate "),
    ("lt", "lieutenant "),
    ("col", "colonel "),
    ("jr", "junior "),
    ("sr", "senior "),
    ("esq", "esquire "),
];

/// Ends of words, and what is written for them, after [`WORDS`].
const ENDINGS: [(&str, &str); 14] = [
    // With the participles that are the most frequent: elsewhere `'d` is "would", and `'s` is "is".
    ("'d been", " had been"),
    ("'s been", " has been"),
    ("'d gone", " had gone"),
    ("'s gone", " has gone"),
    ("'d done", " had done"),
    ("'s got", " has got"),
    ("n't", " not"),
    ("'re", " are"),
    ("'s", " is"),
    ("'d", " would"),
    ("'ll", " will"),
    ("'t", " not"),
    ("'ve", " have"),
    ("'m", " am"),
];

static COMMA_IN_NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\d),(\d)"));
static FULL_STOP: LazyLock<Regex> = LazyLock::new(|| pattern(r"\.([^0-9]|$)"));
static SIGN_OF_NO_NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"[.$¢€£]([^0-9])"));
static PERCENT_OF_NO_NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"([^0-9])%"));

/// Whisper's `EnglishTextNormalizer`.
#[derive(Debug, Clone)]
pub struct English {
    spellings: Spellings,
    numbers: Numbers,
}

impl English {
    /// With `spellings` for words that are spelt in two ways.
    pub fn new(spellings: Spellings) -> Self {
        Self { spellings, numbers: Numbers::new() }
    }

    /// The spellings that it was made with.
    pub fn spellings(&self) -> &Spellings {
        &self.spellings
    }

    /// The text as it is compared.
    pub fn apply(&self, text: &str) -> String {
        let text = without_brackets(&text.to_lowercase());
        let text = without(&text, |word| HESITATIONS.contains(&word));
        let mut text = without_blanks_before_apostrophes(&text);
        for (from, to) in WORDS {
            replace(&mut text, from, to, true);
        }
        for (from, to) in ENDINGS {
            replace(&mut text, from, to, false);
        }
        let text = COMMA_IN_NUMBER.replace_all(&text, "$1$2");
        let text = FULL_STOP.replace_all(&text, " $1");
        let text = without_symbols_and_diacritics(&text, ".%$¢€£");
        let text = self.numbers.apply(&text);
        let text = words(&text).map(|word| self.spellings.of(word)).collect::<Vec<_>>().join(" ");
        let text = SIGN_OF_NO_NUMBER.replace_all(&text, " $1");
        let text = PERCENT_OF_NO_NUMBER.replace_all(&text, "$1 ");
        single_blanks(&text)
    }
}

fn without_blanks_before_apostrophes(text: &str) -> String {
    let mut parts = text.split('\'');
    let mut joined = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        joined.truncate(joined.trim_end_matches(is_blank).len());
        joined.push('\'');
        joined.push_str(part);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cases: &[(&str, &str)]) {
        let english = English::new(Spellings::none());
        for (text, expected) in cases {
            assert_eq!(english.apply(text), *expected, "{text}");
        }
    }

    /// The cases of openai/whisper's own tests (`tests/test_normalizer.py`), and their like.
    #[test]
    fn contractions_and_titles() {
        check(&[
            ("Let's", "let us"),
            ("He's like his lion's lion", "he is like his lion is lion"),
            ("she's been like", "she has been like"),
            ("They'd gone, we'd go", "they had gone we would go"),
            ("I won't, can't and don't", "i will not can not and do not"),
            ("Rock 'n' roll isn 't dead", "rock n roll is not dead"),
            ("Mr. Park visited Assoc. Prof. Kim Jr.", "mister park visited associate professor kim junior"),
            ("Street, st. and stile", "street saint and stile"),
            ("Uh, um ... hmm? Umbrella!", " umbrella"),
        ]);
    }

    #[test]
    fn numbers_and_their_units() {
        check(&[
            ("10km", "10 km"),
            ("10mm", "10 mm"),
            ("RC232", "rc 232"),
            ("1,234,567 lions", "1234567 lions"),
            ("It costs $5.50, not $ five.", "it costs $5.50 not 5"),
            ("100 % of 3% and x%", "100 of 3% and x "),
            ("The 1st of 21.", "the 1st of 21"),
            ("Version 3.2.", "version 3.2"),
            // As there: a 1 between marks is a word of its own.
            ("Version 3.1.", "version 3 one"),
            ("½ cup", "one 2 cup"),
        ]);
    }

    #[test]
    fn letters_lose_their_diacritics_and_words_take_one_spelling() {
        check(&[("Café, naïve œuvre", "cafe naive oeuvre"), ("[music] (laughs) Grey <b>", "grey")]);
        let table = [("grey".to_owned(), "gray".to_owned())].into_iter().collect();
        assert_eq!(English::new(table).apply("Grey greyhounds, GREY!"), "gray greyhounds gray");
    }
}
