//! What a person chooses about words.

/// Punctuation that belongs to the word after it (openai/whisper's default).
const PREPENDED: &str = "\"'“¿([{-";
/// Punctuation that belongs to the word before it.
const APPENDED: &str = "\"'.。,，!！?？:：”)]}、";

/// Whether words get times, and what they are used for. The defaults are openai/whisper's.
#[derive(Debug, Clone, PartialEq)]
pub struct WordOptions {
    /// Give each segment its words with their times and probabilities. Segments then begin and end with their words,
    /// and a window that was cut in mid-speech is followed by one that begins where its last word ended.
    pub word_timestamps: bool,
    /// Marks that are written as part of the word after them.
    pub prepend_punctuations: String,
    /// Marks that are written as part of the word before them.
    pub append_punctuations: String,
    /// Where words are improbable, or too long or too short, beside silence of more seconds than this, they are taken
    /// for hallucinated: the silence is skipped. Needs [`Self::word_timestamps`].
    pub hallucination_silence_threshold: Option<f64>,
}

impl Default for WordOptions {
    fn default() -> Self {
        Self {
            word_timestamps: false,
            prepend_punctuations: PREPENDED.to_owned(),
            append_punctuations: APPENDED.to_owned(),
            hallucination_silence_threshold: None,
        }
    }
}

impl WordOptions {
    /// All marks that are no words.
    pub(crate) fn is_mark(text: &str) -> bool {
        // As a part of the two defaults one after the other, which is how openai/whisper asks.
        [PREPENDED, APPENDED].concat().contains(text)
    }
}
