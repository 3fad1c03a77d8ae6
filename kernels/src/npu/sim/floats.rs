//! The cores' functions of fp32 values, operation for operation as in `kernels/aie/src/floats.h`: each rounded by
//! itself, none fused.

use crate::numbers::{bf16_bits, from_bf16};

/// An fp32 value as two bf16 ones.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    high: f32,
    low: f32,
}

/// The nearest bf16 number.
#[inline(always)]
pub(super) fn narrow(x: f32) -> f32 {
    from_bf16(bf16_bits(x))
}

#[inline(always)]
pub(super) fn parts(x: f32) -> Parts {
    let high = narrow(x);
    Parts { high, low: narrow(x - high) }
}

/// `start + a · b`, the smallest products first.
#[inline(always)]
fn add_product(start: f32, a: Parts, b: Parts) -> f32 {
    start + a.low * b.low + a.low * b.high + a.high * b.low + a.high * b.high
}

/// The product of two fp32 values of which two parts are taken.
#[inline(always)]
pub(super) fn multiply_parts(a: Parts, b: Parts) -> f32 {
    add_product(0.0, a, b)
}

/// The product with a bf16 number.
#[inline(always)]
pub(super) fn multiply_narrow(a: Parts, b: f32) -> f32 {
    0.0 + a.low * b + a.high * b
}

#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f32; N], x: Parts) -> f32 {
    let mut value = coefficients[1] + coefficients[0] * x.low + coefficients[0] * x.high;
    for coefficient in &coefficients[2..] {
        value = add_product(*coefficient, parts(value), x);
    }
    value
}

const MAGIC: f32 = 12_582_912.0;

/// The nearest whole number, of large ones to what fp32 has.
#[inline(always)]
pub(super) fn whole(x: f32) -> f32 {
    (x + MAGIC) - MAGIC
}

/// `2ˣ` of a function for the fraction.
#[inline(always)]
fn raised(x: f32, power: impl Fn(f32) -> f32) -> f32 {
    let inside = larger(x, -125.0);
    let shifted = inside + MAGIC;
    let bits = power(inside - (shifted - MAGIC)).to_bits().wrapping_add(shifted.to_bits() << 23);
    if x < -125.0 { 0.0 } else { f32::from_bits(bits) }
}

/// From `kernels/aie/fit.py`, with the digits that it gives.
#[allow(clippy::excessive_precision)]
const EXP2: [f32; 6] = [1.3275146484375e-03, 9.671828922e-03, 5.550711934e-02, 2.402223726e-01, 6.931469843e-01, 1.0];

/// `2ˣ` for `x` up to 127; 0 below −125.
#[inline(always)]
pub(super) fn exp2(x: f32) -> f32 {
    raised(x, |fraction| polynomial(&EXP2, parts(fraction)))
}

/// From `kernels/aie/fit.py`, with the digits that it gives.
#[allow(clippy::excessive_precision)]
const PROBABILITY: [f32; 4] = [5.517578125e-02, 2.426124706e-01, 6.932605638e-01, 9.999279926e-01];

/// `2ˣ` as bf16, by products of bf16.
#[inline(always)]
pub(super) fn probability(x: f32) -> f32 {
    narrow(raised(x, |fraction| {
        let fraction = narrow(fraction);
        let mut value = PROBABILITY[1] + PROBABILITY[0] * fraction;
        for coefficient in &PROBABILITY[2..] {
            value = coefficient + narrow(value) * fraction;
        }
        value
    }))
}

/// From `kernels/aie/fit.py`, with the digits that it gives.
#[allow(clippy::excessive_precision)]
const GELU: [f32; 6] =
    [-1.72119140625e-02, -1.497914003e-02, 9.581366028e-02, 1.292513148e-02, -4.606436140e-01, 5.370148144e-01];
const GELU_SLOPE: f32 = 13.0 / 32.0;
const GELU_END: f32 = 64.0 / 13.0;

/// `x Φ(x)`.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    let size = larger(x, 0.0 - x);
    let inside = parts(if size >= GELU_END { 0.0 } else { size });
    let at = -1.0 + GELU_SLOPE * inside.low + GELU_SLOPE * inside.high;
    let mut below = polynomial(&GELU, parts(at));
    for _ in 0..3 {
        let root = parts(below);
        below = multiply_parts(root, root);
    }
    larger(x, 0.0) - multiply_parts(parts(below), inside)
}

/// `1 / x` for normal `x > 0`.
#[inline(always)]
pub(super) fn reciprocal(x: f32) -> f32 {
    let mut guess = f32::from_bits(0x7ef3_11c3u32.wrapping_sub(x.to_bits()));
    for _ in 0..4 {
        guess *= 2.0 - x * guess;
    }
    guess
}

/// The larger as cores compare: the second if either is NaN.
#[inline(always)]
pub(super) fn larger(x: f32, y: f32) -> f32 {
    if x > y { x } else { y }
}

/// The sum of a vector's lanes: halves onto halves.
#[inline(always)]
pub(super) fn reduce_add<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The largest of a vector's lanes.
#[inline(always)]
pub(super) fn reduce_max(lanes: &[f32]) -> f32 {
    lanes[1..].iter().fold(lanes[0], |largest, lane| if *lane > largest { *lane } else { largest })
}
