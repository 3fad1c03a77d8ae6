//! What an NPU device has done, counted by what executed it; and what that is predicted to take on hardware.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use undertone_boundary::npu::{BundleReport, NpuReport, OperatorReport};

use super::{
    array::RunReport,
    cost,
    design::{Design, Operator, Problem},
    target::Target,
};
use crate::DeviceKind;

/// Statistics that several threads add to.
pub(super) struct Counted {
    target: Target,
    device: DeviceKind,
    /// With the design that executes the operator.
    operators: Mutex<BTreeMap<Operator, (Design, OperatorReport)>>,
}

impl Counted {
    pub fn new(target: Target, device: DeviceKind) -> Self {
        Self { target, device, operators: Mutex::default() }
    }

    /// What was counted so far; `bundle` finds a design's bundle.
    pub fn get(&self, bundle: impl Fn(&Design) -> Option<BundleReport>) -> NpuReport {
        let operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let report = |(operator, (design, mut sums)): (Operator, (Design, OperatorReport))| {
            let peak = self.target.clock() * self.target.macs(operator.kernels()) as f64 * sums.predicted_seconds;
            sums.utilisation = sums.core_macs.iter().map(|macs| *macs as f64 / peak).collect();
            sums.bundle = bundle(&design);
            sums.design = Some((&design).into());
            (operator.to_string(), sums)
        };
        NpuReport {
            target: self.target.to_string(),
            device: self.device.to_string(),
            operators: operators.into_iter().map(report).collect(),
            ..NpuReport::default()
        }
    }

    /// Problems of one operator were executed together.
    pub fn add(&self, design: &Design, problems: impl Iterator<Item = Problem>, report: &RunReport, packing: Duration) {
        let mut problems = problems.peekable();
        let Some(operator) = problems.peek().map(|problem| Operator::of(design.kernels, problem)) else { return };
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, sums) = operators.entry(operator).or_insert_with(|| (design.clone(), OperatorReport::default()));
        for (index, problem) in problems.enumerate() {
            let prediction = cost::predict(design, &problem);
            // Those after the first of a list cost less.
            let seconds =
                if (index as u64) < report.dispatches { prediction.total } else { prediction.listed(design.target) };
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
