//! A node that becomes an operation: what a family's lowering functions ask of it.

use super::{Role, role};
use crate::{
    graph::{DataType, Dim, Graph, Node, ValueId},
    memory::MAX_RANK,
};

/// What a lowering function gives, or the reason why the EP leaves a node alone.
pub type Lowered<T> = Result<T, String>;

/// A node that is being lowered.
pub struct Lowering<'g, 'a> {
    graph: &'g Graph<'a>,
    pub node: &'g Node<'a>,
    pub inputs: Vec<Option<ValueId>>,
}

impl<'g, 'a> Lowering<'g, 'a> {
    /// A node whose constants can be read, and whose values have no more axes than plans take. An error if it is not
    /// so.
    pub fn new(graph: &'g Graph<'a>, node: &'g Node<'a>) -> Lowered<Self> {
        let operands = node.inputs.iter().flatten().map(|value| &graph.values[*value]);
        if let Some((value, reason)) = operands.filter_map(|value| Some((value, value.unreadable.as_ref()?))).next() {
            return Err(format!("constant {} cannot be read: {reason}", value.name));
        }
        let values = node.outputs.iter().chain(&node.inputs).flatten();
        let mut shapes = values.filter_map(|value| graph.values[*value].shape.as_ref());
        if let Some(shape) = shapes.find(|shape| shape.len() > MAX_RANK) {
            return Err(format!("{} with {} axes; plans take up to {MAX_RANK}", node.op_type, shape.len()));
        }
        Ok(Self { graph, node, inputs: node.used_inputs().to_vec() })
    }

    /// Operand `index`, if it is given.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.node.inputs.get(index).copied().flatten()
    }

    /// Result `index`, if it is wanted.
    pub fn output(&self, index: usize) -> Option<ValueId> {
        self.node.outputs.get(index).copied().flatten()
    }

    /// Whether operand `index` is what a product makes.
    pub fn is_of_product(&self, index: usize) -> bool {
        let value = self.input(index);
        let maker = self.graph.nodes.iter().find(|node| value.is_some() && node.outputs.contains(&value));
        maker.is_some_and(|maker| role(maker) == Role::Product)
    }

    /// The element type of operand `index`, if it is known.
    pub fn dtype(&self, index: usize) -> Option<DataType> {
        self.input(index).and_then(|value| self.graph.values[value].dtype)
    }

    /// The declared shape of operand `index`.
    pub fn dims(&self, index: usize) -> Option<&'g [Dim]> {
        self.graph.values[self.input(index)?].shape.as_deref()
    }

    /// Number of axes of operand `index`, if it is known.
    pub fn rank(&self, index: usize) -> Option<usize> {
        self.dims(index).map(<[Dim]>::len)
    }

    /// The shape of operand `index`, if it is a constant.
    pub fn constant_shape(&self, index: usize) -> Option<&'g [usize]> {
        self.graph.values[self.input(index)?].constant.as_ref().map(|constant| constant.shape.as_slice())
    }

    /// Whether an axis is the last of the first operand.
    pub fn is_last_axis(&self, axis: i64) -> bool {
        axis == -1 || self.rank(0).is_some_and(|rank| axis == rank as i64 - 1)
    }

    /// The step's operands are these of the node, in this order; without this, all of them.
    pub fn reads(&mut self, indices: &[usize]) {
        self.inputs = indices.iter().map(|index| self.input(*index)).collect();
        self.inputs.truncate(self.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
    }

    /// The first operand is a floating-point tensor that the plan computes in fp32. An error if it is not.
    pub fn floats(&self) -> Lowered<()> {
        match self.dtype(0) {
            Some(DataType::F32 | DataType::F16) => Ok(()),
            other => Err(format!("{} on {}", self.node.op_type, name(other))),
        }
    }

    /// Operand `index` is of a type whose elements the plan moves. An error if it is not.
    pub fn movable(&self, index: usize) -> Lowered<()> {
        match self.dtype(index) {
            Some(
                DataType::F32
                | DataType::F16
                | DataType::I64
                | DataType::I32
                | DataType::Bool
                | DataType::U8
                | DataType::I8,
            ) => Ok(()),
            other => Err(format!("{} on {}", self.node.op_type, name(other))),
        }
    }

    /// The first operand can be moved, and those after it are int64: shapes, axes, bounds. The first `least` of all are
    /// given. An error if it is not so.
    pub fn shaped(&self, least: usize) -> Lowered<()> {
        self.movable(0)?;
        if (1..least).any(|index| self.input(index).is_none()) {
            // Older versions of an operator have attributes in their place.
            let Node { op_type, since_version, .. } = self.node;
            return Err(format!("{op_type} as opset {since_version} has it, with attributes for operands"));
        }
        let mut others = (1..self.node.inputs.len()).filter(|index| self.input(*index).is_some());
        match others.find(|index| self.dtype(*index) != Some(DataType::I64)) {
            None => Ok(()),
            Some(index) => Err(format!("{} with operand {index} of {}", self.node.op_type, name(self.dtype(index)))),
        }
    }

    /// Both operands are of one type. ONNX has operators, such as Pow, that also take two. An error if they are not.
    pub fn alike(&self) -> Lowered<()> {
        match (self.dtype(0), self.dtype(1)) {
            (a, b) if a == b => Ok(()),
            (a, b) => Err(format!("{} on {} and {}", self.node.op_type, name(a), name(b))),
        }
    }
}

/// What a reason calls an element type.
pub fn name(dtype: Option<DataType>) -> String {
    dtype.map_or_else(|| "an element type that the EP does not know".into(), |dtype| dtype.to_string())
}
