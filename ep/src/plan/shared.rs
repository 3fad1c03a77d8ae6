//! What sessions of one process share: the device, packed weights and large constants, found again by their contents.
//!
//! The decoder's first-step graph and the one with a cache hold the same weights under other names; so do sessions of the same
//! model. Whoever comes second gets what the first one packed. Nothing is kept alive by this alone.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use half::f16;
use twox_hash::XxHash3_128;
use undertone_kernels::{Conv1d, Device, Linear, host::HostDevice};

use super::{
    layout::{Stored, computed},
    tensor::Buffer,
};
use crate::graph::{Constant, DataType};

/// Constants below this many bytes are copied without looking for an equal one.
const WORTH_SHARING: usize = 64 << 10;

/// Identity of contents: 128 bits of a hash, with everything else that makes two packed forms differ.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Hash of the bytes.
    pub contents: u128,
    /// Spec, shape, type: whatever else matters, in words.
    pub form: String,
}

impl Key {
    /// Of a constant's bytes and a form.
    pub(super) fn new(parts: &[&[u8]], form: String) -> Self {
        let mut hasher = XxHash3_128::new();
        for part in parts {
            hasher.write(&(part.len() as u64).to_ne_bytes());
            hasher.write(part);
        }
        Self { contents: hasher.finish_128(), form }
    }
}

type Cache<T> = Mutex<HashMap<Key, Weak<T>>>;

/// A packed kernel: unsized inside, so that it can be held weakly.
pub(super) type Packed<T> = Arc<Box<T>>;

/// What the EP's factory owns and all of its sessions use.
#[derive(Default)]
pub struct Shared {
    host: HostDevice,
    linears: Cache<Box<dyn Linear>>,
    convolutions: Cache<Box<dyn Conv1d>>,
    constants: Cache<Stored>,
}

impl Shared {
    /// The device that takes every kernel.
    pub(crate) fn host(&self) -> &HostDevice {
        &self.host
    }

    /// The device that is asked first.
    pub(super) fn device(&self) -> &dyn Device {
        &self.host
    }

    /// The packed linear layer of this key, or a new one.
    pub(super) fn linear<E>(
        &self,
        key: Key,
        make: impl FnOnce() -> Result<Box<dyn Linear>, E>,
    ) -> Result<Packed<dyn Linear>, E> {
        get_or_make(&self.linears, key, make)
    }

    /// Linear layers that some plan holds.
    #[cfg(test)]
    pub(super) fn packed_linears(&self) -> usize {
        let linears = self.linears.lock().unwrap_or_else(PoisonError::into_inner);
        linears.values().filter(|held| held.strong_count() > 0).count()
    }

    /// The packed convolution of this key, or a new one.
    pub(super) fn convolution<E>(
        &self,
        key: Key,
        make: impl FnOnce() -> Result<Box<dyn Conv1d>, E>,
    ) -> Result<Packed<dyn Conv1d>, E> {
        get_or_make(&self.convolutions, key, make)
    }

    /// A constant that steps read, copied once for all plans that hold it.
    pub(super) fn constant(&self, constant: &Constant<'_>) -> Result<Option<Arc<Stored>>, String> {
        if constant.bytes.len() < WORTH_SHARING {
            return store(constant).map(|stored| Some(Arc::new(stored)));
        }
        let key = Key::new(&[&constant.bytes], format!("{} {:?}", constant.dtype, constant.shape));
        get_or_make(&self.constants, key, || store(constant)).map(Some)
    }
}

/// The lock is held while the value is made: a second session that wants the same weights waits instead of packing them too.
fn get_or_make<T, E>(cache: &Cache<T>, key: Key, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
    // A panic while packing leaves the map as it was, so a poisoned lock is as good as another.
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = cache.get(&key).and_then(Weak::upgrade) {
        return Ok(found);
    }
    let made = Arc::new(make()?);
    cache.retain(|_, held| held.strong_count() > 0);
    cache.insert(key, Arc::downgrade(&made));
    Ok(made)
}

/// A copy of a constant, fp16 as fp32.
pub(super) fn store(constant: &Constant<'_>) -> Result<Stored, String> {
    if constant.bytes.len() != constant.len() * constant.dtype.size() {
        return Err(format!("{} bytes for {:?} of {}", constant.bytes.len(), constant.shape, constant.dtype));
    }
    let bytes = match constant.dtype {
        DataType::F16 => Buffer::copy_of(bytemuck::cast_slice(&floats(constant)?)),
        _ => Buffer::copy_of(&constant.bytes),
    };
    Ok(Stored { dtype: computed(constant.dtype), bytes })
}

/// A floating-point constant's values.
pub(super) fn floats(constant: &Constant<'_>) -> Result<Vec<f32>, String> {
    match constant.dtype {
        DataType::F32 => Ok(bytemuck::pod_collect_to_vec(&constant.bytes)),
        DataType::F16 => {
            let halves = constant.bytes.chunks_exact(2);
            Ok(halves.map(|half| f16::from_ne_bytes([half[0], half[1]]).to_f32()).collect())
        }
        other => Err(format!("it is {other}, floating point was expected")),
    }
}
