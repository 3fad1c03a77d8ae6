//! The partition report: which nodes of a model the execution provider claims, which it does not and why, and how much
//! work lies on each side. JSON, in the file that the option `report` names.
//!
//! It is a plan and an estimate: what was executed is counted elsewhere ([`crate::counters`], [`crate::npu`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One session's partitions.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Report {
    /// The execution provider's name.
    pub ep: String,
    /// Its version.
    pub version: String,
    /// The device that computes the claimed nodes.
    pub device: String,
    /// Which NPU that is, simulated or real; `None` for the host device.
    pub target: Option<String>,
    /// The arithmetic that was asked for.
    pub precision: String,
    /// Which nodes were to be claimed.
    pub claim: String,
    /// In the order in which ONNX Runtime showed them: bodies of control flow before the graph around them.
    pub graphs: Vec<GraphReport>,
}

/// One graph's partition.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct GraphReport {
    /// The graph's name in the model.
    pub name: String,
    /// The node and attribute that it is a body of (`If.then_branch`), or empty.
    pub within: String,
    /// All of its nodes, as ONNX Runtime showed them to the EP.
    pub nodes: usize,
    /// Those that are claimed.
    pub claimed: usize,
    /// Those that are not.
    pub unclaimed: Vec<Unclaimed>,
    /// The groups.
    pub fused: Vec<Fused>,
    /// Estimated work of the claimed products, in 10⁹ floating-point operations.
    pub gflop_claimed: f64,
    /// Estimated work of the others.
    pub gflop_unclaimed: f64,
    /// Sizes assumed for open axes in the estimates, by the axes' names.
    pub assumed: BTreeMap<String, usize>,
}

impl GraphReport {
    /// Part of the estimated work that is not claimed, 0 to 1; 0 for a graph without products.
    pub fn share_unclaimed(&self) -> f64 {
        share_left(self.gflop_claimed, self.gflop_unclaimed)
    }
}

/// Part of the work of a graph's products from which it is worth a warning that it is left to others.
pub const MUCH_LEFT: f64 = 0.05;

/// The part of all work that is left; 0 where there is none.
pub fn share_left(claimed: f64, left: f64) -> f64 {
    if left > 0.0 { left / (claimed + left) } else { 0.0 }
}

/// A node that stays with ONNX Runtime's other providers.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Unclaimed {
    /// Its name; empty if the model gives none.
    pub name: String,
    /// Its operator.
    pub op_type: String,
    /// Why it is not claimed.
    pub reason: String,
}

/// Counts by kind of step, then by what is counted.
pub type ByKind = BTreeMap<String, BTreeMap<String, usize>>;

/// A group of nodes that becomes one.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Fused {
    /// Nodes of the graph that it stands for.
    pub nodes: usize,
    /// What it carries out: kernels and other steps, by kind.
    pub steps: BTreeMap<String, usize>,
    /// Number format of the operands of its products, by kind; `f32` where it differs from what was asked.
    pub precision: ByKind,
    /// The arithmetic of int8's linear layers with the reason for it, by shape, and how many there are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arithmetic: BTreeMap<String, usize>,
    /// The device that its products and attention are prepared for, by kind.
    pub device: ByKind,
    /// Why products and attention are the host device's though there is an NPU, by kind, and how many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on_host: ByKind,
    /// Estimated work of its products, in 10⁹ floating-point operations.
    pub gflop: f64,
    /// Estimated bytes that cross into it in a run, constants not counted.
    pub bytes_in: usize,
    /// Estimated bytes that cross out of it.
    pub bytes_out: usize,
    /// Each of its products and attentions.
    pub products: Vec<Product>,
}

/// A product, or attention, of a group: what it is computed in, and why.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Product {
    /// Name of its node; empty if the model gives none.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Number format of its operands.
    pub precision: String,
    /// Why this one.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_is_what_programs_read() {
        let text = json!({
            "ep": "XdnaExecutionProvider", "version": "0.1.0", "device": "sim", "target": "npu4", "precision": "int8", "claim": "all",
            "graphs": [{
                "name": "main", "within": "", "nodes": 4, "claimed": 3,
                "unclaimed": [{"name": "main", "op_type": "If", "reason": "control flow"}],
                "fused": [{
                    "nodes": 3, "steps": {"linear": 2}, "precision": {"linear": {"int8": 2}}, "device": {"linear": {"sim": 2}},
                    "gflop": 0.5, "bytes_in": 8, "bytes_out": 4,
                    "products": [{"name": "fc1", "kind": "linear", "precision": "int8", "reason": "asked for"}],
                }],
                "gflop_claimed": 0.5, "gflop_unclaimed": 0.0, "assumed": {"batch": 1},
            }],
        });
        let report: Report = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(report).unwrap(), text);
    }
}
