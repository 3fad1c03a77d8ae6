//! Attention steps: where the heads of queries, keys, values and results lie, and the mask.

use undertone_kernels::{AttentionArgs, CachedArgs, Context, Heads, HeadsMut, Mask, host::KvCache};

use super::{
    super::{
        infer::{self, operand},
        layout::PlanStep,
        machine::{Machine, Target},
        prepare::AttentionKernel,
    },
    Computed,
};
use crate::{
    graph::ValueId,
    program::{HeadLayout, Op},
};

/// Carries out an attention step into `target`.
///
/// # Errors
/// If operands do not fit.
pub fn run(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    kernel: &AttentionKernel,
    context: &mut Context<'_>,
    target: &mut Target<'_>,
) -> Computed<()> {
    let cached = |index: usize| operand(step, index).ok().and_then(|value| machine.cached(value));
    if let (Some(keys), Some(values)) = (cached(1), cached(2)) {
        let (width, args) = cached_arguments(machine, step, keys, values, target)?;
        return kernel.for_width(width)?.run_cached(context, args).map_err(|error| error.to_string());
    }
    let (width, args) = arguments(machine, step, target)?;
    kernel.for_width(width)?.run(context, args).map_err(|error| error.to_string())
}

fn cached_arguments<'a>(
    machine: &'a Machine<'_, '_>,
    step: &PlanStep,
    keys: &'a KvCache,
    values: &'a KvCache,
    target: &'a mut Target<'_>,
) -> Computed<(usize, CachedArgs<'a>)> {
    let Op::Attention { q: layout, out, .. } = &step.op else { return Err("it is no attention".into()) };
    let (q, sizes @ [batch, heads, queries, width]) = heads(machine, operand(step, 0)?, *layout)?;
    let kept @ [.., length, _] = keys.shape();
    if kept != values.shape() || kept != [batch, heads, length, width] {
        return Err(format!("queries {sizes:?}, cached keys {kept:?}, values {:?}", values.shape()));
    }
    let mask = mask(machine, step, [batch, heads, queries, length])?;
    let out = result(target, sizes, *out)?;
    Ok((width, CachedArgs { queries, q, keys, values, mask, out }))
}

fn arguments<'a>(
    machine: &'a Machine<'_, '_>,
    step: &PlanStep,
    target: &'a mut Target<'_>,
) -> Computed<(usize, AttentionArgs<'a>)> {
    let Op::Attention { q, k, v, out, .. } = &step.op else { return Err("it is no attention".into()) };
    let (q, sizes @ [batch, heads, queries, width]) = self::heads(machine, operand(step, 0)?, *q)?;
    let (k, k_sizes) = self::heads(machine, operand(step, 1)?, *k)?;
    let (v, v_sizes) = self::heads(machine, operand(step, 2)?, *v)?;
    let keys = k_sizes[2];
    if k_sizes != v_sizes || k_sizes != [batch, heads, keys, width] {
        return Err(format!("queries [{batch}, {heads}, {queries}, {width}], keys {k_sizes:?}, values {v_sizes:?}"));
    }
    let mask = mask(machine, step, [batch, heads, queries, keys])?;
    let out = result(target, sizes, *out)?;
    Ok((width, AttentionArgs { batch, heads, queries, keys, q, k, v, mask, out }))
}

/// An operand, and its `[batch, heads, length, width]`.
fn heads<'a>(machine: &'a Machine<'_, '_>, value: ValueId, layout: HeadLayout) -> Computed<(Heads<'a>, [usize; 4])> {
    let sizes = infer::heads(machine.shape(value), layout)?;
    let [batch_stride, head_stride, row_stride] = strides(sizes, layout);
    Ok((Heads { data: machine.data(value)?, batch_stride, head_stride, row_stride }, sizes))
}

fn result<'a>(target: &'a mut Target<'_>, sizes: [usize; 4], layout: HeadLayout) -> Computed<HeadsMut<'a>> {
    let [batch_stride, head_stride, row_stride] = strides(sizes, layout);
    Ok(HeadsMut { data: target.elements(sizes.iter().product())?, batch_stride, head_stride, row_stride })
}

fn mask<'a>(machine: &'a Machine<'_, '_>, step: &PlanStep, scores: [usize; 4]) -> Computed<Mask<'a>> {
    match step.inputs.get(3).copied().flatten() {
        None => Ok(Mask::None),
        Some(value) => additive_mask(machine, value, scores),
    }
}

/// Strides of batch, head and row.
fn strides([_, heads, length, width]: [usize; 4], layout: HeadLayout) -> [usize; 3] {
    match layout {
        HeadLayout::HeadsFirst => [heads * length * width, length * width, width],
        HeadLayout::LengthFirst => [heads * length * width, width, heads * width],
    }
}

fn additive_mask<'a>(machine: &'a Machine<'_, '_>, value: ValueId, full: [usize; 4]) -> Computed<Mask<'a>> {
    let shape = machine.shape(value);
    let mut dims = [1; 4];
    let leading = 4usize.checked_sub(shape.len()).ok_or_else(|| format!("a mask of {shape:?}"))?;
    dims[leading..].copy_from_slice(shape);
    let fits = dims.iter().zip(&full).all(|(dim, full)| dim == full || *dim == 1);
    // A mask that is the same for all keys changes nothing that a soft-max keeps, but a kernel reads one entry per key.
    if !fits || dims[3] != full[3] {
        return Err(format!("a mask of {shape:?} for scores of {full:?}"));
    }
    let stride = |axis: usize, inner: usize| if dims[axis] == 1 { 0 } else { inner };
    Ok(Mask::Additive {
        data: machine.data(value)?,
        batch_stride: stride(0, dims[1] * dims[2] * dims[3]),
        head_stride: stride(1, dims[2] * dims[3]),
        row_stride: stride(2, dims[3]),
    })
}
