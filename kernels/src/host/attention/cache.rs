//! The key-value cache: keys or values of one attention layer, kept from step to step in the form in which attention
//! reads them.
//!
//! Each is rounded once, when it is appended, and not moved after that. Sixteen entries of a head are a block; blocks lie
//! in `pages`, which batch items share where they have the same entries. A block of keys
//! holds, word by word of the width, the words of its sixteen keys side by side, so that a vector's lanes are keys; a
//! block of values holds its sixteen rows one after another. In int8 each entry has a scale of its own, sixteen of them
//! before the block's words.
#![allow(unsafe_code)]

use super::operand::{Bf16, F32, Int8, Operand};
use super::pages::{ENTRIES, PageLayout, Pages};
use super::view::StridedRows;
use crate::{
    Context, Heads, Precision,
    host::{
        isa::Isa,
        shared::Shared,
        simd::{MAX_LANES, Simd, Task, dispatch},
        split,
    },
    numbers::from_bf16,
    scratch::Line,
};

/// Entries of a block.
pub(super) const BLOCK: usize = 16;

/// Blocks come in groups, which attention reads as a whole.
pub(super) const GROUP: usize = 4;

/// Which operand of attention a cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Keys.
    Keys,
    /// Values.
    Values,
}

/// Keys or values of one attention layer: `[batch, heads, length, width]`, growing along its length.
pub struct KvCache {
    isa: Isa,
    side: Side,
    precision: Precision,
    heads: usize,
    width: usize,
    len: usize,
    items: Vec<Pages>,
}

impl KvCache {
    /// An empty cache for heads of `width`, whose entries are kept at `precision`.
    pub fn new(isa: Isa, side: Side, precision: Precision, heads: usize, width: usize) -> Self {
        Self { isa, side, precision, heads, width, len: 0, items: Vec::new() }
    }

    /// `[batch, heads, length, width]`.
    pub fn shape(&self) -> [usize; 4] {
        [self.items.len(), self.heads, self.len, self.width]
    }

    /// Number format of the entries.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Keys or values.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Bytes that attention over all of it reads: once for items side by side that are the same.
    pub fn bytes(&self) -> usize {
        let items = (0..self.items.len()).filter(|&item| item == 0 || !self.are_same(item - 1, item)).count();
        items * self.heads * self.len.div_ceil(BLOCK) * self.block_lines() * size_of::<Line>()
    }

    /// Whether two items have the same entries in the same memory.
    pub(super) fn are_same(&self, item: usize, other: usize) -> bool {
        self.items[item].are_same(&self.items[other])
    }

    /// Forgets all entries; memory stays.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Batch items become those that were at `rows`, in that order; one may be named more than once, or not at all.
    /// Nothing is copied: those that are named more than once share their memory until they go on apart.
    ///
    /// # Panics
    /// If there is no such item.
    pub fn select(&mut self, rows: &[usize]) {
        let mut old: Vec<Option<Pages>> = self.items.drain(..).map(Some).collect();
        for (at, row) in rows.iter().enumerate() {
            let needed_later = rows[at + 1..].contains(row);
            let taken = if needed_later { old[*row].clone() } else { old[*row].take() };
            self.items.push(taken.unwrap_or_else(|| unreachable!("a row is taken where it is named last")));
        }
    }

    /// Appends `length` entries to each of `batch` items; `entries` are `[batch, heads, length, width]`.
    ///
    /// # Panics
    /// If a view's strides reach outside its slice, or the cache is not empty and has another number of items.
    pub fn append(&mut self, context: &mut Context<'_>, batch: usize, length: usize, entries: Heads<'_>) {
        let entries = StridedRows::new("a cache's entries", entries, [batch, self.heads, length, self.width]);
        if self.len == 0 {
            self.items.resize_with(batch, Pages::default);
        }
        assert_eq!(batch, self.items.len(), "entries of another number of items are appended to a cache");
        let (heads, first, layout) = (self.heads, self.len, self.layout());
        let (side, width, block_bytes) = (self.side, self.width, self.block_bytes());
        let temporary = width.next_multiple_of(MAX_LANES);
        let scratch = Shared::new(context.scratch.floats(heads * temporary));
        for (item, pages) in self.items.iter_mut().enumerate() {
            pages.reserve(layout, first, first + length);
            let group = first / ENTRIES;
            let mut groups = pages.groups_mut(layout, group, (first + length).div_ceil(ENTRIES).max(group));
            let groups = Groups { first: group, count: groups.len(), of_first_head: Shared::new(&mut groups) };
            split::ranges(context.pool, heads, heads * length * width, &|heads| {
                for head in heads {
                    let place = Place { side, width, block_bytes, head, groups };
                    let row = |at| entries.row(item, head, at);
                    let temporary = scratch.at(head * temporary).cast();
                    dispatch(self.isa, Append { precision: self.precision, first, length, row, place, temporary });
                }
            });
        }
        self.len += length;
    }

    /// Everything as `[batch, heads, length, width]`, as exactly as it is kept.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn read(&self, out: &mut [f32]) {
        assert_eq!(out.len(), self.shape().iter().product::<usize>(), "a cache of {:?}", self.shape());
        for (at, out) in out.chunks_exact_mut((self.len * self.width).max(1)).enumerate() {
            self.read_head(at / self.heads, at % self.heads, out);
        }
    }

    /// One head of one batch item as `[length, width]`, as exactly as it is kept.
    ///
    /// # Panics
    /// If there is no such item or head, or `out` has another length.
    pub fn read_head(&self, item: usize, head: usize, out: &mut [f32]) {
        assert!(head < self.heads, "head {head} of a cache of {:?}", self.shape());
        assert_eq!(out.len(), self.len * self.width, "a head of a cache of {:?}", self.shape());
        for (entry, out) in out.chunks_exact_mut(self.width.max(1)).enumerate() {
            let group = self.group(item, head, entry / ENTRIES);
            let block = group.wrapping_add(entry % ENTRIES / BLOCK * self.block_bytes());
            // SAFETY: the block holds the entry.
            unsafe { self.read_entry(block, entry % BLOCK, out) };
        }
    }

    /// # Safety
    /// `block` is one of this cache.
    unsafe fn read_entry(&self, block: *const u8, entry: usize, out: &mut [f32]) {
        let group = group(self.precision);
        let (scales, words) = (block.cast::<f32>(), block.wrapping_add(self.scale_lines() * size_of::<Line>()));
        // SAFETY: int8 blocks have a scale for each entry.
        let scale = if self.precision == Precision::Int8 { unsafe { *scales.add(entry) } } else { 1.0 };
        let (size, offset) = (4 / group, if self.side == Side::Keys { 128 } else { 0 });
        for (at, out) in out.iter_mut().enumerate() {
            let byte = match self.side {
                Side::Keys => (at / group * BLOCK + entry) * 4 + at % group * size,
                Side::Values => (entry * self.width.next_multiple_of(MAX_LANES) + at) * size,
            };
            let p = words.wrapping_add(byte);
            // SAFETY: the caller's promise; values lie at multiples of their size in aligned memory.
            *out = unsafe {
                match self.precision {
                    Precision::F32 => *p.cast::<f32>(),
                    Precision::Bf16 => from_bf16(*p.cast::<u16>()),
                    Precision::Int8 => f32::from((*p ^ offset) as i8) * scale,
                }
            };
        }
    }

    /// A head's group of blocks.
    ///
    /// # Panics
    /// If there is none.
    #[inline(always)]
    pub(super) fn group(&self, item: usize, head: usize, group: usize) -> *const u8 {
        self.items[item].group(self.layout(), head, group)
    }

    fn layout(&self) -> PageLayout {
        PageLayout { heads: self.heads, group_lines: GROUP * self.block_lines() }
    }

    /// Bytes from block to block.
    pub(super) fn block_bytes(&self) -> usize {
        self.block_lines() * size_of::<Line>()
    }

    fn scale_lines(&self) -> usize {
        usize::from(self.precision == Precision::Int8)
    }

    fn block_lines(&self) -> usize {
        let words = match self.side {
            Side::Keys => self.width.div_ceil(group(self.precision)),
            Side::Values => self.width.next_multiple_of(MAX_LANES) / group(self.precision),
        };
        // Sixteen words are a line.
        self.scale_lines() + words
    }
}

/// Values in a word.
fn group(precision: Precision) -> usize {
    match precision {
        Precision::F32 => F32::GROUP,
        Precision::Bf16 => Bf16::GROUP,
        Precision::Int8 => Int8::GROUP,
    }
}

/// Groups of blocks that are written to.
#[derive(Clone, Copy)]
struct Groups {
    /// The number of the first of them.
    first: usize,
    count: usize,
    /// The first head's, with the bytes from head to head.
    of_first_head: Shared<(*mut u8, usize)>,
}

/// The blocks of a head.
struct Place {
    side: Side,
    width: usize,
    block_bytes: usize,
    head: usize,
    groups: Groups,
}

impl Place {
    /// The block of an entry.
    #[inline(always)]
    fn block(&self, entry: usize) -> *mut u8 {
        let group = entry / ENTRIES - self.groups.first;
        assert!(group < self.groups.count, "a group of blocks that was not reserved");
        // SAFETY: one of the groups, which nobody writes here.
        let (of_first_head, head_bytes) = unsafe { *self.groups.of_first_head.at(group) };
        of_first_head.wrapping_add(self.head * head_bytes + entry % ENTRIES / BLOCK * self.block_bytes)
    }
}

/// Appends to one head.
struct Append<R> {
    precision: Precision,
    first: usize,
    length: usize,
    row: R,
    place: Place,
    /// Room for a converted row.
    temporary: *mut u32,
}

impl<R: Fn(usize) -> *const f32> Task for Append<R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: `append` made room for all entries, each head's is one task's, and rows are checked.
        unsafe {
            match self.precision {
                Precision::F32 => self.convert::<S, F32>(s),
                Precision::Bf16 => self.convert::<S, Bf16>(s),
                Precision::Int8 => self.convert::<S, Int8>(s),
            }
        }
    }
}

impl<R: Fn(usize) -> *const f32> Append<R> {
    #[inline(always)]
    unsafe fn convert<S: Simd, P: Operand>(&self, s: S) {
        let Place { side, width, .. } = self.place;
        let scale_bytes = if P::QUANTISED { size_of::<Line>() } else { 0 };
        for at in 0..self.length {
            let entry = self.first + at;
            let block = self.place.block(entry);
            let (words, entry) = (block.wrapping_add(scale_bytes).cast::<u32>(), entry % BLOCK);
            // SAFETY: the caller's promise. A converted row takes its width rounded up to `MAX_LANES` values, which the
            // temporary has, and a row of a block of values.
            let scale = unsafe {
                match side {
                    Side::Keys => {
                        let (scale, _) = P::convert::<S, true>(s, (self.row)(at), width, 1.0, self.temporary);
                        for word in 0..width.div_ceil(P::GROUP) {
                            *words.add(word * BLOCK + entry) = *self.temporary.add(word);
                        }
                        scale
                    }
                    Side::Values => {
                        let row = words.add(entry * (width.next_multiple_of(MAX_LANES) / P::GROUP));
                        P::convert::<S, false>(s, (self.row)(at), width, 1.0, row).0
                    }
                }
            };
            if P::QUANTISED {
                // SAFETY: an int8 block begins with a scale for each entry.
                unsafe { *block.cast::<f32>().add(entry) = scale };
            }
        }
    }
}
