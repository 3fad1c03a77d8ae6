//! Exponential, error function and GELU on vectors of any instruction set, with their error bounds.
//!
//! Bounds are over the whole range of fp32 and are held by tests on every instruction set.

use super::simd::Simd;

/// Coefficients of `2^r` for `|r| ≤ ½`, constant first; least maximal relative error (2·10⁻⁹, with fp32 coefficients).
const EXP2: [f32; 7] =
    [1.0, std::f32::consts::LN_2, 0.240_226_46, 0.055_503_286, 0.009_618_489, 0.001_339_993, 0.000_153_458_11];

/// As [`EXP2`], for operands that are rounded to 8 bits afterwards: relative error 7.5·10⁻⁵.
const EXP2_COARSE: [f32; 4] = [0.999_928_06, 0.693_260_97, 0.242_611_13, 0.055_171_654];

/// Below this, `eˣ` rounds to 0.
const EXP_LOWEST: f32 = -104.5;

/// Above this, `eˣ` is infinite.
const EXP_HIGHEST: f32 = 89.0;

#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, coefficients: &[f32; N], r: S::F) -> S::F {
    let mut sum = s.splat(coefficients[N - 1]);
    for coefficient in coefficients.iter().rev().skip(1) {
        sum = s.mul_add(sum, r, s.splat(*coefficient));
    }
    sum
}

/// `eˣ`, at most 2 units in the last place from the exact value (for subnormal results: of the smallest normal
/// number's); 0 for `-inf`, NaN for NaN.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // ln 2 in two parts, the first short enough for an exact product with `n` (Cody and Waite).
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = s.min(s.splat(EXP_HIGHEST), s.max(s.splat(EXP_LOWEST), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.mul_add(n, s.splat(-LN2_HIGH), x);
    let r = s.mul_add(n, s.splat(-LN2_LOW), r);
    s.scale(polynomial(s, &EXP2, s.mul(r, s.splat(std::f32::consts::LOG2_E))), n)
}

/// `2ˣ` for `x ≤ 127`: 2 units in the last place, or 7.6·10⁻⁵ relative if `COARSE`; never below 2⁻¹²⁶, also for `-inf`.
#[inline(always)]
pub(crate) fn exp2<S: Simd, const COARSE: bool>(s: S, x: S::F) -> S::F {
    // The bound keeps the result normal: subnormal operands are slow, and 2⁻¹²⁶ is nothing beside a sum's largest term.
    let x = s.max(s.splat(-126.0), x);
    let n = s.round(x);
    let r = s.sub(x, n);
    let power = if COARSE { polynomial(s, &EXP2_COARSE, r) } else { polynomial(s, &EXP2, r) };
    s.scale(power, n)
}

/// The error function, at most 10⁻⁶ from the exact value (Abramowitz and Stegun 7.1.26, whose own error is 1.5·10⁻⁷).
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    const P: f32 = 0.327_591_1;
    const A: [f32; 5] = [0.254_829_6, -0.284_496_74, 1.421_413_7, -1.453_152, 1.061_405_4];
    let magnitude = s.abs(x);
    let one = s.splat(1.0);
    let t = s.div(one, s.mul_add(s.splat(P), magnitude, one));
    let falling = exp(s, s.mul(s.mul(x, s.splat(-1.0)), x));
    let complement = s.mul(s.mul(polynomial(s, &A, t), t), falling);
    // The formula leaves up to 1e-9 below zero near zero; a magnitude is not negative.
    s.with_sign(s.max(s.splat(0.0), s.sub(one, complement)), x)
}

/// GELU by a hyperbolic tangent, `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))` (Hendrycks and Gimpel, 2016), at most
/// 6 units in the last place, or 10⁻⁶, from the exact value; infinities give `∞` and zero.
///
/// It is `x / (1 + e⁻²ᵘ)`, where `u` is what the tangent is of.
#[inline(always)]
pub(crate) fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    const FACTOR: f32 = -2.0 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
    // Farther out the result is 0 or x, and what is not finite would become NaN on the way.
    let near = s.max(s.splat(-GELU_TANH_RANGE), x);
    let cubic = s.mul_add(s.mul(near, near), s.splat(0.044_715 * FACTOR), s.splat(FACTOR));
    let one = s.splat(1.0);
    s.div(near, s.add(one, exp(s, s.mul(near, cubic))))
}

/// Below minus this, [`gelu_tanh`] is 0.
const GELU_TANH_RANGE: f32 = 12.0;

/// Beyond this magnitude GELU's `h` is taken as `h(GELU_RANGE)`.
const GELU_RANGE: f32 = 5.5;

/// Coefficients of `h(t) = -t/2 · erfc(t/√2)` in `2t/5.5 − 1`, where the interpolation is well conditioned; constant
/// first.
const GELU: [f32; 17] = [
    -0.00819437,
    0.06057798,
    -0.19126338,
    0.3086809,
    -0.17894758,
    -0.26041827,
    0.6283229,
    -0.45969734,
    -0.15138386,
    0.5452764,
    -0.27221254,
    -0.23240207,
    0.2569062,
    0.03746041,
    -0.09892437,
    0.00052204734,
    0.01569692,
];

/// Exact GELU, `x/2 · (1 + erf(x/√2))`, at most 4·10⁻⁷ and half a unit in the last place of the result from the exact
/// value; infinities give `∞` and about zero.
///
/// It is `max(x, 0) + h(|x|)`, where `h` is smooth and falls to −10⁻⁷ at 5.5: a polynomial of degree 16 (Chebyshev
/// interpolation) gives it without an exponential and without a division.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    let magnitude = s.min(s.splat(GELU_RANGE), s.abs(x));
    let u = s.mul_add(magnitude, s.splat(2.0 / GELU_RANGE), s.splat(-1.0));
    s.add(s.max(s.splat(0.0), x), polynomial(s, &GELU, u))
}
