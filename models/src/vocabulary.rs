//! Whisper's vocabularies: bytes, merges in the order of their tokens, and the special tokens behind them.
//!
//! The two lists of merges are OpenAI's (openai/whisper, MIT, `assets/gpt2.tiktoken` and `multilingual.tiktoken`), as
//! pairs of token ids: token `256 + i` is what merge `i` joins, and both of its parts have smaller ids.

use std::collections::HashMap;

static ENGLISH: &[u8] = include_bytes!("merges/english");
static MULTILINGUAL: &[u8] = include_bytes!("merges/multilingual");

/// Tokens that are one byte each.
pub const BYTES: usize = 256;
/// Timestamps from 0.00 to 30.00 s.
pub const TIMESTAMPS: u32 = 1501;
/// Ids of the English-only models.
const ENGLISH_IDS: usize = 51_864;

/// Whisper's languages, codes and English names, in the order of their tokens (openai/whisper, `tokenizer.py`); the
/// last is of large-v3 and later.
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

/// Tokens of signs that are no speech (openai/whisper, `Tokenizer.non_speech_tokens`), in the English-only vocabulary.
const NO_SPEECH_ENGLISH: [u32; 84] = [
    1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 357, 366, 438, 532, 685,
    705, 796, 930, 1058, 1220, 1267, 1279, 1303, 1343, 1377, 1391, 1635, 1782, 1875, 2162, 2361, 2488, 3467, 4008,
    4211, 4600, 4808, 5299, 5855, 6329, 7203, 9609, 9959, 10563, 10786, 11420, 11709, 11907, 13163, 13697, 13700,
    14808, 15306, 16410, 16791, 17992, 19203, 19510, 20724, 22305, 22935, 27007, 30109, 30420, 33409, 34949, 40283,
    40493, 40549, 47282, 49146,
];

/// Likewise, in the multilingual one.
const NO_SPEECH_MULTILINGUAL: [u32; 82] = [
    1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 359, 503, 522, 542, 873,
    893, 902, 918, 922, 931, 1350, 1853, 1982, 2460, 2627, 3246, 3253, 3268, 3536, 3846, 3961, 4183, 4667, 6585, 6647,
    7273, 9061, 9383, 10428, 10929, 11938, 12033, 12331, 12562, 13793, 14157, 14635, 15265, 15618, 16553, 16604, 18362,
    18956, 20075, 21675, 22520, 26130, 26161, 26435, 28279, 29464, 31650, 32302, 32470, 36865, 42863, 47425, 49870,
    50254,
];

/// Which tokens a model of OpenAI's has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vocabulary {
    /// Whether it has more languages than English.
    pub(crate) multilingual: bool,
    /// How many languages have a token.
    pub(crate) languages: usize,
    /// Ids that the model's matrix has rows for.
    ids: usize,
}

impl Vocabulary {
    /// The vocabulary of a model with so many token ids; `None` if there are too few for any Whisper. Ids behind the
    /// timestamps, which fine-tunes may have, are nameless.
    pub(crate) fn of(ids: usize, mel_bins: usize) -> Option<Self> {
        let multilingual = ids > ENGLISH_IDS;
        let languages = match ids - ENGLISH_IDS.min(ids) {
            0 | 1 => 99,
            2 => 100,
            // Only those of 128 mel bins have the hundredth language.
            _ => 99 + usize::from(mel_bins == 128),
        };
        (ids >= ENGLISH_IDS).then_some(Self { multilingual, languages, ids })
    }

    pub(crate) fn eot(self) -> u32 {
        // The multilingual vocabulary has an empty token behind its merges.
        (BYTES + self.pairs().len()) as u32 + u32::from(self.multilingual)
    }

    pub(crate) fn sot(self) -> u32 {
        self.eot() + 1
    }

    pub(crate) fn language(self, index: usize) -> u32 {
        self.sot() + 1 + index as u32
    }

    pub(crate) fn translate(self) -> u32 {
        self.language(self.languages)
    }

    pub(crate) fn transcribe(self) -> u32 {
        self.translate() + 1
    }

    pub(crate) fn startofprev(self) -> u32 {
        self.translate() + 3
    }

    pub(crate) fn notimestamps(self) -> u32 {
        self.translate() + 5
    }

    /// Tokens that OpenAI's models never write: signs that are no speech, and what steers.
    pub(crate) fn suppressed(self) -> Vec<u32> {
        let signs: &[u32] = if self.multilingual { &NO_SPEECH_MULTILINGUAL } else { &NO_SPEECH_ENGLISH };
        let steering = [self.sot()].into_iter().chain(self.translate()..self.notimestamps());
        signs.iter().copied().chain(steering).collect()
    }

    /// The blank and the end of text: nothing begins with them.
    pub(crate) fn suppressed_first(self) -> Vec<u32> {
        vec![220, self.eot()]
    }

    /// All tokens that are no text, in the order of their ids from the end of text on, and whether each is special.
    pub(crate) fn added(self) -> Vec<(String, bool)> {
        let steering = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"];
        let named = ["endoftext", "startoftranscript"]
            .into_iter()
            .chain(LANGUAGES.iter().map(|(code, _)| *code).take(self.languages))
            .chain(steering)
            .map(|name| (format!("<|{name}|>"), true));
        let times = (0..TIMESTAMPS).map(|step| (format!("<|{}.{:02}|>", step / 50, step % 50 * 2), false));
        let room = self.ids.saturating_sub(self.eot() as usize);
        named.chain(times).take(room).collect()
    }

    fn pairs(self) -> &'static [[u8; 4]] {
        let bytes = if self.multilingual { MULTILINGUAL } else { ENGLISH };
        bytes.as_chunks().0
    }

    /// Every token of text as bytes, in the order of their ids.
    pub(crate) fn text(self) -> Vec<Vec<u8>> {
        let mut tokens: Vec<Vec<u8>> = byte_order().map(|byte| vec![byte]).collect();
        for [a, b] in self.merges() {
            let joined = [tokens[a as usize].as_slice(), &tokens[b as usize]].concat();
            tokens.push(joined);
        }
        tokens
    }

    /// Pairs of tokens that are joined, the first pair first.
    pub(crate) fn merges(self) -> Vec<[u32; 2]> {
        let half = |a, b| u32::from(u16::from_le_bytes([a, b]));
        self.pairs().iter().map(|[a, b, c, d]| [half(*a, *b), half(*c, *d)]).collect()
    }
}

/// Bytes in the order of their tokens: those that print, then the others (GPT-2's `bytes_to_unicode`).
fn byte_order() -> impl Iterator<Item = u8> {
    let prints = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    (0..=255_u8).filter(prints).chain((0..=255_u8).filter(move |byte| !prints(byte)))
}

/// The letter that stands for each byte in a tokenizer's files: itself if it prints, else one from U+0100 on
/// (openai/gpt-2, `src/encoder.py`).
pub fn letters() -> [char; BYTES] {
    let mut letters = ['\0'; BYTES];
    let mut next = 0x100;
    for byte in byte_order() {
        let prints = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if prints { u32::from(byte) } else { next };
        next += u32::from(!prints);
        letters[usize::from(byte)] = char::from_u32(code).unwrap_or('\0');
    }
    letters
}

/// The merges that make the tokens of a list, in which smaller ids join first: each token of more than one byte is
/// joined from its bytes as far as the tokens before it allow, and two parts must be left (tiktoken's ranks as pairs).
/// Tokens that are not joined from two are left out: they are special ones, or never come out of text.
pub(crate) fn merges_of(tokens: &[Vec<u8>]) -> Vec<[u32; 2]> {
    let ranks: HashMap<&[u8], u32> =
        tokens.iter().enumerate().rev().map(|(rank, token)| (token.as_slice(), rank as u32)).collect();
    let joined = tokens.iter().enumerate().filter(|(_, token)| (2..=LONGEST).contains(&token.len()));
    joined
        .filter_map(|(rank, token)| {
            let mut ends: Vec<usize> = (0..=token.len()).collect();
            while ends.len() > 3 {
                let rank_at = |i: usize| ranks.get(&token[ends[i]..ends[i + 2]]).filter(|r| (**r as usize) < rank);
                let (_, first) = (0..ends.len() - 2).filter_map(|i| Some((*rank_at(i)?, i))).min()?;
                ends.remove(first + 1);
            }
            let part = |i: usize| ranks.get(&token[ends[i]..ends[i + 1]]).copied();
            Some([part(0)?, part(1)?])
        })
        .collect()
}

/// Longer tokens are none of text: joining takes the square of the length.
const LONGEST: usize = 256;

/// A token's bytes as a tokenizer's files write them, in [`letters`].
pub fn written(token: &[u8], letters: &[char; BYTES]) -> String {
    token.iter().map(|byte| letters[usize::from(*byte)]).collect()
}

/// The bytes of a token as a tokenizer's files write it. One with other letters is special, and stands for itself.
pub fn bytes_of(written: &str, bytes: &HashMap<char, u8>) -> Vec<u8> {
    let token: Option<Vec<u8>> = written.chars().map(|letter| bytes.get(&letter).copied()).collect();
    token.unwrap_or_else(|| written.as_bytes().to_vec())
}

/// The byte that each letter stands for.
pub fn bytes() -> HashMap<char, u8> {
    letters().into_iter().zip(0..=255).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> [Vocabulary; 2] {
        [51_864, 51_865].map(|ids| Vocabulary::of(ids, 80).unwrap())
    }

    #[test]
    fn special_tokens_have_openai_s_ids() {
        let [english, multilingual] = both();
        assert_eq!(
            (english.eot(), english.sot(), english.translate(), english.notimestamps()),
            (50256, 50257, 50357, 50362)
        );
        assert_eq!((multilingual.eot(), multilingual.transcribe(), multilingual.notimestamps()), (50257, 50359, 50363));
        let large = Vocabulary::of(51_866, 128).unwrap();
        assert_eq!((large.language(99), large.translate(), large.notimestamps()), (50358, 50359, 50364));
        for (vocabulary, ids) in [(english, 51_864), (multilingual, 51_865), (large, 51_866)] {
            assert_eq!(vocabulary.eot() as usize + vocabulary.added().len(), ids);
            assert_eq!(vocabulary.added().last().unwrap().0, "<|30.00|>");
        }
        assert_eq!(Vocabulary::of(51_863, 80), None);
        assert_eq!(Vocabulary::of(51_900, 128).unwrap().languages, 100);
    }

    #[test]
    fn merges_are_found_again_in_the_tokens_they_make() {
        for vocabulary in both() {
            assert_eq!(merges_of(&vocabulary.text()), vocabulary.merges());
        }
    }

    #[test]
    fn tokens_are_read_as_they_are_written() {
        let (letters, bytes) = (letters(), bytes());
        for token in both()[1].text() {
            assert_eq!(bytes_of(&written(&token, &letters), &bytes), token);
        }
        assert_eq!(bytes_of("<| |>", &bytes), b"<| |>");
    }

    #[test]
    fn every_byte_has_a_letter_of_its_own() {
        let mut letters = letters().to_vec();
        assert_eq!((letters[0x20], letters[usize::from(b'A')]), ('Ġ', 'A'));
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), BYTES);
    }
}
