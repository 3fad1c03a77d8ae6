//! Rows that linear layers read, and what a device carries out together: several layers of the same rows, two that
//! follow one another, or attention with the layers around it, after a layer norm if there is one.

use crate::{Attention, Linear};

/// What layer norm applies to each row: `(x − mean) / √(variance + epsilon) · gain + bias`.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// A factor for each column.
    pub gain: &'a [f32],
    /// An addend for each column.
    pub bias: Option<&'a [f32]>,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Norm<'_> {
    /// Values of a row.
    ///
    /// # Panics
    /// If gain and bias are of different lengths.
    pub fn width(&self) -> usize {
        assert!(self.bias.is_none_or(|bias| bias.len() == self.gain.len()), "layer norm: gain or bias");
        self.gain.len()
    }
}

/// Rows as a caller has them, and what is done to each before it is multiplied.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// `[rows, inputs]`.
    pub x: &'a [f32],
    /// Number of rows.
    pub rows: usize,
    /// Values of a row.
    pub inputs: usize,
    /// Layer norm of each row.
    pub norm: Option<&'a Norm<'a>>,
}

impl Rows<'_> {
    /// Fails unless the lengths agree.
    pub(crate) fn check(&self) {
        let Self { x, rows, inputs, norm } = *self;
        assert_eq!(x.len(), rows * inputs, "x is [{rows}, {inputs}]");
        assert!(norm.is_none_or(|norm| norm.width() == inputs), "layer norm of rows of {inputs}");
    }
}

/// A layer and its operands except the rows that it reads.
pub struct Product<'a> {
    /// The layer.
    pub layer: &'a (dyn Linear + 'static),
    /// Outputs of the layer.
    pub outputs: usize,
    /// `[rows, outputs]`, added last.
    pub residual: Option<&'a [f32]>,
    /// `[rows, outputs]`.
    pub out: &'a mut [f32],
}

impl Product<'_> {
    /// Fails unless the lengths are those of `rows` rows.
    pub(crate) fn check(&self, rows: usize) {
        let outputs = self.outputs;
        assert_eq!(self.out.len(), rows * outputs, "out is [{rows}, {outputs}]");
        assert!(
            self.residual.is_none_or(|residual| residual.len() == self.out.len()),
            "residual is [{rows}, {outputs}]"
        );
    }

    /// The same with another layer of the same shape.
    pub(crate) fn with<'b>(&'b mut self, layer: &'b (dyn Linear + 'static)) -> Product<'b> {
        Product { layer, outputs: self.outputs, residual: self.residual, out: self.out }
    }
}

/// Attention of rows to those of the same item, with the layers that make its queries, keys and values of the rows, and
/// the layer that alone reads what it gives.
pub struct SelfAttention<'a> {
    /// Makes queries, keys, and values: a row of `heads` times [`SelfAttention::head_width`] of each.
    pub layers: [&'a (dyn Linear + 'static); 3],
    /// Attention, without a mask.
    pub attention: &'a (dyn Attention + 'static),
    /// Heads of an item.
    pub heads: usize,
    /// Values of a head's row.
    pub head_width: usize,
    /// Rows of an item: queries of a head, and keys.
    pub length: usize,
    /// The layer that reads the result.
    pub out: Product<'a>,
}
