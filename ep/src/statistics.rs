//! What this process's EP has executed, counted by the code that executed it, and what it is; both for programs that
//! loaded it.

use std::{
    ffi::{CStr, CString},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use undertone_boundary::{
    counters::Counter,
    description::{Description, NpuSoftware, OnnxRuntimes},
};
use undertone_kernels::{
    Counters, DeviceKind,
    host::Isa,
    npu::{self, Target},
};

use crate::{
    abi::{NEWEST_VERSION, OLDEST_VERSION},
    context::BUILD,
    options::{self, DeviceChoice, Key},
};

/// Kernel calls of all sessions.
pub static KERNEL_CALLS: Counters = Counters::new();

static FUSED_NODES: AtomicU64 = AtomicU64::new(0);
static CLAIMED: AtomicU64 = AtomicU64::new(0);
static LEFT: AtomicU64 = AtomicU64::new(0);

/// A fused node was executed to its end. Called by the code that executed it.
pub fn fused_node_executed() {
    FUSED_NODES.fetch_add(1, Ordering::Relaxed);
}

/// A graph was partitioned: the estimated work of its products, in 10⁹ floating-point operations.
pub fn partitioned(claimed: f64, left: f64) {
    let kilo = |giga: f64| (giga * 1e6) as u64;
    CLAIMED.fetch_add(kilo(claimed), Ordering::Relaxed);
    LEFT.fetch_add(kilo(left), Ordering::Relaxed);
}

/// A counter by its name.
pub fn counter(name: &str) -> Option<u64> {
    name.parse().ok().map(|counter| match counter {
        Counter::FusedNodesExecuted => FUSED_NODES.load(Ordering::Relaxed),
        Counter::HostKernelCalls => KERNEL_CALLS.calls(DeviceKind::Host),
        Counter::SimKernelCalls => KERNEL_CALLS.calls(DeviceKind::Sim),
        Counter::NpuKernelCalls => KERNEL_CALLS.calls(DeviceKind::Npu),
        Counter::KiloflopClaimed => CLAIMED.load(Ordering::Relaxed),
        Counter::KiloflopLeft => LEFT.load(Ordering::Relaxed),
    })
}

/// The devices that can be used here.
fn devices() -> Vec<String> {
    let usable = |device: &DeviceKind| *device != DeviceKind::Npu || npu::probe().usable();
    DeviceKind::ALL.into_iter().filter(usable).map(|device| device.to_string()).collect()
}

/// The versions below the NPU, as programs read them.
fn software(software: npu::Software) -> NpuSoftware {
    let npu::Software { kernel, driver, driver_version, firmware, firmware_file, xrt } = software;
    let driver = driver.map(|origin| origin.to_string());
    NpuSoftware { kernel, driver, driver_version, firmware, firmware_file, xrt }
}

/// The EP described as JSON.
pub fn description() -> &'static CStr {
    static DESCRIPTION: LazyLock<CString> = LazyLock::new(|| {
        let auto = options::resolve(DeviceChoice::Auto);
        let npu = npu::probe();
        let description = Description {
            name: crate::NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: BUILD.to_owned(),
            devices: devices(),
            npu: npu.to_string(),
            npu_software: software(*npu.software),
            targets: Target::ALL.map(|target| target.to_string()).into(),
            auto: auto.map_or_else(|error| error.to_string(), |device| device.to_string()),
            instruction_set: Isa::best().to_string(),
            instruction_sets: Isa::available().map(|isa| isa.to_string()).collect(),
            options: Key::ALL.map(|key| key.to_string()).into(),
            onnxruntime: OnnxRuntimes {
                oldest: format!("1.{OLDEST_VERSION}"),
                newest_tested: format!("1.{NEWEST_VERSION}"),
            },
        };
        // Strings have a JSON form, which escapes NUL: neither conversion can fail.
        CString::new(serde_json::to_string(&description).unwrap_or_default()).unwrap_or_default()
    });
    &DESCRIPTION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_count_and_unknown_names_have_none() {
        let before = counter("fused_nodes_executed").unwrap();
        fused_node_executed();
        assert_eq!(counter("fused_nodes_executed"), Some(before + 1));

        let before = counter("kernel_calls.host").unwrap();
        KERNEL_CALLS.executed(DeviceKind::Host);
        assert_eq!(counter("kernel_calls.host"), Some(before + 1));
        let before = ["kiloflop.claimed", "kiloflop.left"].map(counter);
        partitioned(2e-3, 1e-6);
        assert_eq!(
            [counter("kiloflop.claimed"), counter("kiloflop.left")],
            [before[0].map(|n| n + 2000), before[1].map(|n| n + 1)]
        );
        for name in ["kernel_calls.sim", "kernel_calls.npu"] {
            assert!(counter(name).is_some(), "{name}");
        }
        for name in ["", "kernel_calls", "kernel_calls.", "kernel_calls.gpu", "FUSED_NODES_EXECUTED"] {
            assert_eq!(counter(name), None, "{name}");
        }
    }

    #[test]
    fn the_description_is_json_that_names_the_instruction_set() {
        let parsed: serde_json::Value = serde_json::from_slice(description().to_bytes()).unwrap();
        assert_eq!(parsed["name"], "XdnaExecutionProvider");
        assert_eq!(parsed["instruction_set"], Isa::best().to_string());
        assert_eq!(parsed["devices"][0], "host");
    }
}
