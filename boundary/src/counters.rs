//! What the execution provider counts in the code that executes it, by the names that [`crate::exports::COUNTER`] takes.

use std::{fmt, str::FromStr};

use crate::options::DeviceKind;

/// A counter of the process. It only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// `fused_nodes_executed`: fused nodes that were executed to their end.
    FusedNodesExecuted,
    /// `kernel_calls.host`, `kernel_calls.sim`, `kernel_calls.npu`: kernels executed on a device.
    KernelCalls(DeviceKind),
}

const FUSED_NODES_EXECUTED: &str = "fused_nodes_executed";
const KERNEL_CALLS: &str = "kernel_calls.";

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FusedNodesExecuted => f.write_str(FUSED_NODES_EXECUTED),
            Self::KernelCalls(device) => write!(f, "{KERNEL_CALLS}{device}"),
        }
    }
}

/// No counter has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCounter;

impl FromStr for Counter {
    type Err = UnknownCounter;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name == FUSED_NODES_EXECUTED {
            return Ok(Self::FusedNodesExecuted);
        }
        let device = name.strip_prefix(KERNEL_CALLS).and_then(|device| device.parse().ok());
        device.map(Self::KernelCalls).ok_or(UnknownCounter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_programs_write() {
        for (counter, name) in [
            (Counter::FusedNodesExecuted, "fused_nodes_executed"),
            (Counter::KernelCalls(DeviceKind::Host), "kernel_calls.host"),
            (Counter::KernelCalls(DeviceKind::Sim), "kernel_calls.sim"),
            (Counter::KernelCalls(DeviceKind::Npu), "kernel_calls.npu"),
        ] {
            assert_eq!((counter.to_string().as_str(), name.parse()), (name, Ok(counter)));
        }
        assert_eq!("kernel_calls.".parse::<Counter>(), Err(UnknownCounter));
    }
}
