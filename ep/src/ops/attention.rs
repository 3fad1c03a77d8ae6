//! Scaled-dot-product attention: where the heads of queries, keys, values and results lie, and the mask.

mod append;
mod lower;
mod scores;

use std::ops::Range;

use undertone_kernels::{
    AttentionArgs, CachedArgs, Context, Heads, HeadsMut, Mask, Precision, Scratch, host::movement::broadcast_shape,
};

pub use self::append::Append;
use super::{
    Computed, Entry, Inferred, Operands, Operator, Prepared, Preparing, Role, StepRun, elementwise::add, left,
    microsoft, onnx, operator::TOO_MANY_AXES, prepare::PreparedAttention, run::NOT_PREPARED, several,
};
use crate::{
    error::{Fault, PlanError},
    graph::DataType,
    memory::Shape,
};

pub const OPERATORS: &[Entry] = &[
    onnx("Attention", Role::Attention, lower::attention),
    microsoft("MultiHeadAttention", Role::Attention, lower::multi_head_attention),
    several("Attention", Role::Attention, lower::with_projections),
    left("DecoderMaskedMultiHeadAttention", Role::Attention),
    left("DecoderMaskedSelfAttention", Role::Attention),
    left("GroupQueryAttention", Role::Attention),
    left("PackedMultiHeadAttention", Role::Attention),
    left("QAttention", Role::Attention),
];

/// The place of the operand of which the length is the number of new keys.
const NEW_KEYS: usize = 7;

/// `q, k, v` and, if there is a fourth operand, a mask: floats are added to the scores, bools tell which keys a query
/// sees, and int32 of `[batch, keys]` which keys are no padding. A fifth operand is a row that is added to queries,
/// keys and values, one after another. Of an eighth, the new keys, only the length counts: how many keys are new.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Width of a head; it may be known only at run time.
    pub head_width: Option<usize>,
    /// A factor of the scores.
    pub scale: f32,
    /// A query sees, of the new keys, only those up to its own, and all before them, whatever else a mask hides.
    pub causal: Causal,
    /// Added to the score of a key that a mask of bools or int32 hides.
    pub hidden: f32,
    pub q: HeadLayout,
    pub k: HeadLayout,
    pub v: HeadLayout,
    pub out: HeadLayout,
    /// Heads of queries, one after another, that share a head of keys and values.
    pub shared_by: usize,
    /// Keys and values of this layout come behind a past (a sixth and a seventh operand, which may be left out); what
    /// they make together, heads first, is read, and is the second and the third result.
    pub appends: Option<HeadLayout>,
}

/// Whether keys behind a query's own are hidden from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Causal {
    /// They are not.
    No,
    /// They are: the queries' own keys are the last ones, as many as there are queries.
    Last,
    /// They are: the queries' own keys are the new ones, from the first on, and an operand tells how many are new;
    /// without it all are.
    New {
        /// How the new keys lie.
        layout: HeadLayout,
        /// The last query sees all keys, where more are new than there are queries, as ONNX Runtime's operators have
        /// it; ONNX's has it for a single query behind a past.
        last_sees_all: bool,
    },
}

/// How a `[batch, heads, length, width]` operand of attention lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadLayout {
    /// `[batch, heads, length, width]`.
    HeadsFirst,
    /// `[batch, length, heads, width]`, as a projection leaves it.
    LengthFirst,
    /// The same with its last two axes as one.
    Packed {
        /// How many heads a row has.
        heads: usize,
    },
    /// `[batch, length, 3 × heads × width]`: a row has queries, keys and values one after another.
    Third {
        /// How many heads each of the three has.
        heads: usize,
        /// Which of the three it is.
        part: usize,
    },
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
    /// Batch, heads, length and width of an operand. An error if it has not the axes, or rows of heads.
    pub fn sizes(self, shape: &[usize]) -> Inferred<[usize; 4]> {
        match (shape, self) {
            ([batch, heads, length, width], HeadLayout::HeadsFirst)
            | ([batch, length, heads, width], HeadLayout::LengthFirst) => Ok([*batch, *heads, *length, *width]),
            ([batch, length, row], HeadLayout::Packed { heads }) if heads > 0 && row % heads == 0 => {
                Ok([*batch, heads, *length, row / heads])
            }
            ([batch, length, row], HeadLayout::Third { heads, .. }) if heads > 0 && row % (3 * heads) == 0 => {
                Ok([*batch, heads, *length, row / (3 * heads)])
            }
            _ => Err(format!("{shape:?} is no operand of attention")),
        }
    }

    /// The axis along which queries or keys follow one another.
    pub fn length_axis(self) -> usize {
        match self {
            HeadLayout::HeadsFirst => 2,
            HeadLayout::LengthFirst | HeadLayout::Packed { .. } | HeadLayout::Third { .. } => 1,
        }
    }

    /// Strides of batch, head and row.
    fn strides(self, [_, heads, length, width]: [usize; 4]) -> [usize; 3] {
        match self {
            HeadLayout::HeadsFirst => [heads * length * width, length * width, width],
            HeadLayout::LengthFirst | HeadLayout::Packed { .. } => [heads * length * width, width, heads * width],
            HeadLayout::Third { .. } => [3 * heads * length * width, width, 3 * heads * width],
        }
    }

    /// An operand's elements from its first head's first row on.
    fn own_part<T>(self, [_, heads, _, width]: [usize; 4], data: &[T]) -> &[T] {
        match self {
            HeadLayout::Third { part, .. } => data.get(part * heads * width..).unwrap_or_default(),
            HeadLayout::HeadsFirst | HeadLayout::LengthFirst | HeadLayout::Packed { .. } => data,
        }
    }

    /// An operand's heads, and the working memory that is left. What it has only once, it has for every batch item or
    /// head. Heads that come first have their bias already.
    fn heads<'r>(
        self,
        operands: Operands<'r, '_, '_>,
        index: usize,
        scratch: &'r mut Scratch,
    ) -> Computed<(Heads<'r>, &'r mut Scratch)> {
        let sizes @ [batch, heads, _, width] = self.sizes(operands.shape(index)?)?;
        let [batch_stride, head_stride, row_stride] = self.strides(sizes);
        let once = |count: usize, stride: usize| if count == 1 { 0 } else { stride };
        let (mut data, mut rest): (&[f32], _) = (self.own_part(sizes, operands.data(index)?), scratch);
        if let Some(bias) = operands.optional::<f32>(4)?.filter(|_| self != HeadLayout::HeadsFirst) {
            let row = heads * width;
            let bias = bias.get(index * row..(index + 1) * row).ok_or("a bias that is shorter than q, k and v")?;
            let (sums, left) = rest.floats_and_rest(data.len());
            let rows = sums.chunks_exact_mut(row.max(1)).zip(data.chunks_exact(row.max(1)));
            rows.for_each(|(sums, row)| add(row, bias, sums));
            (data, rest) = (sums, left);
        }
        let (batch_stride, head_stride) = (once(batch, batch_stride), once(heads, head_stride));
        Ok((Heads { data, batch_stride, head_stride, row_stride }, rest))
    }
}

impl Operator for Attention {
    fn class(&self) -> (&'static str, Role) {
        ("attention", Role::Attention)
    }

    fn data(&self) -> Range<usize> {
        0..3
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        let Scores { batch, heads, queries, width, .. } = self.scores(operands)?;
        let shape = match self.out {
            HeadLayout::HeadsFirst => Shape::new(&[batch, heads, queries, width]),
            HeadLayout::LengthFirst => Shape::new(&[batch, queries, heads, width]),
            HeadLayout::Packed { .. } | HeadLayout::Third { .. } => Shape::new(&[batch, queries, heads * width]),
        };
        shape.ok_or_else(|| TOO_MANY_AXES.into())
    }

    fn flops(&self, operands: &dyn Fn(usize) -> Option<Shape>, _: Option<Shape>) -> Option<f64> {
        let new = *operands(1)?.get(self.appends.unwrap_or(self.k).length_axis())?;
        let keys = new + self.appends.and_then(|_| operands(5)?.get(2).copied()).unwrap_or(0);
        // Both products: every element of q meets every key, and every score each element of a value.
        let queries: usize = self.q.sizes(&operands(0)?).ok()?.iter().product();
        Some(4.0 * queries as f64 * keys as f64)
    }

    fn prepare(&self, preparing: &Preparing<'_>) -> Result<Option<Prepared>, PlanError> {
        let (precision, device) = (self.precision(preparing.precision), preparing.store.device(preparing.placed));
        let attention = PreparedAttention::new(self.scale, precision, self.head_width, device)?;
        Ok(Some(Prepared::Attention(attention)))
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let Some(Prepared::Attention(kernel)) = run.prepared else { return Err(NOT_PREPARED.into()) };
        let scores = self.scores(operands)?;
        let Scores { batch, heads, queries, keys, width } = scores;
        let kernel = kernel.for_width(width).map_err(Fault::Failed)?;
        let Context { pool, counters, ref mut scratch } = *context;
        let (mask, scratch) = self.mask(operands, &scores, scratch)?;
        let (q, scratch) = self.q.heads(operands, 0, scratch)?;
        let sizes = [batch, heads, queries, width];
        let [batch_stride, head_stride, row_stride] = self.out.strides(sizes);
        let out = HeadsMut { data: run.elements()?, batch_stride, head_stride, row_stride };

        let cached = |index: usize| operands.get(index).and_then(|value| operands.from.cached(value));
        if let (Some(keys), Some(values)) = (cached(1), cached(2)) {
            if keys.shape() != values.shape() || keys.shape()[..2] != [batch, heads] {
                let [keys, values] = [keys, values].map(|cache| cache.shape());
                return Err(format!("queries {sizes:?}, cached keys {keys:?}, values {values:?}").into());
            }
            let context = &mut Context { pool, counters, scratch };
            return Ok(kernel.run_cached(context, CachedArgs { queries, q, keys, values, mask, out })?);
        }
        let (k, scratch) = self.k.heads(operands, 1, scratch)?;
        let (v, scratch) = self.v.heads(operands, 2, scratch)?;
        let context = &mut Context { pool, counters, scratch };
        let mut args = AttentionArgs { batch, heads, queries, keys, q, k, v, mask, out };
        match self.shared_by {
            1 => Ok(kernel.run(context, args)?),
            shared_by => (0..batch).try_for_each(|item| Ok(kernel.run(context, grouped(&mut args, item, shared_by))?)),
        }
    }
}

impl Attention {
    /// The precision of its products, of the one that was asked for. Keys and values out of a cache (or of a whole
    /// encoder's output, once per token) are read once for each query; rounding them first would cost more than the
    /// products do.
    pub fn precision(&self, asked: Precision) -> Precision {
        match self.k {
            HeadLayout::LengthFirst | HeadLayout::Packed { .. } | HeadLayout::Third { .. } => asked,
            HeadLayout::HeadsFirst => Precision::F32,
        }
    }

    /// The sizes of the scores. Queries, keys, values and a mask that are there once are the same for every batch item
    /// or head.
    fn scores(&self, operands: Operands<'_, '_, '_>) -> Inferred<Scores> {
        let of = |index: usize, layout: HeadLayout| layout.sizes(operands.shape(index)?);
        let (q, k, v) = (of(0, self.q)?, of(1, self.k)?, of(2, self.v)?);
        let mask = operands.get(3).map(|_| mask_axes(operands)).transpose()?;
        let [_, _, queries, width] = q;
        let [_, _, keys, _] = k;
        let outer = mask.map_or([1, 1], |mask| [mask[0], mask[1]]);
        let each = match self.shared_by {
            1 => broadcast_shape(&[&q[..2], &k[..2], &v[..2], &outer]),
            shared_by if k[..2] == [q[0], q[1] / shared_by] && v[..2] == k[..2] => broadcast_shape(&[&q[..2], &outer]),
            _ => None,
        };
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

    /// What a mask that only hides keys adds to the scores, and the working memory that is left.
    fn added<'r, T: Copy + Default + PartialOrd>(
        &self,
        mask: &[T],
        scratch: &'r mut Scratch,
    ) -> (&'r [f32], &'r mut Scratch) {
        let (added, rest) = scratch.floats_and_rest(mask.len());
        for (added, sees) in added.iter_mut().zip(mask) {
            *added = if *sees > T::default() { 0.0 } else { self.hidden };
        }
        (added, rest)
    }

    /// The mask, if there is one, and the working memory that is left.
    fn mask<'r>(
        &self,
        operands: Operands<'r, '_, '_>,
        scores: &Scores,
        scratch: &'r mut Scratch,
    ) -> Computed<(Mask<'r>, &'r mut Scratch)> {
        let Scores { queries, keys, .. } = *scores;
        let first = match self.causal {
            Causal::No => None,
            Causal::Last => Some(keys.saturating_sub(queries)),
            Causal::New { layout, .. } => match operands.shape(NEW_KEYS) {
                Ok(new) => Some(keys.saturating_sub(layout.sizes(new)?[2])),
                Err(_) => Some(0),
            },
        };
        // One query behind a past sees all of it.
        let first = first.filter(|first| first + 1 < keys);
        let is_open = |first: usize| match self.causal {
            Causal::New { last_sees_all, .. } => {
                first + queries < keys && (last_sees_all || (queries == 1 && first > 0))
            }
            Causal::No | Causal::Last => false,
        };
        let open = first.filter(|first| is_open(*first)).and_then(|_| queries.checked_sub(1));
        if operands.get(3).is_none() && open.is_none() {
            return Ok((first.map_or(Mask::None, |first| Mask::Causal { first }), scratch));
        }
        let (mut dims, (mut data, mut rest)) = match operands.get(3) {
            None => ([1; 4], (&[0.0f32][..], scratch)),
            Some(_) => (
                mask_axes(operands)?,
                match operands.dtype(3)? {
                    DataType::Bool => self.added(operands.data::<u8>(3)?, scratch),
                    DataType::I32 => self.added(operands.data::<i32>(3)?, scratch),
                    _ => (operands.data::<f32>(3)?, scratch),
                },
            ),
        };
        if (dims[3] == 1 && keys > 1) || first.is_some() {
            // One entry for all keys of a query. To leave it out would change what a soft-max makes of −inf, of NaN,
            // and of numbers so large that the scores vanish beside them.
            let rows = if first.is_some() { queries } else { dims[2] };
            let (spread, left) = rest.floats_and_rest(dims[0] * dims[1] * rows * keys);
            for (at, row) in spread.chunks_exact_mut(keys.max(1)).enumerate() {
                let (outer, query) = (at / rows, at % rows);
                let from = &data[(outer * dims[2] + query % dims[2]) * dims[3]..][..dims[3]];
                match from {
                    [entry] => row.fill(*entry),
                    entries => row.copy_from_slice(entries),
                }
                if let Some(first) = first.filter(|_| open != Some(query)) {
                    row[(first + query + 1).min(keys)..].fill(f32::NEG_INFINITY);
                }
            }
            (data, rest) = (spread, left);
            (dims[2], dims[3]) = (rows, keys);
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
}

/// Attention of one batch item, of which `shared_by` heads of queries share a head of keys and values: its heads of
/// keys as batch items.
fn grouped<'a>(args: &'a mut AttentionArgs<'_>, item: usize, shared_by: usize) -> AttentionArgs<'a> {
    let AttentionArgs { heads, queries, keys, q, k, v, mask, .. } = *args;
    let q = Heads { data: &q.data[item * q.batch_stride..], batch_stride: shared_by * q.head_stride, ..q };
    let shared = |of: Heads<'a>| Heads {
        data: &of.data[item * of.batch_stride..],
        batch_stride: of.head_stride,
        head_stride: 0,
        ..of
    };
    let mask = match mask {
        Mask::Additive { data, batch_stride, head_stride, row_stride } => Mask::Additive {
            data: &data[item * batch_stride..],
            batch_stride: shared_by * head_stride,
            head_stride,
            row_stride,
        },
        other => other,
    };
    let out = args.out.reborrow();
    let out = HeadsMut {
        batch_stride: shared_by * out.head_stride,
        head_stride: out.head_stride,
        row_stride: out.row_stride,
        data: &mut out.data[item * out.batch_stride..],
    };
    AttentionArgs {
        batch: heads / shared_by,
        heads: shared_by,
        queries,
        keys,
        q,
        k: shared(k),
        v: shared(v),
        mask,
        out,
    }
}

/// The four axes of the mask.
fn mask_axes(operands: Operands<'_, '_, '_>) -> Inferred<[usize; 4]> {
    let shape = operands.shape(3)?;
    let mut dims = [1; 4];
    match (operands.dtype(3)?, &shape[..]) {
        (DataType::I32, [batch, keys]) => (dims[0], dims[3]) = (*batch, *keys),
        (_, axes) => {
            let leading = 4usize.checked_sub(axes.len()).ok_or_else(|| format!("a mask of {shape:?}"))?;
            dims[leading..].copy_from_slice(axes);
        }
    }
    Ok(dims)
}
