//! From ONNX's nodes to a program's steps, one by one, or the reason why a node is not claimed. What becomes of an
//! operator is in its family's file of [`crate::ops`].

use std::borrow::Cow;

use crate::{
    graph::{Graph, Node, NodeId, ValueId},
    ops::{self, Lowered, Lowering, Op, Parts, Unsupported},
    program::{Program, Step},
};

/// One step for each node of `graph`. Nodes that stand for several operations are left.
pub fn lower(graph: &Graph<'_>) -> Program {
    let steps = graph.nodes.iter().enumerate().map(|(id, node)| step(graph, id, node));
    Program { steps: steps.collect() }
}

/// A step for each operation that a node of `graph` is or stands for; and the graph, with the values between the
/// operations of one node.
pub fn lower_in_parts<'g, 'a>(graph: &'g Graph<'a>) -> (Cow<'g, Graph<'a>>, Program) {
    let mut whole = Cow::Borrowed(graph);
    let mut steps = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.nodes.iter().enumerate() {
        let Some(apart) = ops::apart(node) else {
            steps.push(step(graph, id, node));
            continue;
        };
        match Lowering::new(graph, node).and_then(|node| apart(&node, Parts::new(whole.values.len()))) {
            Ok(parts) => {
                whole.to_mut().values.extend(parts.values);
                let made = parts.steps.into_iter();
                steps.extend(made.map(|(op, inputs, output)| Step {
                    op,
                    inputs,
                    outputs: vec![output],
                    nodes: vec![id],
                    exact: node.exact,
                }));
            }
            Err(reason) => steps.push(unsupported(id, node, reason)),
        }
    }
    (whole, Program { steps })
}

fn step(graph: &Graph<'_>, id: NodeId, node: &Node<'_>) -> Step {
    match operation(graph, node) {
        Ok((op, inputs)) => Step { op, inputs, outputs: outputs(node), nodes: vec![id], exact: node.exact },
        Err(reason) => unsupported(id, node, reason),
    }
}

fn unsupported(id: NodeId, node: &Node<'_>, reason: String) -> Step {
    let op = Op::Unsupported(Unsupported { reason, role: ops::role(node) });
    let inputs = node.used_inputs().to_vec();
    Step { op, inputs, outputs: outputs(node), nodes: vec![id], exact: node.exact }
}

fn outputs(node: &Node<'_>) -> Vec<ValueId> {
    node.outputs.iter().flatten().copied().collect()
}

/// A node's operation, and the operands that it reads.
fn operation(graph: &Graph<'_>, node: &Node<'_>) -> Lowered<(Op, Vec<Option<ValueId>>)> {
    let Node { domain, op_type, .. } = node;
    let lower = ops::registered(node).ok_or_else(|| match domain.as_str() {
        _ if ops::apart(node).is_some() => format!("{op_type} stands for several operations, taken with claim=all"),
        "" | "ai.onnx" => format!("operator {op_type} is not one that the EP knows"),
        _ => format!("operator {domain}.{op_type} is not one that the EP knows"),
    })?;
    let mut lowering = Lowering::new(graph, node)?;
    let op = lower(&mut lowering)?;
    debug_assert_eq!(op.role(), ops::role(node), "{op_type}");
    let given = node.outputs.iter().flatten().count();
    if !op.can_have_results(given) {
        return Err(format!("{op_type} with {given} results"));
    }
    Ok((op, lowering.inputs))
}
