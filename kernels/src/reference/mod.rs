//! The slow, obvious version of every kernel, and values and sizes to try kernels on: for tests, benchmarks and the
//! trial of an NPU.

pub mod attention;
pub mod conv;
pub mod linear;
pub mod noise;
pub mod norm;
pub mod whisper;
