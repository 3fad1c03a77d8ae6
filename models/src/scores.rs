//! A decoder's graph that also gives the scores of its cross-attention, made in memory from one that does not: the
//! inputs of the soft-max nodes become outputs. Weights are neither read nor copied one by one; nothing is written.

use crate::message::{Broken, all, fields, only, put, text, value};

/// Why a graph cannot give its scores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScoresError {
    /// The bytes are no ONNX graph.
    #[error("it is no whole ONNX graph; fetch it anew")]
    Broken,
    /// The attention is not written out in the graph.
    #[error(
        "it has {found} soft-max nodes, not the {expected} of a decoder of {layers} layers: its attention is fused or \
         optimised away; word times can be read from optimum's export (decoder_model.onnx), from a model that undertone \
         has converted, and from most others with --device host"
    )]
    NoScores {
        /// Soft-max nodes that there are.
        found: usize,
        /// Two for each layer.
        expected: usize,
        /// Layers of the decoder.
        layers: usize,
    },
}

impl From<Broken> for ScoresError {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

/// A graph with more outputs.
pub struct WithScores {
    /// The ONNX model.
    pub graph: Vec<u8>,
    /// For each layer the output `[batch, heads, tokens, positions]` that holds the scores of its cross-attention
    /// before the soft-max.
    pub outputs: Vec<String>,
}

/// Fields of `onnx.proto`.
mod field {
    pub const GRAPH: u64 = 7;
    pub const NODE: u64 = 1;
    pub const INITIALIZER: u64 = 5;
    pub const GRAPH_INPUT: u64 = 11;
    pub const GRAPH_OUTPUT: u64 = 12;
    pub const SPARSE_INITIALIZER: u64 = 15;
    pub const NODE_INPUT: u64 = 1;
    pub const NODE_OUTPUT: u64 = 2;
    pub const OP_TYPE: u64 = 4;
    pub const ATTRIBUTE: u64 = 5;
    pub const ATTRIBUTE_NAME: u64 = 1;
    pub const ATTRIBUTE_GRAPH: u64 = 6;
    pub const VALUE_NAME: u64 = crate::message::VALUE_NAME;
}

/// Of a decoder of `layers` layers, whose `graph` feeds a sequence from its start: `decoder_model.onnx`, or
/// `decoder_model_merged.onnx`, of which the branch without a cache is taken. Layers come in their order, and in each
/// self-attention before cross-attention, as in every export.
///
/// # Errors
/// [`ScoresError`].
pub fn with_scores(model: &[u8], layers: usize) -> Result<WithScores, ScoresError> {
    let graph = only(model, field::GRAPH)?;
    let branch = first_branch(graph)?;
    let inputs = soft_max_inputs(branch.as_ref().map_or(graph, |branch| branch.graph))?;
    if inputs.len() != 2 * layers || layers == 0 {
        return Err(ScoresError::NoScores { found: inputs.len(), expected: 2 * layers, layers });
    }
    let cross: Vec<&str> = inputs.into_iter().skip(1).step_by(2).collect();
    let mut more = Vec::new();
    for name in &cross {
        put(&mut more, field::GRAPH_OUTPUT, &value(name));
    }
    let outputs = cross.into_iter().map(str::to_owned).collect();
    let Some(branch) = branch else {
        // A message that comes twice is one message: what is repeated in it is the first's and the second's.
        let mut whole = model.to_vec();
        put(&mut whole, field::GRAPH, &more);
        return Ok(WithScores { graph: whole, outputs });
    };
    let mut whole = Vec::with_capacity(model.len());
    for part in fields(model) {
        let part = part?;
        if part.number != field::GRAPH {
            whole.extend_from_slice(part.whole);
        }
    }
    let mut merged = branch.graph.to_vec();
    merged.extend(outer(graph)?);
    merged.extend(logits(&branch)?);
    merged.extend(more);
    put(&mut whole, field::GRAPH, &merged);
    Ok(WithScores { graph: whole, outputs })
}

/// What the branch of a merged decoder reads of the graph around it: weights, and inputs that are no cache.
fn outer(graph: &[u8]) -> Result<Vec<u8>, ScoresError> {
    let mut outer = Vec::new();
    for part in fields(graph) {
        let part = part?;
        let wanted = match part.number {
            field::INITIALIZER | field::SPARSE_INITIALIZER => true,
            field::GRAPH_INPUT => {
                let name = text(only(part.content, field::VALUE_NAME)?)?;
                name != "use_cache_branch" && !name.starts_with("past_key_values")
            }
            field::NODE => op_type(part.content)? != "If",
            _ => false,
        };
        if wanted {
            outer.extend_from_slice(part.whole);
        }
    }
    Ok(outer)
}

/// The name that runs ask for.
const LOGITS: &str = "logits";

/// A branch of a merged decoder.
struct Branch<'m> {
    /// The `If` node whose it is.
    node: &'m [u8],
    graph: &'m [u8],
}

/// What gives a branch's logits their name, where the branch calls them otherwise: outputs of a branch are the node's by
/// their places alone.
fn logits(branch: &Branch<'_>) -> Result<Vec<u8>, ScoresError> {
    let mut renamed = Vec::new();
    let outputs = all(branch.node, field::NODE_OUTPUT)?;
    let Some(place) = outputs.iter().position(|name| *name == LOGITS.as_bytes()) else { return Ok(renamed) };
    let ends = all(branch.graph, field::GRAPH_OUTPUT)?;
    let own = only(ends.get(place).ok_or(ScoresError::Broken)?, field::VALUE_NAME)?;
    if own != LOGITS.as_bytes() {
        let mut node = Vec::new();
        put(&mut node, field::NODE_INPUT, own);
        put(&mut node, field::NODE_OUTPUT, LOGITS.as_bytes());
        put(&mut node, field::OP_TYPE, b"Identity");
        put(&mut renamed, field::NODE, &node);
        put(&mut renamed, field::GRAPH_OUTPUT, &value(LOGITS));
    }
    Ok(renamed)
}

/// The branch without a cache of a merged decoder; `None` for another graph.
fn first_branch(graph: &[u8]) -> Result<Option<Branch<'_>>, ScoresError> {
    for part in fields(graph) {
        let part = part?;
        if part.number != field::NODE || op_type(part.content)? != "If" {
            continue;
        }
        for attribute in fields(part.content) {
            let attribute = attribute?;
            if attribute.number == field::ATTRIBUTE
                && text(only(attribute.content, field::ATTRIBUTE_NAME)?)? == "else_branch"
            {
                let graph = only(attribute.content, field::ATTRIBUTE_GRAPH)?;
                // An `If` of another kind stands beside the attention, not around it.
                let has_attention = !soft_max_inputs(graph)?.is_empty();
                return Ok(has_attention.then_some(Branch { node: part.content, graph }));
            }
        }
    }
    Ok(None)
}

/// What the soft-max nodes of a graph read, in order.
fn soft_max_inputs(graph: &[u8]) -> Result<Vec<&str>, ScoresError> {
    let mut inputs = Vec::new();
    for part in fields(graph) {
        let part = part?;
        if part.number == field::NODE && op_type(part.content)? == "Softmax" {
            inputs.push(text(only(part.content, field::NODE_INPUT)?)?);
        }
    }
    Ok(inputs)
}

fn op_type(node: &[u8]) -> Result<&str, ScoresError> {
    Ok(text(only(node, field::OP_TYPE)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Field;
    use std::path::PathBuf;

    fn reference(name: &str) -> Vec<u8> {
        std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("reference").join(name)).unwrap()
    }

    /// Names of a graph's inputs or outputs.
    fn names(model: &[u8], number: u64) -> Vec<String> {
        let graphs = fields(model).map(Result::unwrap).filter(|field| field.number == field::GRAPH);
        let parts = graphs.flat_map(|graph| fields(graph.content).map(Result::unwrap).collect::<Vec<_>>());
        let of = |part: Field<'_>| text(only(part.content, field::VALUE_NAME).unwrap()).unwrap().to_owned();
        parts.filter(|part| part.number == number).map(of).collect()
    }

    #[test]
    fn scores_become_outputs_and_nothing_else_changes() {
        let model = reference("decoder_model.onnx");
        let layers = names(&model, field::GRAPH_OUTPUT).iter().filter(|name| name.ends_with("encoder.key")).count();
        let made = with_scores(&model, layers).unwrap();
        assert_eq!(made.outputs.len(), layers);
        assert_eq!(made.graph[..model.len()], model);
        let outputs = names(&made.graph, field::GRAPH_OUTPUT);
        assert_eq!(outputs[outputs.len() - layers..], made.outputs);
    }

    #[test]
    fn the_first_branch_of_a_merged_decoder_is_a_graph_of_its_own() {
        let model = reference("decoder_model_merged.onnx");
        let layers = with_scores(&reference("decoder_model.onnx"), 3).map_or(2, |_| 3);
        let made = with_scores(&model, layers).unwrap();
        let mut inputs = names(&made.graph, field::GRAPH_INPUT);
        inputs.sort();
        assert_eq!(inputs, ["encoder_hidden_states", "input_ids"]);
        assert!(names(&made.graph, field::GRAPH_OUTPUT).contains(&"logits".to_owned()));
        assert!(made.graph.len() < model.len());
    }

    #[test]
    fn other_graphs_are_refused() {
        let encoder = reference("encoder_model.onnx");
        assert!(matches!(with_scores(&encoder, 3), Err(ScoresError::NoScores { .. })));
        let model = reference("decoder_model.onnx");
        assert!(matches!(with_scores(&model, 9), Err(ScoresError::NoScores { expected: 18, layers: 9, .. })));
        assert!(matches!(with_scores(&model, 0), Err(ScoresError::NoScores { .. })));
        for length in (0..model.len()).step_by(100_003) {
            assert_eq!(with_scores(&model[..length], 3).err(), Some(ScoresError::Broken), "cut at {length}");
        }
    }
}
