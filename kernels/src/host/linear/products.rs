//! Products of the same rows with several layers' weights (q, k and v): the rows are normed and converted once, and all
//! layers' panels are one list.
//!
//! Many rows are cut into blocks: whoever takes a block norms and converts its rows, which then wait in its own cache
//! for the products. Few rows are converted first, and the panels are cut, so that weights are read once.
//!
//! Attention hands on fp32 rows all the same: a row's scale is known only when all of its heads are done, and those are
//! units of work of their own, taken by whichever thread is free. What waiting for them could save is the conversion of
//! the output projection's rows: a tenth of that projection's time (`perf record` of the benchmark `linear` with 1500 ×
//! 384 × 384 alone).
#![allow(unsafe_code)]

use std::ops::Range;

use super::{
    HostLinear,
    kernel::Kernel,
    rows::{Converted, Operand},
    schedule::{self, RowBlocks, Work},
    tile::Block,
};
use crate::{
    Context, Parallel, Rows,
    host::{shared::Shared, split::tasks, workers},
};

/// One of the layers, and its operands.
#[derive(Clone, Copy)]
pub(crate) struct Branch<'a> {
    pub layer: &'a HostLinear,
    /// `[rows, outputs]`.
    pub residual: Option<&'a [f32]>,
    /// `[rows, outputs]`.
    pub out: Shared<f32>,
}

impl Branch<'_> {
    /// The product of all rows, of which the caller chooses rows and panels. `operand`'s first row is row `first` of
    /// the result.
    fn block(&self, operand: &Operand, first: usize) -> Block {
        let outputs = self.layer.spec.outputs;
        let residual = self.residual.map_or(std::ptr::null(), |residual| residual[first * outputs..].as_ptr());
        self.layer.block(operand, residual, self.out.at(first * outputs))
    }
}

/// `out = activation((rows · w + bias) · scale) [+ residual]` for each branch.
///
/// # Safety
/// `out` of each branch is valid for writing `rows · outputs` values and nobody else touches it. All layers have the
/// same kernel and as many inputs as the from.
pub(crate) unsafe fn run(context: &mut Context<'_>, from: &Rows<'_>, branches: &[Branch<'_>]) {
    let Some(kernel) = branches.first().map(|branch| branch.layer.kernel) else { return };
    let panels = branches.iter().map(|branch| branch.layer.packed.panels).sum();
    let work = Work { panels, ..branches[0].layer.work(from.rows, context.pool.width()) };
    // SAFETY: the caller's promise.
    unsafe {
        match RowBlocks::of(&work, Converted::floats(&kernel, kernel.rows, from.inputs)) {
            Some(blocks) if from.in_place(&kernel).is_none() => {
                by_rows(context, &kernel, &work, blocks, from, branches);
            }
            _ => by_panels(context, &kernel, &work, from, branches),
        }
    }
}

/// Many rows: each block's are converted by whoever multiplies them.
unsafe fn by_rows(
    context: &mut Context<'_>,
    kernel: &Kernel,
    work: &Work,
    blocks: RowBlocks,
    from: &Rows<'_>,
    branches: &[Branch<'_>],
) {
    let normed = from.normed_floats();
    let part = normed + Converted::floats(kernel, blocks.rows, from.inputs);
    let memory = context.scratch.floats(blocks.workers * part);
    workers::run(context.pool, blocks.workers, blocks.count, memory, &|index, memory| {
        let rows = blocks.range(index);
        let (normed, memory) = memory.split_at_mut(normed);
        let converted = Converted::new(kernel, rows.len(), from.inputs, memory);
        // SAFETY: the memory is this worker's, and blocks of rows lie apart; the rest is the caller's promise.
        unsafe {
            from.convert(kernel, rows.clone(), normed, &converted, 0);
            multiply(kernel, work, &converted.operand(), rows, branches);
        }
    });
}

/// All panels of all branches with some rows, which are all that `operand` holds.
///
/// # Safety
/// As [`run`], for these rows.
pub(super) unsafe fn multiply(
    kernel: &Kernel,
    work: &Work,
    operand: &Operand,
    rows: Range<usize>,
    branches: &[Branch<'_>],
) {
    for panels in schedule::cached(work) {
        // SAFETY: the caller's promise.
        unsafe { share(kernel, operand, 0..rows.len(), panels, branches, rows.start) };
    }
}

/// Some rows of `operand`, whose first is row `first` of the result, by some panels of the list of all.
unsafe fn share(
    kernel: &Kernel,
    operand: &Operand,
    rows: Range<usize>,
    panels: Range<usize>,
    branches: &[Branch<'_>],
    first: usize,
) {
    let mut before = 0;
    for branch in branches {
        let own = branch.layer.packed.panels;
        let panels = panels.start.max(before) - before..panels.end.clamp(before, before + own) - before;
        before += own;
        if !panels.is_empty() {
            // SAFETY: rows and panels are inside the branch's; the rest is the caller's promise.
            unsafe { kernel.block(&Block { rows: rows.clone(), panels, ..branch.block(operand, first) }) };
        }
    }
}

/// Few rows, or rows that need no conversion: parts of the grid of rows and panels.
unsafe fn by_panels(context: &mut Context<'_>, kernel: &Kernel, work: &Work, from: &Rows<'_>, branches: &[Branch<'_>]) {
    let grid = work.cut();
    let operand = from.in_place(kernel).unwrap_or_else(|| convert(context, kernel, from, grid.tasks() > 1));
    tasks(context.pool, grid.tasks(), &|index| {
        let (rows, panels) = grid.task(index);
        // SAFETY: tasks of a grid are different parts of the result; the rest is the caller's promise.
        unsafe { share(kernel, &operand, rows, panels, branches, 0) };
    });
}

/// Values below which waking a second thread costs more than converting them.
const SMALL: usize = 1 << 16;

/// Norms and converts all rows into scratch memory.
fn convert(context: &mut Context<'_>, kernel: &Kernel, from: &Rows<'_>, spread: bool) -> Operand {
    let pool: &dyn Parallel = context.pool;
    let workers = if spread && from.rows * from.inputs >= SMALL { pool.width().min(from.rows) } else { 1 };
    let (memory, rest) = context.scratch.floats_and_rest(Converted::floats(kernel, from.rows, from.inputs));
    let converted = Converted::new(kernel, from.rows, from.inputs, memory);
    let units = if workers == 1 { 1 } else { from.rows.div_ceil(kernel.rows) };
    let each = from.rows.div_ceil(units.max(1));
    let normed = rest.floats(workers * from.normed_floats());
    workers::run(pool, workers, units, normed, &|unit, normed| {
        let rows = (unit * each).min(from.rows)..((unit + 1) * each).min(from.rows);
        // SAFETY: each row is one unit's, and the memory has room for all.
        unsafe { from.convert(kernel, rows.clone(), normed, &converted, rows.start) };
    });
    converted.operand()
}
