//! Which transfers a problem takes, in stages: in a stage, each DMA channel that takes part does one task, and the
//! results' tasks are done last, since cores give results only when they have seen all operands. So a token of each of
//! a stage's results says that all of the stage is done.

use super::StreamError;
use crate::npu::{
    access::{MOST_ITERATIONS, MOST_STEP, Transfer},
    design::{Argument, Channel, Design, HEAD_WIDTH, Problem},
};

/// What one channel does in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaTask {
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
    pub tasks: Vec<DmaTask>,
}

impl Stage {
    /// Tasks that bring results, whose tokens end the stage.
    pub fn results(&self) -> impl Iterator<Item = &DmaTask> {
        self.tasks.iter().filter(|task| task.transfer.argument == Argument::C)
    }
}

/// The stages of a problem, in order. None, if the problem has no results.
///
/// # Errors
/// If the problem has nothing to sum, or is too large for the hardware's registers.
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
    let stages = match design.padded(problem) {
        Problem::Linear { inputs: 0, rows, outputs } if rows > 0 && outputs > 0 => {
            return Err(refuse("it has no inputs, so no core would give a result".into()));
        }
        Problem::Linear { rows, inputs, outputs } => linear(design, rows, inputs, outputs),
        Problem::Attention { heads, queries, keys } => attention(design, heads, queries, keys),
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
            let (steps, outputs) = (up(inputs, k)? / k as u64, up(outputs, n * design.columns())?);
            match argument {
                Argument::A => object(design.a_object(), (rows / design.tile.m as u64).checked_mul(steps)?),
                Argument::B => object(design.b_object(), (outputs / n as u64).checked_mul(steps)?),
                Argument::C => object(2, rows.checked_mul(outputs)?),
            }
        }
        Problem::Attention { heads, queries, keys } => {
            let block = design.block();
            let (heads, queries, blocks) = (heads as u64, up(queries, m)?, up(keys, block)? / block as u64);
            match argument {
                Argument::A => {
                    object(design.slices() * design.a_object(), heads.checked_mul(queries / design.tile.m as u64)?)
                }
                Argument::B => object(2 * design.b_object(), heads.checked_mul(blocks)?),
                Argument::C => object(2 * HEAD_WIDTH, heads.checked_mul(queries)?),
            }
        }
    }
}

/// What a linear layer's stages hold on to while the other operand goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Four row tiles, for as many rounds of column tiles as one descriptor can name.
    RowsHeld,
    /// A column tile for each column, for as many rounds of row tiles.
    ColumnsHeld,
}

/// Tiles of a linear layer.
struct Linear<'a> {
    design: &'a Design,
    outputs: usize,
    /// Bytes of all steps of a row tile, of a column tile.
    a: usize,
    b: usize,
}

/// What is moved, and how often, is the same in both orders; the one with fewer stages waits less often and has the
/// shorter stream.
fn linear(design: &Design, rows: usize, inputs: usize, outputs: usize) -> Vec<Stage> {
    let tile = design.tile;
    // Rounds of a row tile for each row of cores, rounds of a column tile for each column.
    let (rounds, wide) = (rows / design.round_rows(), outputs / (tile.n * design.columns()));
    let steps = inputs / tile.k;
    let linear = Linear { design, outputs, a: steps * design.a_object(), b: steps * design.b_object() };
    let [rows_held, columns_held] = [Order::RowsHeld, Order::ColumnsHeld].map(|order| linear.at_once(order));
    if wide * rounds.div_ceil(columns_held) < rounds * wide.div_ceil(rows_held) {
        let stage = |column| move |first| (column, first);
        let all = (0..wide).flat_map(|column| (0..rounds).step_by(columns_held).map(stage(column)));
        all.map(|(column, first)| linear.stage(first, (rounds - first).min(columns_held), column, 1)).collect()
    } else {
        let stage = |round| move |first| (round, first);
        let all = (0..rounds).flat_map(|round| (0..wide).step_by(rows_held).map(stage(round)));
        all.map(|(round, first)| linear.stage(round, 1, first, (wide - first).min(rows_held))).collect()
    }
}

impl Linear<'_> {
    /// Words from one round to the next: of the operand that goes on, and of results.
    fn steps(&self, order: Order) -> [usize; 2] {
        let Self { design, outputs, a, b, .. } = self;
        let columns = design.columns();
        match order {
            Order::RowsHeld => [columns * b / 4, columns * design.tile.n / 2],
            Order::ColumnsHeld => [design.rows() * a / 4, design.round_rows() * outputs / 2],
        }
    }

    /// Rounds of one stage at most: beyond the range of a register each has a task of its own.
    fn at_once(&self, order: Order) -> usize {
        let too_far = self.steps(order).iter().any(|step| *step > MOST_STEP as usize);
        if too_far { 1 } else { MOST_ITERATIONS as usize }
    }

    /// `rounds` from `round` on by `wide` from `first` on; one of the two numbers is 1.
    fn stage(&self, round: usize, rounds: usize, first: usize, wide: usize) -> Stage {
        let Self { design, outputs, a, b, .. } = *self;
        let (columns, tile) = (design.columns(), design.tile);
        let order = if rounds > 1 { Order::ColumnsHeld } else { Order::RowsHeld };
        let (count, [operand_step, c_step]) = ((rounds * wide) as u32, self.steps(order));
        // A single one takes no step, and one beyond the registers would be refused.
        let used = |step: usize| if count > 1 { step as u32 } else { 1 };
        let mut tasks = Vec::with_capacity(2 * columns + design.rows());
        for (column, &channel) in design.c.iter().enumerate() {
            let start = round * design.round_rows() * outputs + (first * columns + column) * tile.n;
            let (rows, words) = (design.round_rows() as u32, tile.n as u32 / 2);
            let transfer = Transfer {
                wraps: [words, rows],
                steps: [1, outputs as u32 / 2, used(c_step)],
                ..Transfer::linear(Argument::C, 2 * start as u64, count * rows * words)
            };
            tasks.push(DmaTask { channel, transfer, repeats: 0 });
        }
        let operand = |argument, channel: &Channel, start: usize, bytes: usize, goes_on: bool| {
            let mut transfer = Transfer::linear(argument, start as u64, bytes as u32 / 4);
            if goes_on && count > 1 {
                (transfer.iterations, transfer.iteration_step) = (count, operand_step as u32);
            }
            DmaTask { channel: *channel, transfer, repeats: count - 1 }
        };
        for (row, channel) in design.a.iter().enumerate() {
            let start = (round * design.rows() + row) * a;
            tasks.push(operand(Argument::A, channel, start, a, order == Order::ColumnsHeld));
        }
        for (column, channel) in design.b.iter().enumerate() {
            let start = (first * columns + column) * b;
            tasks.push(operand(Argument::B, channel, start, b, order == Order::RowsHeld));
        }
        Stage { tasks }
    }
}

/// As many jobs as there are columns after another; a job is a query tile of a head for each core of its
/// column. A row's cores all see the queries of all jobs, and each takes its own.
fn attention(design: &Design, heads: usize, queries: usize, keys: usize) -> Vec<Stage> {
    let columns = design.columns();
    let groups = queries / design.round_rows();
    let (a, c) = (design.slices() * design.a_object(), design.rows() * design.c_object());
    let b = keys / design.block() * 2 * design.b_object();
    let whole = |argument, channel: &Channel, index: usize, bytes: usize| DmaTask {
        channel: *channel,
        transfer: Transfer::linear(argument, (index * bytes) as u64, bytes as u32 / 4),
        repeats: 0,
    };
    let jobs = heads * groups;
    let stage = |first: usize| {
        let here = || (first..jobs.min(first + columns)).enumerate();
        let count = here().count() as u32;
        let mut tasks: Vec<DmaTask> =
            here().map(|(column, job)| whole(Argument::C, &design.c[column], job, c)).collect();
        tasks.extend(design.a.iter().enumerate().map(|(row, channel)| {
            let mut task = whole(Argument::A, channel, first * design.rows() + row, a);
            if count > 1 {
                task.transfer.iterations = count;
                task.transfer.iteration_step = (design.rows() * a / 4) as u32;
            }
            DmaTask { repeats: count - 1, ..task }
        }));
        if b > 0 {
            tasks.extend(here().map(|(column, job)| whole(Argument::B, &design.b[column], job / groups, b)));
        }
        Stage { tasks }
    };
    (0..jobs).step_by(columns).map(stage).collect()
}
