//! Layer norm and soft-max over the last axis, in fp32.

use super::{
    HostDevice,
    simd::{Simd, Task, dispatch},
    split, vecmath,
};
use crate::{Context, DeviceKind, Norm};

impl Norm<'_> {
    /// Norms one row; mean and variance in two passes.
    #[inline(always)]
    pub(crate) fn row<S: Simd>(&self, s: S, row: &[f32], out: &mut [f32]) {
        let mean = total(s, row, 0.0, |v| v) / row.len() as f32;
        let means = s.splat(mean);
        // Past the row's end lie means, which differ from the mean by nothing.
        let squares = total(s, row, mean, |v| {
            let difference = s.sub(v, means);
            s.mul(difference, difference)
        });
        let variance = squares / row.len() as f32;
        let factor = s.splat(1.0 / (variance + self.epsilon).sqrt());
        s.zip(row, self.gain, out, |v, gain| s.mul(s.mul(s.sub(v, means), factor), gain));
        if let Some(bias) = self.bias {
            add_in_place(s, out, bias);
        }
    }
}

impl HostDevice {
    /// Layer norm of each of `rows` rows.
    ///
    /// # Panics
    /// If a slice's length is not what `rows` and the norm's width ask.
    pub fn layer_norm(&self, context: &mut Context<'_>, rows: usize, norm: &Norm<'_>, x: &[f32], out: &mut [f32]) {
        let width = norm.width();
        assert!(x.len() == rows * width && out.len() == x.len(), "layer norm: lengths differ from {rows} x {width}");
        if !x.is_empty() {
            split::rows(context.pool, width, out, &|rows, out| {
                let x = &x[rows.start * width..rows.end * width];
                dispatch(self.isa, LayerNorm { norm, x, out });
            });
        }
        context.counters.executed(DeviceKind::Host);
    }
}

struct LayerNorm<'a> {
    norm: &'a Norm<'a>,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Task for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.norm.gain.len();
        for (row, out) in self.x.chunks_exact(width).zip(self.out.chunks_exact_mut(width)) {
            self.norm.row(s, row, out);
        }
    }
}

/// Adds the bias to a row that is still in the first-level cache.
#[inline(always)]
fn add_in_place<S: Simd>(s: S, out: &mut [f32], bias: &[f32]) {
    for (out, bias) in out.chunks_mut(S::LANES).zip(bias.chunks(S::LANES)) {
        s.store_slice(out, s.add(s.load_slice(out, 0.0), s.load_slice(bias, 0.0)));
    }
}

/// Sum of `f` over a row, lanes past its end being `fill`, in four independent sums.
#[inline(always)]
fn total<S: Simd>(s: S, row: &[f32], fill: f32, f: impl Fn(S::F) -> S::F) -> f32 {
    let mut sums = [s.splat(0.0); 4];
    let blocks = row.chunks_exact(4 * S::LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for (sum, v) in sums.iter_mut().zip(block.chunks_exact(S::LANES)) {
            *sum = s.add(*sum, f(s.load_slice(v, 0.0)));
        }
    }
    for (sum, v) in sums.iter_mut().zip(rest.chunks(S::LANES)) {
        *sum = s.add(*sum, f(s.load_slice(v, fill)));
    }
    s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
}

impl HostDevice {
    /// `exp(x − max) / Σ exp(x − max)` for each of `rows` rows of `width` values. A row that is all `-inf` gives NaN, as in
    /// ONNX.
    ///
    /// # Panics
    /// If a slice's length is not `rows · width`.
    pub fn softmax(&self, context: &mut Context<'_>, [rows, width]: [usize; 2], x: &[f32], out: &mut [f32]) {
        assert!(x.len() == rows * width && out.len() == x.len(), "softmax: lengths differ from {rows} x {width}");
        if !x.is_empty() {
            split::rows(context.pool, width, out, &|rows, out| {
                dispatch(self.isa, SoftMax { width, x: &x[rows.start * width..rows.end * width], out });
            });
        }
        context.counters.executed(DeviceKind::Host);
    }
}

struct SoftMax<'a> {
    width: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Task for SoftMax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { width, x, out } = self;
        for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mut largest = s.splat(f32::NEG_INFINITY);
            let vectors = row.chunks_exact(S::LANES);
            let rest = s.load_slice(vectors.remainder(), f32::NEG_INFINITY);
            for v in vectors {
                largest = s.max(s.load_slice(v, 0.0), largest);
            }
            let max = s.splat(s.largest(s.max(rest, largest)));
            // In a row of nothing but -inf this is the exponential of NaN.
            s.map(row, out, |v| vecmath::exp(s, s.sub(v, max)));
            let factor = s.splat(1.0 / total(s, out, 0.0, |v| v));
            for out in out.chunks_mut(S::LANES) {
                s.store_slice(out, s.mul(s.load_slice(out, 0.0), factor));
            }
        }
    }
}
