//! The words of a window's text, each with the time within the window and its probability.

use super::split::{WordTokens, words};
use super::warping::{entries, way};
use crate::choice;
use crate::options::Task;
use crate::speech_model::{RunError, SpeechModel};
use crate::timestamps::FRAMES_PER_TIMESTAMP;
use crate::tokenizer::Tokenizer;

/// A word with its place in a window.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Aligned {
    /// As the text has it; empty where a word beside it has taken it in.
    pub(crate) word: String,
    /// How many tokens it is made of.
    pub(crate) tokens: usize,
    /// Seconds from the window's start.
    pub(crate) start: f64,
    /// Seconds from the window's start.
    pub(crate) end: f64,
    /// Mean probability of its tokens.
    pub(crate) probability: f64,
}

/// What the alignment of a window's text needs.
pub(crate) struct Aligner<'a> {
    pub(crate) tokenizer: &'a Tokenizer,
    /// Which heads follow the audio: layer and head.
    pub(crate) heads: &'a [[usize; 2]],
    pub(crate) task: Task,
    /// The language's token, where the model knows several.
    pub(crate) language: Option<u32>,
}

impl Aligner<'_> {
    /// The words of `text`, which the model wrote of the window number `window` of those it encoded last, and which
    /// has `frames` frames of audio. The model's sequences are over after this.
    ///
    /// Source: openai/whisper, `whisper/timing.py` (`find_alignment`): the text is fed without timestamps, and a token's
    /// time begins where the way through the weights comes to the place before it, which predicts it.
    pub(crate) fn align(
        &self,
        model: &mut dyn SpeechModel,
        window: usize,
        text: &[u32],
        frames: usize,
    ) -> Result<Vec<Aligned>, RunError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let special = &self.tokenizer.special;
        let task = match self.task {
            Task::Transcribe => special.transcribe,
            Task::Translate => special.translate,
        };
        let mut tokens = vec![special.sot];
        if special.multilingual {
            tokens.extend(self.language);
            tokens.push(task);
        }
        let before = tokens.len();
        tokens.push(special.notimestamps);
        tokens.extend_from_slice(text);
        tokens.push(special.eot);
        let mut probabilities = vec![0.0; text.len()];
        let attended = model.attend(window, &tokens, self.heads, &mut |position, logits| {
            let place = position.checked_sub(before).and_then(|at| Some((text.get(at)?, probabilities.get_mut(at)?)));
            if let Some((token, probability)) = place {
                // Only text could come, as in the reference; tokens that were added behind it are weighed with all.
                let among = if *token < special.eot { special.eot as usize } else { logits.len() };
                *probability = choice::probability(&logits[..among.min(logits.len())], *token);
            }
        })?;
        let positions = frames / FRAMES_PER_TIMESTAMP;
        let rows = before..before + 1 + text.len();
        let costs: Vec<f32> = attended.matrix(positions, rows).into_iter().map(|weight| -weight).collect();
        let enters = entries(&way(&costs, positions.min(attended.positions)));
        let failed = |error| RunError { stage: "alignment of words".to_owned(), reason: format!("{error}") };
        let words = words(self.tokenizer, text, self.code()).map_err(failed)?;
        let time = |token: usize| enters.get(token).map_or(0.0, |position| *position as f64 / PER_SECOND);
        let mut first = 0;
        let place = |WordTokens { word, tokens }| {
            let (from, to) = (first, first + tokens.len());
            first = to;
            let probability = probabilities[from..to].iter().sum::<f64>() / tokens.len() as f64;
            Aligned { word, tokens: tokens.len(), start: time(from), end: time(to), probability }
        };
        Ok(words.into_iter().map(place).collect())
    }

    fn code(&self) -> Option<&str> {
        let languages = &self.tokenizer.special.languages;
        languages.iter().find(|(_, token)| Some(**token) == self.language).map(|(code, _)| code.as_str())
    }
}

/// Positions of a window in a second.
const PER_SECOND: f64 = 50.0;
