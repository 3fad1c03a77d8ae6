//! Operators that stand for several: a node of theirs becomes a step for each operation that it is short for, so that
//! fusion and planning see what they see in a graph that has the operations one by one.

use std::borrow::Cow;

use super::{Lowered, Lowering, Op};
use crate::graph::{Constant, DataType, Dim, Value, ValueId};

/// Makes the operations of a node, or says why the EP does not carry it out.
pub type Apart = fn(&Lowering<'_, '_>, Parts) -> Lowered<Parts>;

/// What a node becomes: operations in order, and the values between them, which the graph does not have.
#[derive(Debug)]
pub struct Parts {
    /// The first new value's place in the graph.
    first: ValueId,
    /// The new values.
    pub values: Vec<Value<'static>>,
    /// Each operation with its operands and its result.
    pub steps: Vec<(Op, Vec<Option<ValueId>>, ValueId)>,
}

impl Parts {
    /// Nothing yet; new values come behind the `first` values that the graph has.
    pub fn new(first: ValueId) -> Self {
        Self { first, values: Vec::new(), steps: Vec::new() }
    }

    /// A new value of this type and shape, if they are known.
    pub fn value(&mut self, dtype: Option<DataType>, shape: Option<Vec<Dim>>) -> ValueId {
        let id = self.first + self.values.len();
        self.values.push(Value { name: format!("between #{id}"), dtype, shape, ..Value::default() });
        id
    }

    /// A new constant of one fp32 entry.
    pub fn constant(&mut self, entry: f32) -> ValueId {
        self.fixed(DataType::F32, Vec::new(), entry.to_ne_bytes().to_vec())
    }

    /// A new constant of int64 entries, of a shape.
    pub fn integers(&mut self, entries: &[i64], shape: &[usize]) -> ValueId {
        self.fixed(DataType::I64, shape.to_vec(), bytemuck::cast_slice(entries).to_vec())
    }

    fn fixed(&mut self, dtype: DataType, shape: Vec<usize>, bytes: Vec<u8>) -> ValueId {
        let id = self.value(Some(dtype), Some(shape.iter().copied().map(Dim::Fixed).collect()));
        self.values[id - self.first].constant = Some(Constant::new(dtype, shape, Cow::Owned(bytes)));
        id
    }

    /// An operation that makes `output` of its operands.
    pub fn step(&mut self, op: Op, inputs: impl IntoIterator<Item = Option<ValueId>>, output: ValueId) {
        let mut inputs: Vec<_> = inputs.into_iter().collect();
        inputs.truncate(inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
        self.steps.push((op, inputs, output));
    }
}
