//! Panels of codes that become panels of the plain layer: fp32 or bf16 values, or int8 integers with a scale for each
//! column.

use std::marker::PhantomData;

use super::{Blocks, WORD, each_level, level, levels};
use crate::host::{
    linear::{
        format::{Bf16, F32, Format, Int8},
        tile::{self, Block, LINE, PREFETCH_BYTES},
    },
    simd::{Simd, Task},
};

/// A number format that codes are unpacked to.
pub(in crate::host::linear) trait Unpacked: Format {
    /// What turns the codes of a block and `LANES` columns into numbers.
    type Scaling<S: Simd>: Copy;
    /// The most values of a word.
    const MOST_GROUP: usize;

    /// Reads it from where it is stored: scales, and at `offsets` zero points, if there are any. Without them the zero
    /// point is `middle`.
    ///
    /// # Safety
    /// `LANES` numbers of 32 bits can be read at both.
    unsafe fn scaling<S: Simd>(s: S, scales: *const u8, offsets: Option<*const u8>, middle: f32) -> Self::Scaling<S>;
    /// Writes the weights of one word of activations and `LANES` columns.
    ///
    /// # Safety
    /// `out` is valid for writing `LANES` times [`Format::group`] weights.
    unsafe fn write<S: Simd>(s: S, codes: S::I, scaling: Self::Scaling<S>, out: *mut u8);
}

impl Unpacked for F32 {
    type Scaling<S: Simd> = [S::F; 2];
    const MOST_GROUP: usize = 1;

    #[inline(always)]
    unsafe fn scaling<S: Simd>(s: S, scales: *const u8, offsets: Option<*const u8>, middle: f32) -> [S::F; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let scale = s.load(scales.cast());
            [scale, offsets.map_or(s.splat(middle), |zeros| s.load(zeros.cast()))]
        }
    }
    #[inline(always)]
    unsafe fn write<S: Simd>(s: S, codes: S::I, [scale, zero]: [S::F; 2], out: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { s.store(out.cast(), s.mul(s.sub(s.to_f(codes), zero), scale)) };
    }
}

impl Unpacked for Bf16 {
    type Scaling<S: Simd> = [S::F; 2];
    const MOST_GROUP: usize = 2;

    #[inline(always)]
    unsafe fn scaling<S: Simd>(s: S, scales: *const u8, offsets: Option<*const u8>, middle: f32) -> [S::F; 2] {
        // SAFETY: the caller's promise.
        unsafe { F32::scaling(s, scales, offsets, middle) }
    }
    #[inline(always)]
    unsafe fn write<S: Simd>(s: S, codes: S::I, [scale, zero]: [S::F; 2], out: *mut u8) {
        let real = |codes| s.mul(s.sub(s.to_f(codes), zero), scale);
        // SAFETY: the caller's promise.
        unsafe {
            if S::BF16_PAIRS {
                let low = rounded(s, real(s.and_i(codes, s.splat_i(0xffff))));
                let high = rounded(s, real(s.shr::<16>(codes)));
                let pairs = s.or_i(s.shr::<16>(low), s.and_i(high, s.splat_i(-0x1_0000)));
                s.store_i(out.cast(), pairs);
            } else {
                s.store_bf16(out.cast(), real(codes));
            }
        }
    }
}

/// Numbers whose upper halves are the nearest bf16, ties to even.
#[inline(always)]
fn rounded<S: Simd>(s: S, v: S::F) -> S::I {
    let bits = s.bits(v);
    let odd = s.and_i(s.shr::<16>(bits), s.splat_i(1));
    s.add_i(bits, s.add_i(odd, s.splat_i(0x7fff)))
}

impl Unpacked for Int8 {
    /// A factor and an addend, twice in each lane: `code · factor + addend` is 256 times the integer, and a half.
    type Scaling<S: Simd> = [S::I; 2];
    const MOST_GROUP: usize = 4;

    #[inline(always)]
    unsafe fn scaling<S: Simd>(s: S, scales: *const u8, _: Option<*const u8>, _: f32) -> [S::I; 2] {
        // SAFETY: the caller's promise.
        let both = unsafe { s.load_i(scales.cast()) };
        let factor = s.or_i(s.and_i(both, s.splat_i(0xffff)), s.shl::<16>(both));
        [factor, s.or_i(s.shr::<16>(both), s.and_i(both, s.splat_i(-0x1_0000)))]
    }
    #[inline(always)]
    unsafe fn write<S: Simd>(s: S, codes: S::I, [factor, addend]: [S::I; 2], out: *mut u8) {
        let low_bytes = s.splat_i(0x00ff_00ff);
        let scaled = |codes| s.mul_add_i16(codes, factor, addend);
        // SAFETY: the caller's promise.
        unsafe {
            if S::INT8_GROUP == 4 {
                let even = scaled(s.and_i(codes, low_bytes));
                let odd = scaled(s.and_i(s.shr::<8>(codes), low_bytes));
                let high_bytes = s.splat_i(0xff00_ff00_u32 as i32);
                s.store_i(out.cast(), s.or_i(s.and_i(s.shr::<8>(even), low_bytes), s.and_i(odd, high_bytes)));
            } else {
                let apart = s.and_i(s.shr::<8>(scaled(codes)), low_bytes);
                let together = s.or_i(apart, s.shr::<8>(apart));
                s.store_u16(out.cast(), s.and_i(together, s.splat_i(0xffff)));
            }
        }
    }
}

/// Computes a block of a product: unpacks panel after panel, and multiplies each with all rows.
pub(in crate::host::linear) struct Unpack<'a, P, const BITS: u32> {
    block: &'a Block,
    panel: &'a mut [u8],
    format: PhantomData<P>,
}

impl<'a, P: Unpacked, const BITS: u32> Unpack<'a, P, BITS> {
    /// With memory for one panel.
    pub fn new(block: &'a Block, panel: &'a mut [u8]) -> Self {
        Self { block, panel, format: PhantomData }
    }
}

impl<P: Unpacked, const BITS: u32> Task for Unpack<'_, P, BITS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { block: b, panel: memory, .. } = self;
        let group = P::group::<S>();
        let half_bytes = S::LANES * group * P::WEIGHT_BYTES;
        let count = (b.steps * group).div_ceil(b.blocks.inputs);
        assert!(memory.len() >= count * b.blocks.inputs / group * 2 * half_bytes, "memory for a panel");
        for panel in b.panels.clone() {
            // SAFETY: whoever called the kernel promised that the block's pointers are valid, and the memory holds all
            // blocks of a panel.
            unsafe {
                unpack::<S, P, BITS>(s, b.blocks, count, b.weights.add(panel * b.panel_bytes), memory.as_mut_ptr());
                let unpacked = Block {
                    panels: panel..panel + 1,
                    weights: memory.as_ptr(),
                    panel_bytes: 0,
                    step_bytes: 2 * half_bytes,
                    ..b.clone()
                };
                tile::block::<S, P>(s, &unpacked);
            }
        }
    }
}

/// Unpacks `count` blocks of a panel.
///
/// # Safety
/// `weights` is valid for reading them, `out` for writing their weights in the plain layout.
#[inline(always)]
unsafe fn unpack<S: Simd, P: Unpacked, const BITS: u32>(
    s: S,
    blocks: Blocks,
    count: usize,
    mut weights: *const u8,
    mut out: *mut u8,
) {
    let Blocks { inputs, lists, .. } = blocks;
    let (vector, group) = (S::LANES * WORD, P::group::<S>());
    let half_bytes = S::LANES * group * P::WEIGHT_BYTES;
    let (words, middle) = (inputs * BITS as usize / 32, (1 << (BITS - 1)) as f32);
    for _ in 0..count {
        // SAFETY: the caller's promise: words, scales and offsets of one block after the other.
        unsafe {
            let scales = weights.add(2 * vector * words);
            let offsets = |half: usize| (lists == 2).then(|| scales.add((2 + half) * vector));
            // Spelt out: a function over lists may be a call for each half.
            let scaling =
                [P::scaling(s, scales, offsets(0), middle), P::scaling(s, scales.add(vector), offsets(1), middle)];
            for _ in 0..words {
                let ahead = weights.wrapping_add(PREFETCH_BYTES);
                s.prefetch(ahead);
                if 2 * vector > LINE {
                    s.prefetch(ahead.wrapping_add(LINE));
                }
                for (half, scaling) in scaling.into_iter().enumerate() {
                    let codes = s.load_i(weights.add(half * vector).cast());
                    each_level!(BITS, group, LEVEL => {
                        let out = out.add((2 * LEVEL + half) * half_bytes);
                        P::write(s, level(s, BITS, group, codes, LEVEL), scaling, out);
                    });
                }
                weights = weights.add(2 * vector);
                out = out.add(levels(BITS, group) * 2 * half_bytes);
            }
            weights = weights.add(2 * vector * lists);
        }
    }
}
