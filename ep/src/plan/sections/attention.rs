//! Attention with the layers around it as one section: those that make queries, keys and values of the same rows, and
//! the one that reads the result. An NPU has its own form of what is between them.

use super::{Arranger, StepId, is_layer};
use crate::{
    graph::{DataType, ValueId},
    ops::{Attention, Causal, HeadLayout, Op},
    program::Step,
};

/// A step's result on its way to the only step that reads its elements.
struct Way {
    /// The same elements in other shapes.
    views: Vec<StepId>,
    /// What is read.
    value: ValueId,
    reader: StepId,
}

impl Arranger<'_> {
    /// The steps from three layers of the same `rows` to the layer that reads what attention makes of them, in order:
    /// what makes the sizes that views ask for, the layers of queries, keys and values, views of their results,
    /// attention, its views, and the layer. `None` if anybody else reads what is between, or there is a mask, a cache
    /// or a bias.
    pub(super) fn attended(&self, rows: ValueId, readers: &[StepId]) -> Option<Vec<StepId>> {
        let mut sizes = Vec::new();
        let ways: Option<Vec<Way>> = readers.iter().map(|reader| self.way(*reader, rows, &mut sizes)).collect();
        let ways = ways.filter(|ways| ways.len() == 3)?;
        let attention = ways[0].reader;
        let Step {
            op: Op::Attention(Attention { causal: Causal::No, appends: None, q, k, v, out, .. }), inputs, ..
        } = &self.steps[attention]
        else {
            return None;
        };
        let by_length = [q, k, v, out].into_iter().all(|layout| *layout != HeadLayout::HeadsFirst);
        if !by_length || inputs.iter().skip(3).any(Option::is_some) {
            return None;
        }
        let (mut layers, mut views) = (Vec::new(), Vec::new());
        for operand in &inputs[..3] {
            let at = ways.iter().position(|way| way.reader == attention && Some(way.value) == *operand)?;
            if self.steps[readers[at]].inputs.len() != 1 {
                return None;
            }
            layers.push(readers[at]);
            views.extend(&ways[at].views);
        }
        let behind = self.way(attention, rows, &mut sizes)?;
        let last = Some(behind.reader).filter(|reader| self.reads(*reader, behind.value))?;
        let steps = sizes.into_iter().chain(layers).chain(views).chain([attention]);
        Some(steps.chain(behind.views).chain([last]).collect())
    }

    /// Follows a step's result through views; `None` if elements are read twice, or leave the graph.
    fn way(&self, step: StepId, rows: ValueId, sizes: &mut Vec<StepId>) -> Option<Way> {
        let (mut value, mut views) = (*self.steps[step].outputs.first()?, Vec::new());
        loop {
            let reads = |step: &Step| !step.op.reads_shape_only() && step.operands().any(|read| read == value);
            let reader = self.steps.iter().position(reads).filter(|_| self.uses[value] == 1)?;
            let Step { op, inputs, outputs, .. } = &self.steps[reader];
            if is_layer(op) || !op.operator().is_view(DataType::F32, DataType::F32) {
                return Some(Way { views, value, reader });
            }
            if inputs[0] != Some(value) || !inputs[1..].iter().all(|size| self.is_of_shapes(*size, rows, sizes)) {
                return None;
            }
            views.push(reader);
            value = *outputs.first()?;
        }
    }

    /// Whether an operand is made by now, or can be made of what is and of the shape of `rows`, by steps that are noted
    /// in order.
    fn is_of_shapes(&self, operand: Option<ValueId>, rows: ValueId, makers: &mut Vec<StepId>) -> bool {
        let maker = operand.and_then(|value| self.producer[value]);
        let Some(maker) = maker.filter(|maker| !self.placed[*maker] && !makers.contains(maker)) else { return true };
        let Step { op, inputs, .. } = &self.steps[maker];
        let is_there = |operand: &Option<ValueId>| {
            let of_rows = *operand == Some(rows);
            if of_rows { op.reads_shape_only() } else { self.is_of_shapes(*operand, rows, makers) }
        };
        let all = inputs.iter().all(is_there);
        if all {
            makers.push(maker);
        }
        all
    }
}
