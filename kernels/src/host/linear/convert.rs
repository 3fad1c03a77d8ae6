//! Activations to the operand formats, one row at a time.
//!
//! Plain loops without branches, inlined into what `dispatch` compiles for an instruction set, where the compiler
//! vectorises them: so there is one definition of the rounding for all ([`crate::numbers`]).
#![allow(unsafe_code)]

use crate::numbers::{INT8_LIMIT, bf16_bits, integer_bits, largest_magnitude, scale_to};

/// Quantises to int8, giving each value's low byte (two's complement) to `encode`. Returns the scale.
///
/// # Safety
/// `out` must be valid for `x.len()` values and for as many zeros as fill the last group.
#[inline(always)]
pub(crate) unsafe fn int8<T>(x: &[f32], group: usize, out: *mut T, encode: impl Fn(u8) -> T) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { wide(x, INT8_LIMIT, group, out, |bits| encode(bits as u8)) }
}

/// Quantises to integers up to `limit`, below 2¹⁵, giving each, in its low 16 bits (two's complement), to `encode`.
/// Returns the scale.
///
/// # Safety
/// As for [`int8`].
#[inline(always)]
pub(crate) unsafe fn wide<T>(x: &[f32], limit: f32, group: usize, out: *mut T, encode: impl Fn(u32) -> T) -> f32 {
    let scale = scale_to(largest_magnitude(x), limit);
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
