//! A decoder's cached keys and values that stay in the EP ([`crate::kv`]): which inputs and outputs they are, and which
//! steps read and write them in place.
//!
//! The usual graph takes a past through `Concat(past, new)` to a present that attention reads: the new entries are
//! appended and attention reads the cache. A past that anything else reads is written out for it, and a present that
//! comes about in another way is taken in whole, so that every graph is right; the usual one copies nothing.

use smallvec::SmallVec;
use undertone_kernels::{
    Context, Heads, Precision,
    host::{Isa, KvCache, Side},
};

use super::{machine::Machine, tensor::Shape};
use crate::{
    graph::{Graph, ValueId},
    kv::{KvState, Slot},
    ops::{Attention, HeadLayout, Movement, Op},
    program::Step,
};

/// The cached tensors of a graph.
#[derive(Clone, Debug)]
pub struct Resident {
    /// For each input of the graph whether it is a cached tensor.
    pub inputs: Vec<Option<Past>>,
    /// For each value whether it is kept.
    pub kept: Vec<Option<Kept>>,
    /// The values that are.
    pub outputs: Vec<ValueId>,
    /// The value that holds the logits.
    pub logits: Option<ValueId>,
}

/// An input that is a cached tensor.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// Which.
    pub slot: Slot,
    /// Steps read it as a plain tensor, which is written to this buffer.
    pub plain: Option<u32>,
    /// … as is found out before buffers are given out.
    pub is_plain: bool,
}

/// An output that is a cached tensor, or the logits when a choice is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
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
            let past = |slot| Past { slot, plain: None, is_plain: false };
            *input = Slot::of(&graph.values[*value].name).map(past);
        }
        for (output, value) in (0..).zip(&graph.outputs) {
            let name = &graph.values[*value].name;
            let slot = Slot::of(name);
            if slot.is_some() || name == "logits" {
                this.kept[*value] = Some(Kept { slot, output, new: None, buffer: 0 });
                this.outputs.push(*value);
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
            if let Some(kept) = this.kept[*output].as_mut().filter(|kept| slot.is_some() && kept.slot == slot) {
                kept.new = Some(*new);
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
        let (inputs, kept) = (vec![None; graph.inputs.len()], vec![None; graph.values.len()]);
        Self { inputs, kept, outputs: Vec::new(), logits: None }
    }

    fn past<'r>(&'r self, graph: &Graph<'_>, value: ValueId) -> Option<&'r Past> {
        let index = graph.inputs.iter().position(|input| *input == value)?;
        self.inputs[index].as_ref()
    }

    /// The side of a value that lies in a cache during a run.
    fn side(&self, graph: &Graph<'_>, value: ValueId) -> Option<Side> {
        let slot = match self.kept[value] {
            Some(Kept { slot: Some(slot), new: Some(_), .. }) => slot,
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
                let reads_in_place = match &step.op {
                    op if op.reads_shape_only() => true,
                    Op::Attention(Attention { k: HeadLayout::HeadsFirst, v: HeadLayout::HeadsFirst, .. }) => {
                        (side(1), side(2)) == (Some(Side::Keys), Some(Side::Values)) && matches!(index, 1 | 2)
                    }
                    Op::Movement(Movement::Concat { .. }) => {
                        index == 0 && self.kept[step.outputs[0]].is_some_and(|kept| kept.new.is_some())
                    }
                    _ => false,
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
        let grown = self.kept[value].as_mut().and_then(|kept| kept.new.take()).is_some();
        let maker = steps.iter().find(|step| grown && step.outputs.contains(&value));
        let past = maker.and_then(|step| step.inputs[0]).unwrap_or(value);
        if let Some(index) = graph.inputs.iter().position(|input| *input == past)
            && let Some(past) = &mut self.inputs[index]
        {
            past.is_plain = true;
        }
        // A past that is plain is not appended to in place.
        for step in steps.iter().filter(|step| step.inputs.first() == Some(&Some(past))) {
            if let Some(kept) = self.kept.get_mut(step.outputs[0]).and_then(Option::as_mut) {
                kept.new = None;
            }
        }
    }
}

/// How a session keeps its caches.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// Whose vectors attention over them uses.
    pub isa: Isa,
    /// Number format of the entries.
    pub precision: Precision,
}

impl Keeping {
    /// The cache of a slot, made where there is none of this kind, and empty.
    fn begin(self, state: &mut KvState, slot: Slot, heads: usize, width: usize) -> &mut KvCache {
        let side = if slot.is_value() { Side::Values } else { Side::Keys };
        let entry = state.entry(slot);
        let fits = |cache: &KvCache| {
            let [_, h, _, w] = cache.shape();
            (h, w, cache.precision()) == (heads, width, self.precision)
        };
        if !entry.as_ref().is_some_and(fits) {
            *entry = None;
        }
        let cache = entry.get_or_insert_with(|| KvCache::new(self.isa, side, self.precision, heads, width));
        cache.clear();
        cache
    }

    /// Takes a tensor that was made into its cache, if it is a cached one. One of no length, which a branch gives for
    /// what it has not changed, leaves the cache as it is.
    ///
    /// # Errors
    /// If it is not `[batch, heads, length, width]`.
    pub fn keep(self, machine: &mut Machine<'_, '_>, output: ValueId, context: &mut Context<'_>) -> Result<(), String> {
        let Some(Kept { slot: Some(slot), .. }) = machine.kept(output) else { return Ok(()) };
        let [batch, heads, length, width] = machine.shape(output)[..] else {
            return Err(format!("a cached tensor of {:?}, not [batch, heads, length, width]", machine.shape(output)));
        };
        let Some(state) = machine.take_state_if(|_| length > 0) else { return Ok(()) };
        let kept = machine.data(output).map(|data| {
            let entries = dense(data, [batch, heads, length, width]);
            self.begin(state, slot, heads, width).append(context, batch, length, entries);
        });
        machine.give_state(state);
        kept
    }

    /// Answers the choice that was asked for, if one was, from each batch item's last position.
    ///
    /// # Errors
    /// If the logits have another number of rows than were asked for, or there are none.
    pub fn choose(
        self,
        machine: &mut Machine<'_, '_>,
        resident: &Resident,
        context: &mut Context<'_>,
    ) -> Result<(), String> {
        let Some(state) = machine.take_state_if(KvState::is_asked) else { return Ok(()) };
        let answered = self.answer(machine, state, resident, context);
        machine.give_state(state);
        answered
    }

    fn answer(
        self,
        machine: &Machine<'_, '_>,
        state: &mut KvState,
        resident: &Resident,
        context: &mut Context<'_>,
    ) -> Result<(), String> {
        let value = resident.logits.ok_or("a choice was asked for, but the graph has no output logits")?;
        let [batch, positions, vocabulary] = machine.shape(value)[..] else {
            return Err(format!("logits of {:?}", machine.shape(value)));
        };
        let logits: &[f32] = machine.data(value)?;
        if positions == 1 {
            return state.answer(self.isa, context, batch, logits);
        }
        let last = |row: usize| &logits[((row + 1) * positions - 1) * vocabulary..][..vocabulary];
        let rows: Vec<f32> = (0..batch).filter(|_| positions > 0).flat_map(last).copied().collect();
        state.answer(self.isa, context, batch, &rows)
    }
}

/// Makes `output` by appending to its cache, if that is how it comes about. `false` if its step is to be carried out.
///
/// # Errors
/// If the new entries do not fit the cache.
pub fn append(machine: &mut Machine<'_, '_>, output: ValueId, context: &mut Context<'_>) -> Result<bool, String> {
    let Some(Kept { slot: Some(slot), new: Some(new), .. }) = machine.kept(output) else { return Ok(false) };
    let new_shape = *machine.shape(new);
    let Some(state) = machine.take_state_if(|_| true) else { return Ok(false) };
    let appended = (|| {
        let cache = state.entry(slot).as_mut().ok_or("its cache is empty")?;
        let [batch, heads, length, width] = cache.shape();
        match new_shape[..] {
            [b, h, n, w] if (b, h, w) == (batch, heads, width) => {
                cache.append(context, b, n, dense(machine.data(new)?, [b, h, n, w]));
                Ok([batch, heads, length + n, width])
            }
            _ => Err(format!("{new_shape:?} is appended to a cache of {:?}", cache.shape())),
        }
    })();
    machine.give_state(state);
    let shape = Shape::new(&appended?).ok_or("four axes are too many")?;
    machine.place_cached(output, slot, shape);
    Ok(true)
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

/// `[batch, heads, length, width]`, row-major.
fn dense(data: &[f32], [_, heads, length, width]: [usize; 4]) -> Heads<'_> {
    Heads { data, batch_stride: heads * length * width, head_stride: length * width, row_stride: width }
}
