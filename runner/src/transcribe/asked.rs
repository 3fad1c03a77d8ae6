//! What a person asks for in a model's own terms, and whether the model can do it: known before audio is read.

use std::sync::Arc;

use super::{TranscribeError, Transcriber};
use crate::language;
use crate::model::ModelConfig;
use crate::options::{OptionError, Task, TranscribeOptions};
use crate::prompt::PromptTokens;

/// Options as tokens of the model.
pub(super) struct Asked {
    /// What each recording's windows are told.
    pub(super) prompts: Arc<PromptTokens>,
    /// The language and its token; `None` where it is to be detected, or the model knows only English.
    pub(super) language: Option<(String, u32)>,
}

impl Transcriber {
    /// # Errors
    /// [`TranscribeError`]: options that mean nothing, or that the model cannot follow.
    pub(super) fn asked(&self, options: &TranscribeOptions) -> Result<Asked, TranscribeError> {
        options.check()?;
        self.check_suppressed(options)?;
        self.check_words(options)?;
        let language = self.asked_language(options)?;
        let config = &self.config;
        let prompts = PromptTokens::of(&options.prompt, &self.tokenizer, config.decoder_positions, config.vocabulary)?;
        Ok(Asked { prompts: Arc::new(prompts), language })
    }

    /// Whether the tokens that are not to be written are tokens of the model that can be left out.
    fn check_suppressed(&self, options: &TranscribeOptions) -> Result<(), OptionError> {
        let wrong = |what: String| Err(OptionError { name: "suppress_tokens", what });
        let suppressed = &options.tokens.suppress_tokens;
        if suppressed.contains(&i64::from(self.tokenizer.special.eot)) {
            return wrong("names the token that ends a text: without it no text ends; leave it out".to_owned());
        }
        let vocabulary = self.config.vocabulary;
        match suppressed.iter().find(|token| usize::try_from(**token).is_ok_and(|token| token >= vocabulary)) {
            Some(token) => {
                wrong(format!("names {token}: the model's tokens are 0 to {}", vocabulary.saturating_sub(1)))
            }
            None => Ok(()),
        }
    }

    /// Whether words can get their times where these are asked for: from heads of the cross-attention that the model
    /// has, whose scores its graphs give.
    fn check_words(&self, options: &TranscribeOptions) -> Result<(), OptionError> {
        if !options.words.word_timestamps {
            return Ok(());
        }
        let wrong = |what: String| OptionError { name: "word_timestamps", what };
        let ModelConfig { decoder_layers: layers, decoder_heads: heads, .. } = self.config;
        if self.alignment_heads.is_empty() {
            return Err(wrong(
                "needs heads of the model that follow the audio, and its files name none: correct 'alignment_heads' in \
                 its generation_config.json, or leave the key out"
                    .to_owned(),
            ));
        }
        if let Some([layer, head]) =
            self.alignment_heads.iter().find(|[layer, head]| *layer >= layers || *head >= heads)
        {
            return Err(wrong(format!(
                "needs heads of the model that follow the audio, and its files name head {head} of layer {layer}, where \
                 it has {heads} heads in each of {layers} layers, counted from 0: correct 'alignment_heads' in its \
                 generation_config.json, or leave the key out"
            )));
        }
        self.model
            .prepare_to_attend()
            .map_err(|error| wrong(format!("cannot be had of this model: {}: {}", error.stage, error.reason)))
    }

    /// The language token that was asked for; `None` where it is to be detected, or the model knows only English.
    fn asked_language(&self, options: &TranscribeOptions) -> Result<Option<(String, u32)>, TranscribeError> {
        let special = &self.tokenizer.special;
        let named = options.language.as_deref();
        // A model may know languages that Whisper does not.
        let language = match named.filter(|word| special.language(word).is_some()) {
            Some(code) => Some(code.to_owned()),
            None => named.map(language::parse).transpose()?.flatten(),
        };
        if !special.multilingual {
            if let Some(other) = language.filter(|l| l != "en") {
                let name = language::name(&other).unwrap_or(&other);
                return Err(TranscribeError::EnglishOnly(format!("transcribe '{other}' ({name})")));
            }
            if options.task == Task::Translate {
                return Err(TranscribeError::EnglishOnly("translate".to_owned()));
            }
            return Ok(None);
        }
        let Some(language) = language else { return Ok(None) };
        match special.language(&language) {
            Some(token) => Ok(Some((language, token))),
            None => {
                let known = special.languages.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
                Err(TranscribeError::Language { language, known })
            }
        }
    }
}
