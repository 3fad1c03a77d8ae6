//! The linear layer: `y = activation(x · w + bias) [+ residual]`.

use std::any::Any;

use crate::{Context, DeviceKind, Failed, Precision};

/// What is applied to each sum after the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// Exact GELU: `x/2 · (1 + erf(x/√2))`.
    Gelu,
    /// GELU by a hyperbolic tangent: `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    GeluTanh,
}

/// How a weight matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightLayout {
    /// `[inputs, outputs]`, as ONNX's MatMul has it.
    InputsByOutputs,
    /// `[outputs, inputs]`, as ONNX's Gemm with `transB` has it.
    OutputsByInputs,
}

/// A linear layer's shape and arithmetic.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearSpec {
    /// Columns of `x` (K).
    pub inputs: usize,
    /// Columns of `y` (N).
    pub outputs: usize,
    /// Operands' number format.
    pub precision: Precision,
    /// For int8 only: rows of `x` are quantised to up to 16 bits ([`wide_limit`](crate::numbers::wide_limit)), weights
    /// stay int8. Takes nearly all of the error of quantised activations away. It costs nothing where a row's values
    /// are widened to 16 bits before they are multiplied (AVX2, AVX-512 without VNNI); where bytes are multiplied,
    /// twice the products of each weight that is read, which with few rows is little beside reading it.
    pub wide_rows: bool,
    /// Applied to `x · w + bias`.
    pub activation: Activation,
    /// Each result, after the bias and before the activation, is multiplied by this (attention's `1/√64` on q); usually
    /// 1.
    pub scale: f32,
}

impl LinearSpec {
    /// The product and nothing else.
    pub fn new(inputs: usize, outputs: usize, precision: Precision) -> Self {
        Self { inputs, outputs, precision, wide_rows: false, activation: Activation::None, scale: 1.0 }
    }
}

/// A prepared linear layer: weights quantised and packed, shared by all runs. A device knows its own layers again by
/// their type.
pub trait Linear: Any + Send + Sync {
    /// The device that will execute it.
    fn device(&self) -> DeviceKind;

    /// The precision that its products really use.
    fn precision(&self) -> Precision;

    /// Bytes that the packed weights, scales and bias take.
    fn weight_bytes(&self) -> usize;

    /// Its packed form, part by part, to be kept and given to
    /// [`HostDevice::restore_linear`](crate::host::HostDevice::restore_linear); `None` if it cannot be taken back.
    fn parts(&self) -> Option<Vec<&[u8]>> {
        None
    }

    /// The same layer on the host device, made of the weights as this device holds them, perhaps with
    /// [wide rows](LinearSpec::wide_rows); `None` if they cannot be taken back.
    fn to_host(&self, wide_rows: bool) -> Option<Box<dyn Linear>> {
        let _ = wide_rows;
        None
    }

    /// Computes `rows` rows: `x` is `[rows, inputs]`, `out` `[rows, outputs]`, `residual` `[rows, outputs]`, added
    /// last.
    ///
    /// # Errors
    /// If the device fails; the host device never does.
    ///
    /// # Panics
    /// If a slice's length is not what `rows` asks.
    fn run(
        &self,
        context: &mut Context<'_>,
        rows: usize,
        x: &[f32],
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Failed>;
}

impl dyn Linear {
    /// The layer as a device's own type, if it is that.
    pub(crate) fn as_own<T: Linear>(&self) -> Option<&T> {
        let layer: &dyn Any = self;
        layer.downcast_ref()
    }
}
