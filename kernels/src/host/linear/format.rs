//! The number formats of the linear layer's products, over the vectors of any instruction set.
//!
//! An activation row is 32-bit words, each of which is repeated over the lanes; a panel holds, for each word, the
//! weights of `LANES` columns. How many values a word holds depends on what the instruction set multiplies at once, and
//! weights stay as narrow as their format until they are in a register: with few rows, reading them is what takes the
//! time.
//!
//! Attention has formats of its own: its operands are made in the run, so that the width of words is not worth a
//! choice, and its int8 weights (soft-maxed scores) are unsigned.
#![allow(unsafe_code)]

use super::convert;
use crate::{
    host::simd::Simd,
    numbers::{from_bf16, wide_limit},
};

/// Bytes of a word of activations.
pub(crate) const WORD: usize = 4;

/// A number format.
pub(crate) trait Format: 'static {
    /// A vector of sums.
    type Sum<S: Simd>: Copy;
    /// What is read of a row of activations at once.
    type Row<S: Simd>: Copy;
    /// Sums are integers of quantised operands: rows and columns have scales.
    const QUANTISED: bool = false;
    /// Activations have more bits than a word may hold for each: they are then in planes, rows of words that follow one
    /// another, each of some of the bits.
    const WIDE: bool = false;
    /// Activations are fp32 as they come, so that they can be read where they are.
    const DIRECT: bool = false;
    /// Bytes of a packed weight.
    const WEIGHT_BYTES: usize;

    /// Inputs to a word.
    fn group<S: Simd>() -> usize;
    /// Sums before the first word: the `LANES` values at `corrections` where activations have an offset to be taken
    /// back, else zeros.
    ///
    /// # Safety
    /// `corrections` is valid for reading `LANES` values if the format is quantised and [`Simd::INT8_OFFSET`] is not 0.
    unsafe fn start<S: Simd>(s: S, corrections: *const i32) -> Self::Sum<S>;
    /// The weights of `LANES` columns for one word.
    ///
    /// # Safety
    /// `p` is valid for reading `LANES` times [`Format::group`] weights; no alignment is asked.
    unsafe fn columns<S: Simd>(s: S, p: *const u8) -> S::I;
    /// The word at `p` in all lanes, and those of the planes behind it, `plane` bytes from one to the next.
    ///
    /// # Safety
    /// A word can be read at `p`, and at each plane's.
    unsafe fn row<S: Simd>(s: S, p: *const u8, plane: usize) -> Self::Row<S>;
    /// `sum + row · columns`, word by word.
    fn dot<S: Simd>(s: S, sum: Self::Sum<S>, row: Self::Row<S>, columns: S::I) -> Self::Sum<S>;
    /// The sums as fp32.
    fn finish<S: Simd>(s: S, sum: Self::Sum<S>) -> S::F;
    /// Converts one row of activations; zeros fill the last word of each plane. Returns the row's scale (1 if not
    /// quantised).
    ///
    /// # Safety
    /// `out` is valid for writing [`planes`] times `x.len()` values in whole words, aligned for a word, and does not
    /// overlap `x`.
    unsafe fn convert<S: Simd>(x: &[f32], out: *mut u8) -> f32;
}

/// Planes of a row of activations.
pub(crate) const fn planes<S: Simd, P: Format>() -> usize {
    if P::WIDE && S::INT8_GROUP == 4 { 2 } else { 1 }
}

/// The word at `p` in all lanes.
///
/// # Safety
/// It can be read; no alignment is asked.
#[inline(always)]
unsafe fn word<S: Simd>(s: S, p: *const u8) -> S::I {
    // SAFETY: the caller's promise.
    s.splat_i(unsafe { p.cast::<i32>().read_unaligned() })
}

/// fp32 operands.
pub(crate) struct F32;

impl Format for F32 {
    type Sum<S: Simd> = S::F;
    type Row<S: Simd> = S::I;
    const DIRECT: bool = true;
    const WEIGHT_BYTES: usize = 4;

    #[inline(always)]
    fn group<S: Simd>() -> usize {
        1
    }
    #[inline(always)]
    unsafe fn start<S: Simd>(s: S, _: *const i32) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    unsafe fn columns<S: Simd>(s: S, p: *const u8) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { s.load_i(p.cast()) }
    }
    #[inline(always)]
    unsafe fn row<S: Simd>(s: S, p: *const u8, _: usize) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { word(s, p) }
    }
    #[inline(always)]
    fn dot<S: Simd>(s: S, sum: S::F, row: S::I, columns: S::I) -> S::F {
        s.mul_add(s.bits_to_f(row), s.bits_to_f(columns), sum)
    }
    #[inline(always)]
    fn finish<S: Simd>(_: S, sum: S::F) -> S::F {
        sum
    }
    #[inline(always)]
    unsafe fn convert<S: Simd>(x: &[f32], out: *mut u8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { out.cast::<f32>().copy_from_nonoverlapping(x.as_ptr(), x.len()) };
        1.0
    }
}

/// bf16 operands, fp32 sums: in pairs where an instruction multiplies them (it takes numbers below 2⁻¹²⁶ as zero),
/// elsewhere as fp32 numbers.
pub(crate) struct Bf16;

impl Format for Bf16 {
    type Sum<S: Simd> = S::F;
    type Row<S: Simd> = S::I;
    const WEIGHT_BYTES: usize = 2;

    #[inline(always)]
    fn group<S: Simd>() -> usize {
        if S::BF16_PAIRS { 2 } else { 1 }
    }
    #[inline(always)]
    unsafe fn start<S: Simd>(s: S, _: *const i32) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    unsafe fn columns<S: Simd>(s: S, p: *const u8) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { if S::BF16_PAIRS { s.load_i(p.cast()) } else { s.bits(s.load_bf16(p.cast())) } }
    }
    #[inline(always)]
    unsafe fn row<S: Simd>(s: S, p: *const u8, _: usize) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { word(s, p) }
    }
    #[inline(always)]
    fn dot<S: Simd>(s: S, sum: S::F, row: S::I, columns: S::I) -> S::F {
        if S::BF16_PAIRS { s.dot_bf16(sum, row, columns) } else { F32::dot(s, sum, row, columns) }
    }
    #[inline(always)]
    fn finish<S: Simd>(_: S, sum: S::F) -> S::F {
        sum
    }
    #[inline(always)]
    unsafe fn convert<S: Simd>(x: &[f32], out: *mut u8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe {
            if S::BF16_PAIRS {
                convert::bf16(x, 2, out.cast::<u16>(), |bits| bits);
            } else {
                convert::bf16(x, 1, out.cast::<f32>(), from_bf16);
            }
        }
        1.0
    }
}

/// int8 operands, int32 sums: bytes where an instruction multiplies them, elsewhere activations of 16 bits.
pub(crate) struct Int8;

impl Format for Int8 {
    type Sum<S: Simd> = S::I;
    type Row<S: Simd> = S::I;
    const QUANTISED: bool = true;
    const WEIGHT_BYTES: usize = 1;

    #[inline(always)]
    fn group<S: Simd>() -> usize {
        S::INT8_GROUP
    }
    #[inline(always)]
    unsafe fn start<S: Simd>(s: S, corrections: *const i32) -> S::I {
        // SAFETY: the caller's promise.
        if S::INT8_OFFSET == 0 { s.splat_i(0) } else { unsafe { s.load_i(corrections) } }
    }
    #[inline(always)]
    unsafe fn columns<S: Simd>(s: S, p: *const u8) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { s.load_i8(p.cast()) }
    }
    #[inline(always)]
    unsafe fn row<S: Simd>(s: S, p: *const u8, _: usize) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { word(s, p) }
    }
    #[inline(always)]
    fn dot<S: Simd>(s: S, sum: S::I, row: S::I, columns: S::I) -> S::I {
        s.dot_i8(sum, row, columns)
    }
    #[inline(always)]
    fn finish<S: Simd>(s: S, sum: S::I) -> S::F {
        s.to_f(sum)
    }
    #[inline(always)]
    unsafe fn convert<S: Simd>(x: &[f32], out: *mut u8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe {
            if S::INT8_GROUP == 4 {
                // Adding 128 to a byte changes its highest bit only.
                convert::int8(x, 4, out, |low| low ^ S::INT8_OFFSET)
            } else {
                convert::int8(x, 2, out.cast::<i16>(), |low| i16::from(low as i8))
            }
        }
    }
}

/// int8 weights and activations of up to 16 bits ([`wide_limit`]), int32 sums. Where activations are of 16 bits anyway
/// they are multiplied as in [`Int8`]; where bytes are multiplied a row is two: the low bytes, and what is left of each
/// value, worth 256 times as much.
pub(crate) struct Int8Wide;

impl Format for Int8Wide {
    /// The sums of the high bytes and of the low ones; twice the same where there is one plane.
    type Sum<S: Simd> = [S::I; 2];
    type Row<S: Simd> = [S::I; 2];
    const QUANTISED: bool = true;
    const WIDE: bool = true;
    const WEIGHT_BYTES: usize = 1;

    #[inline(always)]
    fn group<S: Simd>() -> usize {
        S::INT8_GROUP
    }
    #[inline(always)]
    unsafe fn start<S: Simd>(s: S, corrections: *const i32) -> [S::I; 2] {
        // SAFETY: the caller's promise.
        [unsafe { Int8::start(s, corrections) }; 2]
    }
    #[inline(always)]
    unsafe fn columns<S: Simd>(s: S, p: *const u8) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { Int8::columns(s, p) }
    }
    #[inline(always)]
    unsafe fn row<S: Simd>(s: S, p: *const u8, plane: usize) -> [S::I; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let first = word(s, p);
            if planes::<S, Self>() == 2 { [first, word(s, p.add(plane))] } else { [first; 2] }
        }
    }
    #[inline(always)]
    fn dot<S: Simd>(s: S, [high, low]: [S::I; 2], row: [S::I; 2], columns: S::I) -> [S::I; 2] {
        let high = s.dot_i8(high, row[0], columns);
        if planes::<S, Self>() == 2 { [high, s.dot_i8(low, row[1], columns)] } else { [high; 2] }
    }
    #[inline(always)]
    fn finish<S: Simd>(s: S, [high, low]: [S::I; 2]) -> S::F {
        // What the high bytes' sum loses in the shift comes back when the low bytes' is added: the whole fits.
        s.to_f(if planes::<S, Self>() == 2 { s.add_i(s.shl::<8>(high), low) } else { high })
    }
    #[inline(always)]
    unsafe fn convert<S: Simd>(x: &[f32], out: *mut u8) -> f32 {
        let limit = wide_limit(x.len());
        // SAFETY: the caller's promise, for both planes.
        unsafe {
            if planes::<S, Self>() == 1 {
                return convert::wide(x, limit, 2, out.cast::<i16>(), |bits| bits as i16);
            }
            // A low byte is read as −128 ..= 127, so the high one is rounded.
            let low = out.add(x.len().div_ceil(4) * WORD);
            convert::wide(x, limit, 4, out, |bits| (bits.wrapping_add(128) >> 8) as u8 ^ S::INT8_OFFSET);
            convert::wide(x, limit, 4, low, |bits| bits as u8 ^ S::INT8_OFFSET)
        }
    }
}
