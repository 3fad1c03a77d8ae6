//! Attention steps: where the heads of queries, keys, values and results lie, and the mask.

use undertone_kernels::{AttentionArgs, CachedArgs, Context, Heads, HeadsMut, Mask, Scratch};

use super::{
    super::{
        infer::{self, Scores, operand},
        layout::PlanStep,
        machine::{Machine, Target},
        prepare::AttentionKernel,
    },
    Computed, Fault,
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
    let Op::Attention { q: q_layout, k: k_layout, v: v_layout, out: out_layout, .. } = &step.op else {
        return Err("it is no attention".into());
    };
    let scores = infer::scores(machine, step)?;
    let Scores { batch, heads, queries, keys, width } = scores;
    let kernel = kernel.for_width(width).map_err(Fault::Failed)?;
    let Context { pool, counters, ref mut scratch } = *context;
    let (mask, scratch) = mask(machine, step, &scores, scratch)?;
    let context = &mut Context { pool, counters, scratch };

    let q = self::heads(machine, operand(step, 0)?, *q_layout)?;
    let sizes = [batch, heads, queries, width];
    let [batch_stride, head_stride, row_stride] = strides(sizes, *out_layout);
    let data = target.elements(sizes.iter().product())?;
    let out = HeadsMut { data, batch_stride, head_stride, row_stride };

    let cached = |index: usize| operand(step, index).ok().and_then(|value| machine.cached(value));
    if let (Some(keys), Some(values)) = (cached(1), cached(2)) {
        if keys.shape() != values.shape() || keys.shape()[..2] != [batch, heads] {
            let [keys, values] = [keys, values].map(|cache| cache.shape());
            return Err(format!("queries {sizes:?}, cached keys {keys:?}, values {values:?}").into());
        }
        return Ok(kernel.run_cached(context, CachedArgs { queries, q, keys, values, mask, out })?);
    }
    let k = self::heads(machine, operand(step, 1)?, *k_layout)?;
    let v = self::heads(machine, operand(step, 2)?, *v_layout)?;
    Ok(kernel.run(context, AttentionArgs { batch, heads, queries, keys, q, k, v, mask, out })?)
}

/// An operand's heads. What it has only once, it has for every batch item or head.
fn heads<'a>(machine: &'a Machine<'_, '_>, value: ValueId, layout: HeadLayout) -> Computed<Heads<'a>> {
    let sizes @ [batch, heads, ..] = infer::heads(machine.shape(value), layout)?;
    let [batch_stride, head_stride, row_stride] = strides(sizes, layout);
    let once = |count: usize, stride: usize| if count == 1 { 0 } else { stride };
    Ok(Heads {
        data: machine.data(value)?,
        batch_stride: once(batch, batch_stride),
        head_stride: once(heads, head_stride),
        row_stride,
    })
}

/// Strides of batch, head and row.
fn strides([_, heads, length, width]: [usize; 4], layout: HeadLayout) -> [usize; 3] {
    match layout {
        HeadLayout::HeadsFirst => [heads * length * width, length * width, width],
        HeadLayout::LengthFirst => [heads * length * width, width, heads * width],
    }
}

/// The mask of a step, and the working memory that is left.
fn mask<'a>(
    machine: &'a Machine<'_, '_>,
    step: &PlanStep,
    scores: &Scores,
    scratch: &'a mut Scratch,
) -> Computed<(Mask<'a>, &'a mut Scratch)> {
    let Some(value) = step.inputs.get(3).copied().flatten() else { return Ok((Mask::None, scratch)) };
    let mut dims = infer::mask(machine.shape(value))?;
    let (mut data, mut rest): (&[f32], _) = (machine.data(value)?, scratch);
    if dims[3] == 1 && scores.keys > 1 {
        // One entry for all keys of a query. To leave it out would change what a soft-max makes of −inf, of NaN, and of numbers so
        // large that the scores vanish beside them.
        let (spread, left) = rest.floats_and_rest(data.len() * scores.keys);
        for (row, entry) in spread.chunks_exact_mut(scores.keys).zip(data) {
            row.fill(*entry);
        }
        (data, rest) = (spread, left);
        dims[3] = scores.keys;
    }
    let stride = |axis: usize, inner: usize| if dims[axis] == 1 { 0 } else { inner };
    let mask = Mask::Additive {
        data,
        batch_stride: stride(0, dims[1] * dims[2] * dims[3]),
        head_stride: stride(1, dims[2] * dims[3]),
        row_stride: stride(2, dims[3]),
    };
    Ok((mask, rest))
}
