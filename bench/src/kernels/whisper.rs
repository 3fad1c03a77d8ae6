//! Which kernels a Whisper model of some sizes calls, with which shapes.

use undertone_kernels::{Activation, Conv1dSpec, Precision, host::HostDevice, reference::whisper::convolution};
use undertone_runner::model::ModelConfig;

use super::cases::{Case, Weights};
use crate::CACHED;

/// Rows of the standard kernels: one window of every Whisper.
const ROWS: usize = 1500;

/// The standard kernels, then the encoder's over windows of `frames` frames, then the decoder's for one sequence and
/// for `batch` of them.
pub fn cases(config: &ModelConfig, frames: usize, batch: usize) -> Vec<Case> {
    let &ModelConfig { width, encoder_heads, decoder_heads, encoder_inner, decoder_inner, vocabulary, .. } = config;
    let (head_width, positions) = (width / encoder_heads, frames.div_ceil(2));
    let (device, mut cases) = (HostDevice::new(), Vec::new());
    for precision in Precision::ALL {
        let linear = |name, inputs, outputs, activation, rows: &[usize]| {
            let weights =
                Weights::linear(device, inputs, outputs, activation, precision, rows.iter().all(|rows| *rows < FEW));
            rows.iter().map(|rows| Case::linear(name, &weights, *rows)).collect::<Vec<_>>()
        };
        cases.extend(linear("linear", 512, 2048, Activation::None, &[ROWS]));
        cases.push(Case::attention(device, "attention", precision, [8, ROWS, ROWS, 64]));

        let [first, second] = convolutions(config, precision);
        cases.push(Case::conv1d(device, "encoder convolution 1", &first, frames));
        cases.push(Case::conv1d(device, "encoder convolution 2", &second, frames));
        cases.extend(linear("encoder q, k, v", width, 3 * width, Activation::None, &[positions]));
        let sizes = [encoder_heads, positions, positions, head_width];
        cases.push(Case::attention(device, "encoder attention", precision, sizes));
        cases.extend(linear("encoder projection", width, width, Activation::None, &[positions]));
        cases.extend(linear("encoder fc1", width, encoder_inner, Activation::Gelu, &[positions]));
        cases.extend(linear("encoder fc2", encoder_inner, width, Activation::None, &[positions]));

        let rows: &[usize] = if batch > 1 { &[1, batch] } else { &[1] };
        cases.extend(linear("decoder q, k, v", width, 3 * width, Activation::None, rows));
        let attention = |keys| [decoder_heads, 1, keys, head_width];
        cases.push(Case::cached(device, "decoder self-attention", precision, attention(CACHED + 1)));
        cases.push(Case::cached(device, "decoder cross-attention", precision, attention(positions)));
        cases.extend(linear("decoder projection", width, width, Activation::None, rows));
        cases.extend(linear("decoder fc1", width, decoder_inner, Activation::Gelu, rows));
        cases.extend(linear("decoder fc2", decoder_inner, width, Activation::None, rows));
        cases.extend(linear("decoder logits", width, vocabulary, Activation::None, rows));
    }
    cases.push(Case::layer_norm(device, "encoder layer norm", positions, width));
    cases.push(Case::layer_norm(device, "decoder layer norm", 1, width));
    cases
}

/// Rows below which a linear layer's time is that of reading its weights.
const FEW: usize = 64;

fn convolutions(config: &ModelConfig, precision: Precision) -> [Conv1dSpec; 2] {
    let &ModelConfig { width, mel_bins, .. } = config;
    let second = convolution(width, width, 2, precision);
    [convolution(mel_bins, width, 1, precision), Conv1dSpec { input_channels_last: true, ..second }]
}
