//! How fast a model runs: one synthetic 30 s window through the encoder, and the decoder forced to a number of tokens;
//! long audio ([`long_audio`]); decoding with the cache against decoding without ([`cache_gain`]); and the execution
//! provider's kernels beside the machine's limits ([`kernels()`]). Measures; prints nothing, and compares no results.

mod cache;
mod kernels;
mod long;
mod plan;
mod sound;
mod start;
mod step;

pub use cache::{CacheGain, cache_gain};
pub use kernels::{BatchedProducts, Kernel, KernelReport, Limits, kernels};
pub use long::{LongOptions, LongResult, long_audio};
pub use plan::{Plan, plan};
pub use start::{StartMemory, first_token};
pub use step::{Part, StepProfile, StepResult};

use crate::decoder::{LoadError, OrtModel};
use crate::engine::Engine;
use crate::ep_library::EpLibrary;
use crate::mel::LogMel;
use crate::model::Model;
use crate::npu::NpuReport;
use crate::options::{Device, EngineOptions};
use crate::speech_model::{RunError, SpeechModel};
use crate::tokenizer::{Tokenizer, TokenizerError};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

const WINDOW_SECONDS: f64 = 30.0;
/// The prompt's language, task and no-timestamps tokens come on top of what is written.
const PROMPT: usize = 4;
/// Tokens in the cache of the step that is looked at closely: a sentence half decoded.
pub const CACHED: usize = 96;

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
    /// Milliseconds for one window through the encoder; `None` on `sim`, whose time says nothing of hardware's.
    pub encoder_ms: Option<f64>,
    /// Milliseconds that the simulator took for one window through the encoder: the price of simulating, no speed. Only
    /// on `sim`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulating_encoder_ms: Option<f64>,
    /// What the NPU, simulated or real, did for one window through the encoder, and what hardware is predicted to take
    /// for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub npu: Option<NpuReport>,
    /// Milliseconds from the encoded window to the last token (first step and cross-attention keys included), by token;
    /// `None` on `sim`, which computes those keys.
    pub decoder_ms_per_token: Option<f64>,
    /// Seconds of audio (30) by second of encoder and decoder; `None` on `sim`.
    pub realtime_factor: Option<f64>,
    /// A step with [`CACHED`] tokens in the cache, or as many as there are at most; `None` if only one token was asked
    /// for.
    pub step: Option<StepResult>,
    /// The kernels and other steps of the encoder, of one window; `None` on `cpu` and `sim`.
    pub encoder_parts: Option<Vec<Part>>,
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
    /// The execution provider's library cannot be asked.
    #[error("cannot measure the kernels of {path}: {reason}; name a newer library with --ep-library")]
    Library {
        /// The library.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
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
    engine: Engine,
    device: String,
    precision: String,
    model: OrtModel,
    library: Option<EpLibrary>,
    encoder: Vec<f64>,
    decoder: Vec<f64>,
    steps: Vec<(usize, f64)>,
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
///     println!("{}: {:?} ms, {:?} ms a token", result.device, result.encoder_ms, result.decoder_ms_per_token);
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
    check_tokens(model, options.tokens)?;
    let special = Tokenizer::load(model.directory())?.special;
    let window = LogMel::new(model.config().mel_bins).hugging_face(&sound::hum(WINDOW_SECONDS)).data;
    let mut lanes = Vec::with_capacity(configurations.len());
    for configuration in configurations {
        lanes.push(Lane::new(model, configuration)?);
    }
    for round in 0..=options.runs.max(1) {
        for lane in &mut lanes {
            let begun = Instant::now();
            lane.model.encode(&[&window])?;
            let encoded = Instant::now();
            let steps = step::timed(&mut lane.model, &special, 1, options.tokens)?;
            let decoded = encoded.elapsed().as_secs_f64() * 1e3;
            if round > 0 {
                lane.encoder.push((encoded - begun).as_secs_f64() * 1e3);
                lane.decoder.push(decoded);
                lane.steps.extend(steps);
            }
        }
    }
    let mut results = Vec::with_capacity(lanes.len());
    for mut lane in lanes {
        let mut result = lane.result(options.tokens);
        if let Some(before) = lane.engine.npu() {
            lane.model.encode(&[&window])?;
            result.npu = lane.engine.npu().map(|npu| npu.since(&before));
        }
        if let (Some(library), Some(row)) = (&lane.library, &mut result.step) {
            row.profile = step::profiled(&mut lane.model, &special, library, row)?;
        }
        let simulated = lane.engine.options().device == Device::Sim;
        if let Some(library) = lane.library.as_ref().filter(|_| !simulated) {
            let profile = step::noted(library, || lane.model.encode(&[&window]))?;
            result.encoder_parts = profile.map(|(profile, _)| profile.steps);
        }
        results.push(result);
    }
    Ok(results)
}

/// A decoder has positions for the prompt and what is written.
fn check_tokens(model: &Model, tokens: usize) -> Result<(), BenchError> {
    let most = model.config().decoder_positions.saturating_sub(PROMPT);
    if tokens == 0 || tokens > most { Err(BenchError::Tokens { asked: tokens, most }) } else { Ok(()) }
}

fn load(model: &Model, configuration: &EngineOptions) -> Result<OrtModel, BenchError> {
    Ok(load_with_engine(model, configuration)?.1)
}

fn load_with_engine(model: &Model, configuration: &EngineOptions) -> Result<(Engine, OrtModel), BenchError> {
    let engine = Engine::new(configuration).map_err(LoadError::from)?;
    let model = OrtModel::load(model, &engine)?;
    Ok((engine, model))
}

/// The device's name, and the arithmetic that it uses.
fn described(model: &Model, configuration: &EngineOptions) -> (String, String) {
    let on_cpu = configuration.device == Device::Cpu;
    let precision = if on_cpu { model.variant().to_owned() } else { configuration.precision.to_string() };
    (configuration.device.to_string(), precision)
}

impl Lane {
    fn new(model: &Model, configuration: &EngineOptions) -> Result<Self, BenchError> {
        let (device, precision) = described(model, configuration);
        let library = configuration.ep_library.as_ref().filter(|_| configuration.device != Device::Cpu);
        let opened = library
            .map(|path| EpLibrary::open(path).map_err(|reason| BenchError::Library { path: path.clone(), reason }));
        let (engine, model) = load_with_engine(model, configuration)?;
        Ok(Self {
            engine,
            device,
            precision,
            model,
            library: opened.transpose()?,
            encoder: Vec::new(),
            decoder: Vec::new(),
            steps: Vec::new(),
        })
    }

    fn result(&self, tokens: usize) -> BenchResult {
        let encoder_ms = median(&self.encoder);
        let decoder_ms = median(&self.decoder);
        let simulated = self.engine.options().device == Device::Sim;
        BenchResult {
            device: self.device.clone(),
            precision: self.precision.clone(),
            encoder_ms: (!simulated).then_some(encoder_ms),
            simulating_encoder_ms: simulated.then_some(encoder_ms),
            npu: None,
            decoder_ms_per_token: (!simulated).then(|| decoder_ms / tokens as f64),
            realtime_factor: (!simulated).then(|| WINDOW_SECONDS * 1e3 / (encoder_ms + decoder_ms)),
            step: step::row(&self.steps, CACHED),
            encoder_parts: None,
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
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
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
