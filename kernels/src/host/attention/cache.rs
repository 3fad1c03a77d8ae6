//! The key-value cache: keys or values of one attention layer, kept from step to step in the form in which attention
//! reads them.
//!
//! Each is rounded once, when it is appended, and never moved. Sixteen entries of a head are a block. A block of keys
//! holds, word by word of the width, the words of its sixteen keys side by side, so that a vector's lanes are keys; a
//! block of values holds its sixteen rows one after another. In int8 each entry has a scale of its own, sixteen of them
//! before the block's words.
#![allow(unsafe_code)]

use super::operand::{Bf16, F32, Int8, Operand};
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

/// Blocks are made room for in groups, which attention reads as a whole.
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
    rows: Vec<CachedItem>,
}

/// One batch item: for each head room for some blocks.
#[derive(Clone, Default)]
struct CachedItem {
    lines: Vec<Line>,
    /// Blocks of a head that there is room for.
    room: usize,
}

impl KvCache {
    /// An empty cache for heads of `width`, whose entries are kept at `precision`.
    pub fn new(isa: Isa, side: Side, precision: Precision, heads: usize, width: usize) -> Self {
        Self { isa, side, precision, heads, width, len: 0, rows: Vec::new() }
    }

    /// `[batch, heads, length, width]`.
    pub fn shape(&self) -> [usize; 4] {
        [self.rows.len(), self.heads, self.len, self.width]
    }

    /// Number format of the entries.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Keys or values.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Bytes that attention over all of it reads.
    pub fn bytes(&self) -> usize {
        self.rows.len() * self.heads * self.len.div_ceil(BLOCK) * self.block_lines() * size_of::<Line>()
    }

    /// Forgets all entries; memory stays.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Batch items become those that were at `rows`, in that order; one may be named more than once, or not at all.
    ///
    /// # Panics
    /// If there is no such item.
    pub fn select(&mut self, rows: &[usize]) {
        let mut old: Vec<Option<CachedItem>> = self.rows.drain(..).map(Some).collect();
        for (at, row) in rows.iter().enumerate() {
            let needed_later = rows[at + 1..].contains(row);
            let taken = if needed_later { old[*row].clone() } else { old[*row].take() };
            self.rows.push(taken.unwrap_or_else(|| unreachable!("a row is taken where it is named last")));
        }
    }

    /// Appends `length` entries to each of `batch` items; `entries` are `[batch, heads, length, width]`.
    ///
    /// # Panics
    /// If a view's strides reach outside its slice, or the cache is not empty and has another number of items.
    pub fn append(&mut self, context: &mut Context<'_>, batch: usize, length: usize, entries: Heads<'_>) {
        let entries = StridedRows::new("a cache's entries", entries, [batch, self.heads, length, self.width]);
        if self.len == 0 {
            self.rows.resize_with(batch, CachedItem::default);
        }
        assert_eq!(batch, self.rows.len(), "entries of another number of items are appended to a cache");
        let (block, heads, first) = (self.block_lines(), self.heads, self.len);
        let (side, width, block_bytes) = (self.side, self.width, self.block_bytes());
        for row in &mut self.rows {
            row.reserve(heads, (first + length).div_ceil(BLOCK), block);
        }
        let temporary = width.next_multiple_of(MAX_LANES);
        let scratch = Shared::new(context.scratch.floats(heads * temporary));
        for (item, row) in self.rows.iter_mut().enumerate() {
            let (lines, room) = (Shared::new(&mut row.lines), row.room);
            split::ranges(context.pool, heads, heads * length * width, &|heads| {
                for head in heads {
                    let place = Place { side, width, block_bytes, to: lines.at(head * room * block).cast() };
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
        let blocks = self.blocks(item, head);
        for (entry, out) in out.chunks_exact_mut(self.width.max(1)).enumerate() {
            // SAFETY: the block holds the entry.
            unsafe { self.read_entry(blocks.wrapping_add(entry / BLOCK * self.block_bytes()), entry % BLOCK, out) };
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

    /// The first block of a head.
    pub(super) fn blocks(&self, item: usize, head: usize) -> *const u8 {
        let row = &self.rows[item];
        row.lines.as_ptr().wrapping_add(head * row.room * self.block_lines()).cast()
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

impl CachedItem {
    /// Makes room for `blocks` blocks in each head.
    fn reserve(&mut self, heads: usize, blocks: usize, block_lines: usize) {
        let old = self.room;
        if blocks <= old {
            return;
        }
        // Twice as much each time a cache grows; exactly as much for one that is written at once.
        self.room = blocks.max(2 * old).next_multiple_of(GROUP);
        let mut lines = vec![Line::ZERO; heads * self.room * block_lines];
        if old > 0 {
            let (from, to) = (old * block_lines, self.room * block_lines);
            for (old, new) in self.lines.chunks_exact(from).zip(lines.chunks_exact_mut(to)) {
                new[..from].copy_from_slice(old);
            }
        }
        self.lines = lines;
    }
}

/// The blocks of a head.
struct Place {
    side: Side,
    width: usize,
    block_bytes: usize,
    to: *mut u8,
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
        let Place { side, width, block_bytes, to } = self.place;
        let scale_bytes = if P::QUANTISED { size_of::<Line>() } else { 0 };
        for at in 0..self.length {
            let entry = self.first + at;
            let block = to.wrapping_add(entry / BLOCK * block_bytes);
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
