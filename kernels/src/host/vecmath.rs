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

/// Coefficients of `erf(x)/x` in `x²` for `|x| ≤ 1`, constant first. The last is such that erf is 1 at
/// infinity.
const ERF_NEAR: [f32; 7] = [
    std::f32::consts::FRAC_2_SQRT_PI,
    -0.376_126_26,
    0.112_835_97,
    -0.026_854_329,
    0.005_189_312,
    -0.000_801_885_5,
    7.88e-5,
];

/// Coefficients of `erfc(x) · exp(x²)` in `1/(1 + x/2)` for `x ≥ 1`, constant first.
const ERF_FAR: [f32; 6] = [0.001_720_359_8, 0.260_577, 0.393_803_5, -0.059_346_735, 0.632_332_4, -0.229_327_44];

/// The error function, at most 2·10⁻⁷ and 4·10⁻⁷ of its own size from the exact value.
///
/// Up to 1 it is an odd polynomial, whose error falls with its operand; what lies between 1 and `x` is the difference
/// of two complements, which is exactly nothing where `x` is not beyond 1.
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    let (magnitude, one) = (s.abs(x), s.splat(1.0));
    let near = s.min(one, magnitude);
    let complement = |x: S::F| {
        let t = s.div(one, s.mul_add(s.splat(0.5), x, one));
        s.mul(polynomial(s, &ERF_FAR, t), exp(s, s.mul(s.mul(x, s.splat(-1.0)), x)))
    };
    let beyond = s.sub(complement(one), complement(s.max(one, magnitude)));
    let sum = s.mul_add(polynomial(s, &ERF_NEAR, s.mul(near, near)), near, beyond);
    s.with_sign(s.min(one, sum), x)
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

/// Beyond this magnitude GELU's `q` is taken as `q(GELU_RANGE)`.
const GELU_RANGE: f32 = 5.5;

/// Coefficients of `q(t) = erfc(t/√2)` in `2t/5.5 − 1`, where the interpolation is well conditioned; constant first.
const GELU: [f32; 17] = [
    0.005_959_504_7,
    -0.050_015_904,
    0.189_121_29,
    -0.413_631_62,
    0.543_675_5,
    -0.354_068_46,
    -0.102_095_02,
    0.435_088_3,
    -0.328_128_43,
    -0.063_996_01,
    0.268_662_07,
    -0.108_038_425,
    -0.086_712_73,
    0.068_510_704,
    0.008_302_152,
    -0.013_848_625,
    0.001_215_718_1,
];

/// Exact GELU, `x/2 · (1 + erf(x/√2))`, at most 4·10⁻⁷ and half a unit in the last place of the result from the exact
/// value, and between −1 and 1 at most 6·10⁻⁷ of its own size; infinities give `∞` and about zero.
///
/// It is `max(x, 0) − |x|/2 · q(|x|)`, where `q` is smooth and falls to 4·10⁻⁸ at 5.5: a polynomial of degree 16
/// (Chebyshev interpolation) gives it without an exponential and without a division.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    let magnitude = s.min(s.splat(GELU_RANGE), s.abs(x));
    let u = s.mul_add(magnitude, s.splat(2.0 / GELU_RANGE), s.splat(-1.0));
    s.mul_add(s.mul(magnitude, s.splat(-0.5)), polynomial(s, &GELU, u), s.max(s.splat(0.0), x))
}
