//! Products of two operands that are both known only at run time, in fp32.
//!
//! Attention's products have their own kernels; this is for the other MatMul nodes of a graph.
#![allow(unsafe_code)]

use super::{
    HostDevice,
    linear::{Blocks, kernel::Kernel, schedule::Work, tile::Block},
    shared::Shared,
    split::tasks,
};
use crate::{Activation, Context, DeviceKind, Precision};

impl HostDevice {
    /// `out[b] = a[b] · b[b]` for each of `batch`: dense row-major `[batch, m, k]` by `[batch, k, n]` gives
    /// `[batch, m, n]`. Counts as one kernel call.
    ///
    /// # Panics
    /// If a slice has not the length that the shapes ask.
    pub fn matmul(
        &self,
        context: &mut Context<'_>,
        batch: usize,
        [m, k, n]: [usize; 3],
        a: &[f32],
        b: &[f32],
        out: &mut [f32],
    ) {
        assert_eq!(a.len(), batch * m * k, "a is [{batch}, {m}, {k}]");
        assert_eq!(b.len(), batch * k * n, "b is [{batch}, {k}, {n}]");
        assert_eq!(out.len(), batch * m * n, "out is [{batch}, {m}, {n}]");
        let kernel = Kernel::new(self.isa, Precision::F32);
        let panels = n.div_ceil(kernel.columns);
        let work = Work {
            rows: m,
            panels,
            tile_rows: kernel.rows,
            panel_bytes: k * kernel.columns * size_of::<f32>(),
            panel_products: k * kernel.columns,
            width: context.pool.width(),
            alike: batch,
        };
        let grid = work.cut();
        let spread = batch > 1 && batch * m * n * k > 1 << 19 || grid.tasks() > 1;

        // Few rows use a panel too seldom to pay for packing it: only the last one, where it is not whole, is packed.
        let whole_in_place = if m < PACK_ROWS { n / kernel.columns } else { 0 };
        let packed_panels = panels - whole_in_place;
        let packed_bytes = packed_panels * work.panel_bytes;
        let packed = Shared::new(context.scratch.bytes(batch * packed_bytes));
        let pack = |index: usize| {
            let (matrix, panel) = (index / packed_panels, index % packed_panels);
            // Each panel of each matrix has its own `panel_bytes` in the scratch memory.
            let target = packed.at(matrix * packed_bytes + panel * work.panel_bytes);
            pack_panel(&kernel, &b[matrix * k * n..][..k * n], k, n, whole_in_place + panel, target.cast());
        };
        let in_parts = |count: usize, task: &(dyn Fn(usize) + Sync)| match spread {
            true => tasks(context.pool, count, task),
            false => (0..count).for_each(task),
        };
        in_parts(batch * packed_panels, &pack);

        let target = Shared::new(out);
        in_parts(batch * grid.tasks(), &|index| {
            let (matrix, task) = (index / grid.tasks(), index % grid.tasks());
            let (rows, panels) = grid.task(task);
            let block = Block {
                rows,
                panels: panels.start..panels.end.min(whole_in_place).max(panels.start),
                steps: k,
                activations: a[matrix * m * k..].as_ptr().cast(),
                row_bytes: k * size_of::<f32>(),
                row_scales: std::ptr::null(),
                weights: b[matrix * k * n..].as_ptr().cast(),
                panel_bytes: kernel.columns * size_of::<f32>(),
                step_bytes: n * size_of::<f32>(),
                blocks: Blocks::default(),
                corrections: std::ptr::null(),
                column_scales: std::ptr::null(),
                bias: std::ptr::null(),
                scale: 1.0,
                activation: Activation::None,
                residual: std::ptr::null(),
                out: target.at(matrix * m * n),
                outputs: n,
            };
            let packed = Block {
                panels: panels.start.max(whole_in_place)..panels.end,
                // The packed panels begin at `whole_in_place`. Not followed below it.
                weights: packed.at(matrix * packed_bytes).wrapping_sub(whole_in_place * work.panel_bytes),
                panel_bytes: work.panel_bytes,
                step_bytes: kernel.columns * size_of::<f32>(),
                blocks: Blocks::default(),
                ..block.clone()
            };
            // SAFETY: lengths were checked above; panels in place are whole, so their vectors
            // stay inside a row of `b`; tasks write disjoint parts of `out`.
            unsafe {
                kernel.block(&block);
                kernel.block(&packed);
            }
        });
        context.counters.executed(DeviceKind::Host);
    }
}

/// Rows from which packing pays.
const PACK_ROWS: usize = 16;

/// One panel of a row-major matrix, its missing columns zero.
fn pack_panel(kernel: &Kernel, matrix: &[f32], k: usize, n: usize, panel: usize, target: *mut f32) {
    let first = panel * kernel.columns;
    let valid = kernel.columns.min(n - first);
    for step in 0..k {
        // SAFETY: the target holds `k` steps of `columns` values.
        let out = unsafe { std::slice::from_raw_parts_mut(target.add(step * kernel.columns), kernel.columns) };
        out[..valid].copy_from_slice(&matrix[step * n + first..][..valid]);
        out[valid..].fill(0.0);
    }
}
