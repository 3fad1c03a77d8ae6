//! Kernels whose results are the next one's operands: they are packed from what the array left, bf16, and are never fp32
//! in between. The values are those of the kernels one by one, to the bit: bf16 is exact in fp32.

use std::sync::Arc;

use super::{
    array::Array,
    attention::NpuAttention,
    design::HEAD_WIDTH,
    layout::{self, PackMethod, result_heads},
    linear::{NpuLinear, in_parts},
};
use crate::{Context, DeviceKind, Failed, Linear, Product, Rows, SelfAttention};

/// Computes a layer of the rows that another makes; `None` if they are not both this NPU's.
pub(super) fn mlp<A: Array>(
    context: &mut Context<'_>,
    rows: &Rows<'_>,
    first: &(dyn Linear + 'static),
    second: &mut Product<'_>,
) -> Option<Result<(), Failed>> {
    let [first, layer]: [&NpuLinear<A>; 2] = [first.as_own()?, second.layer.as_own()?];
    let (inputs, hidden) = (first.spec().inputs, first.spec().outputs);
    if !Arc::ptr_eq(first.engine(), layer.engine()) || rows.inputs != inputs || layer.spec().inputs != hidden {
        return None;
    }
    rows.check();
    second.check(rows.rows);
    let (method, pool) = (PackMethod::best(), context.pool);
    let done = in_parts(rows.rows, 1, NpuLinear::most_rows(&[first, layer]), |part| {
        let (x, rows) = (&rows.x[part.start * inputs..part.end * inputs], part.len());
        let between = NpuLinear::results(&[first], rows, pool, |design, a| {
            layout::pack_rows(method, design, x, [rows, inputs], first.gelu(), a, pool);
        })
        .map_err(|error| first.failed(&error))?;
        let results = NpuLinear::results(&[layer], rows, pool, |design, a| {
            layout::pack_results(method, design, between.of(0), [rows, hidden], layer.gelu(), a, pool);
        })
        .map_err(|error| layer.failed(&error))?;
        drop(between);
        results.unpack(|_, c| layer.unpack(c, part.clone(), second, pool));
        Ok(())
    });
    Some(done.map(|()| executed(context, layer.device(), 2)))
}

/// Computes attention of rows to one another, with the layers around it; `None` if it is not all this NPU's, in one
/// design.
pub(super) fn self_attention<A: Array>(
    context: &mut Context<'_>,
    rows: &Rows<'_>,
    block: &mut SelfAttention<'_>,
) -> Option<Result<(), Failed>> {
    let SelfAttention { layers, attention, heads, head_width, length, out } = block;
    let [q, k, v] = *layers;
    let layers: [&NpuLinear<A>; 3] = [q.as_own()?, k.as_own()?, v.as_own()?];
    let [q, k, v] = layers;
    let (attention, last): (&NpuAttention<A>, &NpuLinear<A>) = (attention.as_own()?, out.layer.as_own()?);
    let (first, width, heads, length) = (layers[0], *heads * HEAD_WIDTH, *heads, *length);
    let alike = layers.iter().all(|layer| first.reads_as(layer) && layer.spec().outputs == width)
        && [last.engine(), &attention.engine].into_iter().all(|engine| Arc::ptr_eq(engine, first.engine()))
        && [rows.inputs, last.spec().inputs] == [first.spec().inputs, width]
        && *head_width == HEAD_WIDTH
        && HEAD_WIDTH.is_multiple_of(first.engine().design.tile.k);
    if !alike {
        return None;
    }
    rows.check();
    out.check(rows.rows);
    let (method, pool, design, inputs) =
        (PackMethod::best(), context.pool, &first.engine().design, first.spec().inputs);
    let done = in_parts(rows.rows, length, NpuLinear::most_rows(&[q, k, v, last]), |part| {
        let (x, rows, batch) = (&rows.x[part.start * inputs..part.end * inputs], part.len(), part.len() / length);
        let made = NpuLinear::results(&layers, rows, pool, |design, a| {
            layout::pack_rows(method, design, x, [rows, inputs], first.gelu(), a, pool);
        })
        .map_err(|error| first.failed(&error))?;
        let [q, k, v] = [0, 1, 2].map(|index| result_heads(design, made.of(index), [heads, length]));
        let mixed = attention
            .results([batch, heads, length, length], [&q, &k, &v], pool)
            .map_err(|error| attention.failed(&error))?;
        drop(made);
        let results = NpuLinear::results(&[last], rows, pool, |design, a| {
            layout::pack_attended(method, design, mixed.of(0), [batch, heads, length], last.gelu(), a, pool);
        })
        .map_err(|error| last.failed(&error))?;
        drop(mixed);
        results.unpack(|_, c| last.unpack(c, part.clone(), out, pool));
        Ok(())
    });
    Some(done.map(|()| executed(context, last.device(), 5)))
}

/// Counts kernels.
fn executed(context: &Context<'_>, device: DeviceKind, kernels: usize) {
    (0..kernels).for_each(|_| context.counters.executed(device));
}
