//! What an NPU, simulated or real, has done: counted by the code that executed it, and told as JSON by
//! [`crate::exports::NPU`]. A prediction is called one. `reading` has sums, differences and the line for people.

mod costs;
mod reading;

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use costs::CoreCosts;

/// All NPUs that are open in a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// What each has done since it was opened.
    pub devices: Vec<NpuReport>,
    /// Why `device=auto` computes on the host though there is an NPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_opened: Option<String>,
}

/// What an NPU did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NpuReport {
    /// `sim` or `npu`.
    pub device: String,
    /// `npu1` or `npu4`.
    pub target: String,
    /// How the simulator computes: `fast` or `exact`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sim: Option<String>,
    /// By operator: `linear_int8`, `attention_bf16`, …
    pub operators: BTreeMap<String, OperatorReport>,
    /// What the host device computed in its place.
    pub fallbacks: FallbackReport,
    /// How fast the host is, beside which the provider weighed each kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<RatesReport>,
}

/// Executions of one operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OperatorReport {
    /// Kernels executed.
    pub calls: u64,
    /// Commands given to the array.
    pub dispatches: u64,
    /// Times that the array had to be loaded anew because another design was executed before.
    pub context_switches: u64,
    /// Bytes that the shim DMAs moved: rows or queries read, weights or keys and values read,
    /// results written. Zeros where the hardware does not tell.
    pub dma_bytes: [u64; 3],
    /// The same for each DMA channel of the shim tiles, by its name; empty where the hardware does not tell.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dma_channels: BTreeMap<String, u64>,
    /// Multiply-accumulates that the results need.
    pub macs: u64,
    /// Multiply-accumulates that each core carried out, padding included; empty where that is not counted.
    pub core_macs: Vec<u64>,
    /// Seconds that hardware is predicted to take for these executions, context switches included. Never a measurement.
    pub predicted_seconds: f64,
    /// The part of it that the cores' arithmetic takes.
    pub predicted_compute_seconds: f64,
    /// Utilisation of each core: multiply-accumulates that it carried out, over what its peak would be in the predicted
    /// time; empty where those are not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub utilisation: Vec<f64>,
    /// By shape.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub problems: BTreeMap<String, ProblemReport>,
    /// The design that executed them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub design: Option<DesignReport>,
    /// Its bundle in the folder that was named, or why there is none and how to make it; `None` if no folder was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleReport>,
    /// Seconds that the executions took, packing not included: on the simulator its own time, which says nothing of the
    /// hardware's.
    pub wall_seconds: f64,
    /// Seconds of packing and unpacking on the CPU.
    pub packing_seconds: f64,
}

/// Executions of one shape.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProblemReport {
    /// Kernels executed.
    pub calls: u64,
    /// Seconds that hardware is predicted to take for them, without context switches.
    pub predicted_seconds: f64,
    /// Share of the multiply-accumulates that is not padding.
    pub useful: f64,
}

/// A compiled array: its kernels and its tiles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DesignReport {
    /// `npu1` or `npu4`; empty as in [`DesignReport::b`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// `int8` or `bf16`: linear layers and attention with such operands.
    pub kernels: String,
    /// What a core computes at a time.
    pub tile: TileReport,
    /// The shim channels by which A reaches the rows of cores; empty as in [`DesignReport::b`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub a: Vec<ChannelReport>,
    /// The shim channels by which B reaches the columns of cores. The runner's JSON leaves channels out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub b: Vec<ChannelReport>,
    /// The shim channels by which C leaves the columns; empty as in [`DesignReport::b`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub c: Vec<ChannelReport>,
}

/// `m × k × n`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TileReport {
    /// Rows, or queries.
    pub m: usize,
    /// Inputs of a step.
    pub k: usize,
    /// Outputs; a head's width.
    pub n: usize,
}

/// A DMA channel of a shim tile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelReport {
    /// Column of the shim tile.
    pub column: usize,
    /// `mm2s` or `s2mm`.
    pub direction: String,
    /// 0 or 1.
    pub channel: usize,
}

/// Whether a bundle is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BundleReport {
    /// In this folder, whole.
    Present(PathBuf),
    /// Why not.
    Missing(String),
}

/// What the host device computed in an NPU's place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FallbackReport {
    /// Calls of kernels that failed on the NPU, or were not tried any more, and ran on the host device.
    pub calls: u64,
    /// Lists of commands that failed, and whose kernels were then tried one by one.
    pub retried: u64,
    /// Kernels that the NPU did not take when they were prepared.
    pub refused: u64,
    /// What was first said.
    pub reason: Option<String>,
}

/// The host's speeds: operations (multiplications and additions) and bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RatesReport {
    /// Whether they were measured on this machine, or are assumed.
    pub measured: bool,
    /// Operations of products with int8 operands.
    pub products_int8: f64,
    /// The same with bf16 operands.
    pub products_bf16: f64,
    /// Operations of attention with int8 scores, soft-max included.
    pub attention_int8: f64,
    /// The same with bf16 scores.
    pub attention_bf16: f64,
    /// Bytes that are read from memory.
    pub memory: f64,
    /// Bytes of fp32 values that are packed for the NPU, or unpacked.
    pub packing: f64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_is_what_programs_read() {
        let channel = |direction| json!([{"column": 0, "direction": direction, "channel": 0}]);
        let operator = json!({
            "calls": 5, "dispatches": 6, "context_switches": 1, "dma_bytes": [10, 20, 5],
            "dma_channels": {"shim column 0 mm2s 0": 30}, "macs": 7, "core_macs": [1, 2], "predicted_seconds": 0.5,
            "predicted_compute_seconds": 0.25, "utilisation": [0.5], "problems": {"1×2×3": {
                "calls": 5, "predicted_seconds": 0.5, "useful": 0.75}},
            "design": {"target": "npu4", "kernels": "int8", "tile": {"m": 48, "k": 64, "n": 64},
                "a": channel("mm2s"), "b": channel("mm2s"), "c": channel("s2mm")},
            "bundle": {"missing": "no such folder"}, "wall_seconds": 0.5, "packing_seconds": 0.25,
        });
        let rates = json!({"measured": true, "products_int8": 4.0, "products_bf16": 2.0, "attention_int8": 2.0,
            "attention_bf16": 1.0, "memory": 3.0, "packing": 2.0});
        let text = json!({"devices": [{
            "device": "sim", "target": "npu4", "sim": "fast", "operators": {"linear_int8": operator},
            "fallbacks": {"calls": 3, "retried": 0, "refused": 1, "reason": null}, "rates": rates,
        }], "not_opened": "no bundles"});
        let statistics: Statistics = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(statistics.devices[0].operators["linear_int8"].predicted_compute_seconds, 0.25);
        assert_eq!(serde_json::to_value(statistics).unwrap(), text);
        assert_eq!(serde_json::to_value(BundleReport::Present("b".into())).unwrap(), json!({"present": "b"}));
    }
}
