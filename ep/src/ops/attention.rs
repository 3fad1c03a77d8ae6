//! Scaled-dot-product attention: where the heads of queries, keys, values and results lie, and the mask.

use std::ops::Range;

use undertone_kernels::{
    AttentionArgs, CachedArgs, Context, Heads, HeadsMut, Mask, Scratch, host::movement::broadcast_shape,
};

use super::{
    Inferred, Operator, Role, TOO_MANY_AXES,
    run::{Computed, NO_KERNEL, Operands, Run},
};
use crate::plan::{
    PlanError,
    fault::Fault,
    prepare::{AttentionKernel, Kernel, Preparing},
    tensor::Shape,
};

/// `q, k, v` and, if there is a fourth operand, a mask that is added to the scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Width of a head; it may be known only at run time.
    pub head_width: Option<usize>,
    /// A factor of the scores.
    pub scale: f32,
    /// Of the queries.
    pub q: HeadLayout,
    /// Of the keys.
    pub k: HeadLayout,
    /// Of the values.
    pub v: HeadLayout,
    /// Of the result.
    pub out: HeadLayout,
}

/// How a `[batch, heads, length, width]` operand of attention lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadLayout {
    /// `[batch, heads, length, width]`.
    HeadsFirst,
    /// `[batch, length, heads, width]`, as a projection leaves it.
    LengthFirst,
}

/// Sizes of an attention's scores, and the width of its heads.
#[derive(Clone, Copy, Debug)]
struct Scores {
    batch: usize,
    heads: usize,
    /// Queries of a head.
    queries: usize,
    /// Keys of a head.
    keys: usize,
    /// Values of a query, a key and a value.
    width: usize,
}

impl HeadLayout {
    /// Batch, heads, length and width of an operand.
    ///
    /// # Errors
    /// If it has not four axes.
    pub fn sizes(self, shape: &[usize]) -> Inferred<[usize; 4]> {
        match (shape, self) {
            ([batch, heads, length, width], HeadLayout::HeadsFirst)
            | ([batch, length, heads, width], HeadLayout::LengthFirst) => Ok([*batch, *heads, *length, *width]),
            _ => Err(format!("{shape:?} is no operand of attention")),
        }
    }

    /// The axis along which queries or keys follow one another.
    pub fn length_axis(self) -> usize {
        match self {
            HeadLayout::HeadsFirst => 2,
            HeadLayout::LengthFirst => 1,
        }
    }

    /// Strides of batch, head and row.
    fn strides(self, [_, heads, length, width]: [usize; 4]) -> [usize; 3] {
        match self {
            HeadLayout::HeadsFirst => [heads * length * width, length * width, width],
            HeadLayout::LengthFirst => [heads * length * width, width, heads * width],
        }
    }

    /// An operand's heads. What it has only once, it has for every batch item or head.
    fn heads<'r>(self, operands: Operands<'r, '_, '_>, index: usize) -> Computed<Heads<'r>> {
        let sizes @ [batch, heads, ..] = self.sizes(operands.shape(index)?)?;
        let [batch_stride, head_stride, row_stride] = self.strides(sizes);
        let once = |count: usize, stride: usize| if count == 1 { 0 } else { stride };
        Ok(Heads {
            data: operands.data(index)?,
            batch_stride: once(batch, batch_stride),
            head_stride: once(heads, head_stride),
            row_stride,
        })
    }
}

impl Operator for Attention {
    fn kind(&self) -> &'static str {
        "attention"
    }

    fn role(&self) -> Role {
        Role::Attention
    }

    fn data(&self) -> Range<usize> {
        0..3
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        let Scores { batch, heads, queries, width, .. } = self.scores(operands)?;
        let dims = match self.out {
            HeadLayout::HeadsFirst => [batch, heads, queries, width],
            HeadLayout::LengthFirst => [batch, queries, heads, width],
        };
        Shape::new(&dims).ok_or_else(|| TOO_MANY_AXES.into())
    }

    fn flops(&self, operands: &dyn Fn(usize) -> Option<Shape>, _: Option<Shape>) -> Option<f64> {
        let keys = *operands(1)?.get(self.k.length_axis())?;
        // Both products: every element of q meets every key, and every score each element of a value.
        Some(4.0 * operands(0)?.elements() as f64 * keys as f64)
    }

    fn prepare(&self, preparing: &Preparing<'_>) -> Result<Option<Kernel>, PlanError> {
        AttentionKernel::new(self, preparing).map(|kernel| Some(Kernel::Attention(kernel)))
    }

    fn run(&self, run: &mut Run<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let Some(Kernel::Attention(kernel)) = run.kernel else { return Err(NO_KERNEL.into()) };
        let scores = self.scores(operands)?;
        let Scores { batch, heads, queries, keys, width } = scores;
        let kernel = kernel.for_width(width).map_err(Fault::Failed)?;
        let Context { pool, counters, ref mut scratch } = *context;
        let (mask, scratch) = mask(operands, &scores, scratch)?;
        let context = &mut Context { pool, counters, scratch };

        let q = self.q.heads(operands, 0)?;
        let sizes = [batch, heads, queries, width];
        let [batch_stride, head_stride, row_stride] = self.out.strides(sizes);
        let out = HeadsMut { data: run.elements()?, batch_stride, head_stride, row_stride };

        let cached = |index: usize| operands.get(index).and_then(|value| operands.machine.cached(value));
        if let (Some(keys), Some(values)) = (cached(1), cached(2)) {
            if keys.shape() != values.shape() || keys.shape()[..2] != [batch, heads] {
                let [keys, values] = [keys, values].map(|cache| cache.shape());
                return Err(format!("queries {sizes:?}, cached keys {keys:?}, values {values:?}").into());
            }
            return Ok(kernel.run_cached(context, CachedArgs { queries, q, keys, values, mask, out })?);
        }
        let (k, v) = (self.k.heads(operands, 1)?, self.v.heads(operands, 2)?);
        Ok(kernel.run(context, AttentionArgs { batch, heads, queries, keys, q, k, v, mask, out })?)
    }
}

impl Attention {
    /// The sizes of the scores. Queries, keys, values and a mask that are there once are the same for every batch item
    /// or head.
    fn scores(&self, operands: Operands<'_, '_, '_>) -> Inferred<Scores> {
        let of = |index: usize, layout: HeadLayout| layout.sizes(operands.shape(index)?);
        let (q, k, v) = (of(0, self.q)?, of(1, self.k)?, of(2, self.v)?);
        let mask = operands.shape(3).ok().map(mask_axes).transpose()?;
        let [_, _, queries, width] = q;
        let [_, _, keys, _] = k;
        let outer = mask.map_or([1, 1], |mask| [mask[0], mask[1]]);
        let each = broadcast_shape(&[&q[..2], &k[..2], &v[..2], &outer]);
        match each.as_deref() {
            Some(&[batch, heads]) if k[3] == width && v[2..] == [keys, width] => {
                let fits = |mask: &[usize; 4]| [1, queries].contains(&mask[2]) && [1, keys].contains(&mask[3]);
                if let Some(mask) = mask.filter(|mask| !fits(mask)) {
                    return Err(format!("a mask of {mask:?} for scores of {:?}", [batch, heads, queries, keys]));
                }
                Ok(Scores { batch, heads, queries, keys, width })
            }
            _ => Err(format!("queries {q:?}, keys {k:?}, values {v:?}, mask {mask:?}")),
        }
    }
}

/// The four axes of a mask.
fn mask_axes(shape: &Shape) -> Inferred<[usize; 4]> {
    let mut dims = [1; 4];
    let leading = 4usize.checked_sub(shape.len()).ok_or_else(|| format!("a mask of {shape:?}"))?;
    dims[leading..].copy_from_slice(shape);
    Ok(dims)
}

/// The mask, if there is one, and the working memory that is left.
fn mask<'r>(
    operands: Operands<'r, '_, '_>,
    scores: &Scores,
    scratch: &'r mut Scratch,
) -> Computed<(Mask<'r>, &'r mut Scratch)> {
    let Some(mut data) = operands.optional::<f32>(3)? else { return Ok((Mask::None, scratch)) };
    let mut dims = mask_axes(operands.shape(3)?)?;
    let mut rest = scratch;
    if dims[3] == 1 && scores.keys > 1 {
        // One entry for all keys of a query. To leave it out would change what a soft-max makes of −inf, of NaN, and
        // of numbers so large that the scores vanish beside them.
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
