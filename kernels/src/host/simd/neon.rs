//! AArch64 Advanced SIMD: four lanes; with the dot-product instructions (`DOT`) those of int8 are one instruction. The
//! others are widening multiplications, which every such CPU has.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::{Simd, Task};
use crate::numbers::bf16_bits;

/// A value exists only on a CPU with Advanced SIMD, and with `DOT` also its dot-product instructions.
#[derive(Clone, Copy)]
pub(super) struct Neon<const DOT: bool>(());

/// Runs `task` compiled for Advanced SIMD.
///
/// # Safety
/// The CPU has Advanced SIMD.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run<T: Task>(task: T) -> T::Output {
    task.run(Neon::<false>(()))
}

/// Runs `task` compiled for Advanced SIMD with the dot-product instructions.
///
/// # Safety
/// As [`run`], and the CPU has the dot-product instructions.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn run_dot<T: Task>(task: T) -> T::Output {
    task.run(Neon::<true>(()))
}

impl<const DOT: bool> Simd for Neon<DOT> {
    type F = float32x4_t;
    type I = int32x4_t;
    const LANES: usize = 4;
    const TILE: (usize, usize) = (6, 4);
    const INT8_GROUP: usize = 4;
    const INT8_OFFSET: u8 = 0;
    const BF16_PAIRS: bool = false;

    on_registers! {
        fn splat(self, v: f32) -> Self::F = vdupq_n_f32(v);
        fn add(self, a: Self::F, b: Self::F) -> Self::F = vaddq_f32(a, b);
        fn sub(self, a: Self::F, b: Self::F) -> Self::F = vsubq_f32(a, b);
        fn mul(self, a: Self::F, b: Self::F) -> Self::F = vmulq_f32(a, b);
        fn div(self, a: Self::F, b: Self::F) -> Self::F = vdivq_f32(a, b);
        fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F = vfmaq_f32(c, a, b);
        fn max(self, a: Self::F, b: Self::F) -> Self::F = vmaxq_f32(a, b);
        fn min(self, a: Self::F, b: Self::F) -> Self::F = vminq_f32(a, b);
        fn abs(self, v: Self::F) -> Self::F = vabsq_f32(v);
        fn with_sign(self, v: Self::F, sign: Self::F) -> Self::F = vbslq_f32(vdupq_n_u32(0x8000_0000), sign, v);
        fn sqrt(self, v: Self::F) -> Self::F = vsqrtq_f32(v);
        fn round(self, v: Self::F) -> Self::F = vrndnq_f32(v);
        fn sum(self, v: Self::F) -> f32 = vaddvq_f32(v);
        fn largest(self, v: Self::F) -> f32 = vmaxvq_f32(v);
        fn splat_i(self, v: i32) -> Self::I = vdupq_n_s32(v);
        fn add_i(self, a: Self::I, b: Self::I) -> Self::I = vaddq_s32(a, b);
        fn and_i(self, a: Self::I, b: Self::I) -> Self::I = vandq_s32(a, b);
        fn or_i(self, a: Self::I, b: Self::I) -> Self::I = vorrq_s32(a, b);
        fn shl<const N: u32>(self, v: Self::I) -> Self::I = vshlq_s32(v, vdupq_n_s32(N as i32));
        // A negative shift to the left is a shift to the right.
        fn shr<const N: u32>(self, v: Self::I) -> Self::I =
            vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(v), vdupq_n_s32(-(N as i32))));
        fn bits(self, v: Self::F) -> Self::I = vreinterpretq_s32_f32(v);
        fn bits_to_f(self, v: Self::I) -> Self::F = vreinterpretq_f32_s32(v);
        fn to_f(self, v: Self::I) -> Self::F = vcvtq_f32_s32(v);
        fn to_i(self, v: Self::F) -> Self::I = vcvtnq_s32_f32(v);
        fn mul_add_i16(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I = vreinterpretq_s32_s16(vmlaq_s16(
            vreinterpretq_s16_s32(c),
            vreinterpretq_s16_s32(a),
            vreinterpretq_s16_s32(b),
        ));
    }

    in_memory! {
        unsafe fn load(self, p: *const f32) -> Self::F = vld1q_f32(p);
        unsafe fn store(self, p: *mut f32, v: Self::F) = vst1q_f32(p, v);
        unsafe fn load_i(self, p: *const i32) -> Self::I = vld1q_s32(p);
        unsafe fn store_i(self, p: *mut i32, v: Self::I) = vst1q_s32(p, v);
        unsafe fn store_u16(self, p: *mut u16, v: Self::I) = vst1_u16(p, vmovn_u32(vreinterpretq_u32_s32(v)));
        unsafe fn load_bf16(self, p: *const u16) -> Self::F = vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p)));
        unsafe fn load_i8(self, p: *const i8) -> Self::I = vreinterpretq_s32_s8(vld1q_s8(p));
    }

    #[inline(always)]
    fn scale(self, v: Self::F, n: Self::F) -> Self::F {
        // 2ⁿ in two factors, as neither alone leaves the normal range; only the second product can round.
        register_only!({
            let n = vcvtnq_s32_f32(n);
            let half = vshrq_n_s32::<1>(n);
            let rest = vsubq_s32(n, half);
            let half = vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(half, vdupq_n_s32(127))));
            let rest = vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(rest, vdupq_n_s32(127))));
            vmulq_f32(vmulq_f32(v, half), rest)
        })
    }

    #[inline(always)]
    unsafe fn store_u8(self, p: *mut u8, v: Self::I) {
        let mut lanes = [0i32; 4];
        // SAFETY: four values into four; four bytes by the caller's promise.
        unsafe {
            vst1q_s32(lanes.as_mut_ptr(), v);
            p.cast::<[u8; 4]>().write(lanes.map(|lane| lane as u8));
        }
    }
    #[inline(always)]
    unsafe fn load_whole(self, p: *const i8) -> Self::F {
        // SAFETY: the caller's promise.
        let bytes = unsafe { p.cast::<[i8; 4]>().read_unaligned() };
        let lanes = bytes.map(i32::from);
        // SAFETY: four values.
        unsafe { vcvtq_f32_s32(vld1q_s32(lanes.as_ptr())) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, v: Self::F) {
        let mut lanes = [0f32; 4];
        // SAFETY: four values into four; four 16-bit values by the caller's promise.
        unsafe {
            vst1q_f32(lanes.as_mut_ptr(), v);
            p.cast::<[u16; 4]>().write_unaligned(lanes.map(bf16_bits));
        }
    }

    #[inline(always)]
    fn dot_u8i8(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        register_only!({
            let a = vreinterpretq_u8_s32(a);
            let b = vreinterpretq_s8_s32(b);
            let a_low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(a)));
            let a_high = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(a)));
            let b_low = vmovl_s8(vget_low_s8(b));
            let b_high = vmovl_s8(vget_high_s8(b));
            // Eight exact products of 16 bits as int32 each, added in neighbours to four bytes' sums.
            let low = vpaddq_s32(
                vmull_s16(vget_low_s16(a_low), vget_low_s16(b_low)),
                vmull_s16(vget_high_s16(a_low), vget_high_s16(b_low)),
            );
            let high = vpaddq_s32(
                vmull_s16(vget_low_s16(a_high), vget_low_s16(b_high)),
                vmull_s16(vget_high_s16(a_high), vget_high_s16(b_high)),
            );
            vaddq_s32(sum, vpaddq_s32(low, high))
        })
    }
    #[inline(always)]
    fn dot_i16(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        register_only!({
            let [a, b] = [a, b].map(|v| vreinterpretq_s16_s32(v));
            let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
            vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(a, b)))
        })
    }
    #[inline(always)]
    fn dot_i8(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        register_only!({
            let [a, b] = [a, b].map(|v| vreinterpretq_s8_s32(v));
            if DOT {
                let mut sum = sum;
                // `vdotq_s32` is not stable yet.
                std::arch::asm!(
                    "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
                    sum = inout(vreg) sum,
                    a = in(vreg) a,
                    b = in(vreg) b,
                    options(pure, nomem, nostack, preserves_flags),
                );
                sum
            } else {
                // Two products of magnitudes up to 127 fit in 16 bits.
                let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
                let high = vmull_s8(vget_high_s8(a), vget_high_s8(b));
                vpadalq_s16(sum, vpaddq_s16(low, high))
            }
        })
    }
    #[inline(always)]
    fn dot_bf16(self, sum: Self::F, a: Self::I, b: Self::I) -> Self::F {
        let low = self.mul_add(self.bits_to_f(self.shl::<16>(a)), self.bits_to_f(self.shl::<16>(b)), sum);
        let mask = self.splat_i(-0x1_0000);
        let high = |v| self.bits_to_f(self.and_i(v, mask));
        self.mul_add(high(a), high(b), low)
    }
}
