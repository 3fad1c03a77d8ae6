//! What a graph is lowered to: steps over values, each one operation that the plan can carry out.
//!
//! A fresh program has one step for each node. Fusion replaces groups of steps by larger ones; each step keeps the nodes that it
//! stands for, so that a partition can be read off.

use undertone_kernels::{
    Activation, Precision,
    host::elementwise::{Binary, Compare, Logic, Unary},
};

use crate::graph::{DataType, Graph, NodeId, ValueId};

/// How a `[batch, heads, length, width]` operand of attention lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadLayout {
    /// `[batch, heads, length, width]`.
    HeadsFirst,
    /// `[batch, length, heads, width]`, as a projection leaves it.
    LengthFirst,
}

/// A constant matrix or convolution kernel, and how its real values come from what is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// The constant.
    pub value: ValueId,
    /// A matrix is stored `[outputs, inputs]` (Gemm's `transB`).
    pub transposed: bool,
    /// For a quantised constant: its scale and zero point (constants, one entry or one for each output).
    pub quantised: Option<(ValueId, Option<ValueId>)>,
    /// A constant row that each input's weights are multiplied by, because the operand is divided by it.
    pub smoothing: Option<ValueId>,
}

/// Part of a quantised product, which is claimed only as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are ONNX's")]
pub enum QuantisedPart {
    DynamicQuantizeLinear,
    MatMulInteger,
    ConvInteger,
}

/// A convolution's attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// `[out_channels, in_channels, width]`.
    pub weights: Weights,
    /// `[out_channels]`.
    pub bias: Option<ValueId>,
    /// Distance between two outputs.
    pub stride: usize,
    /// Zeros before and after.
    pub padding: [usize; 2],
    /// Applied after the bias.
    pub activation: Activation,
    /// The operand is `[batch, length, channels]`.
    pub input_channels_last: bool,
    /// The result is `[batch, length, channels]`.
    pub output_channels_last: bool,
}

/// One operation. Operands are in [`Step::inputs`], in the order named here.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields carry the names of ONNX's attributes, or of the type's")]
pub enum Op {
    /// `x`, and `residual` if there is a second operand: `activation((x · w + bias) · scale) + residual`. If it is `quantised`, `x` is uint8
    /// or int8 and stands for `(x − zero point) · scale`, by the third operand, its scale, and perhaps a fourth, its zero point.
    Linear { weights: Weights, bias: Option<ValueId>, scale: f32, activation: Activation, quantised: bool },
    /// `a, b`, both known only at run time.
    MatMul,
    /// `q, k, v` and, if there is a fourth operand, a mask that is added to the scores. The heads' width may be known only at
    /// run time.
    Attention { head_width: Option<usize>, scale: f32, q: HeadLayout, k: HeadLayout, v: HeadLayout, out: HeadLayout },
    /// `x`.
    Conv1d(Conv),
    /// `x, gain` and perhaps `bias`.
    LayerNorm { epsilon: f32 },
    /// `x`, over the last axis.
    Softmax,
    /// `x`.
    Unary(Unary),
    /// `a, b`.
    Binary(Binary),
    /// `a, b`.
    Compare(Compare),
    /// `a, b`.
    Logic(Logic),
    /// `a`.
    Not,
    /// `x`.
    IsNaN,
    /// `condition, a, b`.
    Select,
    /// `x, shape`.
    Reshape { allow_zero: bool },
    /// `x, axes`.
    Unsqueeze,
    /// `x` and perhaps `axes`.
    Squeeze,
    /// `x`.
    Identity,
    /// `x`, becoming another element type.
    Cast { to: DataType },
    /// `x`.
    Transpose { perm: Vec<usize> },
    /// Any number of parts.
    Concat { axis: i64 },
    /// `x, indices`.
    Gather { axis: i64 },
    /// `x, starts, ends` and perhaps `axes, steps`.
    Slice,
    /// `x, shape`.
    Expand,
    /// `x, repeats`.
    Tile,
    /// `x`.
    Shape { start: i64, end: Option<i64> },
    /// `start, limit, delta`.
    Range,
    /// `shape`; the value is given by its bytes.
    ConstantOfShape { dtype: DataType, value: Vec<u8> },
    /// `x`, and perhaps `axes`; the mean over them.
    ReduceMean { axes: Option<Vec<i64>>, keep_dims: bool },
    /// `x, scale` and perhaps `zero_point`, both with a single entry.
    Dequantize,
    /// Never executed; an error unless fusion takes it in.
    QuantisedPart(QuantisedPart),
    /// Not claimed, and why.
    Unsupported(String),
}

/// One operation with its operands.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is computed.
    pub op: Op,
    /// Operands; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Results; more than one only for operations that are never executed as they stand.
    pub outputs: Vec<ValueId>,
    /// The nodes that it stands for.
    pub nodes: Vec<NodeId>,
    /// A product that is computed in fp32, whatever precision was asked for.
    pub exact: bool,
}

/// A lowered graph.
#[derive(Clone, Debug)]
pub struct Program {
    /// In an order in which every value is made before it is read.
    pub steps: Vec<Step>,
}

impl Op {
    /// What a report calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Linear { .. } => "linear",
            Op::MatMul => "matmul",
            Op::Attention { .. } => "attention",
            Op::Conv1d(_) => "convolution",
            Op::LayerNorm { .. } => "layer norm",
            Op::Softmax => "softmax",
            Op::Unary(Unary::Gelu) => "gelu",
            Op::Unary(_) | Op::Binary(_) | Op::ReduceMean { .. } | Op::Dequantize => "element-wise",
            Op::Compare(_) | Op::Logic(_) | Op::Not | Op::IsNaN | Op::Select => "mask",
            Op::Shape { .. } | Op::Range | Op::ConstantOfShape { .. } => "shape",
            Op::QuantisedPart(_) | Op::Unsupported(_) => "not claimed",
            _ => "movement",
        }
    }
}

impl Program {
    /// Steps whose results nobody reads are taken out; what a graph's output needs, directly or not, stays.
    pub fn without_dead_steps(mut self, graph: &Graph<'_>) -> Self {
        let mut live = vec![false; graph.values.len()];
        for output in &graph.outputs {
            live[*output] = true;
        }
        let mut kept = Vec::with_capacity(self.steps.len());
        while let Some(step) = self.steps.pop() {
            if step.outputs.iter().any(|output| live[*output]) {
                for value in step.operands() {
                    live[value] = true;
                }
                kept.push(step);
            }
        }
        kept.reverse();
        Self { steps: kept }
    }
}

impl Step {
    /// Every value that it reads, those inside its operation included.
    pub fn operands(&self) -> impl Iterator<Item = ValueId> + '_ {
        let (weights, bias) = match &self.op {
            Op::Linear { weights, bias, .. } => (Some(weights), *bias),
            Op::Conv1d(conv) => (Some(&conv.weights), conv.bias),
            _ => (None, None),
        };
        let stored = weights.map(|w| w.value);
        let (scale, zero_point) = weights.and_then(|w| w.quantised).map_or((None, None), |(s, z)| (Some(s), z));
        let smoothing = weights.and_then(|w| w.smoothing);
        let inside = [stored, bias, scale, zero_point, smoothing].into_iter().flatten();
        self.inputs.iter().flatten().copied().chain(inside)
    }

    /// The precision that a product of this step is computed in, of the one that was asked for.
    pub fn precision(&self, asked: Precision) -> Precision {
        if self.exact { Precision::F32 } else { asked }
    }
}
