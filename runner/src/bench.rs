//! How fast a model runs: one synthetic 30 s window through the encoder, and the decoder forced to a number of tokens.
//! Measures; prints nothing, and compares no results.

use crate::choice::{Ask, scores};
use crate::decoder::{LoadError, OrtModel};
use crate::engine::Engine;
use crate::mel::{LogMel, WINDOW_SAMPLES};
use crate::model::Model;
use crate::options::{Device, EngineOptions};
use crate::speech_model::{RunError, SpeechModel};
use crate::tokenizer::{SpecialTokens, Tokenizer, TokenizerError};
use serde::Serialize;
use std::time::Instant;

const WINDOW_SECONDS: f64 = 30.0;
/// The prompt's language, task and no-timestamps tokens come on top of what is written.
const PROMPT: usize = 4;

/// How to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchOptions {
    /// Tokens to decode for the window; at least 1, at most what the decoder has positions for.
    pub tokens: usize,
    /// Measured runs; each goes through every configuration once. One more before them warms up.
    pub runs: usize,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { tokens: 100, runs: 5 }
    }
}

/// One configuration's medians.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchResult {
    /// The device.
    pub device: String,
    /// The arithmetic: the execution provider's, or on `cpu` the model's stored one.
    pub precision: String,
    /// Milliseconds for one window through the encoder.
    pub encoder_ms: f64,
    /// Milliseconds from the encoded window to the last token (first step and cross-attention keys included), by token.
    pub decoder_ms_per_token: f64,
    /// Seconds of audio (30) by second of encoder and decoder.
    pub realtime_factor: f64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A model or device that cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model failed while it ran.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A number of tokens that cannot be decoded.
    #[error("cannot decode {asked} tokens for a window: give 1 to {most}")]
    Tokens {
        /// What was asked for.
        asked: usize,
        /// The most.
        most: usize,
    },
}

struct Lane {
    device: String,
    precision: String,
    model: OrtModel,
    encoder: Vec<f64>,
    decoder: Vec<f64>,
}

/// Measures `model` in every one of `configurations`, turn by turn, so that a change of the machine's load meets all.
///
/// ```no_run
/// use undertone_runner::bench::{BenchOptions, run};
/// use undertone_runner::{EngineOptions, Model};
///
/// let model = Model::open("models/reference", None)?;
/// let cpu = EngineOptions::new(std::env::var("ORT_DYLIB_PATH")?);
/// for result in run(&model, &[cpu], &BenchOptions::default())? {
///     println!("{}: {:.1} ms, {:.2} ms a token", result.device, result.encoder_ms, result.decoder_ms_per_token);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`BenchError`]: a configuration that cannot be loaded or fails (there is no falling back here, also for `auto`).
pub fn run(
    model: &Model,
    configurations: &[EngineOptions],
    options: &BenchOptions,
) -> Result<Vec<BenchResult>, BenchError> {
    let most = model.config().decoder_positions.saturating_sub(PROMPT);
    if options.tokens == 0 || options.tokens > most {
        return Err(BenchError::Tokens { asked: options.tokens, most });
    }
    let special = Tokenizer::load(model.directory())?.special;
    let window = LogMel::new(model.config().mel_bins).hugging_face(&hum()).data;
    let mut lanes = Vec::with_capacity(configurations.len());
    for configuration in configurations {
        let engine = Engine::new(configuration).map_err(LoadError::from)?;
        let on_cpu = configuration.device == Device::Cpu;
        lanes.push(Lane {
            device: configuration.device.to_string(),
            precision: if on_cpu { model.variant().to_owned() } else { configuration.precision.to_string() },
            model: OrtModel::load(model, &engine)?,
            encoder: Vec::new(),
            decoder: Vec::new(),
        });
    }
    for round in 0..=options.runs.max(1) {
        for lane in &mut lanes {
            let begun = Instant::now();
            lane.model.encode(&[&window])?;
            let encoded = Instant::now();
            force(&mut lane.model, &special, options.tokens)?;
            let decoded = encoded.elapsed().as_secs_f64() * 1e3;
            if round > 0 {
                lane.encoder.push((encoded - begun).as_secs_f64() * 1e3);
                lane.decoder.push(decoded);
            }
        }
    }
    Ok(lanes.into_iter().map(|lane| lane.result(options.tokens)).collect())
}

impl Lane {
    fn result(mut self, tokens: usize) -> BenchResult {
        let encoder_ms = median(&mut self.encoder);
        let decoder_ms = median(&mut self.decoder);
        BenchResult {
            device: self.device,
            precision: self.precision,
            encoder_ms,
            decoder_ms_per_token: decoder_ms / tokens as f64,
            realtime_factor: WINDOW_SECONDS * 1e3 / (encoder_ms + decoder_ms),
        }
    }
}

/// Writes exactly `tokens` text tokens, the likeliest at each step.
fn force(model: &mut dyn SpeechModel, special: &SpecialTokens, tokens: usize) -> Result<(), RunError> {
    let mut prompt = vec![special.sot];
    prompt.extend(special.language("en"));
    if special.multilingual {
        prompt.push(special.transcribe);
    }
    prompt.push(special.notimestamps);
    let control = special.eot..u32::MAX;
    let ask = Ask { forbidden: std::slice::from_ref(&control), first_timestamp: Ask::NO_TIMESTAMPS };
    let start = model.start(&[&prompt], 0)?;
    let mut answers: Vec<_> = start.iter().map(|s| scores(&s.last, &ask)).collect();
    for _ in 1..tokens {
        let token = answers.first().and_then(|a| a.choose()).map_or(0, |choice| choice.token);
        model.step(&[token], &[ask], &mut answers)?;
    }
    Ok(())
}

/// Thirty seconds of a voiced hum with syllables, the same every time.
fn hum() -> Vec<f32> {
    let rate = f64::from(crate::audio::SAMPLE_RATE);
    let sample = |i: usize| {
        let t = i as f64 / rate;
        let pitch = std::f64::consts::TAU * (110.0 + 15.0 * (2.1 * t).sin()) * t;
        let syllable = (std::f64::consts::TAU * 3.0 * t).sin().max(0.0);
        let voice: f64 = (1..12).map(|k| (pitch * f64::from(k)).sin() / f64::from(k)).sum();
        (0.2 * syllable * voice) as f32
    };
    (0..WINDOW_SAMPLES).map(sample).collect()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn the_hum_is_sound_within_bounds() {
        let hum = hum();
        assert_eq!(hum.len(), WINDOW_SAMPLES);
        let loudest = hum.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        assert!((0.1..1.0).contains(&loudest), "{loudest}");
    }
}
