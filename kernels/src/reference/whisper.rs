//! What a Whisper encoder asks of an NPU, from its sizes alone: for predictions before there is a model, and for
//! choosing tiles.

use crate::{
    Activation, Conv1dSpec, Precision,
    npu::{Problem, cost::Work},
};

/// A model's sizes; heads are 64 wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// As it is published.
    pub name: &'static str,
    /// Width of its layers.
    pub width: usize,
    /// Layers of its encoder.
    pub layers: usize,
    /// Mel bins.
    pub mel_bins: usize,
}

/// Positions of a window of 30 s after the convolutions.
pub const POSITIONS: usize = 1500;

/// The published sizes whose encoders differ.
pub const MODELS: [Model; 5] = [
    Model { name: "tiny", width: 384, layers: 4, mel_bins: 80 },
    Model { name: "base", width: 512, layers: 6, mel_bins: 80 },
    Model { name: "small", width: 768, layers: 12, mel_bins: 80 },
    Model { name: "medium", width: 1024, layers: 24, mel_bins: 80 },
    Model { name: "large-v3-turbo", width: 1280, layers: 32, mel_bins: 128 },
];

/// A convolution of an encoder, its input channels first.
pub fn convolution(in_channels: usize, out_channels: usize, stride: usize, precision: Precision) -> Conv1dSpec {
    Conv1dSpec {
        in_channels,
        out_channels,
        width: 3,
        stride,
        padding: [1, 1],
        precision,
        activation: Activation::Gelu,
        input_channels_last: false,
        output_channels_last: true,
    }
}

impl Model {
    /// A window's work in the encoder with how often each occurs: convolutions as products of gathered windows,
    /// then the layers.
    pub fn encoder(&self) -> [(Work, usize); 6] {
        let Self { width, layers, mel_bins, .. } = *self;
        let linear = |rows, inputs, outputs, gelu| Work { problem: Problem::Linear { rows, inputs, outputs }, gelu };
        let attention = Problem::Attention { heads: width / 64, queries: POSITIONS, keys: POSITIONS };
        [
            (linear(2 * POSITIONS, 3 * mel_bins, width, true), 1),
            (linear(POSITIONS, 3 * width, width, true), 1),
            (linear(POSITIONS, width, width, false), 4 * layers),
            (linear(POSITIONS, width, 4 * width, true), layers),
            (linear(POSITIONS, 4 * width, width, false), layers),
            (attention.into(), layers),
        ]
    }
}
