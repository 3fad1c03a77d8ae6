//! From ONNX's nodes to a program's steps, one by one, or the reason why a node is not claimed. What becomes of an
//! operator is in its family's file of [`crate::ops`].

use crate::{
    graph::{Graph, Node, NodeId},
    ops::{self, Lowered, Lowering, Op, Unsupported},
    program::{Program, Step},
};

/// One step for each node of `graph`.
pub fn lower(graph: &Graph<'_>) -> Program {
    let steps = graph.nodes.iter().enumerate().map(|(id, node)| step(graph, id, node));
    Program { steps: steps.collect() }
}

fn step(graph: &Graph<'_>, id: NodeId, node: &Node<'_>) -> Step {
    let (op, inputs) = operation(graph, node).unwrap_or_else(|reason| {
        let unsupported = Unsupported { reason, role: ops::role(node) };
        (Op::Unsupported(unsupported), node.used_inputs().to_vec())
    });
    let outputs = node.outputs.iter().flatten().copied().collect();
    Step { op, inputs, outputs, nodes: vec![id], exact: node.exact }
}

/// A node's operation, and the operands that it reads.
fn operation(graph: &Graph<'_>, node: &Node<'_>) -> Lowered<(Op, Vec<Option<crate::graph::ValueId>>)> {
    let Node { domain, op_type, .. } = node;
    let lower = ops::registered(node).ok_or_else(|| match domain.as_str() {
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
