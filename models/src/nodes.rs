//! The nodes of any ONNX graph and what they read and make, without its weights; and the same graph with more of its
//! tensors as outputs, made in memory.

use std::collections::{BTreeMap, HashMap};

use crate::message::{Broken, all, fields, put, text, value, varint};

/// The bytes are no ONNX graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no whole ONNX graph; fetch it anew")]
pub struct NoGraph;

impl From<Broken> for NoGraph {
    fn from(_: Broken) -> Self {
        Self
    }
}

/// A graph's nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes {
    /// In the order of the file; the nodes of a body of control flow come after the node whose it is.
    pub nodes: Vec<Node>,
    /// `[from, to]`: a node that makes a tensor and one that reads it, each pair once. Bodies read what is made around
    /// them.
    pub edges: Vec<[usize; 2]>,
    /// Constants of the main graph by name.
    pub constants: BTreeMap<String, Constant>,
    /// Bytes of all constants, those of bodies too.
    pub constant_bytes: u64,
    /// The main graph's inputs that are no constants.
    pub inputs: Vec<String>,
    /// The main graph's outputs.
    pub outputs: Vec<String>,
}

/// A constant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constant {
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Bytes of its elements; 0 for texts.
    pub bytes: u64,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Empty where the model gives none.
    pub name: String,
    /// Its operator.
    pub op_type: String,
    /// Whose operator that is; empty for ONNX's own.
    pub domain: String,
    /// What it reads; empty where an optional one is left out.
    pub inputs: Vec<String>,
    /// What it makes.
    pub outputs: Vec<String>,
    /// The node and attribute whose body it is in; empty in the main graph.
    pub within: String,
}

impl Node {
    /// Its name; where the model gives none, the name of its first output.
    pub fn label(&self) -> &str {
        let made = || self.outputs.iter().find(|output| !output.is_empty()).map_or("", String::as_str);
        if self.name.is_empty() { made() } else { &self.name }
    }
}

/// Bodies within bodies that are followed; no exporter writes more than three.
const DEEPEST: usize = 32;

/// Reads a model.
///
/// # Errors
/// [`NoGraph`].
pub fn nodes(model: &[u8]) -> Result<Nodes, NoGraph> {
    let mut found = Nodes::default();
    let graphs = all(model, GRAPH)?;
    if graphs.is_empty() {
        return Err(NoGraph);
    }
    // A message that comes twice is one message.
    let whole = graphs.concat();
    let graph = if let [one] = graphs[..] { one } else { &whole };
    let mut made = HashMap::new();
    read_graph(graph, "", &mut made, &mut found, 0)?;
    for part in fields(graph) {
        let part = part?;
        match part.number {
            GRAPH_INPUT => found.inputs.push(name_of(part.content)?),
            GRAPH_OUTPUT => found.outputs.push(name_of(part.content)?),
            _ => {}
        }
    }
    let Nodes { inputs, constants, .. } = &mut found;
    inputs.retain(|input| !constants.contains_key(input));
    Ok(found)
}

/// The model with more outputs: tensors of its main graph. What is an output already is not one twice.
///
/// # Errors
/// [`NoGraph`].
pub fn with_outputs(model: &[u8], names: &[String]) -> Result<Vec<u8>, NoGraph> {
    let already = nodes(model)?.outputs;
    let mut more = Vec::new();
    for name in names.iter().filter(|name| !already.contains(name)) {
        put(&mut more, GRAPH_OUTPUT, &value(name));
    }
    let mut whole = Vec::with_capacity(model.len() + more.len() + 16);
    whole.extend_from_slice(model);
    // A message that comes twice is one message: what is repeated in it is the first's and the second's.
    put(&mut whole, GRAPH, &more);
    Ok(whole)
}

/// The model with a name for each node that has none, that of its first output; `None` where all have one.
///
/// # Errors
/// [`NoGraph`].
pub fn with_names(model: &[u8]) -> Result<Option<Vec<u8>>, NoGraph> {
    if nodes(model)?.nodes.iter().all(|node| !node.name.is_empty()) {
        return Ok(None);
    }
    let mut whole = Vec::with_capacity(model.len() + model.len() / 8);
    for part in fields(model) {
        let part = part?;
        match part.number {
            GRAPH => put(&mut whole, GRAPH, &named_graph(part.content, 0)?),
            _ => whole.extend_from_slice(part.whole),
        }
    }
    Ok(Some(whole))
}

fn named_graph(graph: &[u8], depth: usize) -> Result<Vec<u8>, Broken> {
    if depth > DEEPEST {
        return Err(Broken);
    }
    let mut whole = Vec::with_capacity(graph.len() + graph.len() / 8);
    for part in fields(graph) {
        let part = part?;
        match part.number {
            NODE => put(&mut whole, NODE, &named_node(part.content, depth)?),
            _ => whole.extend_from_slice(part.whole),
        }
    }
    Ok(whole)
}

fn named_node(node: &[u8], depth: usize) -> Result<Vec<u8>, Broken> {
    let (mut whole, mut name, mut output) = (Vec::with_capacity(node.len() + 32), &[][..], &[][..]);
    for part in fields(node) {
        let part = part?;
        match part.number {
            NODE_NAME => name = part.content,
            NODE_OUTPUT if output.is_empty() => output = part.content,
            _ => {}
        }
        match (part.number, body(part.content)) {
            (NODE_ATTRIBUTE, Ok(Some(_))) => {
                let mut attribute = Vec::with_capacity(part.content.len());
                for part in fields(part.content) {
                    let part = part?;
                    match part.number {
                        ATTRIBUTE_GRAPH => put(&mut attribute, ATTRIBUTE_GRAPH, &named_graph(part.content, depth + 1)?),
                        _ => attribute.extend_from_slice(part.whole),
                    }
                }
                put(&mut whole, NODE_ATTRIBUTE, &attribute);
            }
            _ => whole.extend_from_slice(part.whole),
        }
    }
    if name.is_empty() {
        put(&mut whole, NODE_NAME, output);
    }
    Ok(whole)
}

/// Adds the nodes of a graph. `made` tells which node makes each tensor that can be seen here.
fn read_graph(
    graph: &[u8],
    within: &str,
    made: &mut HashMap<String, usize>,
    found: &mut Nodes,
    depth: usize,
) -> Result<(), Broken> {
    if depth > DEEPEST {
        return Err(Broken);
    }
    for part in fields(graph) {
        let part = part?;
        match part.number {
            NODE => read_node(part.content, within, made, found, depth)?,
            INITIALIZER => {
                let (name, constant) = constant(part.content)?;
                found.constant_bytes += constant.bytes;
                if within.is_empty() {
                    found.constants.insert(name, constant);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_node(
    content: &[u8],
    within: &str,
    made: &mut HashMap<String, usize>,
    found: &mut Nodes,
    depth: usize,
) -> Result<(), Broken> {
    let mut node = Node { within: within.to_owned(), ..Node::default() };
    let mut bodies = Vec::new();
    for part in fields(content) {
        let part = part?;
        let words = || text(part.content).map(str::to_owned);
        match part.number {
            NODE_INPUT => node.inputs.push(words()?),
            NODE_OUTPUT => node.outputs.push(words()?),
            NODE_NAME => node.name = words()?,
            NODE_OP_TYPE => node.op_type = words()?,
            NODE_DOMAIN => node.domain = words()?,
            NODE_ATTRIBUTE => bodies.extend(body(part.content)?),
            _ => {}
        }
    }
    let at = found.nodes.len();
    let mut from: Vec<usize> = node.inputs.iter().filter_map(|input| made.get(input)).copied().collect();
    from.sort_unstable();
    from.dedup();
    found.edges.extend(from.into_iter().map(|from| [from, at]));
    let label = node.label().to_owned();
    let outputs = node.outputs.clone();
    found.nodes.push(node);
    for (attribute, graph) in bodies {
        // What a body makes is seen in it alone.
        let mut inner = made.clone();
        read_graph(graph, &format!("{label}.{attribute}"), &mut inner, found, depth + 1)?;
    }
    made.extend(outputs.into_iter().filter(|output| !output.is_empty()).map(|output| (output, at)));
    Ok(())
}

/// The graph that an attribute holds, with the attribute's name.
fn body(attribute: &[u8]) -> Result<Option<(String, &[u8])>, Broken> {
    let (mut name, mut graph) = (String::new(), None);
    for part in fields(attribute) {
        let part = part?;
        match part.number {
            ATTRIBUTE_NAME => name = text(part.content)?.to_owned(),
            ATTRIBUTE_GRAPH => graph = Some(part.content),
            _ => {}
        }
    }
    Ok(graph.map(|graph| (name, graph)))
}

fn name_of(value: &[u8]) -> Result<String, Broken> {
    crate::message::only(value, crate::message::VALUE_NAME).and_then(text).map(str::to_owned)
}

/// A constant with its name.
fn constant(tensor: &[u8]) -> Result<(String, Constant), Broken> {
    let (mut name, mut shape, mut element) = (String::new(), Vec::new(), 0);
    for part in fields(tensor) {
        let part = part?;
        match part.number {
            TENSOR_DIMS if part.content.is_empty() => shape.push(part.value as usize),
            TENSOR_DIMS => {
                let mut packed = part.content;
                while !packed.is_empty() {
                    shape.push(varint(&mut packed).ok_or(Broken)? as usize);
                }
            }
            TENSOR_TYPE => element = part.value,
            TENSOR_NAME => name = text(part.content)?.to_owned(),
            _ => {}
        }
    }
    let elements = shape.iter().fold(1_u64, |product, size| product.saturating_mul(*size as u64));
    Ok((name, Constant { shape, bytes: elements.saturating_mul(bits(element)).div_ceil(8) }))
}

/// Bits of an element, by the number of its type in `onnx.proto`; 0 for texts.
fn bits(element: u64) -> u64 {
    match element {
        2 | 3 | 9 | 17..=20 => 8,
        4 | 5 | 10 | 16 => 16,
        1 | 6 | 12 => 32,
        7 | 11 | 13 | 14 => 64,
        15 => 128,
        21 | 22 => 4,
        _ => 0,
    }
}

// Numbers of fields in `onnx.proto`.
const GRAPH: u64 = 7;
const NODE: u64 = 1;
const INITIALIZER: u64 = 5;
const GRAPH_INPUT: u64 = 11;
const GRAPH_OUTPUT: u64 = 12;
const NODE_INPUT: u64 = 1;
const NODE_OUTPUT: u64 = 2;
const NODE_NAME: u64 = 3;
const NODE_OP_TYPE: u64 = 4;
const NODE_ATTRIBUTE: u64 = 5;
const NODE_DOMAIN: u64 = 7;
const ATTRIBUTE_NAME: u64 = 1;
const ATTRIBUTE_GRAPH: u64 = 6;
const TENSOR_DIMS: u64 = 1;
const TENSOR_TYPE: u64 = 2;
const TENSOR_NAME: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(name: &str) -> Vec<u8> {
        std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("reference").join(name)).unwrap()
    }

    #[test]
    fn every_tensor_that_is_read_is_made_before_or_is_given() {
        for name in ["encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"] {
            let found = nodes(&reference(name)).unwrap();
            let mut known: Vec<&str> = found.inputs.iter().chain(found.constants.keys()).map(String::as_str).collect();
            for (at, node) in found.nodes.iter().enumerate() {
                for input in node.inputs.iter().filter(|input| !input.is_empty()) {
                    assert!(known.contains(&input.as_str()), "{name}: {input}");
                    let maker = found.nodes[..at].iter().position(|other| other.outputs.contains(input));
                    assert_eq!(maker.is_some(), maker.is_some_and(|from| found.edges.contains(&[from, at])));
                }
                known.extend(node.outputs.iter().map(String::as_str));
            }
            assert!(found.outputs.iter().all(|output| known.contains(&output.as_str())), "{name}");
            assert!(found.edges.iter().all(|[from, to]| from < to), "{name}");
            // The reference model's weights lie in its files.
            let file = reference(name).len() as u64;
            assert!((file / 2..=file).contains(&found.constant_bytes), "{name}: {} of {file}", found.constant_bytes);
        }
    }

    #[test]
    fn bodies_see_what_is_made_around_them_and_not_each_other() {
        let found = nodes(&reference("decoder_model_merged.onnx")).unwrap();
        let branches: Vec<&str> =
            found.nodes.iter().map(|node| node.within.as_str()).filter(|w| !w.is_empty()).collect();
        let (first, last) = (branches[0], branches[branches.len() - 1]);
        assert!(first != last && first.contains("branch") && last.contains("branch"), "{first} {last}");
        for [from, to] in &found.edges {
            let (from, to) = (&found.nodes[*from].within, &found.nodes[*to].within);
            assert!(from.is_empty() || from == to, "{from} → {to}");
        }
    }

    #[test]
    fn nodes_without_a_name_get_that_of_their_output() {
        let model = reference("decoder_model_merged.onnx");
        assert_eq!(with_names(&model), Ok(None));
        // The same with every name taken out.
        fn nameless(message: &[u8], level: u8) -> Vec<u8> {
            let mut whole = Vec::new();
            for part in fields(message) {
                let part = part.unwrap();
                match (level, part.number) {
                    (0, GRAPH) => put(&mut whole, GRAPH, &nameless(part.content, 1)),
                    (1, NODE) => put(&mut whole, NODE, &nameless(part.content, 2)),
                    (2, NODE_NAME) => {}
                    (2, NODE_ATTRIBUTE) => put(&mut whole, NODE_ATTRIBUTE, &nameless(part.content, 3)),
                    (3, ATTRIBUTE_GRAPH) => put(&mut whole, ATTRIBUTE_GRAPH, &nameless(part.content, 1)),
                    _ => whole.extend_from_slice(part.whole),
                }
            }
            whole
        }
        let nameless = nameless(&model, 0);
        let labels = |model: &[u8]| {
            let found = nodes(model).unwrap();
            (found.nodes.iter().map(|node| node.label().to_owned()).collect::<Vec<_>>(), found.edges)
        };
        let named = with_names(&nameless).unwrap().unwrap();
        assert!(nodes(&nameless).unwrap().nodes.iter().all(|node| node.name.is_empty()));
        assert!(nodes(&named).unwrap().nodes.iter().all(|node| !node.name.is_empty()));
        assert_eq!(labels(&named), labels(&nameless));
    }

    #[test]
    fn outputs_are_added_once() {
        let model = reference("encoder_model.onnx");
        let found = nodes(&model).unwrap();
        let inner = found.nodes[3].outputs[0].clone();
        let more = [inner.clone(), found.outputs[0].clone()];
        let made = nodes(&with_outputs(&model, &more).unwrap()).unwrap();
        assert_eq!(made.outputs, [found.outputs[0].clone(), inner]);
        assert_eq!((made.nodes, made.edges), (found.nodes, found.edges));
        assert_eq!(nodes(b"no graph"), Err(NoGraph));
        assert_eq!(nodes(&model[..model.len() / 2]), Err(NoGraph));
    }
}
