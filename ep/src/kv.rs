//! Key-value caches that stay in the EP: what a decoder keeps from run to run, rounded once and never copied.
//!
//! A program makes a cache, names it in the options of each run ([`RUN_KEY_C`]), and feeds the graph pasts of no
//! length; presents come back with no length. Whoever knows nothing of this feeds presents back as pasts, as ever. The
//! C functions are in `kv_exports`; how a plan reads and writes a cache is in `plan::resident` and
//! `plan::caches`.

use std::{
    cell::RefCell,
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use undertone_kernels::{
    Context,
    host::{
        HostDevice, KvCache,
        choice::{Ask, Scores},
    },
};

use crate::attended::Attended;
use undertone_boundary::kv_cache::NEW;
pub use undertone_boundary::kv_cache::RUN_KEY_C;

/// Most layers of a decoder whose cache may be kept: far above any, far below what overflows.
const MOST_LAYERS: usize = 4096;

/// Which of a decoder's cached tensors: the layer, self- or cross-attention, keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// A number for each, from 0 on.
    index: usize,
}

impl Slot {
    /// The tensor that an input or output is, by the names that optimum's exports give:
    /// `past_key_values.3.decoder.key`, `present.3.encoder.value`.
    pub fn of(name: &str) -> Option<Self> {
        let name = name.strip_prefix("past_key_values.").or_else(|| name.strip_prefix("present."))?;
        let (layer, rest) = name.split_once('.')?;
        let layer: usize = layer.parse().ok().filter(|layer| *layer < MOST_LAYERS)?;
        let of = match rest {
            "decoder.key" => 0,
            "decoder.value" => 1,
            "encoder.key" => 2,
            "encoder.value" => 3,
            _ => return None,
        };
        Some(Self { index: 4 * layer + of })
    }

    /// Whether it holds what cross-attention reads.
    pub fn is_of_encoder(self) -> bool {
        self.index % 4 >= 2
    }

    /// Whether it holds values, not keys.
    pub fn is_value(self) -> bool {
        self.index % 2 == 1
    }
}

/// What is to be chosen of the next run's logits.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Forbidden tokens of all rows, each row's ascending and apart.
    pub forbidden: Vec<Range<u32>>,
    /// For each row where its own end in [`Question::forbidden`].
    pub ends: Vec<usize>,
    /// The first token of the second class.
    pub split: u32,
    /// How many of each class are wanted, the likeliest first.
    pub count: usize,
}

/// One cache, and the choice that goes with it.
#[derive(Default)]
pub struct KvState {
    slots: Vec<Option<KvCache>>,
    question: Question,
    asked: bool,
    /// The ranks of the first row, then those of the second, and so on.
    answers: Vec<Scores>,
    /// Scores of cross-attention that are asked for.
    pub attended: Attended,
    /// Ranks of a row.
    ranks: usize,
}

/// Why a cache cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// There is no such cache.
    #[error("key-value cache {0} does not exist: make one with {new}", new = NEW.symbol)]
    Unknown(String),
    /// Two runs at one moment.
    #[error("a key-value cache is in use by another run: use one for each sequence")]
    Busy,
    /// A batch item that is not there.
    #[error("row {row} of a key-value cache that has {rows}")]
    Row { row: usize, rows: usize },
}

impl KvState {
    /// The tensor of a slot.
    pub fn get(&self, slot: Slot) -> Option<&KvCache> {
        self.slots.get(slot.index)?.as_ref()
    }

    /// The tensor of a slot, and where it may be put.
    pub fn entry(&mut self, slot: Slot) -> &mut Option<KvCache> {
        if self.slots.len() <= slot.index {
            self.slots.resize_with(slot.index + 1, || None);
        }
        &mut self.slots[slot.index]
    }

    /// Batch items become those that were at `rows`. The error is [`KvError::Row`]; nothing is changed then.
    pub fn select(&mut self, rows: &[usize]) -> Result<(), KvError> {
        for cache in self.slots.iter().flatten() {
            let [count, ..] = cache.shape();
            if let Some(row) = rows.iter().copied().find(|row| *row >= count) {
                return Err(KvError::Row { row, rows: count });
            }
        }
        self.slots.iter_mut().flatten().for_each(|cache| cache.select(rows));
        Ok(())
    }

    /// Bytes that attention over all of it reads.
    pub fn bytes(&self) -> usize {
        self.slots.iter().flatten().map(KvCache::bytes).sum()
    }

    /// The next run is to choose; `fill` writes down what.
    pub fn ask(&mut self, fill: impl FnOnce(&mut Question)) {
        self.question.forbidden.clear();
        self.question.ends.clear();
        fill(&mut self.question);
        self.asked = true;
    }

    /// Whether the run is to choose.
    pub fn is_asked(&self) -> bool {
        self.asked
    }

    /// Chooses in each row of `logits`. An error if another number of rows was asked for.
    pub fn answer(
        &mut self,
        host: HostDevice,
        context: &mut Context<'_>,
        rows: usize,
        logits: &[f32],
    ) -> Result<(), String> {
        let Question { forbidden, ends, split, count } = &self.question;
        if ends.len() != rows {
            return Err(format!("a choice was asked for {} rows, the logits have {rows}", ends.len()));
        }
        let ask = |row: usize| {
            let start = row.checked_sub(1).map_or(0, |before| ends[before]);
            Ask { forbidden: &forbidden[start..ends[row]], split: *split }
        };
        self.answers.clear();
        self.answers.resize(rows * count, [None; 2]);
        self.ranks = *count;
        host.choose(context, logits, &ask, *count, &mut self.answers);
        Ok(())
    }

    /// The run is over: what was asked for it is not asked for the next.
    pub fn end_run(&mut self) {
        self.asked = false;
        self.attended.end_run();
    }

    /// What the last run chose, if that was for so many `rows` and `count` of each class: the ranks of the first row,
    /// then those of the second, and so on.
    pub fn answers(&self, rows: usize, count: usize) -> Option<&[Scores]> {
        (self.answers.len() == rows * count && (rows == 0 || self.ranks == count)).then_some(&self.answers)
    }
}

/// A cache, shared by whoever holds its number and the run that uses it.
pub type Handle = Arc<Mutex<KvState>>;

static CACHES: LazyLock<Mutex<HashMap<u64, Handle>>> = LazyLock::new(Mutex::default);

fn caches() -> MutexGuard<'static, HashMap<u64, Handle>> {
    // Nothing is left half-done in the map by a panic.
    CACHES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes an empty cache.
pub fn create() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    caches().insert(number, Handle::default());
    number
}

/// Forgets a cache; a run that uses it goes on. `false` if there is none.
pub fn release(number: u64) -> bool {
    caches().remove(&number).is_some()
}

/// A cache by its number. The error is [`KvError::Unknown`].
pub fn find(number: u64) -> Result<Handle, KvError> {
    caches().get(&number).cloned().ok_or_else(|| KvError::Unknown(number.to_string()))
}

/// Exclusive use of a cache. The error is [`KvError::Busy`].
pub fn lock(handle: &Handle) -> Result<MutexGuard<'_, KvState>, KvError> {
    match handle.try_lock() {
        Ok(state) => Ok(state),
        // A run that panicked left the cache between two steps: the next sequence starts it anew.
        Err(std::sync::TryLockError::Poisoned(state)) => Ok(state.into_inner()),
        Err(std::sync::TryLockError::WouldBlock) => Err(KvError::Busy),
    }
}

thread_local! {
    /// The cache of the run that this thread has begun: ONNX Runtime announces a run and carries it out on the same
    /// thread.
    static RUN: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// A run begins on this thread; `name` is what its options say. The error is [`KvError::Unknown`].
pub fn begin_run(name: Option<&str>) -> Result<(), KvError> {
    let handle = match name {
        None => None,
        Some(name) => Some(name.parse().map_err(|_| KvError::Unknown(name.to_owned())).and_then(find)?),
    };
    RUN.set(handle);
    Ok(())
}

/// The run that began on this thread is over, well or not.
pub fn end_run() {
    if let Some(handle) = RUN.take()
        && let Ok(mut state) = lock(&handle)
    {
        state.end_run();
    }
}

/// The cache of the run that this thread carries out.
pub fn of_run() -> Option<Handle> {
    RUN.with_borrow(Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_slots() {
        let index = |name| Slot::of(name).map(|slot| slot.index);
        assert_eq!(index("past_key_values.0.decoder.key"), Some(0));
        assert_eq!(index("present.0.decoder.value"), Some(1));
        assert_eq!(index("present.11.encoder.key"), Some(46));
        assert_eq!(Slot::of("past_key_values.11.encoder.value"), Slot::of("present.11.encoder.value"));
        for odd in
            ["present", "present.x.decoder.key", "present.0.decoder", "past_key_values.9999999.decoder.key", "logits"]
        {
            assert_eq!(index(odd), None, "{odd}");
        }
    }

    #[test]
    fn numbers_are_given_out_once_and_end() {
        let (a, b) = (create(), create());
        assert_ne!(a, b);
        assert!(find(a).is_ok() && release(a) && !release(a));
        assert_eq!(find(a).err(), Some(KvError::Unknown(a.to_string())));
        begin_run(Some(&b.to_string())).unwrap();
        release(b);
        assert!(of_run().is_some(), "the run goes on");
        assert_eq!(begin_run(Some("x")), Err(KvError::Unknown("x".to_owned())));
        begin_run(None).unwrap();
        assert!(of_run().is_none());
    }

    #[test]
    fn a_cache_is_one_run_s_at_a_time() {
        let handle = Handle::default();
        let held = lock(&handle).unwrap();
        assert_eq!(lock(&handle).err(), Some(KvError::Busy));
        drop(held);
        assert!(lock(&handle).is_ok());
    }
}
