//! What windows are told before they are decoded: a prompt of the person's, words that are likely to come, the
//! beginning of the text. As options, and as tokens within the decoder's budget.
//!
//! Half of the decoder's positions less one are for everything before start-of-transcript (223 tokens of Whisper's
//! 448). Where more is there, the text of earlier windows loses its beginning first.
//!
//! Sources: openai/whisper, `whisper/transcribe.py` and `whisper/decoding.py`; hotwords and the temperature that ends a
//! prompt are faster-whisper's. A prefix is what that makes of it, too: of the first window alone, and after the timestamp
//! 0.00. (openai/whisper puts it before every window and before the first timestamp, where models end the text or go on
//! elsewhere.) Hotwords count in the budget; in faster-whisper they do not, and can leave no room for the text.

use crate::options::OptionError;
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::transcribe::TranscribeError;

/// Text, or the tokens of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text; blanks around it do not matter.
    Text(String),
    /// Tokens of the model's.
    Tokens(Vec<u32>),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u32>> for Prompt {
    fn from(tokens: Vec<u32>) -> Self {
        Self::Tokens(tokens)
    }
}

impl Prompt {
    fn tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, TokenizerError> {
        match self {
            Self::Tokens(tokens) => Ok(tokens.clone()),
            Self::Text(text) if text.trim().is_empty() => Ok(Vec::new()),
            Self::Text(text) => tokenizer.encode(&format!(" {}", text.trim())),
        }
    }
}

/// What windows are told.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptOptions {
    /// What seems to have been said before the first window: names and a style of writing that the model takes up. Of
    /// one that is longer than the budget the end is taken.
    pub initial_prompt: Option<Prompt>,
    /// Put `initial_prompt` before every window, not only before the first.
    pub carry_initial_prompt: bool,
    /// What the first window's text begins with. It is not part of the result.
    pub prefix: Option<Prompt>,
    /// Words that are likely to come, put before every window. They have no effect on a window with a prefix.
    pub hotwords: Option<Prompt>,
    /// Put the text of the windows before it before each window.
    pub condition_on_previous_text: bool,
    /// Text that came at a higher temperature is not put before the windows after it.
    pub prompt_reset_on_temperature: f32,
}

impl Default for PromptOptions {
    fn default() -> Self {
        Self {
            initial_prompt: None,
            carry_initial_prompt: false,
            prefix: None,
            hotwords: None,
            condition_on_previous_text: true,
            prompt_reset_on_temperature: 0.5,
        }
    }
}

/// [`PromptOptions`] as tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PromptTokens {
    pub(crate) initial: Vec<u32>,
    pub(crate) carry_initial: bool,
    pub(crate) prefix: Vec<u32>,
    pub(crate) hotwords: Vec<u32>,
}

/// Most tokens before start-of-transcript, the mark of what was said before not counted.
pub(crate) fn budget(positions: usize) -> usize {
    (positions / 2).saturating_sub(1)
}

impl PromptTokens {
    /// For a decoder of so many `positions` that knows `vocabulary` tokens.
    ///
    /// # Errors
    /// [`TranscribeError::Option`]: tokens that the model does not know, or more than there is room for.
    pub(crate) fn of(
        options: &PromptOptions,
        tokenizer: &Tokenizer,
        positions: usize,
        vocabulary: usize,
    ) -> Result<Self, TranscribeError> {
        let known = |name: &'static str, prompt: &Option<Prompt>| -> Result<Vec<u32>, TranscribeError> {
            let tokens = prompt.as_ref().map(|prompt| prompt.tokens(tokenizer)).transpose()?.unwrap_or_default();
            match tokens.iter().find(|token| **token as usize >= vocabulary) {
                Some(token) => {
                    let what = format!("holds token {token}, and the model has {vocabulary}: use its own");
                    Err(OptionError { name, what }.into())
                }
                None => Ok(tokens),
            }
        };
        let fitting = |name: &'static str, prompt: &Option<Prompt>| -> Result<Vec<u32>, TranscribeError> {
            let (tokens, most) = (known(name, prompt)?, budget(positions));
            if tokens.len() > most {
                let what = format!("is {} tokens long, and there is room for {most}: use fewer words", tokens.len());
                return Err(OptionError { name, what }.into());
            }
            Ok(tokens)
        };
        Ok(Self {
            initial: known("initial_prompt", &options.initial_prompt)?,
            carry_initial: options.carry_initial_prompt,
            prefix: fitting("prefix", &options.prefix)?,
            hotwords: fitting("hotwords", &options.hotwords)?,
        })
    }

    /// The same for a part of a recording that is not its first.
    pub(crate) fn of_later_part(&self) -> Self {
        let initial = if self.carry_initial { self.initial.clone() } else { Vec::new() };
        Self { initial, prefix: Vec::new(), ..self.clone() }
    }
}
