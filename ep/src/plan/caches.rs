//! What a run does with the key-value caches that stay in the EP: results are taken in, new entries are appended, and
//! the choice that was asked for is answered.

use undertone_kernels::{
    Context, Heads, Precision,
    host::{HostDevice, KvCache, Side},
};

use super::{
    machine::Machine,
    resident::{CachedOutput, Resident},
};
use crate::{
    graph::ValueId,
    kv::{KvState, Slot},
    memory::Shape,
};

/// How a session keeps its caches.
#[derive(Clone, Copy, Debug)]
pub struct Caches {
    /// The device whose attention reads them.
    pub host: HostDevice,
    /// Number format of the entries.
    pub precision: Precision,
}

impl Caches {
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
        let cache = entry.get_or_insert_with(|| self.host.cache(side, self.precision, heads, width));
        cache.clear();
        cache
    }

    /// Takes a tensor that was made into its cache, if it is a cached one. One of no length, which a branch gives for
    /// what it has not changed, leaves the cache as it is. An error if it is not `[batch, heads, length, width]`.
    pub fn take_in(
        self,
        machine: &mut Machine<'_, '_>,
        output: ValueId,
        context: &mut Context<'_>,
    ) -> Result<(), String> {
        let Some(CachedOutput { slot: Some(slot), .. }) = machine.cached_output(output) else { return Ok(()) };
        let values = &mut machine.values;
        let [batch, heads, length, width] = values.shape(output)[..] else {
            return Err(format!("a cached tensor of {:?}, not [batch, heads, length, width]", values.shape(output)));
        };
        let Some(state) = values.take_state_if(|_| length > 0) else { return Ok(()) };
        let taken = values.data(output).map(|data| {
            let entries = dense(data, [batch, heads, length, width]);
            self.begin(state, slot, heads, width).append(context, batch, length, entries);
        });
        values.give_state(state);
        taken
    }

    /// Answers the choice that was asked for, if one was, from each batch item's last position. An error if the logits
    /// have another number of rows than were asked for, or there are none.
    pub fn choose(
        self,
        machine: &mut Machine<'_, '_>,
        resident: &Resident,
        context: &mut Context<'_>,
    ) -> Result<(), String> {
        let Some(state) = machine.values.take_state_if(KvState::is_asked) else { return Ok(()) };
        let answered = self.answer(machine, state, resident, context);
        machine.values.give_state(state);
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
        let [batch, positions, vocabulary] = machine.values.shape(value)[..] else {
            return Err(format!("logits of {:?}", machine.values.shape(value)));
        };
        let logits: &[f32] = machine.values.data(value)?;
        if positions == 1 {
            return state.answer(self.host, context, batch, logits);
        }
        let last = |row: usize| &logits[((row + 1) * positions - 1) * vocabulary..][..vocabulary];
        let rows: Vec<f32> = (0..batch).filter(|_| positions > 0).flat_map(last).copied().collect();
        state.answer(self.host, context, batch, &rows)
    }
}

/// Makes `output` by appending to its cache, if that is how it comes about. `false` if its step is to be carried out.
/// An error if the new entries do not fit the cache.
pub fn append(machine: &mut Machine<'_, '_>, output: ValueId, context: &mut Context<'_>) -> Result<bool, String> {
    let Some(CachedOutput { slot: Some(slot), new: Some(new), .. }) = machine.cached_output(output) else {
        return Ok(false);
    };
    let values = &mut machine.values;
    let new_shape = *values.shape(new);
    let Some(state) = values.take_state_if(|_| true) else { return Ok(false) };
    let appended = (|| {
        let cache = state.entry(slot).as_mut().ok_or("its cache is empty")?;
        let [batch, heads, length, width] = cache.shape();
        match new_shape[..] {
            [b, h, n, w] if (b, h, w) == (batch, heads, width) => {
                cache.append(context, b, n, dense(values.data(new)?, [b, h, n, w]));
                Ok([batch, heads, length + n, width])
            }
            _ => Err(format!("{new_shape:?} is appended to a cache of {:?}", cache.shape())),
        }
    })();
    values.give_state(state);
    let shape = Shape::new(&appended?).ok_or("four axes are too many")?;
    machine.place_cached(output, slot, shape);
    Ok(true)
}

/// `[batch, heads, length, width]`, row-major.
fn dense(data: &[f32], [_, heads, length, width]: [usize; 4]) -> Heads<'_> {
    Heads { data, batch_stride: heads * length * width, head_stride: length * width, row_stride: width }
}
