//! Vectors of one instruction set, and the step from a run-time [`Isa`] into code that is compiled for it.
//!
//! An algorithm is written once, generic over [`Simd`], as a [`Task`]; [`dispatch`] compiles it once for each
//! instruction set and calls the one that is asked for. A value of a `Simd` type is the proof that the CPU has its
//! instructions: only `dispatch` makes one, so its arithmetic is safe to call. Everything generic must be
//! `#[inline(always)]`, or it is compiled without the instructions that it is about. A closure that is given to a
//! thread pool is such a function: dispatch inside it.
#![allow(unsafe_code)]

/// Wraps intrinsics that touch registers only.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! register_only {
    ($($call:tt)*) => {
        // SAFETY: `self` proves that the CPU has the instructions, and no memory is touched.
        #[allow(unused_unsafe, reason = "safe where the target always has the instructions")]
        unsafe { $($call)* }
    };
}

/// Methods of [`Simd`] that are one expression of intrinsics on registers.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! on_registers {
    ($(fn $name:ident $(<const $N:ident: u32>)? ($this:ident $(, $arg:ident: $type:ty)*) -> $out:ty = $value:expr;)*) => {$(
        #[inline(always)]
        fn $name$(<const $N: u32>)?($this $(, $arg: $type)*) -> $out {
            register_only!($value)
        }
    )*};
}

/// Methods of [`Simd`] that are one expression of intrinsics on memory.
macro_rules! in_memory {
    ($(unsafe fn $name:ident($this:ident $(, $arg:ident: $type:ty)*) $(-> $out:ty)? = $value:expr;)*) => {$(
        #[inline(always)]
        unsafe fn $name($this $(, $arg: $type)*) $(-> $out)? {
            // SAFETY: the caller's promise.
            unsafe { $value }
        }
    )*};
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(test)]
pub(crate) use portable::Portable;

use super::isa::Isa;

/// The most lanes that any instruction set has.
pub(crate) const MAX_LANES: usize = 16;

/// Vectors of [`Simd::LANES`] fp32 or int32 values.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// fp32 lanes.
    type F: Copy;
    /// int32 lanes, also used as 32-bit words of narrower operands.
    type I: Copy;
    /// Lanes of a vector.
    const LANES: usize;
    /// Rows and vectors of the largest tile of sums that fits in the registers beside its operands.
    const TILE: (usize, usize);
    /// Values in a word of the operands of [`Simd::dot_i8`]: four where the CPU multiplies bytes, two where they are
    /// first widened to 16 bits.
    const INT8_GROUP: usize;
    /// What each value of the first operand of [`Simd::dot_i8`] has added: 128 where its instruction takes that operand
    /// as unsigned bytes, else 0.
    const INT8_OFFSET: u8;
    /// [`Simd::dot_bf16`] is an instruction; without it, operands that are widened once to fp32 are faster.
    const BF16_PAIRS: bool;

    /// All lanes `v`.
    fn splat(self, v: f32) -> Self::F;
    /// The vector at `p`.
    ///
    /// # Safety
    /// `p` is valid for reading `LANES` values; no alignment is asked.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// Stores at `p`.
    ///
    /// # Safety
    /// `p` is valid for writing `LANES` values; no alignment is asked.
    unsafe fn store(self, p: *mut f32, v: Self::F);
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a − b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + c`; rounded once where the instruction set has it.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger; `b` where `b` is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; `b` where `b` is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// Magnitude.
    fn abs(self, v: Self::F) -> Self::F;
    /// Magnitude of `v` with the sign of `sign`; `v` is not negative.
    fn with_sign(self, v: Self::F, sign: Self::F) -> Self::F;
    /// Square root.
    fn sqrt(self, v: Self::F) -> Self::F;
    /// To the nearest integer, ties to even; `|v| < 2²²`.
    fn round(self, v: Self::F) -> Self::F;
    /// `v · 2ⁿ` for whole `n` in −252 ..= 254, right also where the result is subnormal or infinite.
    fn scale(self, v: Self::F, n: Self::F) -> Self::F;
    /// Sum of the lanes.
    fn sum(self, v: Self::F) -> f32;
    /// Largest lane; no lane is NaN.
    fn largest(self, v: Self::F) -> f32;

    /// All lanes `v`.
    fn splat_i(self, v: i32) -> Self::I;
    /// The vector at `p`.
    ///
    /// # Safety
    /// `p` is valid for reading `LANES` values; no alignment is asked.
    unsafe fn load_i(self, p: *const i32) -> Self::I;
    /// Stores at `p`.
    ///
    /// # Safety
    /// `p` is valid for writing `LANES` values; no alignment is asked.
    unsafe fn store_i(self, p: *mut i32, v: Self::I);
    /// `a + b`, wrapping.
    fn add_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise and.
    fn and_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise or.
    fn or_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// Shifted left by `N` bits.
    fn shl<const N: u32>(self, v: Self::I) -> Self::I;
    /// Shifted right by `N` bits, zeros moving in.
    fn shr<const N: u32>(self, v: Self::I) -> Self::I;
    /// The bits of fp32 lanes.
    fn bits(self, v: Self::F) -> Self::I;
    /// Bits as fp32 lanes.
    fn bits_to_f(self, v: Self::I) -> Self::F;
    /// int32 to fp32.
    fn to_f(self, v: Self::I) -> Self::F;
    /// fp32 to the nearest int32, ties to even.
    fn to_i(self, v: Self::F) -> Self::I;
    /// Stores the lanes, each in 0 ..= 255, as bytes at `p`.
    ///
    /// # Safety
    /// `p` is valid for writing `LANES` bytes.
    unsafe fn store_u8(self, p: *mut u8, v: Self::I);
    /// Stores the lanes, each in 0 ..= 65535, as 16-bit values at `p`.
    ///
    /// # Safety
    /// `p` is valid for writing `LANES` values; no alignment is asked.
    unsafe fn store_u16(self, p: *mut u16, v: Self::I);
    /// `LANES` bf16 values from `p`, as fp32.
    ///
    /// # Safety
    /// `p` is valid for reading `LANES` values; no alignment is asked.
    unsafe fn load_bf16(self, p: *const u16) -> Self::F;
    /// `LANES` int8 values from `p`, as fp32.
    ///
    /// # Safety
    /// `p` is valid for reading `LANES` values; no alignment is asked.
    unsafe fn load_whole(self, p: *const i8) -> Self::F;
    /// Stores the lanes as bf16 at `p`, rounded to nearest even.
    ///
    /// # Safety
    /// `p` is valid for writing `LANES` values; no alignment is asked.
    unsafe fn store_bf16(self, p: *mut u16, v: Self::F);

    /// `sum + Σ a[i] · b[i]` over each lane's four bytes, `a`'s unsigned, `b`'s signed; exact.
    fn dot_u8i8(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// `sum + Σ a[i] · b[i]` over each lane's two int16 values; exact, wrapping.
    fn dot_i16(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// `a · b + c` of each lane's two int16 values, wrapping.
    fn mul_add_i16(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I;
    /// `LANES` words of `INT8_GROUP` int8 values from `p`, as the second operand of [`Simd::dot_i8`].
    ///
    /// # Safety
    /// `p` is valid for reading `INT8_GROUP · LANES` values; no alignment is asked.
    unsafe fn load_i8(self, p: *const i8) -> Self::I;
    /// `sum + Σ a[i] · b[i]` over each lane's `INT8_GROUP` values, `a`'s in −128 ..= 127 (two values to a word: of 16
    /// bits) and then with `INT8_OFFSET` added, `b`'s in −127 ..= 127; exact, wrapping.
    fn dot_i8(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// `sum + Σ a[i] · b[i]` over each lane's two bf16 values.
    fn dot_bf16(self, sum: Self::F, a: Self::I, b: Self::I) -> Self::F;

    /// Asks for the cache line at `p`, which need not be valid. Does nothing where there is no such instruction.
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        let _ = p;
    }

    /// `a` where it is NaN, else `v`.
    #[inline(always)]
    fn keep_nan(self, a: Self::F, v: Self::F) -> Self::F {
        self.each(a, v, |a, v| if a.is_nan() { a } else { v })
    }

    /// A function of two values, lane by lane, in plain Rust.
    #[inline(always)]
    fn each(self, a: Self::F, b: Self::F, f: impl Fn(f32, f32) -> f32) -> Self::F {
        let (mut left, mut right) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
        // SAFETY: no instruction set has more than `MAX_LANES` lanes.
        unsafe {
            self.store(left.as_mut_ptr(), a);
            self.store(right.as_mut_ptr(), b);
            left.iter_mut().zip(right).take(Self::LANES).for_each(|(a, b)| *a = f(*a, b));
            self.load(left.as_ptr())
        }
    }

    /// The first values of `x`, at most `LANES`, the other lanes `fill`.
    #[inline(always)]
    fn load_slice(self, x: &[f32], fill: f32) -> Self::F {
        if x.len() >= Self::LANES {
            // SAFETY: the slice holds a whole vector.
            return unsafe { self.load(x.as_ptr()) };
        }
        let mut lanes = [fill; MAX_LANES];
        lanes[..x.len()].copy_from_slice(x);
        // SAFETY: no instruction set has more than `MAX_LANES` lanes.
        unsafe { self.load(lanes.as_ptr()) }
    }

    /// Stores the first lanes to `out`, as many as it holds and at most `LANES`.
    #[inline(always)]
    fn store_slice(self, out: &mut [f32], v: Self::F) {
        if out.len() >= Self::LANES {
            // SAFETY: the slice holds a whole vector.
            return unsafe { self.store(out.as_mut_ptr(), v) };
        }
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: no instruction set has more than `MAX_LANES` lanes.
        unsafe { self.store(lanes.as_mut_ptr(), v) };
        out.copy_from_slice(&lanes[..out.len()]);
    }

    /// `out[i] = f(x[i])`. Like [`Simd::zip`], it calls `f` in one place: a large closure that is called in two is not
    /// inlined, and so not compiled for the instruction set.
    #[inline(always)]
    fn map(self, x: &[f32], out: &mut [f32], f: impl Fn(Self::F) -> Self::F) {
        assert!(x.len() == out.len(), "{} values into {}", x.len(), out.len());
        for (x, out) in x.chunks(Self::LANES).zip(out.chunks_mut(Self::LANES)) {
            self.store_slice(out, f(self.load_slice(x, 1.0)));
        }
    }

    /// `out[i] = f(a[i], b[i])`.
    #[inline(always)]
    fn zip(self, a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(Self::F, Self::F) -> Self::F) {
        assert!(a.len() == out.len() && b.len() == out.len(), "{} and {} values", a.len(), b.len());
        let pairs = a.chunks(Self::LANES).zip(b.chunks(Self::LANES));
        for (out, (a, b)) in out.chunks_mut(Self::LANES).zip(pairs) {
            self.store_slice(out, f(self.load_slice(a, 1.0), self.load_slice(b, 1.0)));
        }
    }
}

/// Work that is written once for every instruction set.
pub(crate) trait Task {
    /// What it gives.
    type Output;
    /// Does it; `#[inline(always)]`, so that it is compiled for `S`.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// Runs `task` with `isa`'s instructions; in plain Rust if this CPU does not have them.
#[inline]
pub(crate) fn dispatch<T: Task>(isa: Isa, task: T) -> T::Output {
    if isa.is_available() {
        match isa {
            // SAFETY (all arms): `is_available` has just found the instructions that the function is compiled for.
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx512VnniBf16 => return unsafe { avx512::run_dot(task) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx512 => return unsafe { avx512::run(task) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx2Vnni => return unsafe { avx2::run_dot(task) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { avx2::run(task) },
            #[cfg(target_arch = "aarch64")]
            Isa::Neon if std::arch::is_aarch64_feature_detected!("dotprod") => {
                // SAFETY: as above, and the dot-product instructions have just been found.
                return unsafe { neon::run_dot(task) };
            }
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Isa::Neon => return unsafe { neon::run(task) },
            _ => {}
        }
    }
    task.run(portable::Portable::<false>)
}

#[cfg(test)]
mod tests;
