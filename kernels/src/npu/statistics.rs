//! What an NPU device has done, counted by what executed it; and what that is predicted to take on hardware.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;

use super::{
    array::RunReport,
    design::{Operator, Problem},
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
    /// Multiply-accumulates that the results need.
    pub macs: u64,
    /// Multiply-accumulates that each core carried out, padding included; empty where that is not counted.
    pub core_macs: Vec<u64>,
    /// What the executions took, in seconds: the simulator's time, or a real array's, packing not included.
    pub wall_seconds: f64,
    /// Packing and unpacking on the CPU, in seconds.
    pub packing_seconds: f64,
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One command was executed.
    pub fn add(
        &self,
        operator: Operator,
        problems: impl Iterator<Item = Problem>,
        report: &RunReport,
        packing: Duration,
    ) {
        let mut statistics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = statistics.operators.entry(operator).or_default();
        for problem in problems {
            sums.calls += 1;
            sums.macs += problem.macs();
        }
        sums.dispatches += report.dispatches;
        sums.context_switches += report.context_switches;
        sums.dma_bytes.iter_mut().zip(report.dma_bytes).for_each(|(sum, bytes)| *sum += bytes);
        sums.core_macs.resize(sums.core_macs.len().max(report.core_macs.len()), 0);
        sums.core_macs.iter_mut().zip(&report.core_macs).for_each(|(sum, macs)| *sum += macs);
        sums.wall_seconds += report.wall.as_secs_f64();
        sums.packing_seconds += packing.as_secs_f64();
    }
}
