//! Two layers, the second of which reads the first's result and nobody else does (Whisper's fc1, GELU, fc2).
//!
//! With many rows the hidden activations of a block exist only in the cache of whoever works on it, long enough to find
//! each row's scale: they are never written to memory, in no format.
#![allow(unsafe_code)]

use super::{
    HostLinear,
    kernel::Kernel,
    products::{self, Branch, multiply},
    rows::{Converted, whole_lines},
    schedule::{RowBlocks, Work},
};
use crate::{
    Context, Rows,
    host::{shared::Shared, workers},
};

/// Memory of a block that should stay in the second-level cache beside the weights that pass.
const BLOCK_FLOATS: usize = (768 << 10) / size_of::<f32>();

/// `out = second(first(rows)) [+ residual]`.
///
/// # Safety
/// As [`products::run`], for `second`; its layer has as many inputs as the first has outputs. Both layers are of one
/// instruction set.
pub(crate) unsafe fn run(context: &mut Context<'_>, from: &Rows<'_>, first: &HostLinear, second: Branch<'_>) {
    let kernels = [first.kernel, second.layer.kernel];
    let hidden = first.spec.outputs;
    let works = [first, second.layer].map(|layer| layer.work(from.rows, context.pool.width()));
    let tile = floats(&kernels, from, hidden, kernels[0].rows);
    // fp32 rows are read where they are: there is no conversion that a block would save.
    let direct = kernels.iter().any(|kernel| kernel.direct);
    let blocks = if direct { None } else { RowBlocks::of_at_most(&works[0], tile, BLOCK_FLOATS) };
    // SAFETY: the caller's promise; the hidden rows are this call's own.
    unsafe {
        let Some(blocks) = blocks else {
            let (memory, rest) = context.scratch.floats_and_rest(from.rows * hidden);
            let first = Branch { layer: first, residual: None, out: Shared::new(memory) };
            let mut inner = Context { pool: context.pool, counters: context.counters, scratch: rest };
            products::run(&mut inner, from, &[first]);
            let from = Rows { x: memory, rows: from.rows, inputs: hidden, norm: None };
            products::run(&mut inner, &from, &[second]);
            return;
        };
        by_rows(context, &kernels, &works, blocks, from, first, second);
    }
}

unsafe fn by_rows(
    context: &mut Context<'_>,
    kernels: &[Kernel; 2],
    works: &[Work; 2],
    blocks: RowBlocks,
    from: &Rows<'_>,
    first: &HostLinear,
    second: Branch<'_>,
) {
    let hidden = first.spec.outputs;
    let memory = context.scratch.floats(blocks.workers * floats(kernels, from, hidden, blocks.rows));
    workers::run(context.pool, blocks.workers, blocks.count, memory, &|index, memory| {
        let rows = blocks.range(index);
        let (normed, memory) = memory.split_at_mut(from.normed_floats());
        let (converted, memory) = memory.split_at_mut(Converted::floats(&kernels[0], rows.len(), from.inputs));
        let (activations, memory) = memory.split_at_mut(whole_lines(rows.len() * hidden));
        let converted = Converted::new(&kernels[0], rows.len(), from.inputs, converted);
        let between = Converted::new(&kernels[1], rows.len(), hidden, memory);
        // SAFETY: the memory is this worker's, and blocks of rows lie apart; the rest is the caller's promise.
        unsafe {
            from.convert(&kernels[0], rows.clone(), normed, &converted, 0);
            let first = Branch { layer: first, residual: None, out: Shared::new(activations) };
            multiply(&kernels[0], &works[0], &converted.operand(), 0..rows.len(), &[first]);
            let made = Rows { x: activations, rows: rows.len(), inputs: hidden, norm: None };
            made.convert(&kernels[1], 0..rows.len(), &mut [], &between, 0);
            multiply(&kernels[1], &works[1], &between.operand(), rows, &[second]);
        }
    });
}

/// fp32 values' worth of a block's memory: its rows converted, its hidden activations as they come, and those
/// converted.
fn floats(kernels: &[Kernel; 2], from: &Rows<'_>, hidden: usize, rows: usize) -> usize {
    from.normed_floats()
        + Converted::floats(&kernels[0], rows, from.inputs)
        + whole_lines(rows * hidden)
        + Converted::floats(&kernels[1], rows, hidden)
}
