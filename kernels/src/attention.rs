//! Scaled-dot-product attention over many heads: `softmax(scale · q · kᵀ + mask) · v`, per batch and head.
//!
//! Scores are fp32 (or int32 scaled to fp32), never clamped to int8, and are never stored whole for all heads.

use std::any::Any;

use crate::{
    Context, DeviceKind, Failed, Precision,
    host::KvCache,
    strides::{distinct, reach},
};

/// Attention's shape and arithmetic, as far as it is known before a run.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Width of a head; 64 in every Whisper.
    pub head_width: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// Operands' number format: of q and k in the first product, of the soft-maxed scores and v in the second.
    pub precision: Precision,
}

/// A read-only `[batch, heads, length, width]` tensor whose rows of `width` values are contiguous and may lie in any
/// order, so that `[batch, length, heads · width]` is read in place, without a transpose.
///
/// The values are fp32, or what a device has of them.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a, T = f32> {
    /// The values.
    pub data: &'a [T],
    /// Distance in values between two batch items.
    pub batch_stride: usize,
    /// Distance in values between two heads of an item.
    pub head_stride: usize,
    /// Distance in values between two rows of a head.
    pub row_stride: usize,
}

impl<'a, T> Heads<'a, T> {
    /// With the strides of batch items, heads and rows.
    pub fn new(data: &'a [T], [batch_stride, head_stride, row_stride]: [usize; 3]) -> Self {
        Self { data, batch_stride, head_stride, row_stride }
    }
}

/// As [`Heads`], to be written.
#[derive(Debug)]
pub struct HeadsMut<'a> {
    /// The values.
    pub data: &'a mut [f32],
    /// Distance in values between two batch items.
    pub batch_stride: usize,
    /// Distance in values between two heads of an item.
    pub head_stride: usize,
    /// Distance in values between two rows of a head.
    pub row_stride: usize,
}

impl<'a> HeadsMut<'a> {
    /// Checks that a tensor of `[batch, heads, length, width]` can be written by several threads.
    ///
    /// # Panics
    /// If it reaches outside its slice or rows overlap.
    pub(crate) fn check(&self, [batch, heads, length, width]: [usize; 4]) {
        let axes = [(batch, self.batch_stride), (heads, self.head_stride), (length, self.row_stride), (width, 1)];
        assert!(reach(axes) <= self.data.len(), "attention: the output's strides reach outside its slice");
        assert!(reach(axes) == 0 || distinct(axes), "attention: rows of the output overlap");
    }

    /// With the strides of batch items, heads and rows.
    pub fn new(data: &'a mut [f32], [batch_stride, head_stride, row_stride]: [usize; 3]) -> Self {
        Self { data, batch_stride, head_stride, row_stride }
    }

    /// The same tensor, borrowed for a while.
    pub fn reborrow(&mut self) -> HeadsMut<'_> {
        let Self { batch_stride, head_stride, row_stride, .. } = *self;
        HeadsMut { data: self.data, batch_stride, head_stride, row_stride }
    }
}

/// What is hidden from which query.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// Every query sees every key.
    None,
    /// Query `i` (of this call) sees keys `0 ..= first + i`: `first` is the number of positions in the cache before the
    /// call.
    Causal {
        /// Position of the call's first query.
        first: usize,
    },
    /// Added to the scores: `[batch or 1, heads or 1, queries or 1, keys]`, a stride of 0 where an axis has one entry.
    Additive {
        /// The values; `-inf` hides a key.
        data: &'a [f32],
        /// Distance in values between two batch items.
        batch_stride: usize,
        /// Distance in values between two heads.
        head_stride: usize,
        /// Distance in values between two queries.
        row_stride: usize,
    },
}

/// Operands of one attention call.
#[derive(Debug)]
pub struct AttentionArgs<'a> {
    /// Batch items.
    pub batch: usize,
    /// Heads of each item.
    pub heads: usize,
    /// Rows of `q` and of the output.
    pub queries: usize,
    /// Rows of `k` and `v`.
    pub keys: usize,
    /// Queries.
    pub q: Heads<'a>,
    /// Keys.
    pub k: Heads<'a>,
    /// Values.
    pub v: Heads<'a>,
    /// What is hidden.
    pub mask: Mask<'a>,
    /// Result.
    pub out: HeadsMut<'a>,
}

impl AttentionArgs<'_> {
    /// The same operands, borrowed for a while.
    pub fn reborrow(&mut self) -> AttentionArgs<'_> {
        let Self { batch, heads, queries, keys, q, k, v, mask, .. } = *self;
        AttentionArgs { batch, heads, queries, keys, q, k, v, mask, out: self.out.reborrow() }
    }
}

/// Operands of attention over a key-value cache: batch, heads and the number of keys are the cache's.
pub struct CachedArgs<'a> {
    /// Rows of `q` and of the output.
    pub queries: usize,
    /// Queries.
    pub q: Heads<'a>,
    /// Keys.
    pub keys: &'a KvCache,
    /// Values, as many as keys.
    pub values: &'a KvCache,
    /// What is hidden.
    pub mask: Mask<'a>,
    /// Result.
    pub out: HeadsMut<'a>,
}

/// Prepared attention. A device knows its own again by its type.
pub trait Attention: Any + Send + Sync {
    /// The device that will execute it.
    fn device(&self) -> DeviceKind;

    /// The least exact precision that its products use. A call of few queries may be computed more exactly:
    /// [`Attention::precision_for`] tells.
    fn precision(&self) -> Precision;

    /// The precision that the products of a call of `queries` queries really use.
    fn precision_for(&self, queries: usize) -> Precision {
        let _ = queries;
        self.precision()
    }

    /// Computes every batch item and head. A query that sees no key gets zeros (exported graphs replace its NaN by 0).
    /// An operand that is not finite is not hidden: a query's own result, and that of all that see such a key, is NaN
    /// (or as fp32 has it, where an infinite score decides), and a value's channel is not finite.
    ///
    /// # Errors
    /// If the device fails; the host device never does.
    ///
    /// # Panics
    /// If a view's strides reach outside its slice.
    fn run(&self, context: &mut Context<'_>, args: AttentionArgs<'_>) -> Result<(), Failed>;

    /// As [`Attention::run`], over keys and values in the precision in which they are kept.
    ///
    /// # Errors
    /// If the device fails; the host device never does.
    ///
    /// # Panics
    /// If a view's strides reach outside its slice, or the caches do not fit each other or the spec.
    fn run_cached(&self, context: &mut Context<'_>, args: CachedArgs<'_>) -> Result<(), Failed>;
}

impl dyn Attention {
    /// The kernel as a device's own type, if it is that.
    pub(crate) fn as_own<T: Attention>(&self) -> Option<&T> {
        let kernel: &dyn Any = self;
        kernel.downcast_ref()
    }
}
