//! Windows run through a model together: encoded, their languages detected where they are not known, decoded in
//! lock-step. `transcribe` says which windows go together, `recording` what becomes of their text.
//!
//! The next windows are not encoded while these are decoded: both use every core already, and measured on `host` (tiny
//! and base, 1 and 8 windows, two cores) there is no gain that stands out of the noise, for a second encoder's memory.

use crate::decode::Decoding;
use crate::fallback::{self, Attempt};
use crate::language::{Detected, detect};
use crate::options::TranscribeOptions;
use crate::penalty::{Penalty, RepetitionPenalty};
use crate::ranking::MaximumLikelihood;
use crate::rules::{GoOn, Rule};
use crate::speech_model::{RunError, SpeechModel};
use crate::timestamps::FRAMES_PER_TIMESTAMP;
use crate::tokenizer::Tokenizer;
use crate::words::{Aligned, Aligner};
use crate::writer::{Place, Writer};
use std::time::Instant;

/// One window.
pub(crate) struct Window<'a> {
    /// `[bins, 3000]`.
    pub(crate) features: Vec<f32>,
    /// Windows of one recording have one language: that of the first of them.
    pub(crate) recording: usize,
    /// The text before it.
    pub(crate) writer: &'a Writer,
    /// The language token; `None` where it is to be detected, or the model knows only English.
    pub(crate) language: Option<u32>,
    /// Where it is in its recording.
    pub(crate) place: Place,
}

/// What windows that run together have in common, and they themselves: prompts of one length, and all languages known
/// or none. Can be run again by another model.
pub(crate) struct Batch<'a> {
    pub(crate) windows: Vec<Window<'a>>,
    pub(crate) options: &'a TranscribeOptions,
    pub(crate) rules: &'a [Box<dyn Rule>],
    /// Heads of the cross-attention that follow the audio: layer and head.
    pub(crate) alignment_heads: Vec<[usize; 2]>,
    pub(crate) first_timestamp: u32,
    pub(crate) positions: usize,
    /// Whether more is wanted than the language.
    pub(crate) decode: bool,
    /// Whether the text is no longer wanted.
    pub(crate) stop: &'a dyn Fn() -> bool,
}

/// What a window's decoding gave, and what it cost.
#[derive(Default)]
pub(crate) struct DecodedWindow {
    /// The language, where it was detected.
    pub(crate) language: Option<Detected>,
    pub(crate) attempt: Option<Attempt>,
    /// The words of its text in the window's time, where they are asked for.
    pub(crate) words: Option<Vec<Aligned>>,
    /// An equal share of the batch's time.
    pub(crate) encoder_ms: f64,
    /// A share of the batch's time by the steps that were taken.
    pub(crate) decoder_ms: f64,
}

impl Batch<'_> {
    /// Decodes each window.
    pub(crate) fn run(
        &self,
        model: &mut dyn SpeechModel,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<DecodedWindow>, RunError> {
        if self.times_words() {
            // What is missing is said before anything is computed.
            model.prepare_to_attend()?;
        }
        let begun = Instant::now();
        model.encode(&self.windows.iter().map(|window| window.features.as_slice()).collect::<Vec<_>>())?;
        let encoder_ms = milliseconds(begun) / self.windows.len() as f64;
        let begun = Instant::now();
        let mut decoded = self.decode(model, tokenizer)?;
        if self.times_words() && !(self.stop)() {
            self.align(model, tokenizer, &mut decoded)?;
        }
        let decoder_ms = milliseconds(begun);
        let steps = |window: &DecodedWindow| window.attempt.as_ref().map_or(0, |attempt| attempt.steps) as f64 + 1.0;
        let all: f64 = decoded.iter().map(steps).sum();
        for window in &mut decoded {
            window.encoder_ms = encoder_ms;
            window.decoder_ms = decoder_ms * steps(window) / all;
        }
        Ok(decoded)
    }

    fn times_words(&self) -> bool {
        self.decode && self.options.words.word_timestamps
    }

    fn decode(&self, model: &mut dyn SpeechModel, tokenizer: &Tokenizer) -> Result<Vec<DecodedWindow>, RunError> {
        let special = &tokenizer.special;
        let mut decoded: Vec<DecodedWindow> = self.windows.iter().map(|_| DecodedWindow::default()).collect();
        let mut started = None;
        if special.multilingual && self.windows.iter().all(|window| window.language.is_none()) {
            let start = model.start(&vec![&[special.sot][..]; self.windows.len()], 0)?;
            for (row, window) in self.windows.iter().enumerate() {
                let first = self.windows.iter().position(|other| other.recording == window.recording).unwrap_or(row);
                let detected = || detect(&start[row].sot, &special.languages);
                let known = first < row && !self.options.multilingual;
                decoded[row].language = if known { decoded[first].language.clone() } else { detected() };
            }
            started = Some(start);
        }
        if !self.decode {
            return Ok(decoded);
        }
        let prompt = |(window, decoded): (&Window<'_>, &DecodedWindow)| {
            window.writer.prompt(special, window.language.or(decoded.language.as_ref().map(|detected| detected.token)))
        };
        let prompts: Vec<(Vec<u32>, usize)> = self.windows.iter().zip(&decoded).map(prompt).collect();
        let sot = prompts.first().map_or(0, |(_, sot)| *sot);
        let prompts: Vec<&[u32]> = prompts.iter().map(|(prompt, _)| prompt.as_slice()).collect();
        let first = self.first_timestamp;
        let time = |frame: usize| first.saturating_add(frame.div_ceil(FRAMES_PER_TIMESTAMP) as u32);
        let go_on = |window: &Window<'_>| {
            let goes_on = &window.place.goes_on;
            let times = time(goes_on.start)..time(goes_on.end);
            (!times.is_empty()).then_some(GoOn { eot: special.eot, first, times })
        };
        let own: Vec<Option<GoOn>> = self.windows.iter().map(go_on).collect();
        let (search, asked) = (&self.options.search, &self.options.tokens);
        let mut penalties: Vec<Box<dyn Penalty>> = Vec::new();
        if asked.repetition_penalty != 1.0 {
            penalties.push(Box::new(RepetitionPenalty { penalty: asked.repetition_penalty }));
        }
        let decoding = Decoding {
            prompts: &prompts,
            sot,
            rules: self.rules,
            own: &own,
            penalties: &penalties,
            ranking: &MaximumLikelihood { length_penalty: search.length_penalty },
            first_timestamp: self.first_timestamp,
            eot: special.eot,
            no_speech: Some(special.nospeech),
            max_new_tokens: asked.max_new_tokens.unwrap_or(self.positions / 2),
            ends_in_time: asked.max_new_tokens.is_some() && !self.options.without_timestamps,
            positions: self.positions,
            stop: self.stop,
        };
        // The detection's cache goes on: making the windows' cross-attention keys again costs more than this step.
        let started = started.filter(|_| sot == 0);
        // The same recording is decoded alike, whatever else is: chance follows from the window's place alone.
        let seeds: Vec<u64> = self.windows.iter().map(|window| window.place.seek as u64).collect();
        let attempts = fallback::decode(model, &decoding, self.options, tokenizer, &seeds, started)?;
        for (window, attempt) in decoded.iter_mut().zip(attempts) {
            window.attempt = Some(attempt);
        }
        Ok(decoded)
    }

    /// Finds the times of the windows' words, one window after another: a text goes through the model at once, so that
    /// several together gain nothing.
    fn align(
        &self,
        model: &mut dyn SpeechModel,
        tokenizer: &Tokenizer,
        decoded: &mut [DecodedWindow],
    ) -> Result<(), RunError> {
        for (row, (window, decoded)) in self.windows.iter().zip(decoded).enumerate() {
            let Some(attempt) = &decoded.attempt else { continue };
            let aligner = Aligner {
                tokenizer,
                heads: &self.alignment_heads,
                task: self.options.task,
                language: window.language.or(decoded.language.as_ref().map(|detected| detected.token)),
            };
            let (text, frames) = window.writer.text(&tokenizer.special, attempt, &window.place);
            decoded.words = Some(aligner.align(model, row, &text, frames)?);
        }
        Ok(())
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
