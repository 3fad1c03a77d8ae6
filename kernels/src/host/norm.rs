//! Layer norm and soft-max over the last axis, in fp32.

use super::isa::Isa;
use crate::{Context, DeviceKind};

/// `(x − mean) / √(variance + epsilon) · gain + bias` for each of `rows` rows of `width` values; mean and variance in two
/// passes.
///
/// # Panics
/// If a slice's length is not what `rows` and `width` ask.
#[allow(clippy::too_many_arguments, reason = "an operator's operands")]
pub fn layer_norm(
    _isa: Isa,
    context: &mut Context<'_>,
    rows: usize,
    width: usize,
    x: &[f32],
    gain: &[f32],
    bias: Option<&[f32]>,
    epsilon: f32,
    out: &mut [f32],
) {
    assert!(x.len() == rows * width && out.len() == x.len(), "layer norm: lengths differ from {rows} x {width}");
    assert!(gain.len() == width && bias.is_none_or(|bias| bias.len() == width), "layer norm: gain or bias");
    if width > 0 {
        for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mean = row.iter().sum::<f32>() / width as f32;
            let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / width as f32;
            let factor = 1.0 / (variance + epsilon).sqrt();
            for (i, (o, v)) in out.iter_mut().zip(row).enumerate() {
                *o = (v - mean) * factor * gain[i] + bias.map_or(0.0, |bias| bias[i]);
            }
        }
    }
    context.counters.executed(DeviceKind::Host);
}

/// `exp(x − max) / Σ exp(x − max)` for each of `rows` rows of `width` values. A row that is all `-inf` gives NaN, as in ONNX.
///
/// # Panics
/// If a slice's length is not `rows · width`.
pub fn softmax(_isa: Isa, context: &mut Context<'_>, rows: usize, width: usize, x: &[f32], out: &mut [f32]) {
    assert!(x.len() == rows * width && out.len() == x.len(), "softmax: lengths differ from {rows} x {width}");
    if width > 0 {
        for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for (o, v) in out.iter_mut().zip(row) {
                *o = (v - max).exp();
                sum += *o;
            }
            out.iter_mut().for_each(|o| *o /= sum);
        }
    }
    context.counters.executed(DeviceKind::Host);
}
