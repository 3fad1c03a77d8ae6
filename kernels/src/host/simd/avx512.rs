//! AVX-512: sixteen lanes; with VNNI and BF16 (`DOT`) the dot products are one instruction.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{Simd, Task};

/// A value exists only on a CPU with AVX-512 F, BW, DQ, VL and FMA, and with `DOT` also VNNI and BF16.
#[derive(Clone, Copy)]
pub(super) struct Avx512<const DOT: bool>(());

/// Runs `task` compiled for AVX-512.
///
/// # Safety
/// The CPU has AVX-512 F, BW, DQ, VL, and AVX2 and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run<T: Task>(task: T) -> T::Output {
    task.run(Avx512::<false>(()))
}

/// Runs `task` compiled for AVX-512 with VNNI and BF16.
///
/// # Safety
/// As [`run`], and the CPU has AVX-512 VNNI and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma")]
pub(super) unsafe fn run_dot<T: Task>(task: T) -> T::Output {
    task.run(Avx512::<true>(()))
}

impl<const DOT: bool> Simd for Avx512<DOT> {
    type F = __m512;
    type I = __m512i;
    const LANES: usize = 16;
    const TILE: (usize, usize) = (6, 4);
    const INT8_GROUP: usize = if DOT { 4 } else { 2 };
    const INT8_OFFSET: u8 = if DOT { 128 } else { 0 };
    const BF16_PAIRS: bool = DOT;

    on_registers! {
        fn splat(self, v: f32) -> __m512 = _mm512_set1_ps(v);
        fn add(self, a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        fn sub(self, a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        fn mul(self, a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        fn div(self, a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        fn max(self, a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        fn min(self, a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        fn abs(self, v: __m512) -> __m512 = _mm512_abs_ps(v);
        fn with_sign(self, v: __m512, sign: __m512) -> __m512 =
            _mm512_or_ps(v, _mm512_and_ps(sign, _mm512_set1_ps(-0.0)));
        fn sqrt(self, v: __m512) -> __m512 = _mm512_sqrt_ps(v);
        fn round(self, v: __m512) -> __m512 =
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v);
        fn scale(self, v: __m512, n: __m512) -> __m512 = _mm512_scalef_ps(v, n);
        fn sum(self, v: __m512) -> f32 = _mm512_reduce_add_ps(v);
        fn largest(self, v: __m512) -> f32 = _mm512_reduce_max_ps(v);
        fn splat_i(self, v: i32) -> __m512i = _mm512_set1_epi32(v);
        fn add_i(self, a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        fn and_i(self, a: __m512i, b: __m512i) -> __m512i = _mm512_and_si512(a, b);
        fn or_i(self, a: __m512i, b: __m512i) -> __m512i = _mm512_or_si512(a, b);
        fn shl<const N: u32>(self, v: __m512i) -> __m512i = _mm512_slli_epi32::<N>(v);
        fn shr<const N: u32>(self, v: __m512i) -> __m512i = _mm512_srli_epi32::<N>(v);
        fn bits(self, v: __m512) -> __m512i = _mm512_castps_si512(v);
        fn bits_to_f(self, v: __m512i) -> __m512 = _mm512_castsi512_ps(v);
        fn to_f(self, v: __m512i) -> __m512 = _mm512_cvtepi32_ps(v);
        fn to_i(self, v: __m512) -> __m512i = _mm512_cvtps_epi32(v);
        fn dot_i16(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i =
            _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
        fn mul_add_i16(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i =
            _mm512_add_epi16(_mm512_mullo_epi16(a, b), c);
    }

    in_memory! {
        unsafe fn load(self, p: *const f32) -> __m512 = _mm512_loadu_ps(p);
        unsafe fn store(self, p: *mut f32, v: __m512) = _mm512_storeu_ps(p, v);
        unsafe fn load_i(self, p: *const i32) -> __m512i = _mm512_loadu_si512(p.cast());
        unsafe fn store_i(self, p: *mut i32, v: __m512i) = _mm512_storeu_si512(p.cast(), v);
        unsafe fn store_u8(self, p: *mut u8, v: __m512i) = _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(v));
        unsafe fn store_u16(self, p: *mut u16, v: __m512i) = _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(v));
        unsafe fn load_whole(self, p: *const i8) -> __m512 =
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())));
    }

    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, v: __m512) {
        // SAFETY: the caller's promise; the type is sixteen 16-bit values.
        unsafe {
            let narrow = if DOT {
                std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v))
            } else {
                let bits = _mm512_castps_si512(v);
                let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
                let rounded = _mm512_mask_mov_epi32(rounded, nan, _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000)));
                _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded))
            };
            _mm256_storeu_si256(p.cast(), narrow);
        }
    }

    #[inline(always)]
    fn dot_u8i8(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        register_only!(if DOT {
            _mm512_dpbusd_epi32(sum, a, b)
        } else {
            // vpmaddubsw would saturate: widen even and odd bytes to 16 bits instead.
            let a_even = _mm512_and_si512(a, _mm512_set1_epi16(0xff));
            let a_odd = _mm512_srli_epi16::<8>(a);
            let b_even = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(b));
            let b_odd = _mm512_srai_epi16::<8>(b);
            let even = _mm512_madd_epi16(a_even, b_even);
            let odd = _mm512_madd_epi16(a_odd, b_odd);
            _mm512_add_epi32(_mm512_add_epi32(sum, even), odd)
        })
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { if DOT { _mm512_loadu_si512(p.cast()) } else { _mm512_cvtepi8_epi16(_mm256_loadu_si256(p.cast())) } }
    }
    #[inline(always)]
    fn dot_i8(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        register_only!(if DOT { _mm512_dpbusd_epi32(sum, a, b) } else { self.dot_i16(sum, a, b) })
    }
    #[inline(always)]
    fn dot_bf16(self, sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        register_only!(if DOT {
            let (a, b) = std::mem::transmute::<(__m512i, __m512i), (__m512bh, __m512bh)>((a, b));
            _mm512_dpbf16_ps(sum, a, b)
        } else {
            let high = _mm512_set1_epi32(-0x1_0000);
            let low = |v| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(v));
            let sum = _mm512_fmadd_ps(low(a), low(b), sum);
            let high = |v| _mm512_castsi512_ps(_mm512_and_si512(v, high));
            _mm512_fmadd_ps(high(a), high(b), sum)
        })
    }
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // A prefetch never faults.
        register_only!(_mm_prefetch::<_MM_HINT_T0>(p.cast()));
    }
}
