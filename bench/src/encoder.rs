//! An encoder by itself, for whoever measures something else beside its time.

use std::time::Instant;

use undertone_runner::npu::NpuReport;
use undertone_runner::speech_model::SpeechModel as _;
use undertone_runner::{EngineOptions, Model};

use super::{BenchError, Loaded, window};

/// A model's encoder on one device, with a window of synthetic sound.
pub struct Encoder {
    on: Loaded,
    window: Vec<f32>,
}

impl Encoder {
    /// Loads it.
    ///
    /// # Errors
    /// [`BenchError`]: a model or device that cannot be loaded.
    pub fn load(model: &Model, configuration: &EngineOptions) -> Result<Self, BenchError> {
        Ok(Self { on: Loaded::new(model, configuration)?, window: window(model) })
    }

    /// Encodes the window: milliseconds.
    ///
    /// # Errors
    /// [`BenchError::Run`] where the device fails.
    pub fn run(&mut self) -> Result<f64, BenchError> {
        let begun = Instant::now();
        self.on.model.encode(&[&self.window])?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }

    /// What the last run gave.
    ///
    /// # Errors
    /// [`BenchError::Run`] if there was none.
    pub fn output(&self) -> Result<Vec<f32>, BenchError> {
        Ok(self.on.model.encoded()?.values()?)
    }

    /// What the NPU did so far, on a device that has one.
    pub fn npu(&self) -> Option<NpuReport> {
        self.on.engine.npu()
    }
}
