//! What people call Whisper's languages.

use undertone_models::LANGUAGES;

/// Other words for them: openai/whisper's, and codes of ISO 639 where Whisper has another.
#[rustfmt::skip] // several to a line
const ALIASES: [(&str, &str); 24] = [
    ("burmese", "my"), ("valencian", "ca"), ("flemish", "nl"), ("haitian", "ht"), ("letzeburgesch", "lb"),
    ("pushto", "ps"), ("panjabi", "pa"), ("moldavian", "ro"), ("moldovan", "ro"), ("sinhalese", "si"),
    ("castilian", "es"), ("mandarin", "zh"), ("farsi", "fa"), ("filipino", "tl"), ("fil", "tl"), ("jv", "jw"),
    ("iw", "he"), ("in", "id"), ("ji", "yi"), ("nb", "no"), ("bokmal", "no"), ("cmn", "zh"), ("zh-yue", "yue"), ("mo", "ro"),
];

/// The English name of a code.
pub fn name(code: &str) -> Option<&'static str> {
    LANGUAGES.iter().find(|(known, _)| *known == code).map(|(_, name)| *name)
}

/// The code for a code, a name or another word, in small letters and with `-` for blanks.
pub(super) fn code(word: &str) -> Option<&'static str> {
    let named = |name: &str| name.len() == word.len() && name.replace(' ', "-") == word;
    let known = LANGUAGES.iter().find(|(code, name)| *code == word || named(name)).map(|(code, _)| *code);
    known.or_else(|| ALIASES.iter().find(|(alias, _)| *alias == word).map(|(_, code)| *code))
}

/// Names and codes that differ from `word` by a slip of the keys, the nearest first.
pub(super) fn near(word: &str) -> Vec<String> {
    let most = match word.chars().count() {
        0..=3 => 1,
        4..=6 => 2,
        _ => 3,
    };
    let words = LANGUAGES.iter().flat_map(|(code, name)| [*code, *name]).chain(ALIASES.iter().map(|(alias, _)| *alias));
    let mut found: Vec<(usize, &str)> = words
        .map(|known| (strsim::damerau_levenshtein(known, word), known))
        .filter(|&(distance, known)| distance <= most.min(known.len() - 1))
        .collect();
    found.sort();
    found.into_iter().take(5).map(|(_, known)| known.to_owned()).collect()
}
