//! The number formats of attention's products, as 32-bit words: one fp32, two bf16, four int8 or two int16 to a word.
//!
//! Both products have the same form: a *row* operand (queries, or soft-maxed scores), whose words are repeated over the
//! lanes, and a *panel* operand (keys, or values), whose words lie lane beside lane. In int8 the row operand is
//! unsigned: queries are stored as `q + 128`, and the `128 · Σ k` that this adds is taken back where the sums start.
#![allow(unsafe_code)]

use super::super::simd::{MAX_LANES, Simd};

/// A number format.
pub(super) trait Operand: Copy + Send + Sync + 'static {
    /// A vector of sums.
    type Sum<S: Simd>: Copy;
    /// Values in a word.
    const GROUP: usize;
    /// Operands have scales.
    const QUANTISED: bool;
    /// The exponential may be coarse: its operand is rounded to 8 bits.
    const COARSE: bool;
    /// Base-2 logarithm of what the largest soft-maxed score is stored as.
    const PEAK: f32;

    /// Sums before the first product: the corrections at `p` in int8, else zeros.
    ///
    /// # Safety
    /// `p` is valid for reading `S::LANES` values.
    #[inline(always)]
    unsafe fn start<S: Simd>(s: S, p: *const f32) -> Self::Sum<S> {
        let _ = p;
        Self::zero(s)
    }
    /// Zero sums.
    fn zero<S: Simd>(s: S) -> Self::Sum<S>;
    /// `sum + row · panel`, word by word.
    fn dot<S: Simd>(s: S, sum: Self::Sum<S>, row: S::I, panel: S::I) -> Self::Sum<S>;
    /// The sums as fp32.
    fn finish<S: Simd>(s: S, sum: Self::Sum<S>) -> S::F;

    /// Converts `width` values at `x`, multiplied by `factor`, to words at `out`, zeros after them to a whole number of
    /// vectors' values. `ROW` says as which operand. Returns the scale (1 if not quantised, NaN if there is none) and
    /// the sum of the quantised values.
    ///
    /// # Safety
    /// `x` is valid for reading `width` values, `out` for writing `width` values rounded up to `MAX_LANES`, each of
    /// `4 / GROUP` bytes.
    unsafe fn convert<S: Simd, const ROW: bool>(
        s: S,
        x: *const f32,
        width: usize,
        factor: f32,
        out: *mut u32,
    ) -> (f32, f32);

    /// The word of each lane from `GROUP` vectors of values.
    fn words<S: Simd>(s: S, values: [S::F; 4]) -> S::I;

    /// Stores a vector of soft-maxed scores, the first of them the `at`th of its row, and returns them as they count in
    /// the row's sum.
    ///
    /// # Safety
    /// `row` is valid for writing `at + S::LANES` values of `4 / GROUP` bytes.
    unsafe fn store<S: Simd>(s: S, row: *mut u32, at: usize, p: S::F) -> S::F;
}

/// A format that the key-value cache keeps.
pub(super) trait Stored: Operand {
    /// A vector of stored values, not yet multiplied by their scale; the first of them at `p`.
    ///
    /// # Safety
    /// `p` is valid for reading `S::LANES` values of `4 / GROUP` bytes.
    unsafe fn load<S: Simd>(s: S, p: *const u8) -> S::F;
}

/// A largest magnitude below this counts as zero: 127 divided by it must be finite.
pub(super) const SMALLEST: f32 = 1e-35;

/// The vector at `p` of which only `count` lanes may be read; the others are 0.
///
/// # Safety
/// `p` is valid for reading `count` values.
#[inline(always)]
pub(super) unsafe fn load_part<S: Simd>(s: S, p: *const f32, count: usize) -> S::F {
    if count >= S::LANES {
        // SAFETY: the caller's promise.
        unsafe { s.load(p) }
    } else {
        // SAFETY: the caller's promise.
        s.load_slice(unsafe { std::slice::from_raw_parts(p, count) }, 0.0)
    }
}

/// fp32 operands.
#[derive(Clone, Copy)]
pub(super) struct F32;

impl Operand for F32 {
    type Sum<S: Simd> = S::F;
    const GROUP: usize = 1;
    const QUANTISED: bool = false;
    const COARSE: bool = false;
    const PEAK: f32 = 0.0;

    #[inline(always)]
    fn zero<S: Simd>(s: S) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    fn dot<S: Simd>(s: S, sum: S::F, row: S::I, panel: S::I) -> S::F {
        s.mul_add(s.bits_to_f(row), s.bits_to_f(panel), sum)
    }
    #[inline(always)]
    fn finish<S: Simd>(_: S, sum: S::F) -> S::F {
        sum
    }
    #[inline(always)]
    unsafe fn convert<S: Simd, const ROW: bool>(
        s: S,
        x: *const f32,
        width: usize,
        factor: f32,
        out: *mut u32,
    ) -> (f32, f32) {
        for at in (0..width).step_by(S::LANES) {
            // SAFETY: the caller's promise.
            let v = s.mul(unsafe { load_part(s, x.add(at), width - at) }, s.splat(factor));
            // SAFETY: the caller's promise.
            unsafe { s.store(out.add(at).cast(), v) };
        }
        (1.0, 0.0)
    }
    #[inline(always)]
    fn words<S: Simd>(s: S, values: [S::F; 4]) -> S::I {
        s.bits(values[0])
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, row: *mut u32, at: usize, p: S::F) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.store(row.add(at).cast(), p) };
        p
    }
}

impl Stored for F32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const u8) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load(p.cast()) }
    }
}

/// bf16 operands, rounded to nearest even.
#[derive(Clone, Copy)]
pub(super) struct Bf16;

impl Operand for Bf16 {
    type Sum<S: Simd> = S::F;
    const GROUP: usize = 2;
    const QUANTISED: bool = false;
    const COARSE: bool = true;
    const PEAK: f32 = 0.0;

    #[inline(always)]
    fn zero<S: Simd>(s: S) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    fn dot<S: Simd>(s: S, sum: S::F, row: S::I, panel: S::I) -> S::F {
        s.dot_bf16(sum, row, panel)
    }
    #[inline(always)]
    fn finish<S: Simd>(_: S, sum: S::F) -> S::F {
        sum
    }
    #[inline(always)]
    unsafe fn convert<S: Simd, const ROW: bool>(
        s: S,
        x: *const f32,
        width: usize,
        factor: f32,
        out: *mut u32,
    ) -> (f32, f32) {
        let out = out.cast::<u16>();
        for at in (0..width).step_by(S::LANES) {
            // SAFETY: the caller's promise.
            let v = s.mul(unsafe { load_part(s, x.add(at), width - at) }, s.splat(factor));
            // SAFETY: the caller's promise.
            unsafe { s.store_bf16(out.add(at), v) };
        }
        (1.0, 0.0)
    }
    #[inline(always)]
    fn words<S: Simd>(s: S, values: [S::F; 4]) -> S::I {
        // Round to nearest even in place: the upper halves are then the bf16 values.
        let round = |v| {
            let bits = s.bits(v);
            let odd = s.and_i(s.shr::<16>(bits), s.splat_i(1));
            s.add_i(bits, s.add_i(odd, s.splat_i(0x7fff)))
        };
        let high = s.and_i(round(values[1]), s.splat_i(-0x1_0000));
        s.or_i(s.shr::<16>(round(values[0])), high)
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, row: *mut u32, at: usize, p: S::F) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.store_bf16(row.cast::<u16>().add(at), p) };
        p
    }
}

impl Stored for Bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const u8) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load_bf16(p.cast()) }
    }
}

/// int8 operands: queries and keys with a scale to a row, values with a scale to a channel and block of keys,
/// soft-maxed scores as 0 ..= 255 of the block's largest.
#[derive(Clone, Copy)]
pub(super) struct Int8;

impl Operand for Int8 {
    type Sum<S: Simd> = S::I;
    const GROUP: usize = 4;
    const QUANTISED: bool = true;
    const COARSE: bool = true;
    /// log₂ 255.
    const PEAK: f32 = 7.994_353_4;

    #[inline(always)]
    unsafe fn start<S: Simd>(s: S, p: *const f32) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { s.load_i(p.cast()) }
    }
    #[inline(always)]
    fn zero<S: Simd>(s: S) -> S::I {
        s.splat_i(0)
    }
    #[inline(always)]
    fn dot<S: Simd>(s: S, sum: S::I, row: S::I, panel: S::I) -> S::I {
        s.dot_u8i8(sum, row, panel)
    }
    #[inline(always)]
    fn finish<S: Simd>(s: S, sum: S::I) -> S::F {
        s.to_f(sum)
    }
    #[inline(always)]
    unsafe fn convert<S: Simd, const ROW: bool>(
        s: S,
        x: *const f32,
        width: usize,
        factor: f32,
        out: *mut u32,
    ) -> (f32, f32) {
        let out = out.cast::<u8>();
        // SAFETY: the caller's promise.
        unsafe {
            quantise(s, x, width, factor, |at, whole| {
                let byte = if ROW { s.add_i(whole, s.splat_i(128)) } else { s.and_i(whole, s.splat_i(0xff)) };
                s.store_u8(out.add(at), byte);
            })
        }
    }
    #[inline(always)]
    fn words<S: Simd>(s: S, values: [S::F; 4]) -> S::I {
        let [a, b, c, d] = values.map(|v| s.and_i(s.to_i(v), s.splat_i(0xff)));
        s.or_i(s.or_i(a, s.shl::<8>(b)), s.or_i(s.shl::<16>(c), s.shl::<24>(d)))
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, row: *mut u32, at: usize, p: S::F) -> S::F {
        let whole = s.to_i(p);
        // SAFETY: the caller's promise.
        unsafe { s.store_u8(row.cast::<u8>().add(at), whole) };
        s.to_f(whole)
    }
}

impl Stored for Int8 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const u8) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load_whole(p.cast()) }
    }
}

/// The same numbers as [`Int8`]'s in words of two int16: for CPUs that multiply those faster than bytes. Queries are
/// signed, so that nothing is to be taken back.
#[derive(Clone, Copy)]
pub(super) struct Int8Pairs;

impl Operand for Int8Pairs {
    type Sum<S: Simd> = S::I;
    const GROUP: usize = 2;
    const QUANTISED: bool = true;
    const COARSE: bool = true;
    const PEAK: f32 = Int8::PEAK;

    #[inline(always)]
    fn zero<S: Simd>(s: S) -> S::I {
        s.splat_i(0)
    }
    #[inline(always)]
    fn dot<S: Simd>(s: S, sum: S::I, row: S::I, panel: S::I) -> S::I {
        s.dot_i16(sum, row, panel)
    }
    #[inline(always)]
    fn finish<S: Simd>(s: S, sum: S::I) -> S::F {
        s.to_f(sum)
    }
    #[inline(always)]
    unsafe fn convert<S: Simd, const ROW: bool>(
        s: S,
        x: *const f32,
        width: usize,
        factor: f32,
        out: *mut u32,
    ) -> (f32, f32) {
        let out = out.cast::<u16>();
        // SAFETY: the caller's promise.
        unsafe {
            quantise(s, x, width, factor, |at, whole| s.store_u16(out.add(at), s.and_i(whole, s.splat_i(0xffff))))
        }
    }
    #[inline(always)]
    fn words<S: Simd>(s: S, [a, b, ..]: [S::F; 4]) -> S::I {
        s.or_i(s.and_i(s.to_i(a), s.splat_i(0xffff)), s.shl::<16>(s.to_i(b)))
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, row: *mut u32, at: usize, p: S::F) -> S::F {
        let whole = s.to_i(p);
        // SAFETY: the caller's promise.
        unsafe { s.store_u16(row.cast::<u16>().add(at), whole) };
        s.to_f(whole)
    }
}

/// Gives `store` each vector of `width` values at `x` as whole numbers of −127 ..= 127, and the place of its first.
/// Returns what [`Operand::convert`] does.
///
/// # Safety
/// `x` is valid for reading `width` values.
#[inline(always)]
unsafe fn quantise<S: Simd>(s: S, x: *const f32, width: usize, factor: f32, store: impl Fn(usize, S::I)) -> (f32, f32) {
    let (mut largest, mut bad) = (s.splat(0.0), s.splat(0.0));
    for at in (0..width).step_by(S::LANES) {
        // SAFETY: the caller's promise.
        let values = unsafe { load_part(s, x.add(at), width - at) };
        largest = s.max(s.abs(values), largest);
        bad = s.mul_add(values, s.splat(0.0), bad);
    }
    let (largest, bad) = (s.largest(largest), s.sum(bad));
    // A scale is positive: the sign of `factor` goes to the values.
    let inverse = if largest > SMALLEST { 127.0 / largest * factor.signum() } else { 0.0 };
    let mut sum = s.splat_i(0);
    for at in (0..width).step_by(S::LANES) {
        // SAFETY: the caller's promise.
        let values = unsafe { load_part(s, x.add(at), width - at) };
        let whole = s.to_i(s.mul(values, s.splat(inverse)));
        sum = s.add_i(sum, whole);
        store(at, whole);
    }
    // 0, or NaN if the row holds an infinity or a NaN: such a row has no scale.
    (largest / 127.0 * factor.abs() + bad, s.sum(s.to_f(sum)))
}

const _: () = assert!(MAX_LANES.is_multiple_of(4));
