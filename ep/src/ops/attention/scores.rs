//! The scores of single heads, in fp32 on the host whatever computes the attention itself.

use undertone_kernels::{Context, Heads, host::HostDevice};

use super::{
    super::{Computed, Inferred, Operands},
    Attention, Scores,
};

impl Attention {
    /// Batch items, heads, queries and keys of the scores.
    pub fn score_sizes(&self, operands: Operands<'_, '_, '_>) -> Inferred<[usize; 4]> {
        let Scores { batch, heads, queries, keys, .. } = self.scores(operands)?;
        Ok([batch, heads, queries, keys])
    }

    /// The scores of a batch item's head as the soft-max reads them, but for a mask: `[queries, keys]`.
    pub fn scores_of(
        &self,
        operands: Operands<'_, '_, '_>,
        [item, head]: [usize; 2],
        host: HostDevice,
        context: &mut Context<'_>,
        out: &mut [f32],
    ) -> Computed<()> {
        let Scores { queries, keys, width, .. } = self.scores(operands)?;
        let Context { pool, counters, ref mut scratch } = *context;
        let (q, scratch) = self.q.heads(operands, 0, scratch)?;
        let (rows, scratch) = scratch.floats_and_rest(queries * width);
        for (row, query) in rows.chunks_exact_mut(width.max(1)).zip(0..) {
            row.iter_mut().zip(of(&q, [item, head, query], width)).for_each(|(to, from)| *to = from * self.scale);
        }
        let (transposed, scratch) = scratch.floats_and_rest(width * keys);
        if let Some(cache) = operands.get(1).and_then(|value| operands.from.cached(value)) {
            let (entries, scratch) = scratch.floats_and_rest(keys * width);
            cache.read_head(item, head, entries);
            transpose(entries.chunks_exact(width.max(1)), transposed, keys);
            let context = &mut Context { pool, counters, scratch };
            host.matmul(context, 1, [queries, width, keys], rows, transposed, out);
        } else {
            let (k, scratch) = self.k.heads(operands, 1, scratch)?;
            transpose((0..keys).map(|key| of(&k, [item, head, key], width)), transposed, keys);
            let context = &mut Context { pool, counters, scratch };
            host.matmul(context, 1, [queries, width, keys], rows, transposed, out);
        }
        Ok(())
    }
}

/// A row of an operand.
fn of<'a>(heads: &Heads<'a>, [item, head, row]: [usize; 3], width: usize) -> &'a [f32] {
    let from = item * heads.batch_stride + head * heads.head_stride + row * heads.row_stride;
    &heads.data[from..from + width]
}

/// Rows as columns of `out`, which has `columns` of them.
fn transpose<'a>(rows: impl Iterator<Item = &'a [f32]>, out: &mut [f32], columns: usize) {
    for (column, row) in rows.enumerate() {
        for (value, line) in row.iter().zip(out.chunks_exact_mut(columns)) {
            line[column] = *value;
        }
    }
}
