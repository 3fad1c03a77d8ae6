//! What a target's cores, memory and driver take, as numbers. Those of cores and memory are fitted to published
//! measurements by [`super::calibrate`] (a test holds that they are); the others are published as they stand, or
//! assumed, and say so.

use super::super::{design::Operator, target::Target};

/// What a core multiplies, and how wide the sums are that it loads and stores at each step: that sets its speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Products {
    /// int8 operands, sums narrowed to int8.
    Int8ToInt8,
    /// int8 operands, sums narrowed to int16.
    Int8ToInt16,
    /// int8 operands, int32 sums.
    Int8ToInt32,
    /// bf16 operands, sums narrowed to bf16; on npu4 by way of bfp16.
    Bf16,
}

impl Products {
    /// All of them.
    pub const ALL: [Products; 4] = [Self::Int8ToInt8, Self::Int8ToInt16, Self::Int8ToInt32, Self::Bf16];

    /// Bytes of an operand's element.
    pub fn operand_bytes(self) -> usize {
        if self == Self::Bf16 { 2 } else { 1 }
    }

    /// Bytes of a result's element.
    pub fn result_bytes(self) -> usize {
        match self {
            Self::Int8ToInt8 => 1,
            Self::Int8ToInt16 | Self::Bf16 => 2,
            Self::Int8ToInt32 => 4,
        }
    }

    /// As the paper names them.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8ToInt8 => "int8→int8",
            Self::Int8ToInt16 => "int8→int16",
            Self::Int8ToInt32 => "int8→int32",
            Self::Bf16 => "bf16→bf16",
        }
    }
}

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
    /// Cores, by [`Products::ALL`]; fitted.
    pub cores: [CoreRate; 4],
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

/// Memory bandwidth of mlir-aie's stock design on npu4, whose runs in memory are short, bytes a second; fitted, for
/// comparison only.
pub(super) const STOCK_BANDWIDTH: f64 = 23.2e9;

const fn rate(rate: f64, per_output: f64) -> CoreRate {
    CoreRate { rate, per_output }
}

const NPU1: Machine = Machine {
    target: Target::Npu1,
    cores: [rate(256.0, 0.0895), rate(256.0, 0.1466), rate(256.0, 0.2744), rate(128.0, 0.1203)],
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
    cores: [rate(512.0, 0.0682), rate(512.0, 0.0936), rate(512.0, 0.1310), rate(170.1, 0.0676)],
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

    /// How fast a core multiplies.
    pub fn core(&self, products: Products) -> CoreRate {
        self.cores[products as usize]
    }

    /// How fast a core of our own kernels multiplies: all keep sums of 4 bytes, so bf16 products pay for those as int8
    /// ones do.
    pub(super) fn kernel(&self, int8: bool) -> CoreRate {
        let wide = self.core(Products::Int8ToInt32);
        if int8 {
            return wide;
        }
        let bf16 = self.core(Products::Bf16);
        CoreRate { per_output: bf16.per_output.max(wide.per_output), ..bf16 }
    }

    /// Cycles of a result in an operator's epilogue.
    pub(super) fn epilogue(&self, operator: Operator) -> f64 {
        if operator == Operator::LinearInt8 { self.scaled_output } else { self.output }
    }
}

impl Machine {
    /// Seconds of work that takes so long to compute and so long to transfer, both at once.
    pub(super) fn total(&self, compute: f64, dram: f64, dispatch: f64) -> f64 {
        dispatch + compute.max(dram) + self.exposed * compute.min(dram)
    }
}
