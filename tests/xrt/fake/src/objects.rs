//! Buffer objects, and the heap from which the device's own are cut.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::Memory;

/// No address, as the driver says it.
pub const NO_ADDRESS: u64 = u64::MAX;
/// Where the device sees the heap.
pub const HEAP_BASE: u64 = 0x400_0000;
/// A heap's size is a multiple of this.
pub const HEAP_CHUNK: u64 = 64 << 20;
/// Most of it.
pub const HEAP_MOST: u64 = 512 << 20;
/// Granularity of everything.
pub const PAGE: u64 = 4096;

/// What a buffer object is for (`AMDXDNA_BO_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Data that both sides reach; the device sees it where the program mapped it.
    Share,
    /// The heap.
    Heap,
    /// Cut from the heap: instructions, configurations.
    Dev,
    /// Command packets.
    Cmd,
}

impl Kind {
    /// From the driver's number.
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Kind::Share,
            2 => Kind::Heap,
            3 => Kind::Dev,
            4 => Kind::Cmd,
            _ => return None,
        })
    }
}

/// A buffer object.
pub struct Bo {
    /// Its number among the client's.
    pub handle: u32,
    /// What it is for.
    pub kind: Kind,
    /// Where its bytes are, and from which byte on.
    pub memory: Arc<Memory>,
    /// Its first byte there.
    pub start: usize,
    /// How many bytes were asked for.
    pub bytes: usize,
    /// Where the device sees it, if that does not depend on where the program maps it.
    pub device_address: u64,
    /// The offset at which a program maps it.
    pub map_offset: u64,
    /// Where the program mapped it; 0 if it has not.
    pub mapped_at: AtomicU64,
}

impl Bo {
    /// Where the device sees it.
    pub fn address(&self) -> Option<u64> {
        if self.device_address != NO_ADDRESS {
            return Some(self.device_address);
        }
        let mapped = self.mapped_at.load(Ordering::SeqCst);
        self.memory.program_address().or((mapped != 0).then_some(mapped))
    }

    /// The byte of this object that the device sees at an address.
    pub fn offset_of(&self, address: u64) -> Option<usize> {
        let offset = address.checked_sub(self.address()?)?;
        (offset < self.bytes as u64).then_some(offset as usize)
    }
}

/// The heap: chunks that follow one another, and what is cut from them.
#[derive(Default)]
pub struct Heap {
    chunks: Vec<(u64, Arc<Memory>)>,
    /// Begin and end of what is cut out.
    taken: BTreeMap<u64, u64>,
}

impl Heap {
    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|(_, memory)| memory.bytes() as u64).sum()
    }

    /// Adds a chunk at the end; gives the address at which the device sees it.
    pub fn grow(&mut self, memory: Arc<Memory>) -> u64 {
        let address = HEAP_BASE + self.bytes();
        self.chunks.push((address, memory));
        address
    }

    /// Cuts out `bytes`: the first place that is large enough. None if there is none.
    pub fn cut(&mut self, bytes: u64) -> Option<(u64, Arc<Memory>, usize)> {
        let bytes = bytes.max(1).next_multiple_of(PAGE);
        for (base, memory) in &self.chunks {
            let end = base + memory.bytes() as u64;
            let mut at = *base;
            for (begin, until) in self.taken.range(*base..end) {
                if begin - at >= bytes {
                    break;
                }
                at = *until;
            }
            if end - at >= bytes {
                self.taken.insert(at, at + bytes);
                return Some((at, Arc::clone(memory), (at - base) as usize));
            }
        }
        None
    }

    /// Gives back what was cut out at an address.
    pub fn give_back(&mut self, address: u64) {
        self.taken.remove(&address);
    }

    /// Whether nothing is cut out.
    pub fn is_idle(&self) -> bool {
        self.taken.is_empty()
    }

    /// Forgets the chunks.
    pub fn clear(&mut self) {
        self.chunks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_gives_what_it_got_back_again() {
        let mut heap = Heap::default();
        assert!(heap.cut(1).is_none());
        let memory = || Arc::new(Memory::new(4 * PAGE as usize, false).unwrap());
        assert_eq!(heap.grow(memory()), HEAP_BASE);
        let places: Vec<u64> = [1, PAGE, PAGE + 1].iter().map(|bytes| heap.cut(*bytes).unwrap().0).collect();
        assert_eq!(places, [HEAP_BASE, HEAP_BASE + PAGE, HEAP_BASE + 2 * PAGE]);
        assert!(heap.cut(1).is_none());
        heap.give_back(places[1]);
        assert!(heap.cut(PAGE + 1).is_none());
        assert_eq!(heap.cut(17).unwrap().0, places[1]);
        assert_eq!(heap.grow(memory()), HEAP_BASE + 4 * PAGE);
        let (address, _, start) = heap.cut(4 * PAGE).unwrap();
        assert_eq!((address, start), (HEAP_BASE + 4 * PAGE, 0));
        for place in [places[0], places[1], places[2], address] {
            assert!(!heap.is_idle());
            heap.give_back(place);
        }
        assert!(heap.is_idle());
    }
}
