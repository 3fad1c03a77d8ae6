//! One window through encoder and decoder, on every device in turn.

use std::time::Instant;

use serde::Serialize;
use undertone_boundary::profile::Part;
use undertone_runner::npu::NpuReport;
use undertone_runner::speech_model::SpeechModel as _;
use undertone_runner::{Device, EngineOptions, Model};

use super::{BenchError, CACHED, Loaded, StepResult, WINDOW_SECONDS, median, special_tokens, step, window};

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
    /// A step with 96 tokens in the cache, or as many as there are at most; `None` if only one token was asked for.
    pub step: Option<StepResult>,
    /// The kernels and other steps of the encoder, of one window; `None` on `cpu` and `sim`.
    pub encoder_parts: Option<Vec<Part>>,
}

struct Lane {
    on: Loaded,
    encoder: Vec<f64>,
    decoder: Vec<f64>,
    steps: Vec<(usize, f64)>,
}

/// Measures `model` in every one of `configurations`, turn by turn, so that a change of the machine's load meets all.
///
/// ```no_run
/// use undertone_bench::{BenchOptions, run};
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
    let special = special_tokens(model, options.tokens)?;
    let window = window(model);
    let mut lanes = Vec::with_capacity(configurations.len());
    for configuration in configurations {
        let on = Loaded::new(model, configuration)?;
        lanes.push(Lane { on, encoder: Vec::new(), decoder: Vec::new(), steps: Vec::new() });
    }
    for round in 0..=options.runs.max(1) {
        for Lane { on, encoder, decoder, steps } in &mut lanes {
            let begun = Instant::now();
            on.model.encode(&[&window])?;
            let encoded = Instant::now();
            let times = step::timed(&mut on.model, &special, 1, options.tokens)?;
            let decoded = encoded.elapsed().as_secs_f64() * 1e3;
            if round > 0 {
                encoder.push((encoded - begun).as_secs_f64() * 1e3);
                decoder.push(decoded);
                steps.extend(times);
            }
        }
    }
    let mut results = Vec::with_capacity(lanes.len());
    for Lane { on, encoder, decoder, steps } in lanes {
        let Loaded { engine, mut model, device, precision } = on;
        let [on_cpu, simulated] = [Device::Cpu, Device::Sim].map(|device| engine.options().device == device);
        let mut npu = None;
        if let Some(before) = engine.npu() {
            model.encode(&[&window])?;
            npu = engine.npu().map(|npu| npu.since(&before));
        }
        let mut step = step::row(&steps, CACHED);
        if let Some(row) = step.as_mut().filter(|_| !on_cpu) {
            row.profile = step::profiled(&mut model, &special, &engine, row)?;
        }
        let mut profile = None;
        if !on_cpu && !simulated {
            profile = step::noted(&engine, || model.encode(&[&window]))?;
        }
        let (encoder_ms, decoder_ms) = (median(&encoder), median(&decoder));
        results.push(BenchResult {
            device,
            precision,
            encoder_ms: (!simulated).then_some(encoder_ms),
            simulating_encoder_ms: simulated.then_some(encoder_ms),
            npu,
            decoder_ms_per_token: (!simulated).then(|| decoder_ms / options.tokens as f64),
            realtime_factor: (!simulated).then(|| WINDOW_SECONDS * 1e3 / (encoder_ms + decoder_ms)),
            step,
            encoder_parts: profile.map(|(profile, _)| profile.steps),
        });
    }
    Ok(results)
}
