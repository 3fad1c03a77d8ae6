//! Which language is spoken: what people call it, and what the model says of it.
//!
//! A model expects a language token after start-of-transcript: the one that was asked for, or the likeliest one by the
//! logits there.

mod names;

use crate::choice::probability;
use std::collections::BTreeMap;

pub use names::name;

/// Languages that put no blanks between words (openai/whisper, `whisper/tokenizer.py`).
const WITHOUT_BLANKS: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];

/// Whether words of the language with this code have blanks between them.
pub fn has_blanks(code: &str) -> bool {
    !WITHOUT_BLANKS.contains(&code)
}

/// A detected language.
#[derive(Debug, Clone, PartialEq)]
pub struct Detected {
    /// Its code, for example `en`.
    pub code: String,
    /// Its token.
    pub token: u32,
    /// Its probability among the languages.
    pub probability: f64,
    /// The probability of each language that the model knows, by its code.
    pub probabilities: BTreeMap<String, f64>,
}

/// The likeliest of `languages` (code → token) by the logits `[vocabulary]` after start-of-transcript; `None` if the
/// model knows no languages.
pub fn detect(logits: &[f32], languages: &BTreeMap<String, u32>) -> Option<Detected> {
    let of = |token: u32| logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    let values: Vec<f32> = languages.values().map(|&token| of(token)).collect();
    let (index, (code, &token)) =
        languages.iter().enumerate().reduce(|best, next| if values[next.0] > values[best.0] { next } else { best })?;
    let of = |index: usize| u32::try_from(index).map_or(0.0, |index| probability(&values, index));
    let probabilities = languages.keys().cloned().enumerate().map(|(index, code)| (code, of(index))).collect();
    Some(Detected { code: code.clone(), token, probability: of(index), probabilities })
}

/// What several windows of a recording say together: the first that is surer than `threshold`, else the language that
/// most of them say (of as many, the surer one) with the largest probability that one of them gives it; `None` for no
/// windows.
///
/// Source: faster-whisper, `faster_whisper/transcribe.py` (`detect_language`).
pub fn agree(windows: &[Detected], threshold: f64) -> Option<Detected> {
    let sure = windows.iter().find(|window| window.probability > threshold);
    let surest = |code: &str| {
        let of_code = windows.iter().filter(|window| window.code == code);
        of_code.max_by(|a, b| a.probability.total_cmp(&b.probability))
    };
    let votes = |code: &str| windows.iter().filter(|window| window.code == code).count();
    let by_votes = |a: &&Detected, b: &&Detected| {
        votes(&a.code).cmp(&votes(&b.code)).then(a.probability.total_cmp(&b.probability))
    };
    sure.or_else(|| windows.iter().max_by(by_votes).and_then(|most| surest(&most.code))).cloned()
}

/// A word that names no language.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no language '{word}'{}; use a code such as en, a name such as english, or auto", listed(.near))]
pub struct UnknownLanguage {
    /// What was asked for.
    pub word: String,
    /// What is written nearly so: names, or codes.
    pub near: Vec<String>,
}

fn listed(words: &[String]) -> String {
    if words.is_empty() { String::new() } else { format!(" (near: {})", words.join(", ")) }
}

/// Whisper's code for a language that a person names: by code (`de`), in English (`german`, `castilian`), with a region
/// (`en-US`, `pt_BR`), in capitals or not. `auto` and the empty word are `None`: the language is to be detected.
///
/// ```
/// use undertone_runner::language::parse;
///
/// assert_eq!(parse("English")?.as_deref(), Some("en"));
/// assert_eq!(parse("zh-CN")?.as_deref(), Some("zh"));
/// assert_eq!(parse("auto")?, None);
/// # Ok::<(), undertone_runner::language::UnknownLanguage>(())
/// ```
///
/// # Errors
/// [`UnknownLanguage`] with the words that are near.
pub fn parse(word: &str) -> Result<Option<String>, UnknownLanguage> {
    let plain = word.trim().trim_start_matches("<|").trim_end_matches("|>").to_lowercase().replace(['_', ' '], "-");
    if plain.is_empty() || plain == "auto" || plain == "detect" {
        return Ok(None);
    }
    // A region or a script follows the language: `en-us`, `zh-hans-cn`, also `de.utf-8` as locales have it.
    let primary = plain.split(['-', '.', '@']).next().unwrap_or_default();
    match names::code(&plain).or_else(|| names::code(primary)) {
        Some(code) => Ok(Some(code.to_owned())),
        None => Err(UnknownLanguage { word: word.to_owned(), near: names::near(&plain) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use undertone_models::LANGUAGES;

    #[test]
    fn the_likeliest_language_among_languages_only() {
        let languages = BTreeMap::from([("de".to_owned(), 2), ("en".to_owned(), 1), ("fr".to_owned(), 3)]);
        let logits = [99.0, 1.0, 3.0, 1.0];
        let found = detect(&logits, &languages).unwrap();
        assert_eq!((found.code.as_str(), found.token), ("de", 2));
        let expected = 1.0 / (1.0 + 2.0 * (-2f64).exp());
        assert!((found.probability - expected).abs() < 1e-6);
        assert!((found.probabilities.values().sum::<f64>() - 1.0).abs() < 1e-6 && found.probabilities.len() == 3);
        assert_eq!(found.probabilities["de"], found.probability);
        assert_eq!(detect(&logits, &BTreeMap::new()), None);
        assert_eq!(detect(&[], &languages).unwrap().probability, 0.0);
    }

    #[test]
    fn windows_agree_on_a_language() {
        let say = |code: &str, probability| Detected {
            code: code.to_owned(),
            token: 0,
            probability,
            probabilities: BTreeMap::new(),
        };
        let agreed = |windows: &[(&str, f64)]| {
            let windows: Vec<Detected> = windows.iter().map(|(code, probability)| say(code, *probability)).collect();
            agree(&windows, 0.5).map(|found| (found.code, found.probability))
        };
        let expected = |code: &str, probability| Some((code.to_owned(), probability));
        assert_eq!(agreed(&[]), None);
        assert_eq!(agreed(&[("en", 0.4), ("de", 0.6), ("fr", 0.9)]), expected("de", 0.6), "the first sure one");
        assert_eq!(agreed(&[("en", 0.2), ("de", 0.5), ("en", 0.3)]), expected("en", 0.3), "the majority");
        assert_eq!(agreed(&[("en", 0.2), ("de", 0.5)]), expected("de", 0.5), "of as many the surer one");
    }

    #[test]
    fn every_language_by_code_by_name_and_with_a_region() {
        for (code, name) in LANGUAGES {
            let title = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
            let written = [
                code.to_owned(),
                code.to_uppercase(),
                name.to_owned(),
                title,
                name.to_uppercase(),
                name.replace(' ', "_"),
                format!("{code}-XX"),
                format!("{code}_Xxxx_YY"),
                format!(" {code} "),
                format!("<|{code}|>"),
            ];
            for word in written {
                assert_eq!(parse(&word), Ok(Some(code.to_owned())), "{word}");
            }
        }
    }

    #[test]
    fn other_words_for_languages() {
        let expected = [
            ("burmese", "my"),
            ("Flemish", "nl"),
            ("castilian", "es"),
            ("mandarin", "zh"),
            ("valencian", "ca"),
            ("haitian", "ht"),
            ("Haitian Creole", "ht"),
            ("letzeburgesch", "lb"),
            ("pushto", "ps"),
            ("panjabi", "pa"),
            ("moldavian", "ro"),
            ("moldovan", "ro"),
            ("sinhalese", "si"),
            ("en-US", "en"),
            ("zh-CN", "zh"),
            ("zh-Hant-TW", "zh"),
            ("pt_BR", "pt"),
            ("de_DE.UTF-8", "de"),
            ("jv", "jw"),
            ("nb-NO", "no"),
            ("fil", "tl"),
            ("iw", "he"),
            ("zh-yue", "yue"),
        ];
        for (word, code) in expected {
            assert_eq!(parse(word), Ok(Some(code.to_owned())), "{word}");
        }
        for word in ["auto", "AUTO", "", " "] {
            assert_eq!(parse(word), Ok(None), "{word:?}");
        }
    }

    #[test]
    fn unknown_words_name_what_is_near() {
        for (word, near) in [("germn", "german"), ("Enlgish", "english"), ("portugese", "portuguese"), ("dd", "de")] {
            let error = parse(word).unwrap_err();
            assert!(error.near.iter().any(|found| found == near), "{word}: {:?}", error.near);
            assert!(error.to_string().contains(near) && error.to_string().contains(word), "{error}");
        }
        let error = parse("xylophone").unwrap_err();
        assert!(error.near.is_empty() && !error.to_string().contains("near"), "{error}");
    }

    proptest! {
        #[test]
        fn any_word_is_an_answer(word in "\\PC{0,12}") {
            match parse(&word) {
                Ok(code) => prop_assert!(code.is_none_or(|code| LANGUAGES.iter().any(|(known, _)| *known == code))),
                Err(error) => prop_assert_eq!(error.word, word),
            }
        }
    }
}
