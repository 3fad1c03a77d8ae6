//! ONNX Runtime's own trace of a session: which nodes it carried out in each run, when, for how long, and with tensors
//! of which sizes.

use serde_json::Value;

/// One run of the session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Microseconds from the trace's beginning.
    pub start: f64,
    /// Microseconds.
    pub duration: f64,
    /// In the order of their beginnings.
    pub nodes: Vec<Node>,
}

/// A node that was carried out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name in the graph as ONNX Runtime optimised it.
    pub name: String,
    /// Its operator; of a fused node the provider's name for it.
    pub op_type: String,
    /// The provider that carried it out.
    pub provider: String,
    /// Microseconds from the run's beginning.
    pub start: f64,
    /// Microseconds, without those of nodes in its bodies.
    pub duration: f64,
    /// The tensors that it reads. Weights that ONNX Runtime has packed are not among them.
    pub inputs: Vec<Tensor>,
    /// The tensors that it makes.
    pub outputs: Vec<Tensor>,
    /// Bytes of what it reads, constants not counted.
    pub bytes_in: u64,
    /// Bytes of what it makes.
    pub bytes_out: u64,
}

/// A tensor's type and size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    /// ONNX Runtime's word: `float`, `int64`, …
    pub dtype: String,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
}

impl Tensor {
    /// How many elements it has.
    pub fn elements(&self) -> f64 {
        self.shape.iter().map(|size| *size as f64).product()
    }
}

/// What ONNX Runtime appends to a node's name for the time in its kernel.
const KERNEL: &str = "_kernel_time";

/// All runs of a trace, in their order.
///
/// # Errors
/// That the text is no trace.
pub fn runs(text: &str) -> Result<Vec<Run>, String> {
    let events: Vec<Value> = serde_json::from_str(text).map_err(|error| format!("no trace: {error}"))?;
    let number = |event: &Value, key: &str| event[key].as_f64().unwrap_or(0.0);
    let mut runs: Vec<Run> = events
        .iter()
        .filter(|event| event["name"] == "model_run")
        .map(|event| Run { start: number(event, "ts"), duration: number(event, "dur"), nodes: Vec::new() })
        .collect();
    runs.sort_by(|a, b| a.start.total_cmp(&b.start));
    for event in &events {
        let Some(name) = event["name"].as_str().and_then(|name| name.strip_suffix(KERNEL)) else { continue };
        let start = number(event, "ts");
        let Some(run) = runs.iter_mut().rev().find(|run| run.start <= start) else { continue };
        let (arguments, text) = (&event["args"], |value: &Value| value.as_str().unwrap_or_default().to_owned());
        let bytes = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        run.nodes.push(Node {
            name: name.to_owned(),
            op_type: text(&arguments["op_name"]),
            provider: text(&arguments["provider"]),
            start: start - run.start,
            duration: number(event, "dur"),
            inputs: tensors(&arguments["input_type_shape"]),
            outputs: tensors(&arguments["output_type_shape"]),
            bytes_in: bytes(&arguments["activation_size"]),
            bytes_out: bytes(&arguments["output_size"]),
        });
    }
    for run in &mut runs {
        // What is longer comes first: a body's node may begin in the same microsecond as the node around it.
        run.nodes.sort_by(|a, b| a.start.total_cmp(&b.start).then(b.duration.total_cmp(&a.duration)));
        leave_out_bodies(&mut run.nodes);
    }
    Ok(runs)
}

/// Takes the time of nodes in the bodies of others off those others' time.
fn leave_out_bodies(nodes: &mut [Node]) {
    let ends: Vec<f64> = nodes.iter().map(|node| node.start + node.duration).collect();
    let mut around: Vec<usize> = Vec::new();
    for at in 0..nodes.len() {
        while around.last().is_some_and(|outer| ends[*outer] < ends[at] || ends[*outer] <= nodes[at].start) {
            around.pop();
        }
        if let Some(outer) = around.last() {
            let inner = ends[at] - nodes[at].start;
            nodes[*outer].duration = (nodes[*outer].duration - inner).max(0.0);
        }
        if matches!(nodes[at].op_type.as_str(), "If" | "Loop" | "Scan") {
            around.push(at);
        }
    }
}

/// `[{"float": [1, 80]}, {"int64": []}]`.
fn tensors(list: &Value) -> Vec<Tensor> {
    let tensor = |entry: &Value| {
        let (dtype, shape) = entry.as_object()?.iter().next()?;
        let size = |size: &Value| size.as_u64().map(|size| size as usize);
        Some(Tensor { dtype: dtype.clone(), shape: shape.as_array()?.iter().filter_map(size).collect() })
    };
    list.as_array().into_iter().flatten().filter_map(tensor).collect()
}

/// Floating-point operations of a node's products (a multiplication and an addition are two); 0 for what has none, or
/// whose sizes the trace does not tell. `weights` are the sizes of the constants that it reads, in their order.
pub fn flops(node: &Node, weights: &[Vec<usize>]) -> f64 {
    let (Some(result), Some(first)) = (node.outputs.first(), node.inputs.first()) else { return 0.0 };
    let product = |shape: &[usize]| shape.iter().map(|size| *size as f64).product::<f64>();
    let weight = |at: usize| {
        let told = node.inputs.get(at).map(|tensor| tensor.shape.clone());
        weights.first().cloned().filter(|shape| shape.len() > 1).or(told).unwrap_or_default()
    };
    let width = result.shape.last().copied().unwrap_or(1).max(1) as f64;
    match node.op_type.as_str() {
        // The first operand has as many rows as the result, whichever way it lies.
        "MatMul"
        | "FusedMatMul"
        | "TransposeMatMul"
        | "Gemm"
        | "FusedGemm"
        | "MatMulInteger"
        | "MatMulNBits"
        | "MatMulIntegerToFloat"
        | "DynamicQuantizeMatMul"
        | "QLinearMatMul"
        | "QGemm" => 2.0 * first.elements() * width,
        "Conv" | "FusedConv" | "NhwcFusedConv" | "ConvInteger" | "QLinearConv" => {
            let weight = weight(if node.op_type == "QLinearConv" { 3 } else { 1 });
            let outputs = weight.first().copied().unwrap_or(1).max(1) as f64;
            2.0 * result.elements() * product(&weight) / outputs
        }
        "ConvTranspose" => {
            let weight = weight(1);
            let inputs = weight.first().copied().unwrap_or(1).max(1) as f64;
            2.0 * first.elements() * product(&weight) / inputs
        }
        "LSTM" | "GRU" | "RNN" | "DynamicQuantizeLSTM" => {
            let steps: f64 = first.shape.iter().take(2).map(|size| *size as f64).product();
            2.0 * steps * weights.iter().filter(|shape| shape.len() == 3).map(|shape| product(shape)).sum::<f64>()
        }
        // Queries [batch, queries, width] over keys of as much width.
        "MultiHeadAttention" | "DecoderMaskedMultiHeadAttention" => {
            let keys =
                node.inputs.get(1).map_or(0.0, |keys| keys.elements() / keys.shape.first().map_or(1.0, |b| *b as f64));
            let key_width = first.shape.last().copied().unwrap_or(1).max(1) as f64;
            4.0 * first.elements() * keys / key_width
        }
        "Attention" => {
            let [_, rows, ..] = first.shape[..] else { return 0.0 };
            let outputs = weights.first().and_then(|shape| shape.last()).map_or(0.0, |size| *size as f64);
            2.0 * first.elements() * outputs + 4.0 * result.elements() * rows as f64
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = r#"[
        {"cat": "Session", "dur": 900, "ts": 3, "ph": "X", "name": "session_initialization", "args": {}},
        {"cat": "Node", "dur": 50, "ts": 1010, "name": "/a/MatMul_kernel_time", "args": {"op_name": "MatMul",
            "provider": "CPUExecutionProvider", "activation_size": "24", "output_size": "40",
            "input_type_shape": [{"float": [1, 2, 3]}], "output_type_shape": [{"float": [1, 2, 5]}]}},
        {"cat": "Node", "dur": 30, "ts": 1065, "name": "inner_kernel_time", "args": {"op_name": "Add"}},
        {"cat": "Node", "dur": 40, "ts": 1062, "name": "If_kernel_time", "args": {"op_name": "If"}},
        {"cat": "Session", "dur": 120, "ts": 1000, "name": "model_run", "args": {}},
        {"cat": "Node", "dur": 7, "ts": 2001, "name": "/a/MatMul_kernel_time", "args": {"op_name": "MatMul"}},
        {"cat": "Session", "dur": 10, "ts": 2000, "name": "model_run", "args": {}}]"#;

    #[test]
    fn nodes_belong_to_their_runs_and_bodies_are_not_counted_twice() {
        let runs = runs(TRACE).unwrap();
        let node = |run: usize, at: usize| {
            let node = &runs[run].nodes[at];
            (node.name.as_str(), node.start, node.duration)
        };
        assert_eq!((runs.len(), runs[0].duration), (2, 120.0));
        assert_eq!(node(0, 0), ("/a/MatMul", 10.0, 50.0));
        assert_eq!((node(0, 1), node(0, 2)), (("If", 62.0, 10.0), ("inner", 65.0, 30.0)));
        assert_eq!(node(1, 0), ("/a/MatMul", 1.0, 7.0));
        let matmul = &runs[0].nodes[0];
        assert_eq!((matmul.bytes_in, matmul.bytes_out, matmul.inputs.len()), (24, 40, 1));
        assert_eq!(flops(matmul, &[vec![3, 5]]), 60.0);
        assert!(super::runs("{").is_err());
    }

    #[test]
    fn work_is_that_of_the_loops() {
        let tensor = |shape: &[usize]| Tensor { dtype: "float".into(), shape: shape.to_vec() };
        let node = |op_type: &str, input: &[usize], output: &[usize]| Node {
            op_type: op_type.into(),
            inputs: vec![tensor(input)],
            outputs: vec![tensor(output)],
            ..Node::default()
        };
        // For each of 2 × 7 × 7 results, 3 channels of 3 × 3.
        assert_eq!(flops(&node("Conv", &[1, 3, 9, 9], &[1, 2, 7, 7]), &[vec![2, 3, 3, 3], vec![2]]), 2.0 * 98.0 * 27.0);
        // Groups: each result sees one channel.
        assert_eq!(flops(&node("Conv", &[1, 4, 9, 9], &[1, 4, 7, 7]), &[vec![4, 1, 3, 3]]), 2.0 * 196.0 * 9.0);
        // Transposed: [3, 2] has 2 rows.
        assert_eq!(flops(&node("Gemm", &[3, 2], &[2, 5]), &[]), 60.0);
        assert_eq!(
            flops(&node("LSTM", &[6, 1, 4], &[6, 1, 1, 8]), &[vec![1, 32, 4], vec![1, 32, 8], vec![1, 64]]),
            2.0 * 6.0 * 32.0 * 12.0
        );
        assert_eq!(flops(&node("Add", &[3], &[3]), &[]), 0.0);
    }
}
