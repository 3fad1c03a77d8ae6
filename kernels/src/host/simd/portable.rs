//! Plain Rust: eight lanes in arrays, which the compiler maps to whatever vectors the target has.

use super::Simd;
use crate::numbers::{bf16_bits, from_bf16};

const LANES: usize = 8;

/// Always available. With `BYTES` the int8 products are of bytes, laid out as where an instruction multiplies unsigned
/// by signed ones: so tests go through that layout on every CPU.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const BYTES: bool>;

#[inline(always)]
fn map<A: Copy, B>(a: [A; LANES], f: impl Fn(A) -> B) -> [B; LANES] {
    std::array::from_fn(|lane| f(a[lane]))
}

#[inline(always)]
fn zip<A: Copy, B>(a: [A; LANES], b: [A; LANES], f: impl Fn(A, A) -> B) -> [B; LANES] {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

/// Methods of [`Simd`] that are one expression.
macro_rules! on_lanes {
    ($(fn $name:ident $(<const $N:ident: u32>)? ($this:ident $(, $arg:ident: $type:ty)*) -> $out:ty = $value:expr;)*) => {$(
        #[inline(always)]
        fn $name$(<const $N: u32>)?($this $(, $arg: $type)*) -> $out {
            $value
        }
    )*};
}

#[allow(unsafe_code)]
impl<const BYTES: bool> Simd for Portable<BYTES> {
    type F = [f32; LANES];
    type I = [i32; LANES];
    const LANES: usize = LANES;
    const TILE: (usize, usize) = (2, 2);
    const INT8_GROUP: usize = if BYTES { 4 } else { 2 };
    const INT8_OFFSET: u8 = if BYTES { 128 } else { 0 };
    const BF16_PAIRS: bool = false;

    on_lanes! {
        fn splat(self, v: f32) -> Self::F = [v; LANES];
        fn add(self, a: Self::F, b: Self::F) -> Self::F = zip(a, b, |a, b| a + b);
        fn sub(self, a: Self::F, b: Self::F) -> Self::F = zip(a, b, |a, b| a - b);
        fn mul(self, a: Self::F, b: Self::F) -> Self::F = zip(a, b, |a, b| a * b);
        fn div(self, a: Self::F, b: Self::F) -> Self::F = zip(a, b, |a, b| a / b);
        // Not `f32::mul_add`: without the instruction that is a slow library call.
        fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F =
            std::array::from_fn(|lane| a[lane] * b[lane] + c[lane]);
        fn max(self, a: Self::F, b: Self::F) -> Self::F = zip(a, b, |a, b| if a > b { a } else { b });
        fn min(self, a: Self::F, b: Self::F) -> Self::F = zip(a, b, |a, b| if a < b { a } else { b });
        fn abs(self, v: Self::F) -> Self::F = map(v, f32::abs);
        fn with_sign(self, v: Self::F, sign: Self::F) -> Self::F = zip(v, sign, f32::copysign);
        fn sqrt(self, v: Self::F) -> Self::F = map(v, f32::sqrt);
        fn sum(self, v: Self::F) -> f32 = v.iter().sum();
        fn largest(self, v: Self::F) -> f32 = v.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        fn splat_i(self, v: i32) -> Self::I = [v; LANES];
        fn add_i(self, a: Self::I, b: Self::I) -> Self::I = zip(a, b, i32::wrapping_add);
        fn and_i(self, a: Self::I, b: Self::I) -> Self::I = zip(a, b, |a, b| a & b);
        fn or_i(self, a: Self::I, b: Self::I) -> Self::I = zip(a, b, |a, b| a | b);
        fn shl<const N: u32>(self, v: Self::I) -> Self::I = map(v, |v| v << N);
        fn shr<const N: u32>(self, v: Self::I) -> Self::I = map(v, |v| (v as u32 >> N) as i32);
        fn bits(self, v: Self::F) -> Self::I = map(v, |v| v.to_bits() as i32);
        fn bits_to_f(self, v: Self::I) -> Self::F = map(v, |v| f32::from_bits(v as u32));
        fn to_f(self, v: Self::I) -> Self::F = map(v, |v| v as f32);
    }

    in_memory! {
        unsafe fn load(self, p: *const f32) -> Self::F = p.cast::<Self::F>().read_unaligned();
        unsafe fn store(self, p: *mut f32, v: Self::F) = p.cast::<Self::F>().write_unaligned(v);
        unsafe fn load_i(self, p: *const i32) -> Self::I = p.cast::<Self::I>().read_unaligned();
        unsafe fn store_i(self, p: *mut i32, v: Self::I) = p.cast::<Self::I>().write_unaligned(v);
        unsafe fn store_u8(self, p: *mut u8, v: Self::I) = p.cast::<[u8; LANES]>().write(map(v, |v| v as u8));
        unsafe fn store_u16(self, p: *mut u16, v: Self::I) =
            p.cast::<[u16; LANES]>().write_unaligned(map(v, |v| v as u16));
        unsafe fn store_bf16(self, p: *mut u16, v: Self::F) =
            p.cast::<[u16; LANES]>().write_unaligned(map(v, bf16_bits));
    }

    #[inline(always)]
    fn round(self, v: Self::F) -> Self::F {
        // Adding 1.5 · 2²³ leaves no bits for a fraction; `f32::round_ties_even` is a library call on older targets.
        const SHIFT: f32 = 12_582_912.0;
        map(v, |v| (v + SHIFT) - SHIFT)
    }
    #[inline(always)]
    fn scale(self, v: Self::F, n: Self::F) -> Self::F {
        // 2ⁿ in two factors, as neither alone leaves the normal range; only the second product can round.
        zip(v, n, |v, n| {
            let n = n as i32;
            let half = n >> 1;
            let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
            v * power(half) * power(n - half)
        })
    }

    #[inline(always)]
    fn to_i(self, v: Self::F) -> Self::I {
        map(self.round(v), |v| v as i32)
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> Self::F {
        // SAFETY: the caller's promise.
        let bits = unsafe { p.cast::<[u16; LANES]>().read_unaligned() };
        map(bits, from_bf16)
    }
    #[inline(always)]
    unsafe fn load_whole(self, p: *const i8) -> Self::F {
        // SAFETY: the caller's promise.
        let bytes = unsafe { p.cast::<[i8; LANES]>().read_unaligned() };
        map(bytes, f32::from)
    }

    #[inline(always)]
    fn dot_u8i8(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|lane| {
            let (a, b) = (a[lane].to_ne_bytes(), b[lane].to_ne_bytes());
            (0..4).fold(sum[lane], |sum, i| sum.wrapping_add(i32::from(a[i]) * i32::from(b[i] as i8)))
        })
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> Self::I {
        if BYTES {
            // SAFETY: the caller's promise.
            return unsafe { self.load_i(p.cast()) };
        }
        // SAFETY: the caller's promise.
        let pairs = unsafe { p.cast::<[[i8; 2]; LANES]>().read_unaligned() };
        map(pairs, |[low, high]| i32::from(low) & 0xffff | i32::from(high) << 16)
    }
    #[inline(always)]
    fn dot_i8(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        if BYTES {
            return self.dot_u8i8(sum, a, b);
        }
        self.dot_i16(sum, a, b)
    }
    #[inline(always)]
    fn dot_i16(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        let product = |a: i32, b: i32| (i32::from(a as i16) * i32::from(b as i16)).wrapping_add((a >> 16) * (b >> 16));
        std::array::from_fn(|lane| sum[lane].wrapping_add(product(a[lane], b[lane])))
    }
    #[inline(always)]
    fn mul_add_i16(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I {
        let half = |a: i32, b: i32, c: i32| a.wrapping_mul(b).wrapping_add(c) & 0xffff;
        std::array::from_fn(|lane| {
            let (a, b, c) = (a[lane], b[lane], c[lane]);
            half(a, b, c) | half(a >> 16, b >> 16, c >> 16) << 16
        })
    }
    #[inline(always)]
    fn dot_bf16(self, sum: Self::F, a: Self::I, b: Self::I) -> Self::F {
        let low = self.mul_add(self.bits_to_f(self.shl::<16>(a)), self.bits_to_f(self.shl::<16>(b)), sum);
        let high = |v| self.bits_to_f(self.and_i(v, [-0x1_0000; LANES]));
        self.mul_add(high(a), high(b), low)
    }
}
