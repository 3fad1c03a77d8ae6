//! Predicted time of a problem on a design. Nothing here is measured: every number is a prediction from published
//! measurements of other designs (`docs/npu-cost.md`), by a model of three things that go on at once: cores computing, streams
//! of 4 bytes a cycle, and memory.
//!
//! ```
//! use undertone_kernels::npu::{Design, Kernels, Problem, Target, Tile, cost};
//!
//! let design = Design::new(Target::Npu1, Kernels::Int8, Tile { m: 48, k: 64, n: 64 })?;
//! let prediction = cost::predict(&design, &Problem::Linear { rows: 1500, inputs: 384, outputs: 1536 });
//! assert!(prediction.total > 0.2e-3 && prediction.total < 5e-3);
//! # Ok::<(), undertone_kernels::npu::DesignError>(())
//! ```

mod machine;
#[cfg(test)]
mod tests;

use super::{
    design::{Argument, Design, HEAD_WIDTH, Kernels, Problem, Tile},
    target::Target,
};
pub use machine::{CoreRate, Machine, STREAM_BYTES};

/// Bytes of fp32 values that the host packs or unpacks in a second on two threads; assumed where it was not measured
/// (on two busy cores of Zen 4 it was 12 to 16, `cargo bench -p undertone-bench --bench packing`).
pub const PACKING_RATE: f64 = 10.0e9;

/// What one execution is predicted to take. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The busiest core, were memory infinitely fast.
    pub compute: f64,
    /// Giving the command and noticing its end.
    pub dispatch: f64,
    /// The whole: that and the memory traffic at once, with what of the shorter the longer does not hide, and the
    /// dispatch.
    pub total: f64,
    /// Bytes that the shims read for A and B and write for C.
    pub bytes: [u64; 3],
    /// Multiply-accumulates, padding included.
    pub macs: u64,
    /// Share of them that the result needs.
    pub useful: f64,
}

impl Prediction {
    /// The same as one of many commands in a list, in seconds.
    pub fn listed(&self, target: Target) -> f64 {
        self.total - self.dispatch + Machine::of(target).listed
    }
}

/// Predicts an execution of `problem`.
pub fn predict(design: &Design, problem: &Problem) -> Prediction {
    let machine = Machine::of(design.target);
    let padded = design.padded(problem);
    let (cycles, bytes) = match padded {
        Problem::Linear { rows, inputs, outputs } => linear(design, machine, &padded, [rows, inputs, outputs]),
        Problem::Attention { heads, queries, keys } => attention(design, machine, &padded, [heads, queries, keys]),
    };
    let macs = padded.macs();
    let compute = cycles / design.target.clock();
    let dram = bytes.iter().sum::<u64>() as f64 / machine.bandwidth;
    Prediction {
        compute,
        dispatch: machine.dispatch,
        total: machine.total(compute, dram),
        bytes,
        macs,
        useful: if macs == 0 { 1.0 } else { problem.macs() as f64 / macs as f64 },
    }
}

/// Cycles of the cores, which all do the same, and bytes of a linear problem.
fn linear(
    design: &Design,
    machine: &Machine,
    padded: &Problem,
    [rows, inputs, outputs]: [usize; 3],
) -> (f64, [u64; 3]) {
    let Tile { m, k, n } = design.tile;
    let (row_rounds, column_rounds) = (rows / design.round_rows(), outputs / (n * design.target.columns()));
    let object = design.a_object().max(design.b_object()) as f64;
    let step = machine.kernel(design.kernels).cycles(m as f64, k as f64, n as f64).max(object / STREAM_BYTES);
    let outputs = (m * n) as f64;
    // The shim of a column sends the results of its four cores one after another.
    let sent = (Target::ROWS * design.c_object()) as f64 / STREAM_BYTES;
    let epilogue = if design.kernels == Kernels::Int8 { machine.scaled_output } else { machine.output };
    let round = ((inputs / k) as f64 * step + epilogue * outputs).max(sent);
    let bytes = |argument, times: usize| (design.buffer_bytes(padded, argument) * times) as u64;
    let bytes = [bytes(Argument::A, column_rounds), bytes(Argument::B, row_rounds), bytes(Argument::C, 1)];
    ((row_rounds * column_rounds) as f64 * round, bytes)
}

/// Cycles of the busiest column's cores and bytes of an attention problem.
fn attention(
    design: &Design,
    machine: &Machine,
    padded: &Problem,
    [heads, queries, keys]: [usize; 3],
) -> (f64, [u64; 3]) {
    let (m, n) = (design.tile.m, design.block());
    let groups = queries / design.round_rows();
    let (jobs, blocks) = (heads * groups, keys / n);
    let (q, keys, width) = (m as f64, n as f64, HEAD_WIDTH as f64);
    // Values and probabilities are bf16 in both number formats.
    let scores = machine.kernel(design.kernels).cycles(q, width, keys);
    let values = machine.kernel(Kernels::Bf16).cycles(q, keys, width);
    let objects = 2.0 * design.b_object() as f64 / STREAM_BYTES;
    let block = (scores + values + machine.score * q * keys).max(objects);
    let sent = (Target::ROWS * design.c_object()) as f64 / STREAM_BYTES;
    // A row's cores see the queries of all columns before they begin.
    let queries = (design.target.columns() * design.slices() * design.a_object()) as f64 / STREAM_BYTES;
    let job = queries + (blocks as f64 * block + machine.output * q * width).max(sent);
    let bytes = [
        design.buffer_bytes(padded, Argument::A) as u64,
        (design.buffer_bytes(padded, Argument::B) * groups) as u64,
        design.buffer_bytes(padded, Argument::C) as u64,
    ];
    (jobs.div_ceil(design.target.columns()) as f64 * job, bytes)
}

/// Seconds that the host takes to pack a run's operands and unpack its result, at `rate` bytes of fp32 values a second
/// ([`PACKING_RATE`] where it was not measured). Weights are packed once and not counted.
pub fn packing(problem: &Problem, rate: f64) -> f64 {
    let values = match *problem {
        Problem::Linear { rows, inputs, outputs } => rows * (inputs + outputs),
        Problem::Attention { heads, queries, keys } => heads * HEAD_WIDTH * 2 * (queries + keys),
    };
    (values * size_of::<f32>()) as f64 / rate
}
