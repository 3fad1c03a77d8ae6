//! What sessions of one process share: the device, packed weights and large constants, found again by their contents.
//!
//! The decoder's first-step graph and the one with a cache hold the same weights under other names; so do sessions of
//! the same model. Whoever comes second gets what the first one packed. Nothing is kept alive by this alone. Where
//! packed weights come from, if not from a graph's constants, is not known here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;
use undertone_kernels::{
    Blob, BlockForm, Conv1d, Conv1dSpec, Device, Linear, LinearSpec, Unfit,
    host::HostDevice,
    npu::{OpenNpu, PlacedDevice},
};

use super::stored::Stored;
use crate::{error::PlanError, graph::Constant};

/// Constants below this many bytes are copied without looking for an equal one.
pub const WORTH_SHARING: usize = 64 << 10;

/// Identity of contents: 128 bits of a hash, with everything else that makes two packed forms differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WeightKey {
    /// Hash of the constants' sizes and digests.
    contents: u128,
    /// Spec, shape, type: whatever else matters, in words.
    form: String,
}

impl WeightKey {
    /// The key of some constants in a form.
    pub fn new(parts: &[&Constant<'_>], form: String) -> Self {
        let mut hasher = XxHash3_128::new();
        for part in parts {
            hasher.write(&(part.size() as u64).to_ne_bytes());
            hasher.write(&part.digest().to_ne_bytes());
        }
        Self { contents: hasher.finish_128(), form }
    }
}

/// For each key what was made of it, locked while it is made: a second session that wants the same weights waits for
/// them instead of packing them too, and other weights are packed beside them.
type Cache<T> = Mutex<HashMap<WeightKey, Arc<Mutex<Weak<T>>>>>;

/// A packed kernel of which sessions share one: unsized inside, so that it can be held weakly.
pub type SharedKernel<T> = Arc<Box<T>>;

/// What the EP's factory owns and all of its sessions use.
#[derive(Default)]
pub struct Shared {
    host: HostDevice,
    linears: Cache<Box<dyn Linear>>,
    convolutions: Cache<Box<dyn Conv1d>>,
    constants: Cache<Stored>,
}

/// Packed kernels and constants that were made before, and lie in a file.
pub trait WeightSource: Sync {
    /// The parts of a kernel, or the only part of a constant, undamaged. An error, in words: there is none of this key,
    /// or it is damaged.
    fn parts(&self, key: &WeightKey) -> Result<Vec<Blob>, String>;
}

/// What the plans of one session hold, to be written to a file.
#[derive(Default)]
pub struct Record(Mutex<BTreeMap<WeightKey, PackedWeights>>);

/// A packed kernel or a constant.
#[derive(Clone)]
pub enum PackedWeights {
    Linear(SharedKernel<dyn Linear>),
    Convolution(SharedKernel<dyn Conv1d>),
    Constant(Arc<Stored>),
}

impl PackedWeights {
    /// Its parts, as [`WeightSource::parts`] gives them back; `None` if its device cannot take them back.
    pub fn parts(&self) -> Option<Vec<&[u8]>> {
        match self {
            PackedWeights::Linear(kernel) => kernel.parts(),
            PackedWeights::Convolution(kernel) => kernel.parts(),
            PackedWeights::Constant(stored) => Some(vec![stored.bytes()]),
        }
    }

    /// Lets go of memory of which a run uses only some.
    pub fn forget(&self) {
        if let PackedWeights::Constant(stored) = self {
            stored.forget();
        }
    }
}

impl Record {
    /// All of it.
    pub fn into_weights(self) -> BTreeMap<WeightKey, PackedWeights> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one session builds its plans with: what the process shares, and where packed weights come from or go to.
pub struct Store<'s> {
    shared: &'s Shared,
    source: Option<&'s dyn WeightSource>,
    record: Option<&'s Record>,
    placed: Option<PlacedDevice>,
}

impl<'s> Store<'s> {
    /// Weights are packed from the graph's constants.
    pub fn new(shared: &'s Shared) -> Self {
        Self { shared, source: None, record: None, placed: None }
    }

    /// Weights are packed already.
    pub fn reading(shared: &'s Shared, source: &'s dyn WeightSource) -> Self {
        Self { source: Some(source), ..Self::new(shared) }
    }

    /// Weights are packed from the graph's constants, and noted in `record`.
    pub fn recording(shared: &'s Shared, record: &'s Record) -> Self {
        Self { record: Some(record), ..Self::new(shared) }
    }

    /// Kernels that belong there are placed on an NPU; with `falls_back` the host device takes over what fails.
    pub fn on(self, npu: Option<Arc<OpenNpu>>, falls_back: bool) -> Self {
        let placed = npu.map(|npu| PlacedDevice::new(npu, self.shared.host, falls_back));
        Self { placed, ..self }
    }

    /// The device that takes every kernel.
    pub fn host(&self) -> &HostDevice {
        &self.shared.host
    }

    /// The device whose kernels may have their place on an NPU.
    pub fn placed(&self) -> Option<&PlacedDevice> {
        self.placed.as_ref()
    }

    /// The device of what may have its place on an NPU, or of what is the host's.
    pub fn device(&self, placed: Option<&PlacedDevice>) -> Arc<dyn Device> {
        match placed {
            Some(placed) => Arc::new(placed.clone()),
            None => Arc::new(self.shared.host),
        }
    }

    /// The packed linear layer of this key: one that some plan holds, one that was packed before, or a new one. `form`
    /// is that of weights that are stored in blocks.
    pub fn linear(
        &self,
        key: WeightKey,
        spec: &LinearSpec,
        form: Option<BlockForm>,
        make: impl FnOnce() -> Result<Box<dyn Linear>, PlanError>,
    ) -> Result<SharedKernel<dyn Linear>, PlanError> {
        let restore = |parts: &[Blob]| match form {
            Some(form) => self.shared.host.restore_block_linear(spec, form, parts),
            None => self.shared.host.restore_linear(spec, parts),
        };
        let made = get_or_make(&self.shared.linears, &key, || self.restore_or(&key, restore, make))?;
        self.note(key, || PackedWeights::Linear(made.clone()));
        Ok(made)
    }

    /// The packed convolution of this key likewise.
    pub fn convolution(
        &self,
        key: WeightKey,
        spec: &Conv1dSpec,
        make: impl FnOnce() -> Result<Box<dyn Conv1d>, PlanError>,
    ) -> Result<SharedKernel<dyn Conv1d>, PlanError> {
        let restore = |parts: &[Blob]| self.shared.host.restore_conv1d(spec, parts);
        let made = get_or_make(&self.shared.convolutions, &key, || self.restore_or(&key, restore, make))?;
        self.note(key, || PackedWeights::Convolution(made.clone()));
        Ok(made)
    }

    /// A constant that steps read, once for all plans that hold it. An error, in words, if it is damaged.
    pub fn constant(&self, constant: &Constant<'_>) -> Result<Arc<Stored>, String> {
        if constant.size() < WORTH_SHARING {
            return Stored::copy_of(constant).map(Arc::new);
        }
        let key = WeightKey::new(&[constant], format!("{} {:?}", constant.dtype, constant.shape));
        let made = get_or_make(&self.shared.constants, &key, || match self.source {
            Some(source) => Stored::in_place(constant, &source.parts(&key)?),
            None => Stored::copy_of(constant),
        })?;
        self.note(key, || PackedWeights::Constant(made.clone()));
        Ok(made)
    }

    fn restore_or<T>(
        &self,
        key: &WeightKey,
        restore: impl FnOnce(&[Blob]) -> Result<T, Unfit>,
        make: impl FnOnce() -> Result<T, PlanError>,
    ) -> Result<T, PlanError> {
        let Some(source) = self.source else { return make() };
        let parts = source.parts(key).map_err(PlanError::Packed)?;
        restore(&parts).map_err(|unfit| PlanError::Packed(unfit.to_string()))
    }

    fn note(&self, key: WeightKey, made: impl FnOnce() -> PackedWeights) {
        if let Some(Record(record)) = self.record {
            // Whatever panicked elsewhere left the map whole.
            record.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert_with(made);
        }
    }
}

#[cfg(test)]
impl Shared {
    /// Linear layers that some plan holds.
    pub fn packed_linears(&self) -> usize {
        let linears = self.linears.lock().unwrap_or_else(PoisonError::into_inner);
        linears.values().filter(|slot| is_held(slot)).count()
    }
}

/// Whether a slot's value is held by a plan.
fn is_held<T>(slot: &Mutex<Weak<T>>) -> bool {
    slot.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0
}

fn get_or_make<T, E>(cache: &Cache<T>, key: &WeightKey, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
    // A panic while packing leaves the map and its slots as they were, so a poisoned lock is as good as another.
    let slot = {
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        // A slot that somebody has in hand is being filled, or about to be.
        cache.retain(|known, slot| known == key || Arc::strong_count(slot) > 1 || is_held(slot));
        Arc::clone(cache.entry(key.clone()).or_default())
    };
    let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = held.upgrade() {
        return Ok(found);
    }
    let made = Arc::new(make()?);
    *held = Arc::downgrade(&made);
    Ok(made)
}
