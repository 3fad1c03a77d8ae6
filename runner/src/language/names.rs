//! Whisper's languages and what people call them.
//!
//! Source: openai/whisper, `whisper/tokenizer.py`. The order is that of the tokens: models before large-v3 have the
//! first 99.

/// Codes and English names, in the order of their tokens.
#[rustfmt::skip] // several to a line
pub const LANGUAGES: [(&str, &str); 100] = [
    ("en", "english"), ("zh", "chinese"), ("de", "german"), ("es", "spanish"), ("ru", "russian"), ("ko", "korean"),
    ("fr", "french"), ("ja", "japanese"), ("pt", "portuguese"), ("tr", "turkish"), ("pl", "polish"),
    ("ca", "catalan"), ("nl", "dutch"), ("ar", "arabic"), ("sv", "swedish"), ("it", "italian"), ("id", "indonesian"),
    ("hi", "hindi"), ("fi", "finnish"), ("vi", "vietnamese"), ("he", "hebrew"), ("uk", "ukrainian"), ("el", "greek"),
    ("ms", "malay"), ("cs", "czech"), ("ro", "romanian"), ("da", "danish"), ("hu", "hungarian"), ("ta", "tamil"),
    ("no", "norwegian"), ("th", "thai"), ("ur", "urdu"), ("hr", "croatian"), ("bg", "bulgarian"),
    ("lt", "lithuanian"), ("la", "latin"), ("mi", "maori"), ("ml", "malayalam"), ("cy", "welsh"), ("sk", "slovak"),
    ("te", "telugu"), ("fa", "persian"), ("lv", "latvian"), ("bn", "bengali"), ("sr", "serbian"),
    ("az", "azerbaijani"), ("sl", "slovenian"), ("kn", "kannada"), ("et", "estonian"), ("mk", "macedonian"),
    ("br", "breton"), ("eu", "basque"), ("is", "icelandic"), ("hy", "armenian"), ("ne", "nepali"),
    ("mn", "mongolian"), ("bs", "bosnian"), ("kk", "kazakh"), ("sq", "albanian"), ("sw", "swahili"),
    ("gl", "galician"), ("mr", "marathi"), ("pa", "punjabi"), ("si", "sinhala"), ("km", "khmer"), ("sn", "shona"),
    ("yo", "yoruba"), ("so", "somali"), ("af", "afrikaans"), ("oc", "occitan"), ("ka", "georgian"),
    ("be", "belarusian"), ("tg", "tajik"), ("sd", "sindhi"), ("gu", "gujarati"), ("am", "amharic"), ("yi", "yiddish"),
    ("lo", "lao"), ("uz", "uzbek"), ("fo", "faroese"), ("ht", "haitian creole"), ("ps", "pashto"), ("tk", "turkmen"),
    ("nn", "nynorsk"), ("mt", "maltese"), ("sa", "sanskrit"), ("lb", "luxembourgish"), ("my", "myanmar"),
    ("bo", "tibetan"), ("tl", "tagalog"), ("mg", "malagasy"), ("as", "assamese"), ("tt", "tatar"),
    ("haw", "hawaiian"), ("ln", "lingala"), ("ha", "hausa"), ("ba", "bashkir"), ("jw", "javanese"),
    ("su", "sundanese"), ("yue", "cantonese"),
];

/// Other words for them: openai/whisper's, and codes of ISO 639 where Whisper has another.
#[rustfmt::skip] // several to a line
const ALIASES: [(&str, &str); 24] = [
    ("burmese", "my"), ("valencian", "ca"), ("flemish", "nl"), ("haitian", "ht"), ("letzeburgesch", "lb"),
    ("pushto", "ps"), ("panjabi", "pa"), ("moldavian", "ro"), ("moldovan", "ro"), ("sinhalese", "si"),
    ("castilian", "es"), ("mandarin", "zh"), ("farsi", "fa"), ("filipino", "tl"), ("fil", "tl"), ("jv", "jw"),
    ("iw", "he"), ("in", "id"), ("ji", "yi"), ("nb", "no"), ("bokmal", "no"), ("cmn", "zh"), ("zh-yue", "yue"), ("mo", "ro"),
];

/// The English name of a code.
#[must_use]
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
