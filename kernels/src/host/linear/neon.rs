//! AArch64 Advanced SIMD: four lanes. With the dot-product instructions one instruction multiplies and adds four int8 pairs per
//! lane; without them int8 goes through int16. bf16 goes through fp32.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::{
    convert,
    simd::{Dot, Simd},
};

/// Four fp32 lanes.
pub(crate) struct Lanes;

// SAFETY (all blocks of this file): the caller promises that the CPU has Advanced SIMD (and the dot-product instructions for
// the type that uses them), and that pointers are valid for the lanes read or written; none needs alignment.

impl Simd for Lanes {
    type F = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(v: f32) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vdupq_n_f32(v) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: float32x4_t) {
        // SAFETY: see the top of this file.
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn at_least(bound: float32x4_t, v: float32x4_t) -> float32x4_t {
        // The instruction gives NaN where an operand is NaN.
        // SAFETY: see the top of this file.
        unsafe { vmaxq_f32(bound, v) }
    }
    #[inline(always)]
    unsafe fn at_most(bound: float32x4_t, v: float32x4_t) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vminq_f32(bound, v) }
    }
    #[inline(always)]
    unsafe fn abs(v: float32x4_t) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vabsq_f32(v) }
    }
}

/// fp32 products.
pub(crate) struct F32;

impl Dot for F32 {
    type Simd = Lanes;
    type Activation = f32;
    type Weight = f32;
    type Sum = float32x4_t;
    type Row = float32x4_t;
    type Columns = float32x4_t;
    const GROUP: usize = 1;
    const ROWS: usize = 12;
    const DIRECT: bool = true;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vdupq_n_f32(0.0) }
    }
    #[inline(always)]
    unsafe fn row(p: *const f32) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vld1q_dup_f32(p) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const f32) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn dot(sum: float32x4_t, row: float32x4_t, columns: float32x4_t) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vfmaq_f32(sum, row, columns) }
    }
    #[inline(always)]
    unsafe fn finish(sum: float32x4_t) -> float32x4_t {
        sum
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut f32) -> f32 {
        // SAFETY: `out` holds `x.len()` values and does not overlap `x`.
        unsafe { out.copy_from_nonoverlapping(x.as_ptr(), x.len()) };
        1.0
    }
}

/// bf16 operands as fp32 numbers, fp32 sums.
pub(crate) struct Bf16;

impl Dot for Bf16 {
    type Simd = Lanes;
    type Activation = f32;
    type Weight = u16;
    type Sum = float32x4_t;
    type Row = float32x4_t;
    type Columns = float32x4_t;
    const GROUP: usize = 1;
    const ROWS: usize = 12;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vdupq_n_f32(0.0) }
    }
    #[inline(always)]
    unsafe fn row(p: *const f32) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vld1q_dup_f32(p) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const u16) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p))) }
    }
    #[inline(always)]
    unsafe fn dot(sum: float32x4_t, row: float32x4_t, columns: float32x4_t) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vfmaq_f32(sum, row, columns) }
    }
    #[inline(always)]
    unsafe fn finish(sum: float32x4_t) -> float32x4_t {
        sum
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut f32) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { convert::bf16(x, Self::GROUP, out, |bits| f32::from_bits(u32::from(bits) << 16)) };
        1.0
    }
}

/// int8 products through int16, int32 sums.
pub(crate) struct Int8;

impl Dot for Int8 {
    type Simd = Lanes;
    type Activation = i16;
    type Weight = i8;
    type Sum = int32x4_t;
    type Row = int16x4_t;
    type Columns = int16x4_t;
    const GROUP: usize = 1;
    const ROWS: usize = 12;
    const QUANTISED: bool = true;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> int32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vdupq_n_s32(0) }
    }
    #[inline(always)]
    unsafe fn row(p: *const i16) -> int16x4_t {
        // SAFETY: see the top of this file.
        unsafe { vld1_dup_s16(p) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const i8) -> int16x4_t {
        // SAFETY: see the top of this file.
        unsafe {
            let four = vcreate_s8(u64::from(p.cast::<u32>().read_unaligned()));
            vget_low_s16(vmovl_s8(four))
        }
    }
    #[inline(always)]
    unsafe fn dot(sum: int32x4_t, row: int16x4_t, columns: int16x4_t) -> int32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vmlal_s16(sum, row, columns) }
    }
    #[inline(always)]
    unsafe fn finish(sum: int32x4_t) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vcvtq_f32_s32(sum) }
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut i16) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { convert::int8(x, Self::GROUP, out, |low| i16::from(low as i8)) }
    }
}

/// int8 in fours, int32 sums, with the dot-product instructions.
pub(crate) struct Int8Fours;

impl Dot for Int8Fours {
    type Simd = Lanes;
    type Activation = i8;
    type Weight = i8;
    type Sum = int32x4_t;
    type Row = int8x16_t;
    type Columns = int8x16_t;
    const GROUP: usize = 4;
    const ROWS: usize = 12;
    const QUANTISED: bool = true;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> int32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vdupq_n_s32(0) }
    }
    #[inline(always)]
    unsafe fn row(p: *const i8) -> int8x16_t {
        // SAFETY: see the top of this file.
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(p.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const i8) -> int8x16_t {
        // SAFETY: see the top of this file.
        unsafe { vld1q_s8(p) }
    }
    #[inline(always)]
    unsafe fn dot(sum: int32x4_t, row: int8x16_t, columns: int8x16_t) -> int32x4_t {
        let mut sum = sum;
        // `vdotq_s32` is not stable yet.
        // SAFETY: see the top of this file; registers only.
        unsafe {
            std::arch::asm!(
                "sdot {sum:v}.4s, {row:v}.16b, {columns:v}.16b",
                sum = inout(vreg) sum,
                row = in(vreg) row,
                columns = in(vreg) columns,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sum
    }
    #[inline(always)]
    unsafe fn finish(sum: int32x4_t) -> float32x4_t {
        // SAFETY: see the top of this file.
        unsafe { vcvtq_f32_s32(sum) }
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut i8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { convert::int8(x, Self::GROUP, out, |low| low as i8) }
    }
}

/// The kernel at a precision, with the dot-product instructions if this CPU has them.
pub(crate) fn kernel(precision: crate::Precision) -> super::kernel::Kernel {
    if std::arch::is_aarch64_feature_detected!("dotprod") {
        super::kernel::entry!(precision, F32, Bf16, Int8Fours, "neon,dotprod")
    } else {
        super::kernel::entry!(precision, F32, Bf16, Int8, "neon")
    }
}
