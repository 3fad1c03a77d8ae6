//! What a comparison tells, as JSON and to the pages and tables made of it: the same graphs under several
//! configurations.
//!
//! Units: times are milliseconds, work is 10⁹ floating-point operations (a multiplication and an addition are two),
//! sizes are bytes, energy is joules. A time that was measured and one that was predicted never share a number: each
//! [`Time`] keeps them apart. Lists are referred to by index (`layer`, `node`, `operator`, `part`), from 0.
//!
//! The format only grows: a reader ignores fields that it does not know, and every field that is added later has a
//! default.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What [`Comparison::format`] says.
pub const FORMAT: &str = "undertone-comparison";
/// What [`Comparison::version`] says; it changes when a reader of the older form would misunderstand the newer.
pub const VERSION: u32 = 1;

/// One call of `undertone partition --compare`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The command's version.
    pub undertone: String,
    /// When it was made: `2026-11-28T18:00:00Z`.
    pub made: String,
    /// ONNX Runtime's version.
    pub ort: String,
    /// Where it was made.
    pub machine: Machine,
    /// What the person called the model.
    pub model: String,
    /// What the graphs were fed.
    pub input: InputSource,
    /// In the order that was asked for. Their `id`s are what [`GraphRun::configuration`] and
    /// [`Transcript::configuration`] say.
    pub configurations: Vec<Configuration>,
    /// What accuracies are measured against, for people: `cpu f32`.
    pub reference: String,
    /// The model's ONNX files, each under every configuration.
    pub graphs: Vec<GraphComparison>,
    /// The whole model's text under each configuration; empty for models that are no Whisper, or inputs that are no
    /// audio.
    pub transcripts: Vec<Transcript>,
    /// What a reader has to know about the whole: what could not be read or done, and why.
    pub notes: Vec<String>,
}

/// The machine that measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Threads that computed.
    pub threads: usize,
    /// Measured runs of each graph; one more before them warms up. Times are of their medians.
    pub runs: usize,
}

/// Where inputs come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InputSource {
    /// `audio`, `files` or `generated`; for inputs of several kinds the first of these that is among them.
    pub kind: String,
    /// For people: `the first 30 s of sample.flac`, or `generated from shapes, seed 1`.
    pub what: String,
}

/// Where and how the graphs ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// As it was asked for, whole: `cpu`, `host:int8`, `sim:npu1:int8`.
    pub id: String,
    /// `cpu` (ONNX Runtime alone), `host`, `sim`, `npu`.
    pub device: String,
    /// `npu1` or `npu4`; none for `cpu` and `host`.
    pub target: Option<String>,
    /// The precision that was asked for: `int8`, `bf16`, `f32`; `as stored` on `cpu`.
    pub precision: String,
    /// What it is, for people.
    pub about: String,
    /// Whether times of its NPU are predicted, not measured.
    pub predicted: bool,
}

/// One ONNX file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GraphComparison {
    /// `encoder`, `decoder`, …; the file's stem for a single file.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Bytes of its weights.
    pub weight_bytes: u64,
    /// What it was fed.
    pub inputs: Vec<Input>,
    /// Layers, in the order of the graph; nodes without one are in none.
    pub layers: Vec<Layer>,
    /// The nodes as they stand in the file, in its order; bodies of control flow after their node.
    pub nodes: Vec<Node>,
    /// `[from, to]`: a node that makes a tensor and one that reads it. Constants have no edges.
    pub edges: Vec<[usize; 2]>,
    /// One for each configuration, in their order.
    pub runs: Vec<GraphRun>,
}

/// An input of a graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Its name in the graph.
    pub name: String,
    /// `float32`, `int64`, …: numpy's words.
    pub dtype: String,
    /// Sizes of its axes in this comparison.
    pub shape: Vec<usize>,
    /// What it held, for people: `log-mel features`, `generated: normal, seed 1`, `zeros`.
    pub source: String,
}

/// A layer: nodes that a reader folds into one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Unique in its graph: `layers.3`.
    pub name: String,
    /// How it was found: `names` (prefixes of node names) or `structure` (cuts of the graph where one tensor alone goes
    /// on).
    pub by: String,
    /// Nodes that it holds.
    pub nodes: usize,
}

/// A node of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name; where the model gives none, the name of its first output.
    pub name: String,
    /// Its operator; of other domains than ONNX's own with the domain before it: `com.microsoft.FusedMatMul`.
    pub op_type: String,
    /// Index into [`GraphComparison::layers`].
    pub layer: Option<usize>,
    /// The node and attribute whose body it is in: `If_1.then_branch`; empty at the top.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub within: String,
}

/// One graph under one configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GraphRun {
    /// [`Configuration::id`].
    pub configuration: String,
    /// Why there is nothing else here, if it failed.
    pub failed: Option<String>,
    /// Of the whole run.
    pub totals: Totals,
    /// The fused nodes; empty on `cpu`.
    pub parts: Vec<Part>,
    /// What was carried out, in the order of the run: ONNX Runtime's own nodes, and the steps within fused nodes.
    pub operators: Vec<Operator>,
    /// For each of [`GraphComparison::nodes`] the operator that carried it out, as an index into
    /// [`GraphRun::operators`]; `None` where no operator is left of it: ONNX Runtime folded it into constants, it is in a
    /// branch that was not taken, or its result was still valid from the run before (sizes of shapes that stay).
    pub carried_out_by: Vec<Option<usize>>,
    /// Nodes that the execution provider left, with reasons; empty on `cpu`.
    pub unclaimed: Vec<Unclaimed>,
    /// One run from its beginning to its end.
    pub timeline: Timeline,
    /// Against the reference.
    pub accuracy: Accuracy,
    /// What a run took of energy.
    pub energy: Energy,
    /// What a reader has to know about this run.
    pub notes: Vec<String>,
}

/// How long something takes. What is absent was not measured, or is not predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Time {
    /// Milliseconds measured on this machine.
    pub measured_ms: Option<f64>,
    /// Milliseconds that an NPU is predicted to take. Comes on top of what was measured: on `sim` a run is what its NPU
    /// is predicted to take, and what this machine's processor was measured to take for the rest.
    pub predicted_ms: Option<f64>,
    /// Milliseconds that the simulator took in the NPU's place: the price of simulating, no speed, and part of neither
    /// of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulating_ms: Option<f64>,
}

/// Sums of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// A whole run. Where nothing is predicted, `measured_ms` is the wall clock's around the run. Where something is, it
    /// is the sum over the operators.
    pub time: Time,
    /// Fastest and slowest measured run; `None` where a part is predicted.
    pub range_ms: Option<[f64; 2]>,
    /// Runs that were measured.
    pub runs: usize,
    /// The part of `time` in operators on ONNX Runtime's CPU provider.
    pub cpu_provider: Time,
    /// The part of `time` in fused nodes.
    pub provider: Time,
    /// What is neither: ONNX Runtime between nodes.
    pub between_ms: Option<f64>,
    /// Work of all operators.
    pub gflop: f64,
    /// Work of those in fused nodes.
    pub gflop_provider: f64,
    /// Work of those on an NPU, simulated or real.
    pub gflop_npu: f64,
    /// Bytes that cross from ONNX Runtime into fused nodes, graph inputs among them, constants not.
    pub bytes_in: u64,
    /// Bytes that cross back.
    pub bytes_out: u64,
    /// Nodes of the graph that ONNX Runtime gave to its CPU provider.
    pub nodes_cpu_provider: usize,
    /// Nodes of the graph that it gave to the execution provider.
    pub nodes_provider: usize,
}

/// A fused node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its name in ONNX Runtime's own trace.
    pub name: String,
    /// Nodes of the graph that it stands for.
    pub nodes: usize,
    /// How often a run carries it out.
    pub calls: usize,
    /// All calls of a run.
    pub time: Time,
    /// Work of its operators.
    pub gflop: f64,
    /// Bytes that cross into it from ONNX Runtime in a run, constants not counted.
    pub bytes_in: u64,
    /// Bytes that cross out of it.
    pub bytes_out: u64,
}

/// What was carried out as one: a node on ONNX Runtime's CPU provider, or a section of a fused node's plan (a step, or
/// several that the device carries out together, such as q, k and v after their layer norm).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Operator {
    /// For people: the name of the most important node in it.
    pub name: String,
    /// On the CPU provider the operator (`MatMul`, `FusedConv`); in fused nodes the provider's word for what it does
    /// (`linear`, `attention`, `layer_norm`, …), several with `+` between them.
    pub kind: String,
    /// Sizes, in the form that is usual for the kind: `1500x512x2048` is rows, inputs and outputs.
    pub shape: String,
    /// Index into [`GraphComparison::layers`].
    pub layer: Option<usize>,
    /// Indices into [`GraphComparison::nodes`]: what it carries out.
    pub nodes: Vec<usize>,
    /// Index into [`GraphRun::parts`]; `None` on the CPU provider.
    pub part: Option<usize>,
    /// Where it ran: `cpu provider`, `host`, `sim`, `npu`; for a section with kernels on both an NPU and the host
    /// device, the NPU.
    pub place: String,
    /// Number format of its products' operands: `int8`, `bf16`, `f32`; empty where there are no products.
    pub precision: String,
    /// Why not the precision that was asked for, or why on the host device beside an NPU; empty where neither is so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How often in a run.
    pub calls: usize,
    /// All calls of a run.
    pub time: Time,
    /// Work of its products, convolutions and attention.
    pub gflop: f64,
    /// Bytes of the tensors that it reads, constants not counted.
    pub bytes_in: u64,
    /// Bytes of the tensors that it writes.
    pub bytes_out: u64,
    /// Bytes of weights that it reads, at their width in this configuration.
    pub bytes_weights: u64,
}

/// Nodes that the execution provider left to ONNX Runtime for the same reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unclaimed {
    /// Their operator.
    pub op_type: String,
    /// Why.
    pub reason: String,
    /// Their names.
    pub names: Vec<String>,
    /// Work that they are, where it can be told.
    pub gflop: f64,
    /// What they take on the CPU provider in this run, where ONNX Runtime's trace tells.
    pub time: Time,
}

/// One run, as it went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// `measured`: one real run, with the gaps between operators. `partly predicted`: operators laid one after another,
    /// the NPU's for as long as predicted, the others for as long as measured.
    pub kind: String,
    /// The whole of it: what is measured here was also traced, so it may be a little longer than [`Totals::time`].
    #[serde(default)]
    pub ms: f64,
    /// In the order of their beginnings.
    pub spans: Vec<Span>,
}

/// Something that went on for a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// `cpu provider`, `host`, `npu` (predicted, where [`Timeline::kind`] says so), `packing`.
    pub track: String,
    /// Index into [`GraphRun::operators`].
    pub operator: usize,
    /// Milliseconds from the run's beginning.
    pub start_ms: f64,
    /// How long.
    pub ms: f64,
    /// Whether `ms` is predicted.
    pub predicted: bool,
}

/// How far results are from the reference's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The graph's outputs.
    pub outputs: Vec<TensorAccuracy>,
    /// Tensors between layers, in the order of the graph. They are outputs of a second session, which is not timed.
    pub inner: Vec<TensorAccuracy>,
    /// Whether the second session carried out the same operators as the timed one; a word about the difference if not,
    /// or why there are no inner tensors.
    pub inner_note: String,
}

/// A tensor beside the reference's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TensorAccuracy {
    /// The tensor's name in the graph.
    pub name: String,
    /// The node that makes it, as an index into [`GraphComparison::nodes`].
    pub node: Option<usize>,
    /// The layer that it ends, or that its node is in.
    pub layer: Option<usize>,
    /// `float32`, …
    pub dtype: String,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Cosine of the angle between the two, over all elements; 1 for two that are zero. `None` where shapes differ.
    pub cosine: Option<f64>,
    /// Euclidean norm of the difference over that of the reference; `None` where only the latter is 0, too.
    pub relative_l2: Option<f64>,
    /// Largest difference of an element.
    pub largest_error: Option<f64>,
    /// Largest magnitude of the reference's elements: what [`TensorAccuracy::largest_error`] is to be seen beside.
    pub largest_value: Option<f64>,
    /// Elements that differ and are not finite in one of the two; they are left out of the numbers above.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_finite: usize,
    /// For logits: the share of rows whose largest element is the same one; `None` for other tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_largest: Option<f64>,
}

/// What a run took of energy, processor and NPU apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Joules of the processor's packages for a run, all that they did meanwhile included; `None` where it can't be
    /// read.
    pub processor_joules: Option<f64>,
    /// Joules of the NPU for a run; `None` where it can't be read.
    pub npu_joules: Option<f64>,
    /// Where it was read, or why not.
    pub note: String,
}

/// The whole model's text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// [`Configuration::id`].
    pub configuration: String,
    /// What came out.
    pub text: String,
    /// The language that was detected, or the model's.
    pub language: String,
    /// Words that differ from the reference configuration's text.
    pub errors: usize,
    /// Words of the reference configuration's text.
    pub words: usize,
    /// Mean log-probability of the tokens.
    pub mean_logprob: Option<f64>,
    /// Features, encoder and decoder; none on `sim`, whose own time is no speed.
    pub time: Time,
    /// Why there is none.
    pub failed: Option<String>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_takes_a_form_that_has_grown() {
        let time = Time { measured_ms: Some(1.5), predicted_ms: None, simulating_ms: None };
        assert_eq!(serde_json::to_string(&time).unwrap(), r#"{"measured_ms":1.5,"predicted_ms":null}"#);
        let newer = r#"{"measured_ms":null,"predicted_ms":2.5,"a field of later years":[1]}"#;
        let read: Time = serde_json::from_str(newer).unwrap();
        assert_eq!(read, Time { predicted_ms: Some(2.5), ..Time::default() });
    }
}
