//! What a Whisper encoder asks of an NPU, from its sizes alone: for predictions before there is a model, and for
//! choosing tiles.

use super::super::design::{Kernels, Operator, Problem};

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

impl Model {
    /// A window's problems in the encoder with how often each occurs: convolutions as products of gathered windows,
    /// then the layers.
    pub fn encoder(&self, kernels: Kernels) -> Vec<(Operator, Problem, usize)> {
        let Self { width, layers, mel_bins, .. } = *self;
        let (product, attention) = match kernels {
            Kernels::Int8 => (Operator::LinearInt8, Operator::AttentionInt8),
            Kernels::Bf16 => (Operator::LinearBf16, Operator::AttentionBf16),
        };
        let linear = |rows, inputs, outputs| Problem::Linear { rows, inputs, outputs };
        vec![
            (product, linear(2 * POSITIONS, 3 * mel_bins, width), 1),
            (product, linear(POSITIONS, 3 * width, width), 1),
            (product, linear(POSITIONS, width, width), 4 * layers),
            (product, linear(POSITIONS, width, 4 * width), layers),
            (product, linear(POSITIONS, 4 * width, width), layers),
            (attention, Problem::Attention { heads: width / 64, queries: POSITIONS, keys: POSITIONS }, layers),
        ]
    }

    /// The problems of a decoder's step for one new token that could go to an NPU: each layer's products, and its
    /// attention to the encoder's output.
    pub fn step(&self, kernels: Kernels) -> Vec<(Operator, Problem)> {
        let width = self.width;
        let (product, attention) = match kernels {
            Kernels::Int8 => (Operator::LinearInt8, Operator::AttentionInt8),
            Kernels::Bf16 => (Operator::LinearBf16, Operator::AttentionBf16),
        };
        let linear = |inputs, outputs| (product, Problem::Linear { rows: 1, inputs, outputs });
        let heads = Problem::Attention { heads: width / 64, queries: 1, keys: POSITIONS };
        vec![linear(width, width), linear(width, 4 * width), linear(4 * width, width), (attention, heads)]
    }
}
