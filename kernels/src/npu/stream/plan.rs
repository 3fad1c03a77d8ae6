//! Which transfers a problem takes, in stages: in a stage, each DMA channel that takes part does one task, and the results' tasks
//! are done last, since cores give results only when they have seen all operands. So a token of each of a stage's results says
//! that all of the stage is done.

use super::StreamError;
use crate::npu::{
    access::{MOST_ITERATIONS, MOST_STEP, Transfer},
    design::{Argument, Channel, Design, HEAD_WIDTH, Problem},
    target::Target,
};

/// What one channel does in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Which channel.
    pub channel: Channel,
    /// What it moves.
    pub transfer: Transfer,
    /// How often it does so after the first time.
    pub repeats: u32,
}

/// Tasks that run side by side: those of results first, then those of operands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// At most one for each channel.
    pub tasks: Vec<Task>,
}

impl Stage {
    /// Tasks that bring results, whose tokens end the stage.
    pub fn results(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.transfer.argument == Argument::C)
    }
}

/// The stages of a problem, in order. None, if the problem has no results.
///
/// # Errors
/// If the problem is not the design's operator's, has nothing to sum, or is too large for the hardware's registers.
pub fn stages(design: &Design, problem: &Problem) -> Result<Vec<Stage>, StreamError> {
    design.check()?;
    let refuse = |reason: String| StreamError::Problem { problem: problem.to_string(), reason };
    for argument in Argument::ALL {
        let bytes = bytes(design, problem, argument);
        // Offsets in streams have 32 bits.
        if bytes.is_none_or(|bytes| bytes > u64::from(u32::MAX)) {
            return Err(refuse(format!("its buffer {argument:?} takes more than 4 GiB: split it")));
        }
    }
    let stages = match (design.operator.is_linear(), design.padded(problem)) {
        (true, Problem::Linear { inputs: 0, rows, outputs }) if rows > 0 && outputs > 0 => {
            return Err(refuse("it has no inputs, so no core would give a result".into()));
        }
        (true, Problem::Linear { rows, inputs, outputs }) => linear(design, rows, inputs, outputs),
        (false, Problem::Attention { heads, queries, keys }) => attention(design, heads, queries, keys),
        _ => return Err(refuse(format!("the design computes {}", design.operator))),
    };
    for task in stages.iter().flat_map(|stage| &stage.tasks) {
        task.transfer.check()?;
    }
    Ok(stages)
}

/// Bytes of a buffer, if they can be counted ([`Design::buffer_bytes`] assumes so).
fn bytes(design: &Design, problem: &Problem, argument: Argument) -> Option<u64> {
    let up = |value: usize, to: usize| (value as u64).checked_next_multiple_of(to as u64);
    let (m, k, n) = (design.round_rows(), design.tile.k, design.tile.n);
    let object = |bytes: usize, tiles: u64| (bytes as u64).checked_mul(tiles);
    match *problem {
        Problem::Linear { rows, inputs, outputs } => {
            let rows = up(rows, m)?;
            let (steps, outputs) = (up(inputs, k)? / k as u64, up(outputs, n * design.target.columns())?);
            match argument {
                Argument::A => object(design.a_object(), (rows / design.tile.m as u64).checked_mul(steps)?),
                Argument::B => object(design.b_object(), (outputs / n as u64).checked_mul(steps)?),
                Argument::C => object(2, rows.checked_mul(outputs)?),
            }
        }
        Problem::Attention { heads, queries, keys } => {
            let (heads, queries, blocks) = (heads as u64, up(queries, m)?, up(keys, n)? / n as u64);
            match argument {
                Argument::A => object(design.a_object(), heads.checked_mul(queries / design.tile.m as u64)?),
                Argument::B => object(2 * design.b_object(), heads.checked_mul(blocks)?),
                Argument::C => object(2 * HEAD_WIDTH, heads.checked_mul(queries)?),
            }
        }
    }
}

/// A round of four row tiles after another; in each, as many rounds of column tiles at once as one descriptor can name.
fn linear(design: &Design, rows: usize, inputs: usize, outputs: usize) -> Vec<Stage> {
    let columns = design.target.columns();
    let tile = design.tile;
    let (rounds, wide) = (rows / design.round_rows(), outputs / (tile.n * columns));
    // Bytes of all steps of a row tile, of a column tile.
    let (a, b) = (inputs / tile.k * design.a_object(), inputs / tile.k * design.b_object());
    let (b_step, c_step) = (columns * b / 4, columns * tile.n / 2);
    // Weights of a column are `b_step` words apart: beyond the register's range each tile gets a task of its own.
    let at_once = if b_step > MOST_STEP as usize { 1 } else { MOST_ITERATIONS as usize };
    let mut stages = Vec::with_capacity(rounds * wide.div_ceil(at_once));
    for round in 0..rounds {
        for first in (0..wide).step_by(at_once) {
            let count = (wide - first).min(at_once) as u32;
            let mut tasks = Vec::with_capacity(2 * columns + Target::ROWS);
            for (column, &channel) in design.c.iter().enumerate() {
                let start = round * design.round_rows() * outputs + (first * columns + column) * tile.n;
                let rows = design.round_rows() as u32;
                let words = tile.n as u32 / 2;
                let transfer = Transfer {
                    wraps: [words, rows],
                    steps: [1, outputs as u32 / 2, c_step as u32],
                    ..Transfer::linear(Argument::C, 2 * start as u64, count * rows * words)
                };
                tasks.push(Task { channel, transfer, repeats: 0 });
            }
            for (row, &channel) in design.a.iter().enumerate() {
                let start = (round * Target::ROWS + row) * a;
                let transfer = Transfer::linear(Argument::A, start as u64, a as u32 / 4);
                tasks.push(Task { channel, transfer, repeats: count - 1 });
            }
            for (column, &channel) in design.b.iter().enumerate() {
                let start = (first * columns + column) * b;
                let mut transfer = Transfer::linear(Argument::B, start as u64, b as u32 / 4);
                if count > 1 {
                    (transfer.iterations, transfer.iteration_step) = (count, b_step as u32);
                }
                tasks.push(Task { channel, transfer, repeats: count - 1 });
            }
            stages.push(Stage { tasks });
        }
    }
    stages
}

/// As many jobs as there are columns after another; a job is four query tiles of a head.
fn attention(design: &Design, heads: usize, queries: usize, keys: usize) -> Vec<Stage> {
    let columns = design.target.columns();
    let groups = queries / design.round_rows();
    let (a, c) = (Target::ROWS * design.a_object(), Target::ROWS * design.c_object());
    let b = keys / design.tile.n * 2 * design.b_object();
    let whole = |argument, channel: &Channel, index: usize, bytes: usize| Task {
        channel: *channel,
        transfer: Transfer::linear(argument, (index * bytes) as u64, bytes as u32 / 4),
        repeats: 0,
    };
    let jobs = heads * groups;
    let stage = |first: usize| {
        let here = || (first..jobs.min(first + columns)).enumerate();
        let mut tasks: Vec<Task> = here().map(|(column, job)| whole(Argument::C, &design.c[column], job, c)).collect();
        tasks.extend(here().map(|(column, job)| whole(Argument::A, &design.a[column], job, a)));
        if b > 0 {
            tasks.extend(here().map(|(column, job)| whole(Argument::B, &design.b[column], job / groups, b)));
        }
        Stage { tasks }
    };
    (0..jobs).step_by(columns).map(stage).collect()
}
