//! AVX2 and FMA: eight lanes; with the 256-bit VNNI instructions (`DOT`) the int8 dot product is one instruction.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{Simd, Task};

/// A value exists only on a CPU with AVX2 and FMA, and with `DOT` also AVX-VNNI.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const DOT: bool>(());

/// Runs `task` compiled for AVX2.
///
/// # Safety
/// The CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run<T: Task>(task: T) -> T::Output {
    task.run(Avx2::<false>(()))
}

/// Runs `task` compiled for AVX2 with VNNI.
///
/// # Safety
/// As [`run`], and the CPU has AVX-VNNI.
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) unsafe fn run_dot<T: Task>(task: T) -> T::Output {
    task.run(Avx2::<true>(()))
}

impl<const DOT: bool> Simd for Avx2<DOT> {
    type F = __m256;
    type I = __m256i;
    const LANES: usize = 8;
    const TILE: (usize, usize) = (6, 2);
    const INT8_GROUP: usize = if DOT { 4 } else { 2 };
    const INT8_OFFSET: u8 = if DOT { 128 } else { 0 };
    const BF16_PAIRS: bool = false;

    on_registers! {
        fn splat(self, v: f32) -> __m256 = _mm256_set1_ps(v);
        fn add(self, a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        fn sub(self, a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        fn mul(self, a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        fn div(self, a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        fn max(self, a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
        fn min(self, a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
        fn abs(self, v: __m256) -> __m256 = _mm256_andnot_ps(_mm256_set1_ps(-0.0), v);
        fn with_sign(self, v: __m256, sign: __m256) -> __m256 =
            _mm256_or_ps(v, _mm256_and_ps(sign, _mm256_set1_ps(-0.0)));
        fn sqrt(self, v: __m256) -> __m256 = _mm256_sqrt_ps(v);
        fn round(self, v: __m256) -> __m256 = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v);
        fn splat_i(self, v: i32) -> __m256i = _mm256_set1_epi32(v);
        fn add_i(self, a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(a, b);
        fn and_i(self, a: __m256i, b: __m256i) -> __m256i = _mm256_and_si256(a, b);
        fn or_i(self, a: __m256i, b: __m256i) -> __m256i = _mm256_or_si256(a, b);
        fn shl<const N: u32>(self, v: __m256i) -> __m256i = _mm256_sll_epi32(v, _mm_cvtsi32_si128(N as i32));
        fn shr<const N: u32>(self, v: __m256i) -> __m256i = _mm256_srl_epi32(v, _mm_cvtsi32_si128(N as i32));
        fn bits(self, v: __m256) -> __m256i = _mm256_castps_si256(v);
        fn bits_to_f(self, v: __m256i) -> __m256 = _mm256_castsi256_ps(v);
        fn to_f(self, v: __m256i) -> __m256 = _mm256_cvtepi32_ps(v);
        fn to_i(self, v: __m256) -> __m256i = _mm256_cvtps_epi32(v);
        fn dot_i16(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i =
            _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
        fn mul_add_i16(self, a: __m256i, b: __m256i, c: __m256i) -> __m256i =
            _mm256_add_epi16(_mm256_mullo_epi16(a, b), c);
    }

    in_memory! {
        unsafe fn load(self, p: *const f32) -> __m256 = _mm256_loadu_ps(p);
        unsafe fn store(self, p: *mut f32, v: __m256) = _mm256_storeu_ps(p, v);
        unsafe fn load_i(self, p: *const i32) -> __m256i = _mm256_loadu_si256(p.cast());
        unsafe fn store_i(self, p: *mut i32, v: __m256i) = _mm256_storeu_si256(p.cast(), v);
        unsafe fn load_whole(self, p: *const i8) -> __m256 =
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())));
    }

    #[inline(always)]
    fn scale(self, v: __m256, n: __m256) -> __m256 {
        // 2ⁿ in two factors, as neither alone leaves the normal range; only the second product can round.
        register_only!({
            let n = _mm256_cvtps_epi32(n);
            let half = _mm256_srai_epi32::<1>(n);
            let power = |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))));
            let rest = _mm256_sub_epi32(n, half);
            _mm256_mul_ps(_mm256_mul_ps(v, power(half)), power(rest))
        })
    }
    #[inline(always)]
    fn sum(self, v: __m256) -> f32 {
        register_only!({
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
        })
    }
    #[inline(always)]
    fn largest(self, v: __m256) -> f32 {
        register_only!({
            let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_shuffle_ps::<1>(v, v)))
        })
    }

    #[inline(always)]
    unsafe fn store_u8(self, p: *mut u8, v: __m256i) {
        // SAFETY: the caller's promise: eight bytes.
        unsafe {
            let words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            _mm_storel_epi64(p.cast(), _mm_packus_epi16(words, words));
        }
    }
    #[inline(always)]
    unsafe fn store_u16(self, p: *mut u16, v: __m256i) {
        // SAFETY: the caller's promise: eight 16-bit values.
        unsafe {
            let words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            _mm_storeu_si128(p.cast(), words);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, v: __m256) {
        // SAFETY: the caller's promise: eight 16-bit values.
        unsafe {
            let bits = _mm256_castps_si256(v);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
            let rounded = _mm256_blendv_epi8(rounded, _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000)), nan);
            self.store_u16(p, _mm256_srli_epi32::<16>(rounded));
        }
    }

    #[inline(always)]
    fn dot_u8i8(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        register_only!(if DOT {
            _mm256_dpbusd_avx_epi32(sum, a, b)
        } else {
            // vpmaddubsw would saturate: widen even and odd bytes to 16 bits instead.
            let a_even = _mm256_and_si256(a, _mm256_set1_epi16(0xff));
            let a_odd = _mm256_srli_epi16::<8>(a);
            let b_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b));
            let b_odd = _mm256_srai_epi16::<8>(b);
            let even = _mm256_madd_epi16(a_even, b_even);
            let odd = _mm256_madd_epi16(a_odd, b_odd);
            _mm256_add_epi32(_mm256_add_epi32(sum, even), odd)
        })
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { if DOT { _mm256_loadu_si256(p.cast()) } else { _mm256_cvtepi8_epi16(_mm_loadu_si128(p.cast())) } }
    }
    #[inline(always)]
    fn dot_i8(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        register_only!(if DOT { _mm256_dpbusd_avx_epi32(sum, a, b) } else { self.dot_i16(sum, a, b) })
    }
    #[inline(always)]
    fn dot_bf16(self, sum: __m256, a: __m256i, b: __m256i) -> __m256 {
        register_only!({
            let high = _mm256_set1_epi32(-0x1_0000);
            let low = |v| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(v));
            let sum = _mm256_fmadd_ps(low(a), low(b), sum);
            let high = |v| _mm256_castsi256_ps(_mm256_and_si256(v, high));
            _mm256_fmadd_ps(high(a), high(b), sum)
        })
    }
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // A prefetch never faults.
        register_only!(_mm_prefetch::<_MM_HINT_T0>(p.cast()));
    }
}
