//! Where a graph's layers are, and at which tensors accuracies are measured within it.

use std::collections::{BTreeMap, HashMap};

use undertone_models::nodes::{Node, Nodes};

use super::report::{self, Layer};

/// Most tensors within a graph that are compared.
const MOST_INNER: usize = 64;
/// A tensor with as many readers goes to every layer (a mask, positions): it is no layer's end.
const MANY_READERS: usize = 4;

/// The layers, and for each node which one it is in.
pub fn layers(graph: &Nodes) -> (Vec<Layer>, Vec<Option<usize>>) {
    let named: Vec<Option<String>> = graph.nodes.iter().map(|node| layer_in(node.label())).collect();
    let found = collected(&named, "names");
    if found.0.len() > 1 {
        return found;
    }
    // Nodes up to and with one that ends a layer.
    let ends: Vec<usize> = cuts(graph).into_iter().filter(|at| is_residual(graph, &data(graph), *at)).collect();
    if ends.len() < 2 {
        return (Vec::new(), vec![None; graph.nodes.len()]);
    }
    let layer_of = |at: usize| {
        let before = ends.iter().filter(|end| **end < at).count();
        (before < ends.len()).then(|| format!("block.{before}"))
    };
    let blocks: Vec<Option<String>> = (0..graph.nodes.len()).map(layer_of).collect();
    collected(&blocks, "structure")
}

/// Layers by their names, in the order of their first nodes.
fn collected(names: &[Option<String>], by: &str) -> (Vec<Layer>, Vec<Option<usize>>) {
    let mut layers: Vec<Layer> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut layer_of = Vec::with_capacity(names.len());
    for name in names {
        layer_of.push(name.as_deref().map(|name| {
            let at = *places.entry(name).or_insert_with(|| {
                layers.push(Layer { name: name.to_owned(), by: by.to_owned(), nodes: 0 });
                layers.len() - 1
            });
            layers[at].nodes += 1;
            at
        }));
    }
    // `/model/encoder/layers.0` is `layers.0` where nothing else is.
    let short: Vec<&str> = layers.iter().map(|layer| layer.name.rsplit('/').next().unwrap_or_default()).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    short.iter().for_each(|name| *counts.entry(name).or_default() += 1);
    if counts.values().all(|count| *count == 1) {
        let short: Vec<String> = short.into_iter().map(str::to_owned).collect();
        layers.iter_mut().zip(short).for_each(|(layer, name)| layer.name = name);
    }
    (layers, layer_of)
}

/// The part of a node's name that names a layer: `/model/layers.3/fc1/MatMul` is in `model/layers.3`.
pub fn layer_in(name: &str) -> Option<String> {
    let mut before = Vec::new();
    for part in name.split('/').filter(|part| !part.is_empty()) {
        let (word, number) = part.rsplit_once('.').unwrap_or((part, ""));
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && word.bytes().any(|byte| byte.is_ascii_alphabetic()) {
            before.push(part);
            return Some(before.join("/"));
        }
        // torch writes `layers/layers.0`.
        if !name.contains(&format!("/{part}/{part}.")) {
            before.push(part);
        }
    }
    None
}

/// The tensors within a graph at which accuracies are measured: those through which all goes on, and which some
/// arithmetic has made. Each with the node that makes it.
pub fn inner(graph: &Nodes) -> Vec<(String, usize)> {
    let data = data(graph);
    let is_worth = |node: &Node| {
        let with_constant = node.inputs.iter().filter(|input| data.contains_key(input.as_str())).count() < 2;
        match node.op_type.as_str() {
            "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "Flatten" | "Identity" | "Cast" | "Slice"
            | "Dropout" | "Expand" | "Gather" | "Shape" | "Pad" | "Split" => false,
            // What follows is often computed together with them.
            "MatMul" | "Gemm" | "Conv" | "ConvTranspose" | "MatMulNBits" | "MatMulInteger" => false,
            "Add" | "Sub" | "Mul" | "Div" | "Pow" => !with_constant,
            _ => true,
        }
    };
    let outputs = |at: &usize| graph.outputs.iter().any(|output| graph.nodes[*at].outputs.first() == Some(output));
    let mut ends: Vec<usize> =
        cuts(graph).into_iter().filter(|at| is_worth(&graph.nodes[*at]) && !outputs(at)).collect();
    if ends.len() > MOST_INNER {
        let residual: Vec<usize> = ends.iter().copied().filter(|at| is_residual(graph, &data, *at)).collect();
        let step = ends.len().div_ceil(MOST_INNER);
        let fits = (2..=MOST_INNER).contains(&residual.len());
        ends = if fits { residual } else { ends.into_iter().step_by(step).collect() };
    }
    ends.into_iter().map(|at| (graph.nodes[at].outputs[0].clone(), at)).collect()
}

/// Tensors that hold values that follow from the graph's inputs, not sizes; with the number of their readers.
fn data(graph: &Nodes) -> HashMap<&str, usize> {
    let mut data: HashMap<&str, usize> = graph.inputs.iter().map(|input| (input.as_str(), 0)).collect();
    for node in &graph.nodes {
        let mut reads = false;
        for input in &node.inputs {
            if let Some(readers) = data.get_mut(input.as_str()) {
                *readers += 1;
                reads = true;
            }
        }
        if reads && !matches!(node.op_type.as_str(), "Shape" | "Size" | "ConstantOfShape") {
            node.outputs.iter().filter(|output| !output.is_empty()).for_each(|output| {
                data.insert(output, 0);
            });
        }
    }
    data
}

/// Nodes of the main graph after which one tensor alone, beside inputs and what goes to every layer, is still to be
/// read: the one that they make.
fn cuts(graph: &Nodes) -> Vec<usize> {
    let data = data(graph);
    let mut last_read: HashMap<&str, usize> = HashMap::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|input| {
            last_read.insert(input, at);
        });
    }
    let mut live: Vec<(&str, usize)> = Vec::new();
    let mut found = Vec::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        live.retain(|(_, last)| *last > at);
        for output in &node.outputs {
            let readers = data.get(output.as_str()).copied();
            if let (Some(last), Some(readers)) = (last_read.get(output.as_str()), readers)
                && readers < MANY_READERS
            {
                live.push((output, *last));
            }
        }
        let own = node.outputs.first().map(String::as_str);
        if node.within.is_empty() && live.len() == 1 && own == live.first().map(|(name, _)| *name) {
            found.push(at);
        }
    }
    found
}

/// Whether a node adds two tensors: the end of a block with a way around it.
fn is_residual(graph: &Nodes, data: &HashMap<&str, usize>, at: usize) -> bool {
    let node = &graph.nodes[at];
    let adds = matches!(node.op_type.as_str(), "Add" | "Sum" | "SkipLayerNormalization");
    adds && node.inputs.iter().filter(|input| data.contains_key(input.as_str())).count() > 1
}

/// The nodes for the report.
pub fn nodes(graph: &Nodes, layer_of: &[Option<usize>]) -> Vec<report::Node> {
    let node = |(node, layer): (&Node, &Option<usize>)| report::Node {
        name: node.label().to_owned(),
        op_type: if matches!(node.domain.as_str(), "" | "ai.onnx") {
            node.op_type.clone()
        } else {
            format!("{}.{}", node.domain, node.op_type)
        },
        layer: *layer,
        within: node.within.clone(),
    };
    graph.nodes.iter().zip(layer_of).map(node).collect()
}

#[cfg(test)]
mod tests {
    use undertone_models::nodes::nodes;

    use super::*;

    fn reference(name: &str) -> Nodes {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/reference").join(name);
        nodes(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn layers_are_read_from_names() {
        assert_eq!(layer_in("/layers.3/fc1/MatMul").as_deref(), Some("layers.3"));
        assert_eq!(layer_in("/model/encoder/layers.0/self_attn/MatMul_1").as_deref(), Some("model/encoder/layers.0"));
        assert_eq!(layer_in("/bert/layers/layers.11/Add").as_deref(), Some("bert/layers.11"));
        assert_eq!((layer_in("/conv1/Conv"), layer_in("MatMul_12"), layer_in("")), (None, None, None));
        let graph = reference("encoder_model.onnx");
        let (layers, layer_of) = layers(&graph);
        let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["layers.0", "layers.1", "layers.2"]);
        let counted = |at| layer_of.iter().filter(|layer| **layer == Some(at)).count();
        assert!(layers.iter().enumerate().all(|(at, layer)| layer.nodes == counted(at) && layer.by == "names"));
    }

    #[test]
    fn without_names_the_ways_around_a_block_tell() {
        let mut graph = reference("encoder_model.onnx");
        for (at, node) in graph.nodes.iter_mut().enumerate() {
            node.name = format!("node_{at}");
        }
        let (layers, layer_of) = layers(&graph);
        // Attention and the layers behind it, in each of three.
        assert_eq!(layers.len(), 6);
        assert!(layers.iter().all(|layer| layer.by == "structure"));
        let numbers: Vec<usize> = layer_of.into_iter().flatten().collect();
        assert!(numbers.is_sorted());
    }

    #[test]
    fn between_layers_one_tensor_goes_on() {
        for name in ["encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"] {
            let graph = reference(name);
            let inner = inner(&graph);
            let data = data(&graph);
            let ends: Vec<usize> =
                inner.iter().map(|(_, at)| *at).filter(|at| is_residual(&graph, &data, *at)).collect();
            let sums = if name.starts_with("encoder") { 6 } else { 9 };
            assert_eq!(ends.len(), sums, "{name}: {inner:?}");
            // The slow way: with the tensor taken away, nothing after it follows from the graph's first input.
            let named = |name: &str| name.ends_with("input_ids") || name.ends_with("features");
            for end in ends {
                let mut reached: Vec<&str> =
                    graph.inputs.iter().map(String::as_str).filter(|name| named(name)).collect();
                for (at, node) in graph.nodes.iter().enumerate() {
                    let shapes = matches!(node.op_type.as_str(), "Shape" | "ConstantOfShape");
                    let reads = node.inputs.iter().any(|input| reached.contains(&input.as_str()));
                    if at != end && reads && !shapes {
                        reached.extend(node.outputs.iter().map(String::as_str));
                    }
                }
                let (outputs, values) = (&graph.outputs[0], &reached);
                assert!(!values.contains(&outputs.as_str()), "{name}: {outputs} does not need {end}");
            }
        }
    }
}
