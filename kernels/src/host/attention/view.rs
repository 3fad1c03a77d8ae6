//! Strided operands as raw pointers, checked once, so that tasks on several threads can read and write their own rows.
#![allow(unsafe_code)]

use crate::{AttentionArgs, AttentionSpec, Heads, HeadsMut, Mask, strides::reach};

/// Rows of `[batch, heads, length, width]` somewhere in memory.
#[derive(Clone, Copy)]
pub(super) struct StridedRows<P> {
    data: P,
    batch_stride: usize,
    head_stride: usize,
    row_stride: usize,
}

// SAFETY: the pointers come from slices that are borrowed for the call, inputs shared and outputs exclusively; whoever
// writes through one writes rows that no other task has.
unsafe impl<P> Sync for StridedRows<P> {}

impl<P> StridedRows<P> {
    #[inline(always)]
    fn offset(&self, item: usize, head: usize, row: usize) -> usize {
        item * self.batch_stride + head * self.head_stride + row * self.row_stride
    }
}

impl StridedRows<*const f32> {
    /// An operand of `[batch, heads, length, width]`.
    ///
    /// # Panics
    /// If it reaches outside its slice.
    pub fn new(name: &str, operand: Heads<'_>, [batch, heads, length, width]: [usize; 4]) -> Self {
        let Heads { data, batch_stride, head_stride, row_stride } = operand;
        let axes = [(batch, batch_stride), (heads, head_stride), (length, row_stride), (width, 1)];
        assert!(reach(axes) <= data.len(), "attention: the strides of {name} reach outside its slice");
        StridedRows { data: data.as_ptr(), batch_stride, head_stride, row_stride }
    }

    /// A row's first value; valid for the row's width if the row is one of the call's.
    #[inline(always)]
    pub fn row(&self, item: usize, head: usize, row: usize) -> *const f32 {
        self.data.wrapping_add(self.offset(item, head, row))
    }
}

impl StridedRows<*mut f32> {
    /// A row's first value; valid for the row's width if the row is one of the call's.
    #[inline(always)]
    pub fn row(&self, item: usize, head: usize, row: usize) -> *mut f32 {
        self.data.wrapping_add(self.offset(item, head, row))
    }
}

/// One call without its keys and values, checked: every row of every view is inside its slice, and no two output rows
/// overlap.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub batch: usize,
    pub heads: usize,
    pub queries: usize,
    pub keys: usize,
    pub width: usize,
    /// Multiplies scores: the spec's scale and `log₂ e`, as exponentials are taken to base 2.
    pub scale: f32,
    pub q: StridedRows<*const f32>,
    pub out: StridedRows<*mut f32>,
    pub mask: Mask<'a>,
}

/// A [`Frame`] with keys and values that lie in the same way.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    frame: Frame<'a>,
    pub k: StridedRows<*const f32>,
    pub v: StridedRows<*const f32>,
}

impl<'a> std::ops::Deref for Call<'a> {
    type Target = Frame<'a>;

    #[inline(always)]
    fn deref(&self) -> &Frame<'a> {
        &self.frame
    }
}

impl<'a> Call<'a> {
    /// # Panics
    /// If a view reaches outside its slice, output rows overlap, or the mask is too small.
    pub fn new(spec: &AttentionSpec, args: AttentionArgs<'a>) -> Self {
        let AttentionArgs { batch, heads, queries, keys, q, k, v, mask, out } = args;
        let view = |name: &str, operand| StridedRows::new(name, operand, [batch, heads, keys, spec.head_width]);
        let (k, v) = (view("k", k), view("v", v));
        Self { frame: Frame::new(spec, [batch, heads, queries, keys], q, mask, out), k, v }
    }
}

impl<'a> Frame<'a> {
    /// A call of `[batch, heads, queries, keys]`.
    ///
    /// # Panics
    /// If a view reaches outside its slice, output rows overlap, or the mask is too small.
    pub fn new(
        spec: &AttentionSpec,
        [batch, heads, queries, keys]: [usize; 4],
        q: Heads<'a>,
        mask: Mask<'a>,
        out: HeadsMut<'a>,
    ) -> Self {
        let width = spec.head_width;
        out.check([batch, heads, queries, width]);
        let HeadsMut { data, batch_stride, head_stride, row_stride } = out;
        if let Mask::Additive { data, batch_stride, head_stride, row_stride } = mask {
            let axes = [(batch, batch_stride), (heads, head_stride), (queries, row_stride), (keys, 1)];
            assert!(reach(axes) <= data.len(), "attention: the mask's strides reach outside its slice");
        }
        Self {
            batch,
            heads,
            queries,
            keys,
            width,
            scale: spec.scale * std::f32::consts::LOG2_E,
            q: StridedRows::new("q", q, [batch, heads, queries, width]),
            out: StridedRows { data: data.as_mut_ptr(), batch_stride, head_stride, row_stride },
            mask,
        }
    }

    /// Keys that query `query` can see at most, from the first on.
    #[inline(always)]
    pub fn visible(&self, query: usize) -> usize {
        match self.mask {
            Mask::Causal { first } => self.keys.min(first.saturating_add(query).saturating_add(1)),
            _ => self.keys,
        }
    }

    /// Adds the mask to one query's scores (to base 2) of the keys from `first_key` on.
    #[inline(always)]
    pub fn mask_scores(&self, item: usize, head: usize, query: usize, first_key: usize, scores: &mut [f32]) {
        match self.mask {
            Mask::None => {}
            Mask::Causal { .. } => {
                let seen = self.visible(query).saturating_sub(first_key).min(scores.len());
                scores[seen..].fill(f32::NEG_INFINITY);
            }
            Mask::Additive { data, batch_stride, head_stride, row_stride } => {
                let at = item * batch_stride + head * head_stride + query * row_stride + first_key;
                for (score, &mask) in scores.iter_mut().zip(&data[at..self.keys - first_key + at]) {
                    let mask_base_2 = mask * std::f32::consts::LOG2_E;
                    // fp32's lowest value, which some exporters hide keys with, must not turn into -inf: a row of it is
                    // uniform, a row of -inf sees nothing.
                    let bound = if mask == f32::NEG_INFINITY { mask } else { f32::MIN };
                    // Not `f32::max`, which would hide NaN.
                    let at_least = |v: f32| if v < bound { bound } else { v };
                    *score = at_least(*score + at_least(mask_base_2));
                }
            }
        }
    }
}
