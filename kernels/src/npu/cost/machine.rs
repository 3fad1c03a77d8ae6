//! What a target's cores, memory and driver take, as numbers. Those of cores and memory are fitted to published
//! measurements (`kernels/examples/npu_cost`; its tests hold that they are); the others are published as they stand, or
//! assumed, and say so.

use super::super::{design::Kernels, target::Target};

/// How fast a core multiplies tiles: `m·k·n / rate + m·n · per_output` cycles for a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoreRate {
    /// Multiply-accumulates in a cycle.
    pub rate: f64,
    /// Cycles that each sum of a step takes beside: loading and storing it, filling and draining the pipeline.
    pub per_output: f64,
}

impl CoreRate {
    /// Cycles of one step.
    pub fn cycles(&self, m: f64, k: f64, n: f64) -> f64 {
        m * k * n / self.rate + m * n * self.per_output
    }
}

/// The numbers of one target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Which silicon.
    pub target: Target,
    /// A core that multiplies int8 operands to int32 sums; fitted.
    pub int8: CoreRate,
    /// A core that multiplies bf16 operands and narrows sums to bf16, on npu4 by way of bfp16; fitted.
    pub bf16: CoreRate,
    /// Memory bandwidth for transfers in long runs, all shims together, bytes a second; fitted.
    pub bandwidth: f64,
    /// Share of the shorter of computing and transferring that the longer does not hide; fitted.
    pub exposed: f64,
    /// Seconds of a command by itself: published for npu4 (60 to 92 µs), taken to be the same for npu1.
    pub dispatch: f64,
    /// Seconds of a command in a list of 64: published for npu4, taken to be the same for npu1.
    pub listed: f64,
    /// Seconds until another design is at work: half of a published pair of changes on npu1 (2.81 ms), a full
    /// reconfiguration on npu4.
    pub switch: f64,
    /// Cycles of a score of attention's soft-max beside its products; assumed.
    pub score: f64,
    /// Cycles of an int8 product's result in the epilogue: conversion, two scales, bias, rounding; assumed.
    pub scaled_output: f64,
    /// Cycles of a bf16 product's result in the epilogue; assumed.
    pub output: f64,
}

/// Bytes that a stream carries in a cycle.
pub const STREAM_BYTES: f64 = 4.0;

const NPU1: Machine = Machine {
    target: Target::Npu1,
    int8: CoreRate { rate: 256.0, per_output: 0.2744 },
    bf16: CoreRate { rate: 128.0, per_output: 0.1203 },
    bandwidth: 17.0e9,
    exposed: 0.01,
    dispatch: 76e-6,
    listed: 22e-6,
    switch: 1.405e-3,
    score: 2.0,
    scaled_output: 1.5,
    output: 0.5,
};

const NPU4: Machine = Machine {
    target: Target::Npu4,
    int8: CoreRate { rate: 512.0, per_output: 0.1310 },
    bf16: CoreRate { rate: 170.1, per_output: 0.0676 },
    bandwidth: 61.9e9,
    exposed: 0.065,
    dispatch: 76e-6,
    listed: 22e-6,
    switch: 4.9e-3,
    score: 1.0,
    scaled_output: 1.0,
    output: 0.5,
};

impl Machine {
    /// The numbers of a target.
    pub const fn of(target: Target) -> &'static Machine {
        match target {
            Target::Npu1 => &NPU1,
            Target::Npu4 => &NPU4,
        }
    }

    /// How fast a core of our own kernels multiplies: all keep sums of 4 bytes, so bf16 products pay for those as int8
    /// ones do.
    pub(super) fn kernel(&self, kernels: Kernels) -> CoreRate {
        match kernels {
            Kernels::Int8 => self.int8,
            Kernels::Bf16 => CoreRate { per_output: self.bf16.per_output.max(self.int8.per_output), ..self.bf16 },
        }
    }

    /// Seconds of a command whose work takes so long to compute and so long to transfer, both at once.
    pub fn total(&self, compute: f64, dram: f64) -> f64 {
        self.dispatch + compute.max(dram) + self.exposed * compute.min(dram)
    }
}
