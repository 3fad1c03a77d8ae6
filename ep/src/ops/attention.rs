//! Scaled-dot-product attention: where the heads of queries, keys, values and results lie, and the mask.

use std::ops::Range;

use undertone_kernels::{
    AttentionArgs, CachedArgs, Context, Heads, HeadsMut, Mask, Scratch, host::movement::broadcast_shape,
};

use super::{
    Inferred, Op, Operator, Role, TOO_MANY_AXES,
    elementwise::add,
    run::{Computed, NO_KERNEL, Operands, Run},
};
use crate::{
    graph::Dim,
    lower::{Lowered, Lowering},
    plan::{
        PlanError,
        fault::Fault,
        prepare::{AttentionKernel, Kernel, Preparing},
        tensor::Shape,
    },
};

/// `q, k, v` and, if there is a fourth operand, a mask that is added to the scores; perhaps, as a fifth, a row that is added
/// to queries, keys and values one after another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Width of a head; it may be known only at run time.
    pub head_width: Option<usize>,
    /// A factor of the scores.
    pub scale: f32,
    /// Query `i` sees only the keys up to `i`. There is no other mask then.
    pub causal: bool,
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
    /// The same with its last two axes as one.
    Packed {
        /// How many heads a row has.
        heads: usize,
    },
}

/// `Attention` of ONNX (opset 23).
pub fn attention(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    const KNOWN: [&str; 9] = [
        "is_causal",
        "kv_num_heads",
        "left_window_size",
        "q_num_heads",
        "qk_matmul_output_mode",
        "right_window_size",
        "scale",
        "softcap",
        "softmax_precision",
    ];
    let of = node.node;
    if let Some(name) = of.attributes.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(format!("Attention with {name}"));
    }
    if of.int("left_window_size", -1) != -1 || of.int("right_window_size", -1) != -1 {
        return Err("Attention with a window".into());
    }
    if of.float("softcap", 0.0) != 0.0 || !matches!(of.int("softmax_precision", 1), 0 | 1) {
        return Err("Attention with softcap or another softmax_precision than float".into());
    }
    if (4..of.inputs.len()).any(|index| node.input(index).is_some()) {
        return Err("Attention with past keys and values, or lengths of them".into());
    }
    let (q_heads, kv_heads) = (of.int("q_num_heads", 0), of.int("kv_num_heads", 0));
    let layouts = match [0, 1, 2].map(|index| node.rank(index)) {
        [Some(4), Some(4), Some(4)] => [HeadLayout::HeadsFirst; 3],
        [Some(3), Some(3), Some(3)] => [q_heads, kv_heads, kv_heads].map(HeadLayout::packed),
        _ => return Err("Attention of operands that have not three axes or four".into()),
    };
    let out = layouts[0];
    let op = Attention::lower(node, layouts, out, 3)?;
    node.reads(&[0, 1, 2, 3]);
    Ok(Op::Attention(op))
}

/// `MultiHeadAttention` of com.microsoft.
pub fn multi_head_attention(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    let of = node.node;
    let packed = HeadLayout::packed(of.int("num_heads", 0));
    // Keys and values of four axes are those that a cross-attention's cache has.
    let layouts = match [0, 1, 2].map(|index| node.rank(index)) {
        [Some(3), Some(3), Some(3)] => [packed; 3],
        [Some(3), Some(4), Some(4)] => [packed, HeadLayout::HeadsFirst, HeadLayout::HeadsFirst],
        _ => return Err("MultiHeadAttention of packed keys and values, or of unknown shapes".into()),
    };
    if node.input(4).is_some() {
        return Err("MultiHeadAttention with key_padding_mask".into());
    }
    if (6..of.inputs.len()).any(|index| node.input(index).is_some()) {
        return Err("MultiHeadAttention with past keys and values".into());
    }
    if node.input(3).is_some() && (layouts != [packed; 3] || node.dtype(3) != node.dtype(0) || node.rank(3) != Some(1))
    {
        return Err("MultiHeadAttention with a bias that is no row, or of cached keys".into());
    }
    if node.input(5).is_some() && node.rank(5) != Some(4) {
        return Err("MultiHeadAttention with an attention_bias that has not four axes".into());
    }
    let op = Attention::lower(node, layouts, packed, 5)?;
    node.reads(&[0, 1, 2, 5, 3]);
    Ok(Op::Attention(op))
}

impl Attention {
    /// What a node's first three operands ask for; all that must be known of their shapes is known. `mask` is the place of a
    /// mask's operand.
    fn lower(node: &Lowering<'_, '_>, [q, k, v]: [HeadLayout; 3], out: HeadLayout, mask: usize) -> Lowered<Self> {
        let refused = |what: &str| format!("{} {what}", node.node.op_type);
        node.floats()?;
        if [1, 2, mask].into_iter().any(|index| node.input(index).is_some() && node.dtype(index) != node.dtype(0)) {
            return Err(refused("of operands of several types, such as a mask of bool"));
        }
        let heads = |index: usize, layout: HeadLayout| layout.declared(node.dims(index)?);
        let (Some(queries), Some(keys), Some(values)) = (heads(0, q), heads(1, k), heads(2, v)) else {
            return Err(refused("of heads that the graph does not tell"));
        };
        let [width, each] = [queries.width, queries.heads];
        if width == 0 || [keys.width, values.width] != [width; 2] {
            return Err(refused("whose values are of another width than its queries"));
        }
        if ![1, each].contains(&keys.heads) || values.heads != keys.heads || keys.length != values.length {
            return Err(refused("whose keys or values are not as many as its queries' heads"));
        }
        if let Some(dims) = node.input(mask).and(Some(node.dims(mask))) {
            // A mask may stop short of the keys; then it is not broadcast, but filled up.
            let fits = |dims: &[Dim]| match dims {
                [.., rows, last] if dims.len() <= 4 => {
                    last == keys.length && (rows == queries.length || *rows == Dim::Fixed(1))
                }
                _ => false,
            };
            if *keys.length == Dim::Unknown || !dims.is_some_and(fits) {
                return Err(refused("with a mask that is not known to be as wide as the keys"));
            }
        }
        let is_causal = ["is_causal", "unidirectional"].into_iter().any(|name| node.node.int(name, 0) != 0);
        if is_causal && (*keys.length == Dim::Unknown || queries.length != keys.length || node.input(mask).is_some()) {
            return Err(refused("that is causal, beside a mask or of other keys than queries"));
        }
        let scale = node.node.float("scale", 0.0);
        let scale = if scale == 0.0 { (width as f32).sqrt().recip() } else { scale };
        Ok(Self { head_width: Some(width), scale, causal: is_causal, q, k, v, out })
    }
}

/// What a graph tells of an operand of attention.
struct Declared<'g> {
    heads: usize,
    length: &'g Dim,
    width: usize,
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
    /// If it has not the axes, or rows of heads.
    pub fn sizes(self, shape: &[usize]) -> Inferred<[usize; 4]> {
        match (shape, self) {
            ([batch, heads, length, width], HeadLayout::HeadsFirst)
            | ([batch, length, heads, width], HeadLayout::LengthFirst) => Ok([*batch, *heads, *length, *width]),
            ([batch, length, row], HeadLayout::Packed { heads }) if heads > 0 && row % heads == 0 => {
                Ok([*batch, heads, *length, row / heads])
            }
            _ => Err(format!("{shape:?} is no operand of attention")),
        }
    }

    /// Rows of so many heads; of none, where an attribute is no such number.
    fn packed(heads: i64) -> Self {
        HeadLayout::Packed { heads: usize::try_from(heads).unwrap_or(0) }
    }

    /// What a declared shape tells, if it tells heads and width.
    fn declared(self, dims: &[Dim]) -> Option<Declared<'_>> {
        match (dims, self) {
            ([_, Dim::Fixed(heads), length, Dim::Fixed(width)], HeadLayout::HeadsFirst)
            | ([_, length, Dim::Fixed(heads), Dim::Fixed(width)], HeadLayout::LengthFirst) => {
                Some(Declared { heads: *heads, length, width: *width })
            }
            ([_, length, Dim::Fixed(row)], HeadLayout::Packed { heads }) if heads > 0 && row % heads == 0 => {
                Some(Declared { heads, length, width: row / heads })
            }
            _ => None,
        }
    }

    /// The axis along which queries or keys follow one another.
    pub fn length_axis(self) -> usize {
        match self {
            HeadLayout::HeadsFirst => 2,
            HeadLayout::LengthFirst | HeadLayout::Packed { .. } => 1,
        }
    }

    /// Strides of batch, head and row.
    fn strides(self, [_, heads, length, width]: [usize; 4]) -> [usize; 3] {
        match self {
            HeadLayout::HeadsFirst => [heads * length * width, length * width, width],
            HeadLayout::LengthFirst | HeadLayout::Packed { .. } => [heads * length * width, width, heads * width],
        }
    }

    /// An operand's heads, and the working memory that is left. What it has only once, it has for every batch item or
    /// head.
    fn heads<'r>(
        self,
        operands: Operands<'r, '_, '_>,
        index: usize,
        scratch: &'r mut Scratch,
    ) -> Computed<(Heads<'r>, &'r mut Scratch)> {
        let sizes @ [batch, heads, _, width] = self.sizes(operands.shape(index)?)?;
        let [batch_stride, head_stride, row_stride] = self.strides(sizes);
        let once = |count: usize, stride: usize| if count == 1 { 0 } else { stride };
        let (mut data, mut rest): (&[f32], _) = (operands.data(index)?, scratch);
        if let Some(bias) = operands.optional::<f32>(4)? {
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
        let shape = match self.out {
            HeadLayout::HeadsFirst => Shape::new(&[batch, heads, queries, width]),
            HeadLayout::LengthFirst => Shape::new(&[batch, queries, heads, width]),
            HeadLayout::Packed { .. } => Shape::new(&[batch, queries, heads * width]),
        };
        shape.ok_or_else(|| TOO_MANY_AXES.into())
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
        let (mask, scratch) = self.mask(operands, &scores, scratch)?;
        let (q, scratch) = self.q.heads(operands, 0, scratch)?;
        let sizes = [batch, heads, queries, width];
        let [batch_stride, head_stride, row_stride] = self.out.strides(sizes);
        let out = HeadsMut { data: run.elements()?, batch_stride, head_stride, row_stride };

        let cached = |index: usize| operands.get(index).and_then(|value| operands.machine.cached(value));
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

    /// The mask, if there is one, and the working memory that is left.
    fn mask<'r>(
        &self,
        operands: Operands<'r, '_, '_>,
        scores: &Scores,
        scratch: &'r mut Scratch,
    ) -> Computed<(Mask<'r>, &'r mut Scratch)> {
        if self.causal {
            return Ok((Mask::Causal { first: 0 }, scratch));
        }
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
}

/// The four axes of a mask.
fn mask_axes(shape: &Shape) -> Inferred<[usize; 4]> {
    let mut dims = [1; 4];
    let leading = 4usize.checked_sub(shape.len()).ok_or_else(|| format!("a mask of {shape:?}"))?;
    dims[leading..].copy_from_slice(shape);
    Ok(dims)
}
