//! What a model's encoder would ask of an NPU: its kernels are counted and predicted, none is computed.

use std::time::{Duration, Instant};

use serde::Serialize;
use undertone_runner::npu::{NpuReport, OperatorReport};
use undertone_runner::speech_model::SpeechModel as _;
use undertone_runner::{Device, EngineOptions, Model, Simulation};

use super::{BenchError, Loaded, median, window};

/// Windows that the host's part is measured over, at least; the median counts.
const ROUNDS: usize = 3;
/// More are cheap with small models, whose times a busy machine disturbs most: so many, within this time.
const MOST_ROUNDS: usize = 15;
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// A window of 30 s through the encoder, as an NPU would have it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The kernels that the NPU gets, and what they are predicted to take on it.
    pub npu: NpuReport,
    /// Milliseconds that the host took to pack operands and unpack results. Measured here.
    pub packing_ms: f64,
    /// Milliseconds that the host took for the rest of the encoder. Measured here.
    pub host_ms: f64,
    /// Milliseconds predicted for the NPU and measured for the host, together.
    pub predicted_ms: f64,
}

/// Plans `model` for the NPU that `configuration` names; its device and the way of simulating are set here.
///
/// # Errors
/// [`BenchError`]: a model or a library that cannot be loaded, or fails.
pub fn plan(model: &Model, configuration: &EngineOptions) -> Result<Plan, BenchError> {
    let mut configuration = configuration.clone();
    configuration.device = Device::Sim;
    configuration.simulation = Simulation::Count;
    configuration.packed = None;
    let window = window(model);
    let Loaded { engine, mut model, .. } = Loaded::new(model, &configuration)?;
    let mut npu = engine.npu().ok_or(BenchError::NoNpu)?;
    let (mut packing, mut host) = (Vec::new(), Vec::new());
    let mut window_report = npu.clone();
    let started = Instant::now();
    for round in 0..=MOST_ROUNDS {
        if round > ROUNDS && started.elapsed() > LONG_ENOUGH {
            break;
        }
        let begun = Instant::now();
        model.encode(&[&window])?;
        let all = begun.elapsed().as_secs_f64() * 1e3;
        let now = engine.npu().ok_or(BenchError::NoNpu)?;
        window_report = now.since(&npu);
        npu = now;
        let sum = |of: fn(&OperatorReport) -> f64| window_report.operators.values().map(of).sum::<f64>() * 1e3;
        if round > 0 {
            packing.push(sum(|operator| operator.packing_seconds));
            host.push(all - sum(|operator| operator.packing_seconds) - sum(|operator| operator.wall_seconds));
        }
    }
    let (packing_ms, host_ms) = (median(&packing), median(&host));
    let predicted_ms = window_report.predicted_ms().unwrap_or(0.0) + packing_ms + host_ms;
    Ok(Plan { npu: window_report, packing_ms, host_ms, predicted_ms })
}
