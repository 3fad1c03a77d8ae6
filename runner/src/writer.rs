//! What has been written of a chunk so far: its segments, and the prompt that the next window gets. `decode` decodes a
//! window, `seek` cuts it.

use crate::decode::Decoded;
use crate::fallback::{Attempt, Verdict};
use crate::model::ModelConfig;
use crate::options::{Task, TranscribeOptions};
use crate::prompt::{PromptTokens, budget};
use crate::result::Segment;
use crate::rules::{NoRepeatNgram, Rule, SuppressBlank, SuppressNameless, SuppressTokens, TimestampRules};
use crate::seek::{Cut, Piece, cut, cut_at_pause, cut_short};
use crate::text::compression_ratio;
use crate::timestamps::TIMESTAMP_STEP;
use crate::tokenizer::{SpecialTokens, Tokenizer, TokenizerError};
use crate::words::{self, Aligned, Next, add_words, last_end, nest, next_window};
use std::ops::Range;

/// What has been written so far, and how it goes on.
pub(crate) struct Writer {
    options: TranscribeOptions,
    /// Positions of the decoder.
    positions: usize,
    /// Where the audio ends, in seconds.
    pub(crate) end: f64,
    first_timestamp: u32,
    prompts: PromptTokens,
    /// All tokens, the initial prompt's first.
    tokens: Vec<u32>,
    /// Whether no window has been written.
    untouched: bool,
    /// The language of `tokens` from `prompt_from` on, where each window has its own.
    language: Option<u32>,
    /// From where on `tokens` are the next window's prompt.
    prompt_from: usize,
    /// Until when something was said, in seconds; known where words have times.
    last_speech: f64,
    pub(crate) segments: Vec<Segment>,
}

/// The window that a text was written of.
pub(crate) struct Place {
    /// Its first frame.
    pub(crate) seek: usize,
    /// Frames of audio that it has.
    pub(crate) frames: usize,
    /// The frame at which the audio ends, or the part of it that is transcribed by itself.
    pub(crate) end: usize,
    /// Frames after which there is no other window for the rest.
    pub(crate) goes_on: Range<usize>,
}

impl Writer {
    /// `prompts` are of the recording's part that is written.
    pub(crate) fn new(
        prompts: PromptTokens,
        options: TranscribeOptions,
        positions: usize,
        end: f64,
        first_timestamp: u32,
    ) -> Self {
        let tokens = prompts.initial.clone();
        let (language, prompt_from, last_speech, segments) = Default::default();
        let untouched = true;
        Self {
            options,
            positions,
            end,
            first_timestamp,
            prompts,
            tokens,
            untouched,
            language,
            prompt_from,
            last_speech,
            segments,
        }
    }

    /// The next window's prompt and where start-of-transcript stands in it. Text before the window that is in another
    /// language would draw the window into that one, and is left out.
    pub(crate) fn prompt(&self, special: &SpecialTokens, language: Option<u32>) -> (Vec<u32>, usize) {
        let PromptTokens { initial, carry_initial, prefix, hotwords } = &self.prompts;
        let prefix = if self.untouched { prefix.as_slice() } else { &[] };
        let carried = if *carry_initial { initial.as_slice() } else { &[] };
        let told = [if prefix.is_empty() { hotwords } else { [].as_slice() }, carried].concat();
        let budget = budget(self.positions);
        let told = &told[told.len().saturating_sub(budget)..];
        let other = self.language.is_some() && self.language != language;
        let from = if other { self.tokens.len() } else { self.prompt_from.max(carried.len()) };
        let previous = &self.tokens[from..];
        let previous = &previous[previous.len().saturating_sub(budget - told.len())..];
        let mut prompt = Vec::with_capacity(told.len() + previous.len() + prefix.len() + 5);
        if !told.is_empty() || !previous.is_empty() {
            prompt.push(special.startofprev);
            prompt.extend_from_slice(told);
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
        } else if !prefix.is_empty() {
            prompt.push(special.first_timestamp);
        }
        prompt.extend_from_slice(prefix);
        (prompt, sot)
    }

    /// How a window's tokens are cut into segments; `None` where nothing of them is kept.
    fn cut(&self, attempt: &Attempt, place: &Place) -> Option<Cut> {
        if goes_in_circles(attempt) || self.is_silence(&attempt.decoded) {
            return None;
        }
        let (tokens, first) = (&attempt.decoded.tokens, self.first_timestamp);
        let cut_off = attempt.decoded.cut_off;
        let found = if cut_off { cut_short } else { cut }(tokens, first, place.seek, place.frames);
        let at_pause = match self.options.cut_at_pauses {
            // Text that was cut off does not go to the pause.
            true => !cut_off,
            false => place.goes_on.contains(&found.advance),
        };
        Some(if at_pause { cut_at_pause(tokens, first, place.seek, place.frames) } else { found })
    }

    /// The tokens of a window's text whose words are to get times, and how many of its frames they are of. Text that
    /// was cut off is not spread over the whole window.
    pub(crate) fn text(&self, special: &SpecialTokens, attempt: &Attempt, place: &Place) -> (Vec<u32>, usize) {
        let Some(cut) = self.cut(attempt, place) else { return (Vec::new(), place.frames) };
        let frames = if attempt.decoded.cut_off { cut.advance.min(place.frames) } else { place.frames };
        let tokens = cut.pieces.into_iter().flat_map(|piece| piece.tokens);
        (tokens.filter(|token| special.is_text(*token)).collect(), frames)
    }

    /// Takes a window's tokens in, and the words of [`Self::text`] where they have times; returns how many frames
    /// further the next window begins.
    pub(crate) fn write(
        &mut self,
        tokenizer: &Tokenizer,
        attempt: &Attempt,
        place: &Place,
        words: Option<Vec<Aligned>>,
    ) -> Result<usize, TokenizerError> {
        self.untouched = false;
        let decoded = &attempt.decoded;
        if goes_in_circles(attempt) {
            self.prompt_from = self.tokens.len();
        }
        let Some(cut) = self.cut(attempt, place) else { return Ok(place.frames) };
        let compression_ratio = compression_ratio(tokenizer.decode_lossy(&decoded.tokens)?.trim());
        let segment = |piece: &Piece| {
            Ok(Segment {
                seek: place.seek,
                start: piece.start as f64 / 100.0,
                end: piece.end as f64 / 100.0,
                text: tokenizer.decode(&piece.tokens)?,
                tokens: piece.tokens.clone(),
                temperature: attempt.temperature,
                avg_logprob: decoded.avg_logprob as f32,
                compression_ratio,
                no_speech_prob: decoded.no_speech_prob as f32,
                ..Segment::default()
            })
        };
        let mut segments = cut.pieces.iter().map(segment).collect::<Result<Vec<_>, TokenizerError>>()?;
        let mut advance = cut.advance;
        let timed = words.is_some();
        if let Some(words) = words {
            match self.time(&mut segments, words, &tokenizer.special, place, &cut) {
                Next::After(frames) => advance = frames,
                Next::Again(frames) => return Ok(frames),
            }
        }
        for mut segment in segments {
            // Segments without length, without text, or after the audio's end are not kept.
            if segment.start == segment.end || segment.text.trim().is_empty() || segment.start >= self.end {
                continue;
            }
            self.tokens.extend_from_slice(&segment.tokens);
            segment.id = self.segments.len();
            segment.end = segment.end.min(self.end);
            if timed {
                nest(&mut segment, self.segments.last().map_or(0.0, |last| last.end), self.end);
            }
            self.segments.push(segment);
        }
        let doubtful = attempt.temperature > self.options.prompt.prompt_reset_on_temperature || attempt.exhausted;
        if !self.options.prompt.condition_on_previous_text || doubtful {
            self.prompt_from = self.tokens.len();
        }
        Ok(advance)
    }

    /// Gives the segments of a window their words, and takes away those that are hallucinated.
    fn time(
        &mut self,
        segments: &mut Vec<Segment>,
        words: Vec<Aligned>,
        special: &SpecialTokens,
        place: &Place,
        cut: &Cut,
    ) -> Next {
        let options = &self.options.words;
        let count = |s: &Segment| s.tokens.iter().filter(|token| special.is_text(**token)).count();
        let counts: Vec<usize> = segments.iter().map(count).collect();
        add_words(segments, &counts, words, place.seek, options, self.last_speech);
        let &Place { seek, frames, end, .. } = place;
        let window = words::Window { seek, frames, end, whole: cut.whole, advance: cut.advance };
        let next = next_window(segments, window, options.hallucination_silence_threshold, self.last_speech);
        if let Next::After(_) = next {
            self.last_speech = last_end(segments).unwrap_or(self.last_speech);
        }
        next
    }

    fn is_silence(&self, decoded: &Decoded) -> bool {
        let Some(threshold) = self.options.no_speech_threshold else { return false };
        let sure = self.options.logprob_threshold.is_some_and(|least| decoded.avg_logprob > least);
        decoded.no_speech_prob > threshold && !sure
    }

    /// Whether each window has a language of its own.
    pub(crate) fn multilingual(&self) -> bool {
        self.options.multilingual
    }

    /// Begins with parts of the audio again that were passed by: gives the segments so far, and takes none for written.
    pub(crate) fn begin_again(&mut self) -> Vec<Segment> {
        self.last_speech = 0.0;
        self.prompt_from = self.tokens.len();
        std::mem::take(&mut self.segments)
    }

    /// Puts segments from [`Self::begin_again`] and those since then in order.
    pub(crate) fn put_in_order(&mut self, before: Vec<Segment>) {
        self.segments.extend(before);
        self.segments.sort_by(|a, b| a.start.total_cmp(&b.start));
        self.tokens.truncate(self.prompts.initial.len());
        self.tokens.extend(self.segments.iter().flat_map(|segment| &segment.tokens));
        self.prompt_from = self.tokens.len();
    }

    /// What is written next is in this language, and so is all that later windows are told of it.
    pub(crate) fn goes_on_in(&mut self, language: Option<u32>) {
        if self.language.is_some() && self.language != language {
            self.prompt_from = self.tokens.len();
        }
        self.language = language;
    }

    /// Whether the next window's prompt depends on its language.
    pub(crate) fn waits_for_language(&self) -> bool {
        self.multilingual() && self.language.is_some() && self.prompt_from < self.tokens.len()
    }

    pub(crate) fn text_tokens(&self) -> &[u32] {
        &self.tokens[self.prompts.initial.len()..]
    }
}

/// Whether the text only repeats itself, whatever was tried.
fn goes_in_circles(attempt: &Attempt) -> bool {
    attempt.exhausted && attempt.verdict == Verdict::Repeats
}

/// The rules of the model and of `options`, in Whisper's order.
pub(crate) fn rules(special: &SpecialTokens, config: &ModelConfig, options: &TranscribeOptions) -> Vec<Box<dyn Rule>> {
    let asked = &options.tokens;
    let mut suppressed: Vec<u32> = asked.suppress_tokens.iter().filter_map(|&t| u32::try_from(t).ok()).collect();
    if asked.suppress_tokens.contains(&-1) {
        suppressed.extend(&config.suppress_tokens);
        if config.suppress_non_speech {
            suppressed.extend(&special.non_speech);
        }
    }
    let mut at_first = Vec::new();
    if asked.suppress_blank {
        at_first.extend(&config.begin_suppress_tokens);
        if config.suppress_blank {
            at_first.extend(special.blank.into_iter().chain([special.eot]));
        }
    }
    let control = [special.transcribe, special.translate, special.sot, special.startofprev, special.nospeech];
    suppressed.extend(control.into_iter().chain(special.startoflm));
    let mut rules: Vec<Box<dyn Rule>> = vec![
        Box::new(SuppressBlank { tokens: at_first }),
        Box::new(SuppressTokens { tokens: suppressed }),
        Box::new(SuppressNameless { ranges: special.nameless() }),
    ];
    if asked.no_repeat_ngram_size > 0 {
        rules.push(Box::new(NoRepeatNgram { size: asked.no_repeat_ngram_size }));
    }
    if !options.without_timestamps {
        let max_initial = match asked.max_initial_timestamp {
            None => config.max_initial_timestamp,
            Some(0.0) => usize::MAX,
            // A float beyond all numbers becomes the largest of them.
            Some(seconds) => (seconds / TIMESTAMP_STEP).round_ties_even() as usize,
        };
        rules.push(Box::new(TimestampRules {
            eot: special.eot,
            notimestamps: special.notimestamps,
            first: special.first_timestamp,
            max_initial,
        }));
    }
    rules
}
