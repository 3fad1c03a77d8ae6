//! What the key-value cache saves: one window's decoding with it, and without it, where every step runs the whole
//! sequence again.

use std::time::Instant;

use serde::Serialize;
use undertone_runner::decoder::WithoutCache;
use undertone_runner::speech_model::{RunError, SpeechModel};
use undertone_runner::{EngineOptions, Model};

use super::{BenchError, Loaded, median, special_tokens, step, window};

/// Turns; the slow way takes seconds, so few.
const TURNS: usize = 3;

/// Decoding with the cache against decoding without.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CacheGain {
    /// The device.
    pub device: String,
    /// The arithmetic.
    pub precision: String,
    /// Tokens.
    pub tokens: usize,
    /// Milliseconds with the cache, median.
    pub with_ms: f64,
    /// Milliseconds without it, median.
    pub without_ms: f64,
    /// `without_ms / with_ms`.
    pub ratio: f64,
}

/// Decodes `tokens` tokens of a window on one device in both ways, in turns.
pub fn cache_gain(model: &Model, configuration: &EngineOptions, tokens: usize) -> Result<CacheGain, BenchError> {
    let special = special_tokens(model, tokens)?;
    let window = window(model);
    let Loaded { model: mut cached, device, precision, .. } = Loaded::new(model, configuration)?;
    let mut slow = WithoutCache::new(Loaded::new(model, configuration)?.model);
    cached.encode(&[&window])?;
    slow.encode(&[&window])?;
    let decode = |model: &mut dyn SpeechModel| -> Result<f64, RunError> {
        let begun = Instant::now();
        step::timed(model, &special, 1, tokens)?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        with.push(decode(&mut cached)?);
        without.push(decode(&mut slow)?);
    }
    let (with_ms, without_ms) = (median(&with), median(&without));
    Ok(CacheGain { device, precision, tokens, with_ms, without_ms, ratio: without_ms / with_ms })
}
