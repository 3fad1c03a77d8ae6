//! What has been written of a chunk so far: its segments, and the prompt that the next window gets. `decode` decodes a
//! window, `seek` cuts it.

use crate::decode::Decoded;
use crate::fallback::{Attempt, Verdict};
use crate::model::ModelConfig;
use crate::options::{Task, TranscribeOptions};
use crate::result::Segment;
use crate::rules::{Rule, SuppressBlank, SuppressNameless, SuppressTokens, TimestampRules};
use crate::seek::{cut, cut_at_pause};
use crate::text::compression_ratio;
use crate::tokenizer::{SpecialTokens, Tokenizer, TokenizerError};
use std::ops::Range;

/// Text of a higher temperature is no prompt for the next window (openai/whisper, `whisper/transcribe.py`).
const PROMPT_UP_TO: f32 = 0.5;

/// What has been written so far, and how it goes on.
pub(crate) struct Writer {
    options: TranscribeOptions,
    /// Positions of the decoder.
    positions: usize,
    /// Where the audio ends, in seconds.
    end: f64,
    first_timestamp: u32,
    /// All tokens, the initial prompt's first.
    tokens: Vec<u32>,
    /// How many of `tokens` are the initial prompt.
    initial: usize,
    /// From where on `tokens` are the next window's prompt.
    prompt_from: usize,
    pub(crate) segments: Vec<Segment>,
}

impl Writer {
    /// `initial` are the tokens that come before the first window's.
    pub(crate) fn new(
        initial: &[u32],
        options: TranscribeOptions,
        positions: usize,
        end: f64,
        first_timestamp: u32,
    ) -> Self {
        let (initial, tokens) = (initial.len(), initial.to_vec());
        Self { options, positions, end, first_timestamp, initial, tokens, prompt_from: 0, segments: Vec::new() }
    }

    /// The next window's prompt and where start-of-transcript stands in it.
    pub(crate) fn prompt(&self, special: &SpecialTokens, language: Option<u32>) -> (Vec<u32>, usize) {
        let previous = &self.tokens[self.prompt_from..];
        let most = (self.positions / 2).saturating_sub(1);
        let previous = &previous[previous.len().saturating_sub(most)..];
        let mut prompt = Vec::with_capacity(previous.len() + 5);
        if !previous.is_empty() {
            prompt.push(special.startofprev);
            prompt.extend_from_slice(previous);
        }
        let sot = prompt.len();
        prompt.push(special.sot);
        if special.multilingual {
            prompt.extend(language);
            prompt.push(match self.options.task {
                Task::Transcribe => special.transcribe,
                Task::Translate => special.translate,
            });
        }
        if self.options.without_timestamps {
            prompt.push(special.notimestamps);
        }
        (prompt, sot)
    }

    /// Takes a window's tokens in; returns how many frames further the next window begins. `goes_on`: frames after
    /// which there is no other window for the rest.
    pub(crate) fn write(
        &mut self,
        tokenizer: &Tokenizer,
        attempt: &Attempt,
        seek: usize,
        frames: usize,
        goes_on: &Range<usize>,
    ) -> Result<usize, TokenizerError> {
        let decoded = &attempt.decoded;
        let circles = attempt.exhausted && attempt.verdict == Verdict::Repeats;
        if circles {
            self.prompt_from = self.tokens.len();
        }
        if circles || self.is_silence(decoded) {
            return Ok(frames);
        }
        let compression_ratio = compression_ratio(tokenizer.decode_lossy(&decoded.tokens)?.trim());
        let mut cut = cut(&decoded.tokens, self.first_timestamp, seek, frames);
        if self.options.cut_at_pauses || goes_on.contains(&cut.advance) {
            cut = cut_at_pause(&decoded.tokens, self.first_timestamp, seek, frames);
        }
        for piece in cut.pieces {
            let (start, end) = (piece.start as f64 / 100.0, piece.end as f64 / 100.0);
            let text = tokenizer.decode(&piece.tokens)?;
            // Segments without length, without text, or after the audio's end are not kept.
            if piece.start == piece.end || text.trim().is_empty() || start >= self.end {
                continue;
            }
            self.tokens.extend_from_slice(&piece.tokens);
            self.segments.push(Segment {
                id: self.segments.len(),
                seek,
                start,
                end: end.min(self.end),
                text,
                tokens: piece.tokens,
                temperature: attempt.temperature,
                avg_logprob: decoded.avg_logprob as f32,
                compression_ratio,
                no_speech_prob: decoded.no_speech_prob as f32,
                words: Vec::new(),
            });
        }
        let doubtful = attempt.temperature > PROMPT_UP_TO || attempt.exhausted;
        if !self.options.condition_on_previous_text || doubtful {
            self.prompt_from = self.tokens.len();
        }
        Ok(cut.advance)
    }

    fn is_silence(&self, decoded: &Decoded) -> bool {
        let Some(threshold) = self.options.no_speech_threshold else { return false };
        let sure = self.options.logprob_threshold.is_some_and(|least| decoded.avg_logprob > least);
        decoded.no_speech_prob > threshold && !sure
    }

    pub(crate) fn text_tokens(&self) -> &[u32] {
        &self.tokens[self.initial..]
    }
}

/// The model's rules in Whisper's order.
pub(crate) fn rules(special: &SpecialTokens, config: &ModelConfig, without_timestamps: bool) -> Vec<Box<dyn Rule>> {
    let mut suppressed = config.suppress_tokens.clone();
    if config.suppress_non_speech {
        suppressed.extend(&special.non_speech);
    }
    let mut at_first = config.begin_suppress_tokens.clone();
    if config.suppress_blank {
        at_first.extend(special.blank.into_iter().chain([special.eot]));
    }
    let control = [special.transcribe, special.translate, special.sot, special.startofprev, special.nospeech];
    suppressed.extend(control.into_iter().chain(special.startoflm));
    let mut rules: Vec<Box<dyn Rule>> = vec![
        Box::new(SuppressBlank { tokens: at_first }),
        Box::new(SuppressTokens { tokens: suppressed }),
        Box::new(SuppressNameless { ranges: special.nameless() }),
    ];
    if !without_timestamps {
        rules.push(Box::new(TimestampRules {
            eot: special.eot,
            notimestamps: special.notimestamps,
            first: special.first_timestamp,
            max_initial: config.max_initial_timestamp,
        }));
    }
    rules
}
