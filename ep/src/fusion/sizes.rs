//! What is known, when a graph is fused, of a shape that is computed in it: which of its entries are constants, and which
//! are axes of other values.

use super::Fusion;
use crate::{
    graph::{DataType, Dim, ValueId},
    ops::{Movement, Op, Sizes, View},
};

/// An entry of a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A constant: a size, or what [`View::Reshape`] takes for 0 and −1.
    Known(i64),
    /// The size of an axis of a value.
    Axis(ValueId, usize),
}

impl Entry {
    /// Whether it is surely the size of an axis of `value`.
    pub fn is(&self, fusion: &Fusion<'_, '_>, value: ValueId, axis: usize) -> bool {
        match self {
            Entry::Axis(of, at) if (*of, *at) == (value, axis) => true,
            Entry::Axis(of, at) => match (fusion.dim(*of, *at), fusion.dim(value, axis)) {
                (Some(Dim::Unknown), _) | (None, _) => false,
                (a, b) => a == b,
            },
            Entry::Known(size) => fusion.fixed(value, axis).is_some_and(|fixed| *size > 0 && fixed as i64 == *size),
        }
    }
}

impl Fusion<'_, '_> {
    /// What the graph tells of an axis.
    fn dim(&self, value: ValueId, axis: usize) -> Option<&Dim> {
        self.graph.values[value].shape.as_ref()?.get(axis)
    }

    /// The size of an axis, if the graph tells it.
    pub fn fixed(&self, value: ValueId, axis: usize) -> Option<usize> {
        match self.dim(value, axis) {
            Some(Dim::Fixed(size)) => Some(*size),
            _ => None,
        }
    }
}

/// The entries of a shape, or of one number, in order; `None` where they are computed in another way than exporters do.
pub fn entries(fusion: &Fusion<'_, '_>, shape: ValueId) -> Option<Vec<Entry>> {
    if fusion.graph.values[shape].constant.is_some() {
        return Some(integers(fusion, shape)?.into_iter().map(Entry::Known).collect());
    }
    let (_, step) = fusion.maker(shape)?;
    let operand = |index: usize| step.input(index);
    match &step.op {
        Op::Sizes(Sizes::Shape { start, end }) => {
            let value = operand(0)?;
            let axes = bounds(fusion.rank(value)?, *start, end.unwrap_or(i64::MAX));
            Some(axes.map(|axis| Entry::Axis(value, axis)).collect())
        }
        Op::Movement(Movement::Concat { .. }) => {
            let parts = step.inputs.iter().flatten().map(|part| entries(fusion, *part));
            Some(parts.collect::<Option<Vec<_>>>()?.concat())
        }
        Op::Movement(Movement::Slice) => {
            let [start, end] = [1, 2].map(|index| one(fusion, operand(index)?));
            let is = |index: usize, value: i64| operand(index).is_none_or(|at| one(fusion, at) == Some(value));
            let whole = entries(fusion, operand(0)?).filter(|_| is(3, 0) && is(4, 1))?;
            Some(whole[bounds(whole.len(), start?, end?)].to_vec())
        }
        Op::Movement(Movement::Gather { axis: 0 }) => {
            let (whole, at) = (entries(fusion, operand(0)?)?, one(fusion, operand(1)?)?);
            let at = if at < 0 { at + whole.len() as i64 } else { at };
            Some(vec![whole.get(usize::try_from(at).ok()?)?.clone()])
        }
        Op::View(View::Unsqueeze | View::Squeeze | View::Reshape { .. } | View::Identity) => {
            entries(fusion, operand(0)?).filter(|entries| entries.len() == 1)
        }
        _ => None,
    }
}

/// The last entry of a shape, whatever those before it are.
pub fn last_entry(fusion: &Fusion<'_, '_>, shape: ValueId) -> Option<Entry> {
    let joined = fusion.maker(shape).filter(|(_, step)| matches!(step.op, Op::Movement(Movement::Concat { .. })));
    match joined {
        Some((_, step)) => last_entry(fusion, step.inputs.last().copied().flatten()?),
        None => entries(fusion, shape)?.pop(),
    }
}

/// The places from `start` to `end`, which may be counted from the end, of a list.
fn bounds(length: usize, start: i64, end: i64) -> std::ops::Range<usize> {
    let from_front = |at: i64| (if at < 0 { at.saturating_add(length as i64) } else { at }).clamp(0, length as i64);
    let (start, end) = (from_front(start) as usize, from_front(end) as usize);
    start..end.max(start)
}

/// The only entry of a constant.
fn one(fusion: &Fusion<'_, '_>, value: ValueId) -> Option<i64> {
    match integers(fusion, value)?[..] {
        [entry] => Some(entry),
        _ => None,
    }
}

fn integers(fusion: &Fusion<'_, '_>, value: ValueId) -> Option<Vec<i64>> {
    let constant = fusion.graph.values[value].constant.as_ref()?;
    let is_whole = constant.dtype == DataType::I64 && constant.bytes.len() == constant.size();
    let chunks = constant.bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok());
    is_whole.then(|| chunks.map(i64::from_ne_bytes).collect())
}
