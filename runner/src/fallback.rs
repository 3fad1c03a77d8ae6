//! Whether a window's text is to be believed, and what is tried where it is not: decoding again at rising temperatures,
//! and what is kept in the end.
//!
//! Source: openai/whisper, `whisper/transcribe.py` (`decode_with_fallback`). It keeps the text of the last temperature
//! where every one fails; here the likeliest text that does not repeat itself is kept. Where all repeat themselves, the
//! first is kept if the speaker seems to repeat himself ([`spoken`]), and none if the model does.

use crate::beam::Beam;
use crate::decode::{Decoded, Decoding};
use crate::mel::WINDOW_FRAMES;
use crate::options::{SearchOptions, TranscribeOptions};
use crate::rules::GoOn;
use crate::sampling::Sampling;
use crate::search::{Greedy, Search};
use crate::seek::{Piece, cut_at_pause};
use crate::speech_model::{RunError, SpeechModel, StartLogits};
use crate::text::compression_ratio;
use crate::tokenizer::Tokenizer;

/// What a window's text is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It passes.
    Good,
    /// There is no speech, and no text is to be kept.
    Silence,
    /// The model was not sure of it.
    Unsure,
    /// It repeats itself.
    Repeats,
    /// It repeats itself at every temperature, and its times are those of a speaker who does.
    Spoken,
}

/// What was decoded for a window, and how.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) decoded: Decoded,
    pub(crate) temperature: f32,
    /// What it is worth; where it did not pass, nothing better was found.
    pub(crate) verdict: Verdict,
    /// Whether other temperatures were tried before it was kept in spite of the verdict.
    pub(crate) exhausted: bool,
    /// Choices that were made for the window at all temperatures.
    pub(crate) steps: usize,
}

/// Tokens after which a sequence that may be going in circles is looked at, again and again.
const LOOK_EVERY: usize = 32;
/// Segments with the same text that are a repetition; people say a thing three times …
const SAME: usize = 4;
/// … but not where the model takes the sound for no speech: out of music it makes a sentence, and says it again.
const SAME_WITHOUT_SPEECH: usize = 2;
/// A text is given up where its compression ratio is above the threshold by this much already.
const HOPELESS: f64 = 1.0;

/// Text that is spoken has so many bytes in a second: from slow Latin to fast Cyrillic letters.
const SPOKEN_RATE: std::ops::Range<f64> = 8.0..50.0;
/// Segments that a speaker repeats last at least so long, in hundredths of a second.
const SPOKEN_LENGTH: usize = 100;
/// The model is this sure of what was spoken, by the mean log-probability.
const SPOKEN_LOGPROB: f64 = -0.5;
/// … and takes the sound for speech: out of music it makes sentences, too, that fit into their times.
const SPOKEN_NO_SPEECH: f64 = 0.2;

impl TranscribeOptions {
    /// What the text of a window is worth.
    pub(crate) fn judge(&self, decoded: &Decoded, tokenizer: &Tokenizer) -> Verdict {
        let unsure = self.logprob_threshold.is_some_and(|least| decoded.avg_logprob < least);
        let no_speech = self.no_speech_threshold.is_some_and(|most| decoded.no_speech_prob > most);
        let same = if no_speech { SAME_WITHOUT_SPEECH } else { SAME };
        let repeats = |most: f64| {
            repetition(&decoded.tokens, tokenizer) > most || says_the_same(&decoded.tokens, same, tokenizer)
        };
        if unsure && no_speech {
            return Verdict::Silence;
        }
        match (self.compression_ratio_threshold.is_some_and(repeats), unsure) {
            (true, _) => Verdict::Repeats,
            (false, true) => Verdict::Unsure,
            (false, false) => Verdict::Good,
        }
    }
}

/// Decodes the windows that `model` encoded last at each of the temperatures of `options`, those again whose text did
/// not pass. `started`: the logits that follow the prompts' first token, where that was fed already. `seeds`: each
/// window's chance.
pub(crate) fn decode(
    model: &mut dyn SpeechModel,
    decoding: &Decoding<'_>,
    options: &TranscribeOptions,
    tokenizer: &Tokenizer,
    seeds: &[u64],
    mut started: Option<Vec<StartLogits>>,
) -> Result<Vec<Attempt>, RunError> {
    let limit = options.compression_ratio_threshold.map(|most| most + HOPELESS);
    let gives_up = |tokens: &[u32]| {
        let looks = tokens.len() > LOOK_EVERY && tokens.len().is_multiple_of(LOOK_EVERY);
        looks && limit.is_some_and(|most| repetition(tokens, tokenizer) > most)
    };
    let greedy = [0.0];
    let temperatures = if options.temperatures.is_empty() { &greedy } else { options.temperatures.as_slice() };
    let mut attempts: Vec<Vec<Attempt>> = vec![Vec::new(); seeds.len()];
    let mut pending: Vec<usize> = (0..seeds.len()).collect();
    for (tried, &temperature) in temperatures.iter().enumerate() {
        let prompts: Vec<&[u32]> = pending.iter().map(|&window| decoding.prompts[window]).collect();
        let own: Vec<Option<GoOn>> = pending.iter().map(|&w| decoding.own.get(w).cloned().flatten()).collect();
        let decoding = Decoding { prompts: &prompts, own: &own, ..*decoding };
        if tried > 0 {
            tracing::debug!("{} windows are decoded again at temperature {temperature}", pending.len());
            model.restart(&pending)?;
        }
        let (start, fed) = match started.take() {
            Some(start) => (start, 1),
            None => (model.start(&prompts, decoding.sot)?, prompts.first().map_or(0, |prompt| prompt.len())),
        };
        let seeds = pending.iter().map(|&window| seeds[window]);
        let SearchOptions { beam_size, patience, .. } = options.search;
        // As in the reference, the best of the beams is judged alone: the others differ from it by little.
        let (mut search, judged): (Box<dyn Search>, usize) = match (temperature, beam_size) {
            (0.0, None) => (Box::new(Greedy), 1),
            (0.0, Some(size)) => (Box::new(Beam::new(size, patience.unwrap_or(1.0), decoding.eot, pending.len())), 1),
            (above, _) => (Box::new(Sampling::new(above, options.best_of, seeds, &gives_up)), options.best_of),
        };
        let decoded = decoding.search(model, search.as_mut(), &start, fed)?;
        for (&window, decoded) in pending.iter().zip(decoded) {
            attempts[window].extend(decoded.into_iter().take(judged).map(|decoded| {
                let (verdict, steps) = (options.judge(&decoded, tokenizer), decoded.steps);
                Attempt { decoded, temperature, verdict, exhausted: false, steps }
            }));
        }
        pending.retain(|&window| !attempts[window].iter().any(passes));
        if pending.is_empty() || (decoding.stop)() {
            break;
        }
    }
    let fell_back = temperatures.len() > 1;
    let spoken = |decoded: &Decoded| spoken(decoded, tokenizer, decoding.first_timestamp);
    Ok(attempts.into_iter().map(|attempts| settle(attempts, fell_back, &spoken)).collect())
}

/// Whether a text that repeats itself at every temperature is what a speaker says who does so: the model is sure of it,
/// and each segment lasts as long as its words take. A model that goes in circles leaves them at high temperatures, or
/// writes more or fewer words than fit into its times.
fn spoken(decoded: &Decoded, tokenizer: &Tokenizer, first_timestamp: u32) -> bool {
    let pieces = cut_at_pause(&decoded.tokens, first_timestamp, 0, WINDOW_FRAMES).pieces;
    let takes_its_time = |piece: &Piece| {
        let length = piece.end.saturating_sub(piece.start);
        let bytes = tokenizer.decode(&piece.tokens).map_or(0, |text| text.trim().len());
        length >= SPOKEN_LENGTH && SPOKEN_RATE.contains(&(100.0 * bytes as f64 / length as f64))
    };
    let sure = decoded.avg_logprob > SPOKEN_LOGPROB && decoded.no_speech_prob < SPOKEN_NO_SPEECH;
    sure && pieces.len() > 1 && pieces.iter().all(takes_its_time)
}

fn passes(attempt: &Attempt) -> bool {
    matches!(attempt.verdict, Verdict::Good | Verdict::Silence)
}

/// Which of a window's attempts is kept: the first that passes (the likeliest of a temperature comes first); else the
/// likeliest that does not repeat itself; else the first. `fell_back`: whether there were other temperatures to try.
fn settle(attempts: Vec<Attempt>, fell_back: bool, spoken: &dyn Fn(&Decoded) -> bool) -> Attempt {
    let steps = attempts.iter().map(|attempt| attempt.steps).sum();
    let likelier = |best: &&Attempt, next: &&Attempt| best.decoded.avg_logprob.total_cmp(&next.decoded.avg_logprob);
    let kept = attempts
        .iter()
        .find(|attempt| passes(attempt))
        .or_else(|| attempts.iter().filter(|attempt| fell_back && attempt.verdict == Verdict::Unsure).max_by(likelier))
        .or(attempts.first());
    match kept {
        Some(attempt) => {
            let said = fell_back && attempt.verdict == Verdict::Repeats && spoken(&attempt.decoded);
            let verdict = if said { Verdict::Spoken } else { attempt.verdict };
            Attempt { exhausted: fell_back && !passes(attempt), verdict, steps, ..attempt.clone() }
        }
        // Every sequence went in circles and was given up.
        None => Attempt {
            decoded: Decoded::default(),
            temperature: 0.0,
            verdict: Verdict::Repeats,
            exhausted: fell_back,
            steps,
        },
    }
}

/// Whether so many segments one after another have the `same` text: too little of it, often, for zlib to make it small.
fn says_the_same(tokens: &[u32], same: usize, tokenizer: &Tokenizer) -> bool {
    let texts = tokens.split(|token| tokenizer.special.timestamp(*token).is_some()).filter(|text| !text.is_empty());
    let texts: Vec<&[u32]> = texts.collect();
    texts.chunk_by(|a, b| a == b).any(|alike| alike.len() >= same)
}

/// The compression ratio of the tokens' text.
fn repetition(tokens: &[u32], tokenizer: &Tokenizer) -> f64 {
    // What cannot be decoded is an error where the text is made, and none here.
    tokenizer.decode_lossy(tokens).map_or(0.0, |text| compression_ratio(text.trim()).into())
}
