//! AVX-512: sixteen lanes. With VNNI and BF16 one instruction multiplies and adds four int8 or two bf16 pairs per lane;
//! without them int8 goes through int16 pairs and bf16 through fp32.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{
    convert,
    simd::{Dot, Simd},
};

/// Sixteen fp32 lanes.
pub(crate) struct Lanes;

// SAFETY (all blocks of this file): the caller promises that the CPU has AVX-512 F, BW, DQ and VL (and VNNI and BF16 for the
// types named after them), and that pointers are valid for the lanes read or written; loads and stores are unaligned ones.

impl Simd for Lanes {
    type F = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(v: f32) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_set1_ps(v) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        // SAFETY: see the top of this file.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn at_least(bound: __m512, v: __m512) -> __m512 {
        // The instruction gives its second operand where one is NaN.
        // SAFETY: see the top of this file.
        unsafe { _mm512_max_ps(bound, v) }
    }
    #[inline(always)]
    unsafe fn at_most(bound: __m512, v: __m512) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_min_ps(bound, v) }
    }
    #[inline(always)]
    unsafe fn abs(v: __m512) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_abs_ps(v) }
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
    type Sum = __m512;
    type Row = __m512;
    type Columns = __m512;
    const GROUP: usize = 1;
    const ROWS: usize = 12;
    const DIRECT: bool = true;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn row(p: *const f32) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_set1_ps(*p) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const f32) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn dot(sum: __m512, row: __m512, columns: __m512) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_fmadd_ps(row, columns, sum) }
    }
    #[inline(always)]
    unsafe fn finish(sum: __m512) -> __m512 {
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
    type Sum = __m512;
    type Row = __m512;
    type Columns = __m512;
    const GROUP: usize = 1;
    const ROWS: usize = 12;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn row(p: *const f32) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_set1_ps(*p) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const u16) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }
    #[inline(always)]
    unsafe fn dot(sum: __m512, row: __m512, columns: __m512) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_fmadd_ps(row, columns, sum) }
    }
    #[inline(always)]
    unsafe fn finish(sum: __m512) -> __m512 {
        sum
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut f32) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { convert::bf16(x, Self::GROUP, out, |bits| f32::from_bits(u32::from(bits) << 16)) };
        1.0
    }
}

/// bf16 pairs, fp32 sums, with the BF16 instructions. These take numbers below 2⁻¹²⁶ as zero.
pub(crate) struct Bf16Pairs;

impl Dot for Bf16Pairs {
    type Simd = Lanes;
    type Activation = u16;
    type Weight = u16;
    type Sum = __m512;
    type Row = __m512i;
    type Columns = __m512i;
    const GROUP: usize = 2;
    const ROWS: usize = 12;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn row(p: *const u16) -> __m512i {
        // SAFETY: see the top of this file.
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const u16) -> __m512i {
        // SAFETY: see the top of this file.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(sum: __m512, row: __m512i, columns: __m512i) -> __m512 {
        // SAFETY: see the top of this file; both types are 512 bits.
        unsafe {
            let [row, columns] = [row, columns].map(|v| std::mem::transmute::<__m512i, __m512bh>(v));
            _mm512_dpbf16_ps(sum, row, columns)
        }
    }
    #[inline(always)]
    unsafe fn finish(sum: __m512) -> __m512 {
        sum
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut u16) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { convert::bf16(x, Self::GROUP, out, |bits| bits) };
        1.0
    }
}

/// int8 products through int16 pairs, int32 sums.
pub(crate) struct Int8;

impl Dot for Int8 {
    type Simd = Lanes;
    type Activation = i16;
    type Weight = i8;
    type Sum = __m512i;
    type Row = __m512i;
    type Columns = __m512i;
    const GROUP: usize = 2;
    const ROWS: usize = 12;
    const QUANTISED: bool = true;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> __m512i {
        // SAFETY: see the top of this file.
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn row(p: *const i16) -> __m512i {
        // SAFETY: see the top of this file.
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const i8) -> __m512i {
        // SAFETY: see the top of this file.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn dot(sum: __m512i, row: __m512i, columns: __m512i) -> __m512i {
        // SAFETY: see the top of this file.
        unsafe { _mm512_add_epi32(sum, _mm512_madd_epi16(row, columns)) }
    }
    #[inline(always)]
    unsafe fn finish(sum: __m512i) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_cvtepi32_ps(sum) }
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut i16) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { convert::int8(x, Self::GROUP, out, |low| i16::from(low as i8)) }
    }
}

/// int8 in fours, int32 sums, with VNNI, whose first operand is unsigned: activations have 128 added.
pub(crate) struct Int8Fours;

impl Dot for Int8Fours {
    type Simd = Lanes;
    type Activation = u8;
    type Weight = i8;
    type Sum = __m512i;
    type Row = __m512i;
    type Columns = __m512i;
    const GROUP: usize = 4;
    const ROWS: usize = 12;
    const QUANTISED: bool = true;
    const OFFSET: bool = true;

    #[inline(always)]
    unsafe fn start(corrections: *const i32) -> __m512i {
        // SAFETY: see the top of this file.
        unsafe { _mm512_loadu_si512(corrections.cast()) }
    }
    #[inline(always)]
    unsafe fn row(p: *const u8) -> __m512i {
        // SAFETY: see the top of this file.
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn columns(p: *const i8) -> __m512i {
        // SAFETY: see the top of this file.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(sum: __m512i, row: __m512i, columns: __m512i) -> __m512i {
        // SAFETY: see the top of this file.
        unsafe { _mm512_dpbusd_epi32(sum, row, columns) }
    }
    #[inline(always)]
    unsafe fn finish(sum: __m512i) -> __m512 {
        // SAFETY: see the top of this file.
        unsafe { _mm512_cvtepi32_ps(sum) }
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut u8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { convert::int8(x, Self::GROUP, out, |low| low ^ 0x80) }
    }
}

/// The kernel at a precision, without VNNI and BF16.
pub(crate) fn kernel(precision: crate::Precision) -> super::kernel::Kernel {
    super::kernel::entry!(precision, F32, Bf16, Int8, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
}

/// The kernel at a precision, with VNNI and BF16.
pub(crate) fn kernel_vnni_bf16(precision: crate::Precision) -> super::kernel::Kernel {
    super::kernel::entry!(
        precision,
        F32,
        Bf16Pairs,
        Int8Fours,
        "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma"
    )
}
