//! AVX2 and FMA: eight lanes. With the 256-bit VNNI one instruction multiplies and adds four int8 pairs per lane; without it
//! int8 goes through int16 pairs (`vpmaddubsw` would saturate). bf16 goes through fp32.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{
    convert,
    simd::{Dot, Simd},
};

/// Eight fp32 lanes.
pub(crate) struct Lanes;

// SAFETY (all blocks of this file): the caller promises that the CPU has AVX2 and FMA (and AVX-VNNI for the type that uses
// it), and that pointers are valid for the lanes read or written; loads and stores are unaligned ones.

impl Simd for Lanes {
    type F = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(v: f32) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_set1_ps(v) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m256) {
        // SAFETY: see the top of this file.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn at_least(bound: __m256, v: __m256) -> __m256 {
        // The instruction gives its second operand where one is NaN.
        // SAFETY: see the top of this file.
        unsafe { _mm256_max_ps(bound, v) }
    }
    #[inline(always)]
    unsafe fn at_most(bound: __m256, v: __m256) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_min_ps(bound, v) }
    }
    #[inline(always)]
    unsafe fn abs(v: __m256) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), v) }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
}

/// fp32 products.
pub(crate) struct F32;

impl Dot for F32 {
    type Simd = Lanes;
    type Activation = f32;
    type Weight = f32;
    type Sum = __m256;
    type Row = __m256;
    type Columns = __m256;
    const GROUP: usize = 1;
    const ROWS: usize = 6;
    const DIRECT: bool = true;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn row(p: *const f32) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_set1_ps(*p) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const f32) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn dot(sum: __m256, row: __m256, columns: __m256) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_fmadd_ps(row, columns, sum) }
    }
    #[inline(always)]
    unsafe fn finish(sum: __m256) -> __m256 {
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
    type Sum = __m256;
    type Row = __m256;
    type Columns = __m256;
    const GROUP: usize = 1;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn row(p: *const f32) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_set1_ps(*p) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const u16) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }
    #[inline(always)]
    unsafe fn dot(sum: __m256, row: __m256, columns: __m256) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_fmadd_ps(row, columns, sum) }
    }
    #[inline(always)]
    unsafe fn finish(sum: __m256) -> __m256 {
        sum
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut f32) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { convert::bf16(x, Self::GROUP, out, |bits| f32::from_bits(u32::from(bits) << 16)) };
        1.0
    }
}

/// int8 products through int16 pairs, int32 sums.
pub(crate) struct Int8;

impl Dot for Int8 {
    type Simd = Lanes;
    type Activation = i16;
    type Weight = i8;
    type Sum = __m256i;
    type Row = __m256i;
    type Columns = __m256i;
    const GROUP: usize = 2;
    const ROWS: usize = 6;
    const QUANTISED: bool = true;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> __m256i {
        // SAFETY: see the top of this file.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn row(p: *const i16) -> __m256i {
        // SAFETY: see the top of this file.
        unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const i8) -> __m256i {
        // SAFETY: see the top of this file.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn dot(sum: __m256i, row: __m256i, columns: __m256i) -> __m256i {
        // SAFETY: see the top of this file.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(row, columns)) }
    }
    #[inline(always)]
    unsafe fn finish(sum: __m256i) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_cvtepi32_ps(sum) }
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut i16) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { convert::int8(x, Self::GROUP, out, |low| i16::from(low as i8)) }
    }
}

/// int8 in fours, int32 sums, with the 256-bit VNNI, whose first operand is unsigned: activations have 128 added.
pub(crate) struct Int8Fours;

impl Dot for Int8Fours {
    type Simd = Lanes;
    type Activation = u8;
    type Weight = i8;
    type Sum = __m256i;
    type Row = __m256i;
    type Columns = __m256i;
    const GROUP: usize = 4;
    const ROWS: usize = 6;
    const QUANTISED: bool = true;
    const OFFSET: bool = true;

    #[inline(always)]
    unsafe fn start(corrections: *const i32) -> __m256i {
        // SAFETY: see the top of this file.
        unsafe { _mm256_loadu_si256(corrections.cast()) }
    }
    #[inline(always)]
    unsafe fn row(p: *const u8) -> __m256i {
        // SAFETY: see the top of this file.
        unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const i8) -> __m256i {
        // SAFETY: see the top of this file.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(sum: __m256i, row: __m256i, columns: __m256i) -> __m256i {
        // SAFETY: see the top of this file.
        unsafe { _mm256_dpbusd_avx_epi32(sum, row, columns) }
    }
    #[inline(always)]
    unsafe fn finish(sum: __m256i) -> __m256 {
        // SAFETY: see the top of this file.
        unsafe { _mm256_cvtepi32_ps(sum) }
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut u8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { convert::int8(x, Self::GROUP, out, |low| low ^ 0x80) }
    }
}

/// The kernel at a precision, without VNNI.
pub(crate) fn kernel(precision: crate::Precision) -> super::kernel::Kernel {
    super::kernel::entry!(precision, F32, Bf16, Int8, "avx2,fma")
}

/// The kernel at a precision, with the 256-bit VNNI.
pub(crate) fn kernel_vnni(precision: crate::Precision) -> super::kernel::Kernel {
    super::kernel::entry!(precision, F32, Bf16, Int8Fours, "avx2,fma,avxvnni")
}
