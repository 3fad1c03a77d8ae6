//! What a target's cores, memory and driver take, as numbers. Those of cores and memory are fitted to published
//! measurements (`kernels/examples/npu_cost`; its tests hold that they are); the others are published as they stand, or
//! counted, or assumed, and say so. What was measured on a machine takes their place.

use undertone_boundary::npu::CoreCosts;

use super::{
    super::{design::Kernels, target::Target},
    operations::{self, Costs, Operations},
};

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
    /// Cycles of the vector unit's operations, by their slots.
    pub costs: Costs,
    /// Cycles of an output's GELU and of a probability.
    pub functions: [f64; 2],
}

/// Bytes that a stream carries in a cycle.
pub const STREAM_BYTES: f64 = 4.0;

impl Machine {
    /// The numbers of a target.
    pub fn of(target: Target) -> Self {
        let costs = Costs::by_slots(Costs::lanes(target));
        let functions = [operations::GELU, operations::PROBABILITY].map(|function| costs.cycles(&function));
        match target {
            Target::Npu1 => Machine {
                target,
                int8: CoreRate { rate: 256.0, per_output: 0.2744 },
                bf16: CoreRate { rate: 128.0, per_output: 0.1203 },
                bandwidth: 17.0e9,
                exposed: 0.01,
                dispatch: 76e-6,
                listed: 22e-6,
                switch: 1.405e-3,
                costs,
                functions,
            },
            Target::Npu4 => Machine {
                target,
                int8: CoreRate { rate: 512.0, per_output: 0.1310 },
                bf16: CoreRate { rate: 170.1, per_output: 0.0676 },
                bandwidth: 61.9e9,
                exposed: 0.065,
                dispatch: 76e-6,
                listed: 22e-6,
                switch: 4.9e-3,
                costs,
                functions,
            },
        }
    }

    /// The same with what was measured in place of its own numbers, where it was and is of this target.
    pub fn measured(target: Target, costs: Option<&CoreCosts>) -> Self {
        let mut machine = Self::of(target);
        let Some(found) = costs.filter(|costs| costs.target == target.to_string()) else { return machine };
        let replace = |number: &mut f64, by: Option<f64>| *number = by.unwrap_or(*number);
        let costs = &mut machine.costs;
        replace(&mut costs.product, found.product);
        replace(&mut costs.mac, found.mac);
        if found.mac.is_some() {
            // It was measured with its waiting.
            costs.waiting = 1.0;
        }
        replace(&mut costs.add, found.add);
        replace(&mut costs.compare, found.compare);
        replace(&mut costs.convert, found.convert);
        let functions = [(operations::GELU, found.gelu), (operations::PROBABILITY, found.exp2)];
        machine.functions =
            functions.map(|(function, measured)| measured.unwrap_or_else(|| machine.costs.cycles(&function)));
        replace(&mut machine.int8.rate, found.int8_macs);
        replace(&mut machine.bf16.rate, found.bf16_macs);
        replace(&mut machine.bandwidth, found.memory);
        replace(&mut machine.dispatch, found.dispatch);
        replace(&mut machine.listed, found.listed);
        machine
    }

    /// How fast a core of our own kernels multiplies: all keep sums of 4 bytes, so bf16 products pay for those as int8
    /// ones do.
    pub(super) fn kernel(&self, kernels: Kernels) -> CoreRate {
        match kernels {
            Kernels::Int8 => self.int8,
            Kernels::Bf16 => CoreRate { per_output: self.bf16.per_output.max(self.int8.per_output), ..self.bf16 },
        }
    }

    /// Cycles of the vector unit.
    pub(super) fn vector(&self, operations: &Operations) -> f64 {
        self.costs.cycles(operations)
    }

    /// Seconds of a command whose work takes so long to compute and so long to transfer, both at once.
    pub fn total(&self, compute: f64, dram: f64) -> f64 {
        self.dispatch + compute.max(dram) + self.exposed * compute.min(dram)
    }
}
