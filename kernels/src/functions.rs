//! What the host device computes and no NPU is given: plain functions of slices, on the device's instruction set.

use crate::{
    Context, Norm, Precision,
    host::{
        HostDevice, KvCache, Side,
        choice::{self, Ask, Scores},
        elementwise::{self, Binary, Unary},
        matmul, norm,
    },
};

impl HostDevice {
    /// `out = op(x)`: [`elementwise::unary`].
    ///
    /// # Panics
    /// If `x` and `out` differ in length.
    pub fn unary(&self, context: &mut Context<'_>, op: Unary, x: &[f32], out: &mut [f32]) {
        elementwise::unary(self.isa(), context, op, x, out);
    }

    /// `out = op(a, b)` with ONNX's broadcasting: [`elementwise::binary_f32`] of two operands with their shapes.
    ///
    /// # Panics
    /// If a shape does not broadcast to `shape`, or a slice's length is not its shape's.
    pub fn binary(
        &self,
        context: &mut Context<'_>,
        op: Binary,
        [(a, a_shape), (b, b_shape)]: [(&[f32], &[usize]); 2],
        shape: &[usize],
        out: &mut [f32],
    ) {
        elementwise::binary_f32(self.isa(), context, op, a, a_shape, b, b_shape, shape, out);
    }

    /// Layer norm of each row: [`norm::layer_norm`].
    ///
    /// # Panics
    /// If a slice's length is not what `rows` and the norm's width ask.
    pub fn layer_norm(&self, context: &mut Context<'_>, rows: usize, norm: &Norm<'_>, x: &[f32], out: &mut [f32]) {
        norm::layer_norm(self.isa(), context, rows, norm, x, out);
    }

    /// Soft-max of each row: [`norm::softmax`].
    ///
    /// # Panics
    /// If a slice's length is not `rows · width`.
    pub fn softmax(&self, context: &mut Context<'_>, [rows, width]: [usize; 2], x: &[f32], out: &mut [f32]) {
        norm::softmax(self.isa(), context, rows, width, x, out);
    }

    /// `batch` products of `[m, k]` and `[k, n]`: [`matmul::matmul`].
    ///
    /// # Panics
    /// If a slice's length is not its shape's.
    pub fn matmul(
        &self,
        context: &mut Context<'_>,
        batch: usize,
        [m, k, n]: [usize; 3],
        a: &[f32],
        b: &[f32],
        out: &mut [f32],
    ) {
        matmul::matmul(self.isa(), context, batch, m, k, n, a, b, out);
    }

    /// An empty key-value cache for attention on this device.
    pub fn cache(&self, side: Side, precision: Precision, heads: usize, width: usize) -> KvCache {
        KvCache::new(self.isa(), side, precision, heads, width)
    }

    /// The best token of each row of `logits`: [`choice::choose`].
    ///
    /// # Panics
    /// If the logits are not as many for each row.
    pub fn choose<'a>(
        &self,
        context: &mut Context<'_>,
        logits: &[f32],
        ask: &(dyn Fn(usize) -> Ask<'a> + Sync),
        answers: &mut [Scores],
    ) {
        choice::choose(self.isa(), context, logits, ask, answers);
    }
}
