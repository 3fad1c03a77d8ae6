//! A decoder's cached keys and values that stay in the EP ([`crate::kv`]): which inputs and outputs they are, and which
//! steps read and write them in place.
//!
//! The usual graph takes a past through `Concat(past, new)` to a present that attention reads: the new entries are
//! appended and attention reads the cache. A past that anything else reads is written out for it, and a present that
//! comes about in another way is taken in whole, so that every graph is right; the usual one copies nothing.

use smallvec::SmallVec;
use undertone_kernels::host::Side;

use crate::{
    graph::{Graph, ValueId},
    kv::Slot,
    memory::Shape,
    ops::{Attention, HeadLayout, Movement, Op, ProductOp},
    program::Step,
};

/// The cached tensors of a graph.
#[derive(Clone, Debug)]
pub struct Resident {
    /// For each input of the graph whether it is a cached tensor.
    pub inputs: Vec<Option<CachedInput>>,
    /// For each value whether it is an output that stays in the EP.
    pub outputs: Vec<Option<CachedOutput>>,
    /// The values that are.
    pub values: Vec<ValueId>,
    /// The value that holds the logits.
    pub logits: Option<ValueId>,
}

/// An input that is a cached tensor.
#[derive(Clone, Copy, Debug)]
pub struct CachedInput {
    /// Which.
    pub slot: Slot,
    /// Steps read it as a plain tensor, which is written to this buffer.
    pub plain: Option<u32>,
    /// … as is found out before buffers are given out.
    pub is_plain: bool,
}

/// An output that is a cached tensor, or the logits when a choice is asked for.
#[derive(Clone, Copy, Debug)]
pub struct CachedOutput {
    /// Which; `None` for logits.
    pub slot: Option<Slot>,
    /// Its place among the outputs.
    pub output: u32,
    /// What the step that makes it appends, if that is all it does.
    pub new: Option<ValueId>,
    /// Where it lies while the run reads it.
    pub buffer: u32,
}

impl Resident {
    /// Finds the cached tensors of a graph.
    pub fn find(graph: &Graph<'_>, steps: &[Step]) -> Self {
        let mut this = Self::none(graph);
        for (input, value) in this.inputs.iter_mut().zip(&graph.inputs) {
            let past = |slot| CachedInput { slot, plain: None, is_plain: false };
            *input = Slot::of(&graph.values[*value].name).map(past);
        }
        for (output, value) in (0..).zip(&graph.outputs) {
            let name = &graph.values[*value].name;
            let slot = Slot::of(name);
            if slot.is_some() || name == "logits" {
                this.outputs[*value] = Some(CachedOutput { slot, output, new: None, buffer: 0 });
                this.values.push(*value);
            }
            if name == "logits" {
                this.logits = Some(*value);
            }
        }
        for step in steps {
            let (Op::Movement(Movement::Concat { axis: 2 | -2 }), [Some(past), Some(new)], [output]) =
                (&step.op, &step.inputs[..], &step.outputs[..])
            else {
                continue;
            };
            let slot = this.past(graph, *past).map(|past| past.slot);
            if let Some(cached) = this.outputs[*output].as_mut().filter(|cached| slot.is_some() && cached.slot == slot)
            {
                cached.new = Some(*new);
            }
        }
        // One reader that needs a plain tensor may make another need one: until nothing changes.
        while let Some(value) = this.reader_of_plain(graph, steps) {
            this.make_plain(graph, steps, value);
        }
        this
    }

    /// For a graph whose caches are always the program's.
    pub fn none(graph: &Graph<'_>) -> Self {
        let (inputs, outputs) = (vec![None; graph.inputs.len()], vec![None; graph.values.len()]);
        Self { inputs, outputs, values: Vec::new(), logits: None }
    }

    fn past<'r>(&'r self, graph: &Graph<'_>, value: ValueId) -> Option<&'r CachedInput> {
        let index = graph.inputs.iter().position(|input| *input == value)?;
        self.inputs[index].as_ref()
    }

    /// The side of a value that lies in a cache during a run.
    fn side(&self, graph: &Graph<'_>, value: ValueId) -> Option<Side> {
        let slot = match self.outputs[value] {
            Some(CachedOutput { slot: Some(slot), new: Some(_), .. }) => slot,
            _ => self.past(graph, value).filter(|past| !past.is_plain)?.slot,
        };
        Some(if slot.is_value() { Side::Values } else { Side::Keys })
    }

    /// A value in a cache that some step cannot read there.
    fn reader_of_plain(&self, graph: &Graph<'_>, steps: &[Step]) -> Option<ValueId> {
        for step in steps {
            let side = |index: usize| self.side(graph, step.input(index)?);
            for (index, value) in step.inputs.iter().enumerate() {
                let Some(value) = value.filter(|value| self.side(graph, *value).is_some()) else { continue };
                let appends = || self.outputs[step.outputs[0]].is_some_and(|cached| cached.new.is_some());
                let reads_in_place = match step.op.product() {
                    Some(ProductOp::Attention(Attention { k, v, shared_by: 1, .. })) => {
                        [*k, *v] == [HeadLayout::HeadsFirst; 2]
                            && (side(1), side(2)) == (Some(Side::Keys), Some(Side::Values))
                            && matches!(index, 1 | 2)
                    }
                    Some(ProductOp::Attention(_) | ProductOp::Linear(_) | ProductOp::Conv1d(_) | ProductOp::MatMul) => {
                        false
                    }
                    None if step.op.reads_shape_only() => true,
                    None => matches!(step.op, Op::Movement(Movement::Concat { .. })) && index == 0 && appends(),
                };
                if !reads_in_place {
                    return Some(value);
                }
            }
        }
        None
    }

    /// `value` is a plain tensor during a run; so is the past that it grew from.
    fn make_plain(&mut self, graph: &Graph<'_>, steps: &[Step], value: ValueId) {
        let grown = self.outputs[value].as_mut().and_then(|cached| cached.new.take()).is_some();
        let maker = steps.iter().find(|step| grown && step.outputs.contains(&value));
        let past = maker.and_then(|step| step.inputs[0]).unwrap_or(value);
        if let Some(index) = graph.inputs.iter().position(|input| *input == past)
            && let Some(past) = &mut self.inputs[index]
        {
            past.is_plain = true;
        }
        // A past that is plain is not appended to in place.
        for step in steps.iter().filter(|step| step.inputs.first() == Some(&Some(past))) {
            if let Some(cached) = self.outputs.get_mut(step.outputs[0]).and_then(Option::as_mut) {
                cached.new = None;
            }
        }
    }
}

/// The shape of an output of which nothing is returned: no length, or no positions.
pub fn nothing_of(shape: &Shape) -> SmallVec<[usize; 8]> {
    let mut shape: SmallVec<[usize; 8]> = shape.iter().copied().collect();
    let axis = if shape.len() == 4 { 2 } else { 1 };
    if let Some(length) = shape.get_mut(axis) {
        *length = 0;
    }
    shape
}
