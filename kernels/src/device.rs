//! What a device is: something that prepares kernels and runs them.

use crate::{
    Attention, AttentionSpec, Context, Conv1d, Conv1dSpec, DeviceKind, Failed, Linear, LinearSpec, Product, Rows,
    Unsupported, WeightLayout,
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
