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
mod measured;
pub mod operations;
#[cfg(test)]
mod tests;

use super::{
    design::{Argument, Design, HEAD_WIDTH, Kernels, Problem, Tile},
    target::Target,
};
pub use machine::{CoreRate, Machine, STREAM_BYTES};
pub use measured::read;

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
    /// The whole as one of many commands in a list.
    pub listed: f64,
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

/// What is predicted: a problem, and whether the epilogue has a GELU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Work {
    /// Its shape.
    pub problem: Problem,
    /// Of a linear layer.
    pub gelu: bool,
}

/// Without GELU.
impl From<Problem> for Work {
    fn from(problem: Problem) -> Self {
        Self { problem, gelu: false }
    }
}

impl From<&Problem> for Work {
    fn from(problem: &Problem) -> Self {
        (*problem).into()
    }
}

/// Predicts an execution on a design's target, of which nothing was measured.
pub fn predict(design: &Design, work: impl Into<Work>) -> Prediction {
    Machine::of(design.target).predict(design, work)
}

impl Machine {
    /// Predicts an execution on this machine.
    pub fn predict(&self, design: &Design, work: impl Into<Work>) -> Prediction {
        let Work { problem, gelu } = work.into();
        let padded = design.padded(&problem);
        let (cycles, bytes) = match padded {
            Problem::Linear { rows, inputs, outputs } => linear(design, self, &padded, [rows, inputs, outputs], gelu),
            Problem::Attention { heads, queries, keys } => attention(design, self, &padded, [heads, queries, keys]),
        };
        let macs = padded.macs();
        let compute = cycles / design.target.clock();
        let dram = bytes.iter().sum::<u64>() as f64 / self.bandwidth;
        let total = self.total(compute, dram);
        Prediction {
            compute,
            dispatch: self.dispatch,
            listed: total - self.dispatch + self.listed,
            total,
            bytes,
            macs,
            useful: if macs == 0 { 1.0 } else { problem.macs() as f64 / macs as f64 },
        }
    }
}

/// Cycles of the cores, which all do the same, and bytes of a linear problem.
fn linear(
    design: &Design,
    machine: &Machine,
    padded: &Problem,
    [rows, inputs, outputs]: [usize; 3],
    gelu: bool,
) -> (f64, [u64; 3]) {
    let Tile { m, k, n } = design.tile;
    let (row_rounds, column_rounds) = (rows / design.round_rows(), outputs / (n * design.columns()));
    let object = design.a_object().max(design.b_object()) as f64;
    let step = machine.kernel(design.kernels).cycles(m as f64, k as f64, n as f64).max(object / STREAM_BYTES);
    // The shim of a column sends the results of its four cores one after another.
    let sent = (Target::ROWS * design.c_object()) as f64 / STREAM_BYTES;
    let [gelu_cycles, _] = machine.functions;
    let activation = if gelu { gelu_cycles * (m * n) as f64 } else { 0.0 };
    let epilogue = machine.vector(&operations::epilogue(design.kernels, design.tile)) + activation;
    let round = ((inputs / k) as f64 * step + epilogue).max(sent);
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
    let [_, probability] = machine.functions;
    // Values and probabilities are bf16 in both number formats.
    let scores = machine.kernel(design.kernels).cycles(q, width, keys);
    let values = machine.kernel(Kernels::Bf16).cycles(q, keys, width);
    let objects = 2.0 * design.b_object() as f64 / STREAM_BYTES;
    let soft_max = machine.vector(&operations::keys(design.kernels, m, n)) + probability * q * keys;
    let scaled = machine.vector(&operations::results(m, operations::RESULT));
    let block = (scores + soft_max + scaled + values).max(objects);
    let sent = (Target::ROWS * design.c_object()) as f64 / STREAM_BYTES;
    // A row's cores see the queries of all columns before they begin.
    let queries = (design.columns() * design.slices() * design.a_object()) as f64 / STREAM_BYTES;
    let last = machine.vector(&operations::results(m, operations::LAST));
    let job = queries + (blocks as f64 * block + last).max(sent);
    let bytes = [
        design.buffer_bytes(padded, Argument::A) as u64,
        (design.buffer_bytes(padded, Argument::B) * groups) as u64,
        design.buffer_bytes(padded, Argument::C) as u64,
    ];
    (jobs.div_ceil(design.columns()) as f64 * job, bytes)
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
