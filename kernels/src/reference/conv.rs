//! The 1-D convolution, slowly and obviously: fp64 inside, no number format but the operands' own.

use super::norm::{gelu, gelu_tanh};
use crate::{Activation, Conv1dSpec};

/// What [`crate::Conv1d::run`] computes, with exact products whatever `spec.precision` says.
pub fn conv1d(
    spec: &Conv1dSpec,
    weights: &[f32],
    bias: Option<&[f32]>,
    batch: usize,
    length: usize,
    x: &[f32],
) -> Vec<f32> {
    let out_length = spec.out_length(length);
    let mut out = vec![0.0; batch * spec.out_channels * out_length];
    for item in 0..batch {
        for channel in 0..spec.out_channels {
            for position in 0..out_length {
                let mut sum = bias.map_or(0.0, |bias| f64::from(bias[channel]));
                for from in 0..spec.in_channels {
                    for tap in 0..spec.width {
                        let Some(at) = (position * spec.stride + tap).checked_sub(spec.padding[0]) else { continue };
                        if at >= length {
                            continue;
                        }
                        let value = if spec.input_channels_last {
                            x[(item * length + at) * spec.in_channels + from]
                        } else {
                            x[(item * spec.in_channels + from) * length + at]
                        };
                        let weight = weights[(channel * spec.in_channels + from) * spec.width + tap];
                        sum += f64::from(value) * f64::from(weight);
                    }
                }
                let value = match spec.activation {
                    Activation::None => sum,
                    Activation::Gelu => gelu(sum),
                    Activation::GeluTanh => gelu_tanh(sum),
                };
                let at = if spec.output_channels_last {
                    (item * out_length + position) * spec.out_channels + channel
                } else {
                    (item * spec.out_channels + channel) * out_length + position
                };
                out[at] = value as f32;
            }
        }
    }
    out
}
