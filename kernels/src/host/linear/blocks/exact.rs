//! Codes multiplied as integers, by rows of 16 bits: `Σ scale · (Σ (code − middle) · x) + offset · Σ x` over the blocks,
//! with sums of each block in int32, and those of all in fp32.
//!
//! Where the CPU multiplies bytes, a row is two: the low bytes, and what is left of each value, worth 256 times as much.
//! Behind it stands the sum of each of its blocks.

use super::{Blocks, each_level, level, levels};
use crate::{
    host::{
        linear::{
            format::WORD,
            kernel::Conversion,
            tile::{Block, LINE, MAX_COLUMNS, MAX_ROWS, PREFETCH_BYTES, Sums, epilogue},
        },
        simd::{Simd, Task},
    },
    numbers::{integer_bits, largest_magnitude, scale_to},
};

/// The largest magnitude of a value of a row: two bytes of up to 127 and 128.
const LIMIT: f32 = (127 << 8) as f32;

/// Planes of a row: two where the CPU multiplies bytes.
pub(in crate::host::linear) const fn planes<S: Simd>() -> usize {
    if S::INT8_GROUP == 4 { 2 } else { 1 }
}

/// Rows of a full tile: each needs two vectors of sums for its blocks in each plane, and two for all blocks.
pub(in crate::host::linear) const fn rows<S: Simd>() -> usize {
    let rows = S::TILE.0 * S::TILE.1 / 2 / (planes::<S>() + 1);
    if rows == 0 { 1 } else { rows }
}

/// Computes a block of a product.
pub(in crate::host::linear) struct Exact<'a, const BITS: u32>(pub &'a Block);

impl<const BITS: u32> Task for Exact<'_, BITS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(b) = self;
        let mut sums: Sums = [0.0; MAX_ROWS * MAX_COLUMNS];
        // A panel stays in the cache while all rows go over it.
        for panel in b.panels.clone() {
            let mut row = b.rows.start;
            while row < b.rows.end {
                let count = (b.rows.end - row).min(rows::<S>());
                // SAFETY: whoever called the kernel promised that the block's pointers are valid; rows and panels are
                // inside the block's.
                unsafe {
                    match count {
                        1 => tile::<S, BITS, 1>(s, b, row, panel, &mut sums),
                        2 => tile::<S, BITS, 2>(s, b, row, panel, &mut sums),
                        3 => tile::<S, BITS, 3>(s, b, row, panel, &mut sums),
                        4 => tile::<S, BITS, 4>(s, b, row, panel, &mut sums),
                        5 => tile::<S, BITS, 5>(s, b, row, panel, &mut sums),
                        _ => tile::<S, BITS, 6>(s, b, row, panel, &mut sums),
                    }
                    epilogue(s, b, [false, true], row, count, panel, &sums);
                }
                row += count;
            }
        }
    }
}

/// The sums of `R` rows from `row` by one panel.
#[inline(always)]
unsafe fn tile<S: Simd, const BITS: u32, const R: usize>(s: S, b: &Block, row: usize, panel: usize, out: &mut Sums) {
    // A tile that the instruction set never asks for is not compiled.
    if R > rows::<S>() {
        return;
    }
    let Blocks { inputs, lists, .. } = b.blocks;
    let (vector, group) = (S::LANES * super::WORD, S::INT8_GROUP);
    let plane = b.steps * WORD;
    let (words, count) = (inputs * BITS as usize / 32, b.steps * group / inputs);
    // SAFETY: the block's pointers are valid for this row and panel; rows are laid out as `convert` lays them out, and
    // `out` holds `R` rows of `2 · LANES`.
    unsafe {
        let mut all = [[s.splat(0.0); 2]; R];
        let mut weights = b.weights.add(panel * b.panel_bytes);
        let mut x = b.activations.add(row * b.row_bytes);
        let mut sums_of_x = x.add(planes::<S>() * plane).cast::<i32>();
        for _ in 0..count {
            let mut high = [[s.splat_i(0); 2]; R];
            let mut low = high;
            for (index, low) in low.iter_mut().enumerate() {
                let sum = sums_of_x.byte_add(index * b.row_bytes).read();
                *low = [s.splat_i(-(1 << (BITS - 1)) * sum); 2];
            }
            for _ in 0..words {
                let ahead = weights.wrapping_add(PREFETCH_BYTES);
                s.prefetch(ahead);
                if 2 * vector > LINE {
                    s.prefetch(ahead.wrapping_add(LINE));
                }
                let codes = [s.load_i(weights.cast()), s.load_i(weights.add(vector).cast())];
                each_level!(BITS, group, LEVEL => {
                    let x = x.add(LEVEL * WORD);
                    multiply::<S, BITS, LEVEL, R>(s, codes, x, [b.row_bytes, plane], &mut high, &mut low);
                });
                x = x.add(levels(BITS, group) * WORD);
                weights = weights.add(2 * vector);
            }
            for half in 0..2 {
                let scale = s.load(weights.add(half * vector).cast());
                for index in 0..R {
                    let sum = if planes::<S>() == 2 {
                        s.add_i(s.shl::<8>(high[index][half]), low[index][half])
                    } else {
                        low[index][half]
                    };
                    all[index][half] = s.mul_add(s.to_f(sum), scale, all[index][half]);
                }
                if lists == 2 {
                    let offset = s.load(weights.add((2 + half) * vector).cast());
                    for (index, all) in all.iter_mut().enumerate() {
                        let sum = sums_of_x.byte_add(index * b.row_bytes).read();
                        all[half] = s.mul_add(s.splat(sum as f32), offset, all[half]);
                    }
                }
            }
            weights = weights.add(2 * vector * lists);
            sums_of_x = sums_of_x.add(1);
        }
        for (all, out) in all.into_iter().zip(out.chunks_exact_mut(2 * S::LANES)) {
            s.store(out.as_mut_ptr(), all[0]);
            s.store(out.as_mut_ptr().add(S::LANES), all[1]);
        }
    }
}

/// Adds the products of one level of words to the sums of `R` rows, which `x` is the first of; the next row and the
/// second plane are so many bytes behind.
///
/// Lists are spelt out: an iterator over vectors that is not inlined is a call for each instruction.
#[inline(always)]
unsafe fn multiply<S: Simd, const BITS: u32, const LEVEL: usize, const R: usize>(
    s: S,
    words: [S::I; 2],
    x: *const u8,
    [row, plane]: [usize; 2],
    high: &mut [[S::I; 2]; R],
    low: &mut [[S::I; 2]; R],
) {
    let group = S::INT8_GROUP;
    let codes = [level(s, BITS, group, words[0], LEVEL), level(s, BITS, group, words[1], LEVEL)];
    for index in 0..R {
        // SAFETY: the caller promises as many rows with as many planes.
        unsafe {
            let x = x.add(index * row);
            let first = s.splat_i(x.cast::<i32>().read_unaligned());
            if planes::<S>() == 2 {
                let second = s.splat_i(x.add(plane).cast::<i32>().read_unaligned());
                high[index][0] = dot(s, high[index][0], first, codes[0]);
                high[index][1] = dot(s, high[index][1], first, codes[1]);
                low[index][0] = dot(s, low[index][0], second, codes[0]);
                low[index][1] = dot(s, low[index][1], second, codes[1]);
            } else {
                low[index][0] = dot(s, low[index][0], first, codes[0]);
                low[index][1] = dot(s, low[index][1], first, codes[1]);
            }
        }
    }
}

/// `sum + x · codes` over the values of each word.
#[inline(always)]
fn dot<S: Simd>(s: S, sum: S::I, x: S::I, codes: S::I) -> S::I {
    // Codes are below 16, so they are the same whether bytes have a sign or not.
    if S::INT8_GROUP == 4 && S::INT8_OFFSET != 0 { s.dot_u8i8(sum, codes, x) } else { s.dot_i8(sum, x, codes) }
}

/// Converts rows for [`Exact`].
pub(in crate::host::linear) struct Convert<'a>(pub Conversion<'a>);

impl Task for Convert<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(conversion) = self;
        let block = conversion.block;
        let padded = conversion.inputs.next_multiple_of(block);
        conversion.each(s, |x, out| {
            let scale = scale_to(largest_magnitude(x), LIMIT);
            // SAFETY: whoever called the kernel promised room for each row: its planes, and its blocks' sums.
            unsafe {
                if planes::<S>() == 2 {
                    let low = out.add(padded);
                    for (at, value) in x.iter().enumerate() {
                        let bits = integer_bits(*value, scale.inverse);
                        // A low byte is read as −128 ..= 127, so the high one is rounded.
                        out.add(at).write((bits.wrapping_add(128) >> 8) as u8);
                        low.add(at).write(bits as u8);
                    }
                    out.add(x.len()).write_bytes(0, padded - x.len());
                    low.add(x.len()).write_bytes(0, padded - x.len());
                } else {
                    let out = out.cast::<i16>();
                    for (at, value) in x.iter().enumerate() {
                        out.add(at).write(integer_bits(*value, scale.inverse) as i16);
                    }
                    out.add(x.len()).write_bytes(0, padded - x.len());
                }
                let sums = out.add(2 * padded).cast::<i32>();
                for (at, x) in x.chunks(block).enumerate() {
                    let values = x.iter().map(|value| i32::from(integer_bits(*value, scale.inverse) as i16));
                    sums.add(at).write(values.sum());
                }
            }
            scale.scale
        });
    }
}
