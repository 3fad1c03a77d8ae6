//! What an NPU device has done, counted by what executed it; and what that is predicted to take on hardware.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use undertone_boundary::npu::{BundleReport, NpuReport, OperatorReport};

use super::{
    array::RunReport,
    cost::{Machine, Work},
    design::{Design, Operator},
};
use crate::DeviceKind;

/// Statistics that several threads add to.
pub(super) struct Counted {
    machine: Machine,
    device: DeviceKind,
    /// With the design that executes the operator.
    operators: Mutex<BTreeMap<Operator, (Design, OperatorReport)>>,
}

impl Counted {
    pub fn new(machine: Machine, device: DeviceKind) -> Self {
        Self { machine, device, operators: Mutex::default() }
    }

    /// What was counted so far; `bundle` finds a design's bundle.
    pub fn get(&self, bundle: impl Fn(&Design) -> Option<BundleReport>) -> NpuReport {
        let operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let target = self.machine.target;
        let report = |(operator, (design, mut sums)): (Operator, (Design, OperatorReport))| {
            let peak = target.clock() * target.macs(operator.kernels()) as f64 * sums.predicted_seconds;
            sums.utilisation = sums.core_macs.iter().map(|macs| *macs as f64 / peak).collect();
            sums.bundle = bundle(&design);
            sums.design = Some((&design).into());
            (operator.to_string(), sums)
        };
        NpuReport {
            target: target.to_string(),
            device: self.device.to_string(),
            operators: operators.into_iter().map(report).collect(),
            ..NpuReport::default()
        }
    }

    /// Predicted seconds of a command by itself.
    pub fn predicted(&self, design: &Design, work: Work) -> f64 {
        self.machine.predict(design, work).total
    }

    /// Packing or unpacking took a while.
    pub fn packed(&self, operator: Operator, time: Duration) {
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, sums)) = operators.get_mut(&operator) {
            sums.packing_seconds += time.as_secs_f64();
        }
    }

    /// Work of one operator was executed together.
    pub fn add(
        &self,
        design: &Design,
        operator: Operator,
        work: impl Iterator<Item = Work>,
        report: &RunReport,
        packing: Duration,
    ) {
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, sums) = operators.entry(operator).or_insert_with(|| (design.clone(), OperatorReport::default()));
        for (index, work) in work.enumerate() {
            let prediction = self.machine.predict(design, work);
            // Those after the first of a list cost less.
            let seconds = if (index as u64) < report.dispatches { prediction.total } else { prediction.listed };
            sums.calls += 1;
            sums.macs += work.problem.macs();
            sums.predicted_seconds += seconds;
            sums.predicted_compute_seconds += prediction.compute;
            let shape = sums.problems.entry(work.problem.to_string()).or_default();
            shape.calls += 1;
            shape.predicted_seconds += seconds;
            shape.useful = prediction.useful;
        }
        sums.predicted_seconds += self.machine.switch * report.context_switches as f64;
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
