//! The slow, obvious version of every kernel, and values and sizes to try kernels on: for tests, benchmarks and the
//! trial of an NPU.

pub mod attention;
pub mod conv;
pub mod linear;
pub mod noise;
pub mod norm;
pub mod whisper;

/// Cosine of the angle between two results.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
