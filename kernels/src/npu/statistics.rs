//! What an NPU device has done, counted by what executed it; and what that is predicted to take on hardware.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;

use super::{
    array::RunReport,
    cost,
    design::{Design, Operator, Problem},
    target::Target,
};
use crate::DeviceKind;

/// Executions of one operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OperatorStatistics {
    /// Kernels executed.
    pub calls: u64,
    /// Commands given to the array.
    pub dispatches: u64,
    /// Times that the array had to be loaded anew because another design was executed before.
    pub context_switches: u64,
    /// Bytes that the shim DMAs moved: rows or queries read, weights or keys and values read, results written. Zeros where that is not counted.
    pub dma_bytes: [u64; 3],
    /// The same for each DMA channel of the shim tiles, by its name; empty where that is not counted.
    pub dma_channels: BTreeMap<String, u64>,
    /// Multiply-accumulates that the results need.
    pub macs: u64,
    /// Multiply-accumulates that each core carried out, padding included; empty where that is not counted.
    pub core_macs: Vec<u64>,
    /// What the cost model predicts for these executions on hardware, in seconds, context switches included. Not measured.
    pub predicted_seconds: f64,
    /// Of this, what the cores' arithmetic takes.
    pub predicted_compute_seconds: f64,
    /// Utilisation of each core: multiply-accumulates that it carried out, over what its peak would be in the predicted time; empty where
    /// those are not counted.
    pub utilisation: Vec<f64>,
    /// By shape.
    pub problems: BTreeMap<String, ProblemStatistics>,
    /// The design that executed them.
    pub design: Option<Design>,
    /// Its bundle in the folder that was named, or why there is none and how to make it; `None` if no folder was named.
    pub bundle: Option<Bundled>,
    /// What the executions took, in seconds: the simulator's time, or a real array's, packing not included.
    pub wall_seconds: f64,
    /// Packing and unpacking on the CPU, in seconds.
    pub packing_seconds: f64,
}

/// Executions of one shape.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProblemStatistics {
    /// Kernels executed.
    pub calls: u64,
    /// What is predicted for all of them, in seconds, without context switches.
    pub predicted_seconds: f64,
    /// Share of the multiply-accumulates that is not padding.
    pub useful: f64,
}

/// Whether a design's bundle is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bundled {
    /// In this folder, whole.
    Present(PathBuf),
    /// Why not.
    Missing(String),
}

/// What an NPU device has done so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// Which silicon.
    pub target: Target,
    /// `sim` or `npu`.
    pub device: String,
    /// By operator.
    pub operators: BTreeMap<Operator, OperatorStatistics>,
}

/// Statistics that several threads add to.
pub(super) struct Counted(Mutex<Statistics>);

impl Counted {
    pub fn new(target: Target, device: DeviceKind) -> Self {
        Self(Mutex::new(Statistics { target, device: device.to_string(), operators: BTreeMap::new() }))
    }

    pub fn get(&self) -> Statistics {
        let mut statistics = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let target = statistics.target;
        for (operator, sums) in &mut statistics.operators {
            let peak = target.clock() * target.macs(operator.kernels()) as f64 * sums.predicted_seconds;
            sums.utilisation = sums.core_macs.iter().map(|macs| *macs as f64 / peak).collect();
        }
        statistics
    }

    /// One command was executed, of problems of one operator.
    pub fn add(&self, design: &Design, problems: impl Iterator<Item = Problem>, report: &RunReport, packing: Duration) {
        let mut problems = problems.peekable();
        let Some(operator) = problems.peek().map(|problem| Operator::of(design.kernels, problem)) else { return };
        let mut statistics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = statistics.operators.entry(operator).or_default();
        if sums.design.is_none() {
            sums.design = Some(design.clone());
        }
        for (index, problem) in problems.enumerate() {
            let prediction = cost::predict(design, &problem);
            // Commands of one list cost less each.
            let seconds = if index == 0 { prediction.total } else { prediction.listed(design.target) };
            sums.calls += 1;
            sums.macs += problem.macs();
            sums.predicted_seconds += seconds;
            sums.predicted_compute_seconds += prediction.compute;
            let shape = sums.problems.entry(problem.to_string()).or_default();
            shape.calls += 1;
            shape.predicted_seconds += seconds;
            shape.useful = prediction.useful;
        }
        let switch = cost::Machine::of(design.target).switch;
        sums.predicted_seconds += switch * report.context_switches as f64;
        sums.dispatches += report.dispatches;
        sums.context_switches += report.context_switches;
        sums.dma_bytes.iter_mut().zip(report.dma_bytes).for_each(|(sum, bytes)| *sum += bytes);
        for (channel, bytes) in &report.channel_bytes {
            *sums.dma_channels.entry(channel.to_string()).or_default() += bytes;
        }
        sums.core_macs.resize(sums.core_macs.len().max(report.core_macs.len()), 0);
        sums.core_macs.iter_mut().zip(&report.core_macs).for_each(|(sum, macs)| *sum += macs);
        sums.wall_seconds += report.wall.as_secs_f64();
        sums.packing_seconds += packing.as_secs_f64();
    }
}
