//! What the execution provider counts in the code that executes it, by the names that [`crate::exports::COUNTER`]
//! takes.

use crate::{options::DeviceKind, words};

words!(
    /// A counter of the process. It only grows.
    Counter, "counter", {
        /// Fused nodes that were executed to their end.
        FusedNodesExecuted = "fused_nodes_executed",
        /// Kernels executed on the host device.
        HostKernelCalls = "kernel_calls.host",
        /// Kernels executed on the simulator.
        SimKernelCalls = "kernel_calls.sim",
        /// Kernels executed on the NPU.
        NpuKernelCalls = "kernel_calls.npu",
        /// Estimated work of a run's products that sessions gave to the execution provider, in 10³ floating-point
        /// operations, counted when a session is made.
        KiloflopClaimed = "kiloflop.claimed",
        /// The same of products that are left to others.
        KiloflopLeft = "kiloflop.left",
    }
);

impl Counter {
    /// Kernels executed on a device.
    pub const fn kernel_calls(device: DeviceKind) -> Self {
        match device {
            DeviceKind::Host => Self::HostKernelCalls,
            DeviceKind::Sim => Self::SimKernelCalls,
            DeviceKind::Npu => Self::NpuKernelCalls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_programs_write() {
        let calls = DeviceKind::ALL.map(|device| Counter::kernel_calls(device).word().to_owned());
        assert_eq!(calls, DeviceKind::ALL.map(|device| format!("kernel_calls.{device}")));
        assert_eq!(Counter::FusedNodesExecuted.word(), "fused_nodes_executed");
    }
}
