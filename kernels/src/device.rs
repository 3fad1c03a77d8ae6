//! What a device is: something that prepares kernels and runs them.

use crate::{
    Attention, AttentionArgs, AttentionSpec, BlockWeights, Context, Conv1d, Conv1dSpec, DeviceKind, Failed, Heads,
    HeadsMut, Linear, LinearSpec, Mask, Product, Rows, SelfAttention, Unsupported, WeightLayout,
};

/// Prepares kernels. Preparing may be slow (quantising and packing weights); running a prepared kernel is not.
pub trait Device: Send + Sync {
    /// Which device this is.
    fn kind(&self) -> DeviceKind;

    /// What makes its packed weights differ from the host device's, in words; empty if nothing does.
    fn form(&self) -> String {
        String::new()
    }

    /// Prepares `y = activation(x · w + bias) [+ residual]`. `weights` holds `spec.inputs * spec.outputs` values in the
    /// given layout, `bias` holds `spec.outputs` or is absent.
    ///
    /// # Errors
    /// [`Unsupported`] if this device does not take the shape or precision.
    fn linear(
        &self,
        spec: &LinearSpec,
        weights: &[f32],
        layout: WeightLayout,
        bias: Option<&[f32]>,
    ) -> Result<Box<dyn Linear>, Unsupported>;

    /// Prepares the same of weights that are stored in blocks. A device that has no kernels for them computes with the
    /// weights that they stand for.
    ///
    /// # Errors
    /// As [`Device::linear`].
    ///
    /// # Panics
    /// If the weights are not of the spec's sizes, or do not fit ([`BlockWeights::check`]).
    fn block_linear(
        &self,
        spec: &LinearSpec,
        weights: &BlockWeights<'_>,
        bias: Option<&[f32]>,
    ) -> Result<Box<dyn Linear>, Unsupported> {
        self.linear(spec, &weights.real(), WeightLayout::OutputsByInputs, bias)
    }

    /// Prepares scaled-dot-product attention.
    ///
    /// # Errors
    /// [`Unsupported`] if this device does not take the head width or precision.
    fn attention(&self, spec: &AttentionSpec) -> Result<Box<dyn Attention>, Unsupported>;

    /// Prepares a 1-D convolution. `weights` is `[out_channels, in_channels, width]`, `bias` `[out_channels]` or
    /// absent.
    ///
    /// # Errors
    /// [`Unsupported`] if this device does not take the shape or precision.
    fn conv1d(&self, spec: &Conv1dSpec, weights: &[f32], bias: Option<&[f32]>) -> Result<Box<dyn Conv1d>, Unsupported>;

    /// Computes several layers of the same rows, each as [`Linear::run`] does. Counts as one call for each layer, and
    /// one for the norm. Where it can, the device takes its own layers together; others run one by one.
    ///
    /// # Errors
    /// If the device of one of the layers fails.
    ///
    /// # Panics
    /// If a slice's length is not what `rows` and the layers ask.
    fn products(&self, context: &mut Context<'_>, rows: &Rows<'_>, products: &mut [Product<'_>]) -> Result<(), Failed>;

    /// Computes `second` of the `hidden` results of `first` of the rows. Counts as one call for each layer, and one for
    /// the norm.
    ///
    /// # Panics
    /// As [`Device::products`].
    fn mlp(
        &self,
        context: &mut Context<'_>,
        rows: &Rows<'_>,
        first: &(dyn Linear + 'static),
        hidden: usize,
        second: Product<'_>,
    ) -> Result<(), Failed>;

    /// Computes attention of rows to those of the same item, with the layers before and behind it. Counts as one call
    /// for each layer, one for attention, and one for the norm.
    ///
    /// # Errors
    /// As [`Device::products`]; also if attention's device fails.
    ///
    /// # Panics
    /// As [`Device::products`].
    fn self_attention(
        &self,
        context: &mut Context<'_>,
        rows: &Rows<'_>,
        block: SelfAttention<'_>,
    ) -> Result<(), Failed> {
        part_by_part(self, context, rows, block)
    }
}

/// Layers and attention one after another, with fp32 rows between them.
pub(crate) fn part_by_part(
    device: &(impl Device + ?Sized),
    context: &mut Context<'_>,
    rows: &Rows<'_>,
    block: SelfAttention<'_>,
) -> Result<(), Failed> {
    let SelfAttention { layers, attention, heads, head_width, length, out } = block;
    let width = heads * head_width;
    let values = rows.rows * width;
    let (memory, scratch) = context.scratch.floats_and_rest(4 * values);
    let mut context = Context { pool: context.pool, counters: context.counters, scratch };
    let (made, mixed) = memory.split_at_mut(3 * values);
    let (q, others) = made.split_at_mut(values);
    let (k, v) = others.split_at_mut(values);
    let [of_q, of_k, of_v] = layers;
    let product = |layer, out| Product { layer, outputs: width, residual: None, out };
    device.products(
        &mut context,
        rows,
        &mut [product(of_q, &mut *q), product(of_k, &mut *k), product(of_v, &mut *v)],
    )?;
    let strides = [length * width, head_width, width];
    let [q, k, v] = [&*q, &*k, &*v].map(|data| Heads::new(data, strides));
    let (batch, out_heads) = (rows.rows.checked_div(length).unwrap_or(0), HeadsMut::new(&mut *mixed, strides));
    let args = AttentionArgs { batch, heads, queries: length, keys: length, q, k, v, mask: Mask::None, out: out_heads };
    attention.run(&mut context, args)?;
    out.layer.run(&mut context, rows.rows, mixed, out.residual, out.out)
}

/// Layers of the same rows, one by one.
pub(crate) fn one_by_one(
    context: &mut Context<'_>,
    rows: usize,
    x: &[f32],
    products: &mut [Product<'_>],
) -> Result<(), Failed> {
    products.iter_mut().try_for_each(|product| product.layer.run(context, rows, x, product.residual, product.out))
}
