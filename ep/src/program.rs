//! What a graph is lowered to: steps over values, each one operation that the plan can carry out.
//!
//! A fresh program has one step for each node. Fusion replaces groups of steps by larger ones; each step keeps the
//! nodes that it stands for, so that a partition can be read off.

use undertone_kernels::Precision;

use crate::{
    graph::{Graph, NodeId, ValueId},
    ops::Op,
};

/// One operation with its operands.
#[derive(Clone, Debug)]
pub struct Step {
    pub op: Op,
    /// Operands; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Results; more than one only for operations that are never executed as they stand.
    pub outputs: Vec<ValueId>,
    /// The nodes that it stands for.
    pub nodes: Vec<NodeId>,
    /// A product that is computed in fp32, whatever precision was asked for.
    pub exact: bool,
}

/// A lowered graph.
#[derive(Clone, Debug)]
pub struct Program {
    /// In an order in which every value is made before it is read.
    pub steps: Vec<Step>,
}

impl Program {
    /// Steps whose results nobody reads are taken out; what a graph's output needs, directly or not, stays.
    pub fn without_dead_steps(mut self, graph: &Graph<'_>) -> Self {
        let mut live = vec![false; graph.values.len()];
        for output in &graph.outputs {
            live[*output] = true;
        }
        let mut kept = Vec::with_capacity(self.steps.len());
        while let Some(step) = self.steps.pop() {
            if step.outputs.iter().any(|output| live[*output]) {
                for value in step.operands() {
                    live[value] = true;
                }
                kept.push(step);
            }
        }
        kept.reverse();
        Self { steps: kept }
    }
}

impl Step {
    /// Operand `index`, if it is given.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// Every value that it reads, those inside its operation included.
    pub fn operands(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs.iter().copied().chain(self.op.operator().constants()).flatten()
    }

    /// What an error message calls it: the operator and the name of its last node.
    pub fn name(&self, graph: &Graph<'_>) -> String {
        match self.nodes.last().map(|id| &graph.nodes[*id]) {
            Some(node) if node.name.is_empty() => node.op_type.clone(),
            Some(node) => format!("{} {}", node.op_type, node.name),
            None => self.op.kind().to_owned(),
        }
    }

    /// The precision that a product of this step is computed in, of the one that was asked for.
    pub fn precision(&self, asked: Precision) -> Precision {
        if self.exact { Precision::F32 } else { asked }
    }
}
