//! Attention with the layers around it as one section: those that make queries, keys and values of the same rows, and
//! the one that reads the result. An NPU has its own form of what is between them.

use super::{Arranger, StepId, is_layer};
use crate::{
    graph::{DataType, ValueId},
    ops::{Attention, HeadLayout, Op},
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
    /// The steps from three layers of the same rows to the layer that reads what attention makes of them, in order:
    /// the layers of queries, keys and values, views of their results, attention, its views, and the layer. `None` if
    /// anybody else reads what is between, or there is a mask, a cache or a bias.
    pub(super) fn attended(&self, readers: &[StepId]) -> Option<Vec<StepId>> {
        let ways: Vec<Way> = readers.iter().map(|reader| self.way(*reader)).collect::<Option<_>>()?;
        let attention = ways.first()?.reader;
        let Step { op: Op::Attention(Attention { causal: false, appends: None, q, k, v, out, .. }), inputs, .. } =
            &self.steps[attention]
        else {
            return None;
        };
        let by_length = [q, k, v, out].into_iter().all(|layout| *layout != HeadLayout::HeadsFirst);
        if readers.len() != 3 || !by_length || inputs.iter().skip(3).any(Option::is_some) {
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
        let behind = self.way(attention)?;
        let last = Some(behind.reader).filter(|reader| self.reads(*reader, behind.value))?;
        Some(layers.into_iter().chain(views).chain([attention]).chain(behind.views).chain([last]).collect())
    }

    /// Follows a step's result through views; `None` if elements are read twice, or leave the graph.
    fn way(&self, step: StepId) -> Option<Way> {
        let (mut value, mut views) = (*self.steps[step].outputs.first()?, Vec::new());
        loop {
            let reads = |step: &Step| !step.op.reads_shape_only() && step.operands().any(|read| read == value);
            let reader = self.steps.iter().position(reads).filter(|_| self.uses[value] == 1)?;
            let Step { op, inputs, outputs, .. } = &self.steps[reader];
            if is_layer(op) || !op.operator().is_view(DataType::F32, DataType::F32) {
                return Some(Way { views, value, reader });
            }
            if inputs[0] != Some(value) || !inputs[1..].iter().all(|operand| self.is_ready(*operand)) {
                return None;
            }
            views.push(reader);
            value = *outputs.first()?;
        }
    }
}
