//! Which tokens may be written, and how many.

use super::OptionError;

/// What is forbidden or made less likely. The defaults are openai/whisper's, and faster-whisper's.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenOptions {
    /// Tokens that are never written; −1 stands for the model's own, which are marks that nobody speaks. Empty forbids
    /// none. Control tokens are never written, whatever this is.
    pub suppress_tokens: Vec<i64>,
    /// A window's first token is neither a blank nor the end of text.
    pub suppress_blank: bool,
    /// The latest first timestamp of a window, in seconds; 0 allows any, as in openai/whisper. `None` is what the
    /// model's files say, at least 1 s.
    pub max_initial_timestamp: Option<f64>,
    /// Tokens that the window has already are less likely to come again: their positive logits are divided by this and
    /// their negative ones multiplied (CTranslate2's rule). 1 changes nothing; anything else makes each step slower.
    pub repetition_penalty: f32,
    /// No sequence of so many tokens comes twice in a window; 0 lets all repeat (CTranslate2's rule).
    pub no_repeat_ngram_size: usize,
    /// Most tokens that are written for a window; `None` is half of the decoder's positions, as in openai/whisper, where
    /// this is called `sample_len`.
    pub max_new_tokens: Option<usize>,
}

impl Default for TokenOptions {
    fn default() -> Self {
        Self {
            suppress_tokens: vec![-1],
            suppress_blank: true,
            max_initial_timestamp: None,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            max_new_tokens: None,
        }
    }
}

impl TokenOptions {
    /// # Errors
    /// [`OptionError`] for what no token or no number of them is.
    pub(super) fn check(&self) -> Result<(), OptionError> {
        let is_token = |token: i64| token == -1 || u32::try_from(token).is_ok();
        if let Some(&odd) = self.suppress_tokens.iter().find(|&&token| !is_token(token)) {
            OptionError::unless(false, "suppress_tokens", odd, || {
                "use the numbers of tokens, and -1 for the model's own".to_owned()
            })?;
        }
        if let Some(latest) = self.max_initial_timestamp {
            OptionError::unless(latest >= 0.0, "max_initial_timestamp", latest, || {
                "use seconds, or 0 for any".to_owned()
            })?;
        }
        let penalty = self.repetition_penalty;
        OptionError::unless(penalty.is_finite() && penalty > 0.0, "repetition_penalty", penalty, || {
            "use a number above 0; 1 penalises nothing".to_owned()
        })?;
        OptionError::unless(self.max_new_tokens != Some(0), "max_new_tokens", 0, || "use 1 or more, or none".to_owned())
    }
}
