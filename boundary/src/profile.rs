//! How long each step of a run takes and what it must read, as [`crate::exports::PROFILE`] tells it: JSON.

use serde::{Deserialize, Serialize};

/// What was noted since the start, over all runs of all sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Runs of fused nodes.
    pub runs: u64,
    /// Nanoseconds from the beginning of a run's first step to the end of its last.
    pub nanoseconds: u64,
    /// Nanoseconds that went into taking these notes. No step's time has them in it, but the time of a run as its
    /// caller sees it has.
    pub noting: u64,
    /// By kind and shape.
    pub steps: Vec<Part>,
    /// What was carried out, one after another: the first [`MOST_EVENTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

/// As many events as are kept.
pub const MOST_EVENTS: usize = 20_000;

/// Steps of a plan that were carried out together, or one by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Which run of a fused node it belongs to, from 0 at the start of the notes.
    pub run: u64,
    /// Names of the graph's nodes that the steps stand for, as ONNX Runtime showed them.
    pub nodes: Vec<String>,
    /// Kinds of the steps that are kernels, or of all where none is: `["layer_norm", "linear", "linear"]`.
    pub kinds: Vec<String>,
    /// As [`Part::shape`].
    pub shape: String,
    /// As [`Part::kernel`].
    pub kernel: bool,
    /// The device that its products and attention were prepared for, an NPU if one of them was: `host`, `sim`, `npu`.
    pub device: String,
    /// Number format of the operands of its products; the narrowest, if they differ; empty without products.
    pub precision: String,
    /// Nanoseconds from the start of the notes to its beginning.
    pub start: u64,
    /// Nanoseconds that it took.
    pub nanoseconds: u64,
    /// Floating-point operations of its products.
    pub flops: f64,
    /// Bytes of the tensors that it reads and that it does not make itself, constants not counted.
    pub bytes_in: u64,
    /// Bytes of the tensors that it makes for others.
    pub bytes_out: u64,
    /// As [`Part::bytes`].
    pub bytes_weights: u64,
    /// What an NPU did of it, simulated or real.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub npu: Option<NpuTime>,
}

/// An NPU's share of an event, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NpuTime {
    /// What hardware is predicted to take. Never a measurement.
    pub predicted: u64,
    /// What was measured of its commands: on the simulator the simulator's own time, which says nothing of the
    /// hardware's.
    pub commands: u64,
    /// Packing and unpacking on the CPU, measured.
    pub packing: u64,
}

/// Steps of a plan that are alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What they compute.
    pub kind: String,
    /// Their sizes.
    pub shape: String,
    /// Whether they are kernels: arithmetic on tensors, no shapes, views and moves.
    pub kernel: bool,
    /// How many were carried out.
    pub calls: u64,
    /// Nanoseconds of all of them.
    pub nanoseconds: u64,
    /// Bytes of weights, and of cached keys and values, that they had to read.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_is_what_programs_read() {
        let text = json!({"runs": 1, "nanoseconds": 100, "noting": 5, "steps": [
            {"kind": "linear", "shape": "1x384x1536", "kernel": true, "calls": 4, "nanoseconds": 90, "bytes": 589_824}],
            "events": [{"run": 0, "nodes": ["fc1"], "kinds": ["linear"], "shape": "1x384x1536", "kernel": true,
            "device": "sim", "precision": "int8", "start": 3, "nanoseconds": 20, "flops": 1_179_648.0, "bytes_in": 1536,
            "bytes_out": 6144, "bytes_weights": 589_824, "npu": {"predicted": 5, "commands": 9, "packing": 2}}]});
        let profile: Profile = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(profile).unwrap(), text);
    }
}
