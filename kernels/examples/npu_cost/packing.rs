//! What the host packs and unpacks for an encoder: the bytes that it reads and writes, and what they take.

use std::fmt::Write as _;

use undertone_kernels::{
    npu::{
        Argument, Design, HEAD_WIDTH, Kernels, Problem, Target,
        cost::{Work, predict},
    },
    reference::whisper::{MODELS, Model, POSITIONS},
};

/// Bytes a second that are read and written for base's encoder on npu4 with all results unpacked, in int8 and bf16, as
/// `cargo bench -p undertone-bench --bench packing -- 2 npu4` measured on two cores of a shared EPYC (Zen 5), 28 November
/// 2026: 13.4 and 15.7 ms without the convolutions.
const UNPACKED: [f64; 2] = [41.6e9, 37.8e9];
/// The same with results handed on: 8.9 and 11.2 ms.
const HANDED_ON: [f64; 2] = [29.6e9, 26.7e9];

/// What becomes of a kernel's results.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Results {
    /// All of them are unpacked to fp32.
    Unpacked,
    /// Where only the NPU reads them, the next kernel's operands are packed from what the array left.
    HandedOn,
}

/// Bytes that packing and unpacking read and write for a window: fp32 values of 4 bytes, results of 2, and packed
/// operands with their padding, scales and control blocks.
pub fn bytes(model: &Model, design: &Design, results: Results) -> usize {
    let Model { width, layers, mel_bins, .. } = *model;
    let linear = |rows, inputs, outputs| Problem::Linear { rows, inputs, outputs };
    let attention = Problem::Attention { heads: width / HEAD_WIDTH, queries: POSITIONS, keys: POSITIONS };
    let a = |rows, inputs| design.buffer_bytes(&linear(rows, inputs, 1), Argument::A);
    let rows = |rows, inputs| 4 * rows * inputs + a(rows, inputs);
    let unpacked = |rows: usize, outputs: usize| 6 * rows * outputs;
    let [positions, values, wide] = [POSITIONS, POSITIONS * width, 4 * width];
    let queries_keys_values = [Argument::A, Argument::B].map(|argument| design.buffer_bytes(&attention, argument));
    let queries_keys_values = queries_keys_values.iter().sum::<usize>();
    // The residual is read beside the results.
    let summed = unpacked(positions, width) + 4 * values;
    let layer = 2 * rows(positions, width)
        + 2 * summed
        + match results {
            Results::Unpacked => {
                let heads = 3 * unpacked(positions, width) + 12 * values + queries_keys_values;
                let mixed = unpacked(positions, width) + rows(positions, width);
                heads + mixed + unpacked(positions, wide) + rows(positions, wide)
            }
            Results::HandedOn => {
                let heads = 6 * values + queries_keys_values;
                heads + 2 * values + a(positions, width) + 8 * values + a(positions, wide)
            }
        };
    let convolutions = rows(2 * positions, 3 * mel_bins)
        + unpacked(2 * positions, width)
        + rows(positions, 3 * width)
        + unpacked(positions, width);
    layers * layer + convolutions
}

/// Milliseconds that they take.
pub fn milliseconds(model: &Model, design: &Design, results: Results) -> f64 {
    let [int8, bf16] = if results == Results::Unpacked { UNPACKED } else { HANDED_ON };
    let rate = if design.kernels == Kernels::Int8 { int8 } else { bf16 };
    bytes(model, design, results) as f64 / rate * 1e3
}

/// The section of the document.
pub fn section(text: &mut String, shipped: impl Fn(Target, Kernels) -> Design) {
    let [unpacked, handed_on] = [UNPACKED, HANDED_ON].map(|rates| rates.map(|rate| rate / 1e9));
    let ([unpacked_int8, unpacked_bf16], [int8, bf16]) = (unpacked, handed_on);
    let _ = write!(
        text,
        "## Packing\n\n\
         Before a kernel the host packs its rows, after it it unpacks the results. Kernels that follow one another hand\n\
         on what the array left, in bf16: queries, keys and values to attention, attention's results to the layer behind\n\
         it, and fc1's to fc2. Nothing of that is ever fp32, and the results are the same to the bit. \"Array\" is predicted,\n\
         each kernel a command. The bytes are those that packing and unpacking read and write for a window, convolutions\n\
         included. The times are the bytes at base's rates: {unpacked_int8:.1} (int8) and {unpacked_bf16:.1} GB/s (bf16) with results\n\
         unpacked, {int8:.1} and {bf16:.1} GB/s with results handed on. Measured on two cores of a shared EPYC (Zen 5), 28 November\n\
         2026, interleaved, without the convolutions (`cargo bench -p undertone-bench --bench packing -- 2 npu4`), unpacked and\n\
         handed on: tiny 6.7 and 4.6 ms in int8, 8.3 and 6.1 in bf16; base 13.4 and 8.9, 15.7 and 11.2; large-v3-turbo 200 and\n\
         139, 229 and 176. So packing is below the array's predicted time for all three on both NPUs.\n\n\
         Layer norms stay on the host as they are. Folding their gamma and beta into the weights that follow would spare one\n\
         multiplication and one addition a value in a pass that waits for memory, and would change what int8 rounds: left out.\n\
         base's norm takes 0.140 ms, its memory alone 0.121 (`undertone bench --model base`): 0.25 ms a window at most.\n\n\
         | model | target | precision | array, ms | results unpacked, MB | ms | handed on, MB | ms |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    for model in MODELS.iter().filter(|model| ["tiny", "base", "large-v3-turbo"].contains(&model.name)) {
        for (target, kernels) in Target::ALL.into_iter().flat_map(|target| Kernels::ALL.map(|it| (target, it))) {
            let design = shipped(target, kernels);
            let seconds = |(work, count): (Work, usize)| count as f64 * predict(&design, work).total;
            let array = 1e3 * model.encoder().into_iter().map(seconds).sum::<f64>();
            let _ = write!(text, "| {} | {target} | {kernels} | {array:.1} |", model.name);
            for results in [Results::Unpacked, Results::HandedOn] {
                let megabytes = bytes(model, &design, results) as f64 / 1e6;
                let _ = write!(text, " {megabytes:.0} | {:.1} |", milliseconds(model, &design, results));
            }
            text.push('\n');
        }
    }
    text.push('\n');
}
