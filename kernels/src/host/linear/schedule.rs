//! How a product is cut into tasks. Pure arithmetic: no threads here.

use std::ops::Range;

/// What a product costs, and where it may be cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Rows of the product.
    pub rows: usize,
    /// Panels of weights.
    pub panels: usize,
    /// Rows of a full tile.
    pub tile_rows: usize,
    /// Bytes of one panel.
    pub panel_bytes: usize,
    /// Multiply-adds of one row by one panel.
    pub panel_products: usize,
    /// Threads that there are.
    pub width: usize,
    /// Such products that run beside one another.
    pub alike: usize,
}

/// A grid of tasks: each takes some rows by some panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    rows: usize,
    panels: usize,
    rows_per_task: usize,
    panels_per_task: usize,
}

/// Panels that a task goes through again and again stay in the second-level cache (1 MiB on the CPUs at hand, with the
/// rows and the result beside them).
const CACHE_BYTES: usize = 384 << 10;
/// Tasks for each thread, so that a thread that started late is made up for.
const TASKS_PER_THREAD: usize = 8;
/// A task of fewer nanoseconds costs more to hand over than it saves.
const SMALLEST_TASK_NS: usize = 8_000;
/// Multiply-adds in a nanosecond, roughly, of the slowest kernels of a CPU that has vectors.
const PRODUCTS_PER_NS: usize = 100;
/// Bytes in a nanosecond that one thread reads from memory, roughly.
const BYTES_PER_NS: usize = 24;

impl Work {
    /// An estimate of one thread's time, in nanoseconds; good for telling small work from large.
    fn nanoseconds(&self) -> usize {
        let products = self.rows.saturating_mul(self.panels).saturating_mul(self.panel_products) / PRODUCTS_PER_NS;
        products.max(self.panels.saturating_mul(self.panel_bytes) / BYTES_PER_NS)
    }

    /// How many tasks it should become.
    fn wanted(&self) -> usize {
        if self.width <= 1 {
            return 1;
        }
        let affordable = self.nanoseconds() / SMALLEST_TASK_NS;
        let wanted = (self.width * TASKS_PER_THREAD).div_ceil(self.alike.max(1)).min(affordable).max(1);
        // Alone, as many for each thread: three tasks on two threads take as long as four.
        if self.alike <= 1 && wanted > self.width { wanted - wanted % self.width } else { wanted }
    }

    /// Cuts it.
    pub(crate) fn cut(&self) -> Grid {
        let wanted = self.wanted();
        // One tile of rows does not use a panel twice: cut columns only. More rows: panels that fit in the cache.
        let row_tiles = self.rows.div_ceil(self.tile_rows).max(1);
        let panels_per_task = if row_tiles == 1 {
            self.panels.div_ceil(wanted)
        } else {
            let blocks = self.panels.div_ceil((CACHE_BYTES / self.panel_bytes.max(1)).max(1)).max(1);
            self.panels.div_ceil(blocks)
        };
        let column_tasks = self.panels.div_ceil(panels_per_task.max(1)).max(1);
        let row_tasks = wanted.div_ceil(column_tasks).clamp(1, row_tiles);
        // Fewer row tiles than tasks: the rest of the cutting is done in columns.
        let panels_per_task =
            if row_tasks * column_tasks < wanted { self.panels.div_ceil(wanted / row_tasks) } else { panels_per_task };
        Grid {
            rows: self.rows,
            panels: self.panels,
            rows_per_task: (row_tiles.div_ceil(row_tasks) * self.tile_rows).max(1),
            panels_per_task: panels_per_task.max(1),
        }
    }
}

/// Rows of a block, at most, in tiles: few enough that a block's operands stay in the second-level cache, many enough
/// that the weights that pass are used often.
const BLOCK_TILES: usize = 8;
/// fp32 values' worth of memory that a block of rows may take.
const BLOCK_FLOATS: usize = (256 << 10) / size_of::<f32>();
/// Blocks to a worker, at least.
const BLOCKS_PER_WORKER: usize = 2;
/// Tiles of rows in a block, at least: less would read the weights too often.
const LEAST_TILES: usize = 2;

/// A product of many rows, cut into blocks of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowBlocks {
    /// Rows of the product.
    all: usize,
    /// Rows of a block; the last may have fewer.
    pub rows: usize,
    /// Number of blocks.
    pub count: usize,
    /// Workers that take them.
    pub workers: usize,
}

impl RowBlocks {
    /// Blocks for `work`, if it has rows enough; a tile of rows takes `tile_floats` of working memory.
    pub(crate) fn of(work: &Work, tile_floats: usize) -> Option<Self> {
        Self::of_at_most(work, tile_floats, BLOCK_FLOATS)
    }

    /// As [`RowBlocks::of`], with so much working memory to a block.
    pub(crate) fn of_at_most(work: &Work, tile_floats: usize, block_floats: usize) -> Option<Self> {
        let workers = if work.wanted() == 1 { 1 } else { work.width };
        let fitting = (block_floats / tile_floats.max(1)).min(BLOCK_TILES);
        let tiles = work.rows / work.tile_rows / (workers * BLOCKS_PER_WORKER);
        let tiles = tiles.min(fitting);
        (tiles >= LEAST_TILES).then(|| {
            let rows = tiles * work.tile_rows;
            Self { all: work.rows, rows, count: work.rows.div_ceil(rows), workers }
        })
    }

    /// Rows of block `index`.
    pub(crate) fn range(&self, index: usize) -> Range<usize> {
        index * self.rows..((index + 1) * self.rows).min(self.all)
    }
}

/// All panels in runs that stay in the second-level cache while a block of rows goes through them.
pub(crate) fn cached(work: &Work) -> impl Iterator<Item = Range<usize>> {
    let runs = work.panels.div_ceil((CACHE_BYTES / work.panel_bytes.max(1)).max(1)).max(1);
    let (each, panels) = (work.panels.div_ceil(runs).max(1), work.panels);
    (0..panels).step_by(each).map(move |first| first..(first + each).min(panels))
}

impl Grid {
    /// Tasks in all.
    pub(crate) fn tasks(&self) -> usize {
        self.rows.div_ceil(self.rows_per_task) * self.panels.div_ceil(self.panels_per_task)
    }

    /// Rows and panels of task `index`. Tasks that follow one another share panels.
    pub(crate) fn task(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let row_tasks = self.rows.div_ceil(self.rows_per_task);
        let row = index % row_tasks * self.rows_per_task;
        let panel = index / row_tasks * self.panels_per_task;
        (row..(row + self.rows_per_task).min(self.rows), panel..(panel + self.panels_per_task).min(self.panels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tasks_cover_each_tile_once(
            rows in 0usize..200, panels in 0usize..60, tile_rows in 1usize..13, panel_bytes in 0usize..1_000_000,
            panel_products in 0usize..10_000_000, width in 0usize..9, alike in 0usize..9,
        ) {
            let work = Work { rows, panels, tile_rows, panel_bytes, panel_products, width, alike };
            let grid = work.cut();
            let mut seen = vec![0; rows * panels];
            for index in 0..grid.tasks() {
                let (task_rows, task_panels) = grid.task(index);
                prop_assert!(task_rows.start % tile_rows == 0);
                for row in task_rows {
                    for panel in task_panels.clone() {
                        seen[row * panels + panel] += 1;
                    }
                }
            }
            prop_assert!(seen.iter().all(|count| *count == 1));
        }
    }

    #[test]
    fn small_work_stays_on_one_thread_and_large_work_spreads() {
        let one_token = Work {
            rows: 1,
            panels: 12,
            tile_rows: 12,
            panel_bytes: 12 << 10,
            panel_products: 12 << 10,
            width: 2,
            alike: 1,
        };
        assert_eq!(one_token.cut().tasks(), 1);
        let logits = Work { panels: 1621, ..one_token };
        assert!(logits.cut().tasks() >= 8);
        let encoder = Work { rows: 1500, ..one_token };
        assert!((8..=64).contains(&encoder.cut().tasks()));
        // Three heads on two threads: more than three tasks.
        let head =
            Work { rows: 1500, panels: 47, panel_bytes: 8 << 10, panel_products: 2 << 10, alike: 3, ..one_token };
        assert!(head.cut().tasks() >= 4);
    }
}
