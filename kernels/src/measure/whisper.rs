//! Which kernels a Whisper model of some geometry calls, with which sizes.

use super::{
    Settings,
    cases::{Case, Weights},
};
use crate::{Activation, Conv1dSpec, Precision};

/// A model's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Channels between layers.
    pub width: usize,
    /// Attention heads of an encoder layer.
    pub encoder_heads: usize,
    /// Attention heads of a decoder layer.
    pub decoder_heads: usize,
    /// Channels within an encoder's feed-forward layer.
    pub encoder_inner: usize,
    /// Channels within a decoder's feed-forward layer.
    pub decoder_inner: usize,
    /// Tokens.
    pub vocabulary: usize,
    /// Mel bins of the features.
    pub mel_bins: usize,
    /// Frames of a window; the encoder has half as many positions.
    pub frames: usize,
    /// Channels of a head.
    pub head_width: usize,
}

/// Rows of the standard kernels: one window of every Whisper.
const ROWS: usize = 1500;

/// The standard kernels, then the encoder's, then the decoder's for one sequence and for a batch.
pub fn cases(geometry: &Geometry, settings: &Settings) -> Vec<Case> {
    let Geometry { width, vocabulary, frames, head_width, .. } = *geometry;
    let (inner, positions) = (geometry.decoder_inner, frames.div_ceil(2));
    let mut cases = Vec::new();
    for precision in Precision::ALL {
        let linear = |name, inputs, outputs, activation, rows: &[usize]| {
            let weights = Weights::linear(inputs, outputs, activation, precision, rows.iter().all(|rows| *rows < FEW));
            rows.iter().map(|rows| Case::linear(name, &weights, *rows)).collect::<Vec<_>>()
        };
        cases.extend(linear("linear", 512, 2048, Activation::None, &[ROWS]));
        cases.push(Case::attention("attention", precision, [8, ROWS, ROWS, 64]));

        let [first, second] = convolutions(geometry, precision);
        cases.push(Case::conv1d("encoder convolution 1", &first, frames));
        cases.push(Case::conv1d("encoder convolution 2", &second, frames));
        cases.extend(linear("encoder q, k, v", width, 3 * width, Activation::None, &[positions]));
        cases.push(Case::attention(
            "encoder attention",
            precision,
            [geometry.encoder_heads, positions, positions, head_width],
        ));
        cases.extend(linear("encoder projection", width, width, Activation::None, &[positions]));
        cases.extend(linear("encoder fc1", width, geometry.encoder_inner, Activation::Gelu, &[positions]));
        cases.extend(linear("encoder fc2", geometry.encoder_inner, width, Activation::None, &[positions]));

        let rows: &[usize] = if settings.batch > 1 { &[1, settings.batch] } else { &[1] };
        cases.extend(linear("decoder q, k, v", width, 3 * width, Activation::None, rows));
        let heads = geometry.decoder_heads;
        cases.push(Case::cached("decoder self-attention", precision, [heads, 1, settings.cached + 1, head_width]));
        cases.push(Case::cached("decoder cross-attention", precision, [heads, 1, positions, head_width]));
        cases.extend(linear("decoder projection", width, width, Activation::None, rows));
        cases.extend(linear("decoder fc1", width, inner, Activation::Gelu, rows));
        cases.extend(linear("decoder fc2", inner, width, Activation::None, rows));
        cases.extend(linear("decoder logits", width, vocabulary, Activation::None, rows));
    }
    cases.push(Case::layer_norm("encoder layer norm", positions, width));
    cases.push(Case::layer_norm("decoder layer norm", 1, width));
    cases
}

/// Rows below which a linear layer's time is that of reading its weights.
const FEW: usize = 64;

fn convolutions(geometry: &Geometry, precision: Precision) -> [Conv1dSpec; 2] {
    let Geometry { width, mel_bins, .. } = *geometry;
    let conv = |in_channels, stride, first: bool| Conv1dSpec {
        in_channels,
        out_channels: width,
        width: 3,
        stride,
        padding: [1, 1],
        precision,
        activation: Activation::Gelu,
        input_channels_last: !first,
        output_channels_last: true,
    };
    [conv(mel_bins, 1, true), conv(width, 2, false)]
}
