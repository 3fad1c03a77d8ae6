//! Activations to the operand formats, one row at a time.
//!
//! Plain loops without branches, inlined into what `dispatch` compiles for an instruction set, where the compiler vectorises them; so there is one definition of the rounding for all. The definition in words is in
//! [`crate::reference::linear`].
#![allow(unsafe_code)]

use crate::linear::{INT8_LIMIT, scale_to};

/// Adding this to a float of magnitude at most 2²² rounds it to the nearest integer, ties to even, and leaves that
/// integer in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// `value · inverse` rounded to the nearest integer, ties to even, in the low bits (two's complement).
#[inline(always)]
fn integer_bits(value: f32, inverse: f32) -> u32 {
    (value * inverse + ROUND).to_bits()
}

/// The low byte of [`integer_bits`].
#[inline(always)]
pub(crate) fn int8_bits(value: f32, inverse: f32) -> u8 {
    integer_bits(value, inverse) as u8
}

/// Quantises to int8, giving each value's low byte (two's complement) to `encode`. Returns the scale.
///
/// # Safety
/// `out` must be valid for `x.len()` values and for as many zeros as fill the last group.
#[inline(always)]
pub(crate) unsafe fn int8<T>(x: &[f32], group: usize, out: *mut T, encode: impl Fn(u8) -> T) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { wide(x, INT8_LIMIT, group, out, |bits| encode(bits as u8)) }
}

/// Quantises to integers up to `limit`, below 2¹⁵, giving each, in its low 16 bits (two's complement), to `encode`. Returns
/// the scale.
///
/// # Safety
/// As for [`int8`].
#[inline(always)]
pub(crate) unsafe fn wide<T>(x: &[f32], limit: f32, group: usize, out: *mut T, encode: impl Fn(u32) -> T) -> f32 {
    // Magnitudes order as their bits do, with infinity and NaN above every number.
    let largest = x.iter().fold(0u32, |largest, value| largest.max(value.to_bits() & 0x7fff_ffff));
    let scale = scale_to(f32::from_bits(largest), limit);
    let inverse = scale.inverse;
    for (index, value) in x.iter().enumerate() {
        // SAFETY: `out` holds `x.len()` values.
        unsafe { out.add(index).write(encode(integer_bits(*value, inverse))) };
    }
    for index in x.len()..x.len().next_multiple_of(group) {
        // SAFETY: the caller's promise for the last group.
        unsafe { out.add(index).write(encode(0)) };
    }
    scale.scale
}

/// The nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub(crate) fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded }) as u16
}

/// Rounds to bf16 and gives its bits to `encode`.
///
/// # Safety
/// As for [`int8`].
#[inline(always)]
pub(crate) unsafe fn bf16<T>(x: &[f32], group: usize, out: *mut T, encode: impl Fn(u16) -> T) {
    for (index, value) in x.iter().enumerate() {
        // SAFETY: `out` holds `x.len()` values.
        unsafe { out.add(index).write(encode(bf16_bits(*value))) };
    }
    for index in x.len()..x.len().next_multiple_of(group) {
        // SAFETY: the caller's promise for the last group.
        unsafe { out.add(index).write(encode(0)) };
    }
}
