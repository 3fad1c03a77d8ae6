//! Functions of single numbers as the kernels compute them, and how accumulators are rounded: so that other code can be
//! held against them, and they against the truth.

use crate::ffi;

/// How a core rounds, in the order of `aie::rounding_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Rounding {
    /// Down.
    Floor,
    /// Up.
    Ceil,
    /// To nearest; a half up.
    PositiveInf,
    /// To nearest; a half down.
    NegativeInf,
    /// To nearest; a half away from zero.
    SymmetricInf,
    /// To nearest; a half towards zero.
    SymmetricZero,
    /// To nearest; a half to even. The kernels set this one.
    ConvEven,
    /// To nearest; a half to odd.
    ConvOdd,
    /// Towards zero.
    SymmetricFloor,
    /// Away from zero.
    SymmetricCeil,
}

/// What a core does with results that do not fit, with the values of `aie::saturation_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Saturation {
    /// They wrap.
    None = 0,
    /// They become the largest or smallest. The kernels set this one.
    Saturate = 1,
    /// The same, and the smallest is the largest's negative.
    Symmetric = 3,
}

/// Gives whole vectors of 16 to `function`, the last one filled up with `filler`.
fn by_vectors<T: Copy, U: Copy + Default>(x: &[T], filler: T, function: impl Fn(&[T], &mut [U])) -> Vec<U> {
    let mut padded = x.to_vec();
    padded.resize(x.len().next_multiple_of(16), filler);
    let mut y = vec![U::default(); padded.len()];
    function(&padded, &mut y);
    y.truncate(x.len());
    y
}

/// 2ˣ for x up to 127; 0 below −125.
pub fn exp2(x: &[f32]) -> Vec<f32> {
    by_vectors(x, 0.0, ffi::exp2)
}

/// 2ˣ for x up to 127, as a bf16 number; 0 below −125.
pub fn probability(x: &[f32]) -> Vec<f32> {
    by_vectors(x, 0.0, ffi::probability)
}

/// x Φ(x).
pub fn gelu(x: &[f32]) -> Vec<f32> {
    by_vectors(x, 0.0, ffi::gelu)
}

/// 1 / x for normal x > 0.
pub fn reciprocal(x: &[f32]) -> Vec<f32> {
    by_vectors(x, 1.0, ffi::reciprocal)
}

/// How the kernels make an fp32 product of two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// From two bf16 parts of each factor.
    Parts,
    /// As exact as fp32, from three parts of each: where `UNDERTONE_SPLIT_PRODUCTS` is 1. Where it is 0, the host rounds
    /// each product once.
    Split,
}

/// x · y, for each.
///
/// # Panics
/// If there are not as many of both.
pub fn product(kind: Product, x: &[f32], y: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), y.len());
    let mut padded = y.to_vec();
    padded.resize(y.len().next_multiple_of(16), 0.0);
    by_vectors(x, 0.0, |x, products| match kind {
        Product::Parts => ffi::product_of_parts(x, &padded, products),
        Product::Split => ffi::split_product(x, &padded, products),
    })
}

/// 1 / x for normal x > 0, where `UNDERTONE_SPLIT_PRODUCTS` is 1.
pub fn split_reciprocal(x: &[f32]) -> Vec<f32> {
    by_vectors(x, 1.0, ffi::split_reciprocal)
}

/// int32 sums, shifted right by `shift` (0 to 31), as int8.
pub fn shift_round_saturate(x: &[i32], shift: u8, rounding: Rounding, saturation: Saturation) -> Vec<i8> {
    by_vectors(x, 0, |x, y| {
        ffi::shift_round_saturate(x, y, i32::from(shift.min(31)), rounding as u32, saturation as u32)
    })
}

/// fp32 sums as bf16 bits.
pub fn round_to_bf16(x: &[f32], rounding: Rounding) -> Vec<u16> {
    by_vectors(x, 0.0, |x, y| ffi::round_to_bf16(x, y, rounding as u32))
}
