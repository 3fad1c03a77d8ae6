//! Plain Rust, for every CPU: four lanes as arrays, which compilers turn into whatever vectors there are.
#![allow(unsafe_code)]

use super::{
    convert,
    simd::{Dot, Simd},
};

/// Four fp32 lanes.
pub(crate) struct Lanes;

#[inline(always)]
fn zip(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

impl Simd for Lanes {
    type F = [f32; 4];
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self::F {
        [v; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::F) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // Not `f32::mul_add`: without the instruction that is a call.
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }
    #[inline(always)]
    unsafe fn at_least(bound: Self::F, v: Self::F) -> Self::F {
        zip(bound, v, |bound, v| if bound > v { bound } else { v })
    }
    #[inline(always)]
    unsafe fn at_most(bound: Self::F, v: Self::F) -> Self::F {
        zip(bound, v, |bound, v| if bound < v { bound } else { v })
    }
    #[inline(always)]
    unsafe fn abs(v: Self::F) -> Self::F {
        v.map(f32::abs)
    }
}

/// fp32 products.
pub(crate) struct F32;

impl Dot for F32 {
    type Simd = Lanes;
    type Activation = f32;
    type Weight = f32;
    type Sum = [f32; 4];
    type Row = [f32; 4];
    type Columns = [f32; 4];
    const GROUP: usize = 1;
    const ROWS: usize = 4;
    const DIRECT: bool = true;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> Self::Sum {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn row(p: *const f32) -> Self::Row {
        // SAFETY: the caller's promise.
        [unsafe { *p }; 4]
    }
    #[inline(always)]
    unsafe fn columns(p: *const f32) -> Self::Columns {
        // SAFETY: the caller's promise.
        unsafe { Lanes::load(p) }
    }
    #[inline(always)]
    unsafe fn dot(sum: Self::Sum, row: Self::Row, columns: Self::Columns) -> Self::Sum {
        // SAFETY: plain Rust, no memory.
        unsafe { Lanes::mul_add(row, columns, sum) }
    }
    #[inline(always)]
    unsafe fn finish(sum: Self::Sum) -> [f32; 4] {
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
    type Sum = [f32; 4];
    type Row = [f32; 4];
    type Columns = [f32; 4];
    const GROUP: usize = 1;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> Self::Sum {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn row(p: *const f32) -> Self::Row {
        // SAFETY: the caller's promise.
        [unsafe { *p }; 4]
    }
    #[inline(always)]
    unsafe fn columns(p: *const u16) -> Self::Columns {
        // SAFETY: the caller's promise.
        let bits = unsafe { p.cast::<[u16; 4]>().read_unaligned() };
        bits.map(|bits| f32::from_bits(u32::from(bits) << 16))
    }
    #[inline(always)]
    unsafe fn dot(sum: Self::Sum, row: Self::Row, columns: Self::Columns) -> Self::Sum {
        // SAFETY: plain Rust, no memory.
        unsafe { Lanes::mul_add(row, columns, sum) }
    }
    #[inline(always)]
    unsafe fn finish(sum: Self::Sum) -> [f32; 4] {
        sum
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut f32) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { convert::bf16(x, Self::GROUP, out, |bits| f32::from_bits(u32::from(bits) << 16)) };
        1.0
    }
}

/// int8 products in pairs, int32 sums.
pub(crate) struct Int8;

impl Dot for Int8 {
    type Simd = Lanes;
    type Activation = i16;
    type Weight = i8;
    type Sum = [i32; 4];
    type Row = [i16; 2];
    type Columns = [i8; 8];
    const GROUP: usize = 2;
    const ROWS: usize = 4;
    const QUANTISED: bool = true;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> Self::Sum {
        [0; 4]
    }
    #[inline(always)]
    unsafe fn row(p: *const i16) -> Self::Row {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[i16; 2]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn columns(p: *const i8) -> Self::Columns {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[i8; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn dot(sum: Self::Sum, row: Self::Row, columns: Self::Columns) -> Self::Sum {
        std::array::from_fn(|lane| {
            let [low, high] = [columns[2 * lane], columns[2 * lane + 1]].map(i32::from);
            sum[lane] + i32::from(row[0]) * low + i32::from(row[1]) * high
        })
    }
    #[inline(always)]
    unsafe fn finish(sum: Self::Sum) -> [f32; 4] {
        sum.map(|sum| sum as f32)
    }
    #[inline(always)]
    unsafe fn convert(x: &[f32], out: *mut i16) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { convert::int8(x, Self::GROUP, out, |low| i16::from(low as i8)) }
    }
}

/// The kernel at a precision.
pub(crate) fn kernel(precision: crate::Precision) -> super::kernel::Kernel {
    super::kernel::entry!(precision, F32, Bf16, Int8)
}
