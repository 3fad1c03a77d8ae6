//! GELU on vectors, for the epilogue: `max(x, 0) + h(|x|)` with `h(t) = -t/2 · erfc(t/√2)`.
//!
//! `h` is smooth and falls to −10⁻⁷ at 5.5, so a polynomial of degree 16 (Chebyshev interpolation, in `2t/5.5 − 1`, where it is well
//! conditioned) gives it without an exponential and without a division. The absolute error is below
//! 4·10⁻⁷ plus half a unit in the last place of the result; a test measures it over the whole range.
#![allow(unsafe_code)]

use super::simd::Simd;

/// Beyond this, `h` is taken as `h(RANGE)`.
const RANGE: f32 = 5.5;

/// Coefficients of `h`, constant first.
const H: [f32; 17] = [
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

/// GELU of each lane. Infinities give `∞` and about zero, NaN gives NaN.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the caller promises that the CPU has `S`'s instructions; nothing here touches memory.
    unsafe {
        let magnitude = S::at_most(S::splat(RANGE), S::abs(x));
        let u = S::mul_add(magnitude, S::splat(2.0 / RANGE), S::splat(-1.0));
        let mut h = S::splat(H[H.len() - 1]);
        for coefficient in H.iter().rev().skip(1) {
            h = S::mul_add(h, u, S::splat(*coefficient));
        }
        S::add(S::at_least(S::splat(0.0), x), h)
    }
}
