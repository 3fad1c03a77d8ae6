//! The linear layer: `y = activation(x · w + bias) [+ residual]`.

use crate::{Context, DeviceKind, Precision};

/// What is applied to each sum after the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// Exact GELU: `x/2 · (1 + erf(x/√2))`.
    Gelu,
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
    /// Applied to `x · w + bias`.
    pub activation: Activation,
    /// Each result, after the bias and before the activation, is multiplied by this (attention's `1/√64` on q); usually 1.
    pub scale: f32,
}

/// A prepared linear layer: weights quantised and packed, shared by all runs.
pub trait Linear: Send + Sync {
    /// The device that will execute it.
    fn device(&self) -> DeviceKind;

    /// The precision that its products really use.
    fn precision(&self) -> Precision;

    /// Bytes that the packed weights, scales and bias take.
    fn weight_bytes(&self) -> usize;

    /// Computes `rows` rows: `x` is `[rows, inputs]`, `out` `[rows, outputs]`, `residual` `[rows, outputs]`, added last.
    ///
    /// # Panics
    /// If a slice's length is not what `rows` asks.
    fn run(&self, context: &mut Context<'_>, rows: usize, x: &[f32], residual: Option<&[f32]>, out: &mut [f32]);
}
