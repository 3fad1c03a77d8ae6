//! The cores' functions of fp32 values, operation for operation as in `kernels/aie/src/floats.h`: each rounded by
//! itself, none fused.

#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    let mut value = coefficients[0];
    for coefficient in &coefficients[1..] {
        value = value * x + coefficient;
    }
    value
}

/// From `kernels/aie/fit.py`, with the digits that it gives.
#[allow(clippy::excessive_precision)]
const EXP2: [f32; 5] = [5.981313689e-04, 6.989732541e-03, 6.006186207e-02, 3.465609074e-01, 9.999992614e-01];

/// `2ˣ` for `x` up to 127; 0 below −125.
#[inline(always)]
pub(super) fn exp2(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let inside = larger(x, -125.0);
    let shifted = inside + MAGIC;
    let fraction = inside - (shifted - MAGIC);
    let value = polynomial(&EXP2, fraction + fraction);
    let bits = value.to_bits().wrapping_add(shifted.to_bits() << 23);
    if x < -125.0 { 0.0 } else { f32::from_bits(bits) }
}

/// From `kernels/aie/fit.py`, with the digits that it gives.
#[allow(clippy::excessive_precision)]
const GELU: [f32; 11] = [
    1.763587943e-02,
    -4.642421054e-02,
    -7.757678417e-03,
    1.372501907e-01,
    -1.359028181e-01,
    -5.634645251e-02,
    2.331141116e-01,
    -2.409072793e-01,
    1.368990896e-01,
    -4.377199727e-02,
    6.209537358e-03,
];
const GELU_END: f32 = 5.0;

/// `x Φ(x)`.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    let size = larger(x, 0.0 - x);
    let inside = if size < GELU_END { size } else { GELU_END };
    let at = inside * (2.0 / GELU_END) - 1.0;
    let below = inside * polynomial(&GELU, at);
    larger(x, 0.0) - if size >= GELU_END { 0.0 } else { below }
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
