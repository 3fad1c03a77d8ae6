//! From ONNX's nodes to a program's steps, one by one, or the reason why a node is not claimed.

use undertone_kernels::{
    Activation,
    host::elementwise::{Binary, Compare, Logic, Unary},
};

use crate::{
    graph::{Attribute, DataType, Dim, Graph, Node, NodeId, ValueId},
    plan::MAX_RANK,
    program::{Conv, Op, Program, QuantisedPart, Step, Weights},
};

/// One step for each node of `graph`.
pub fn lower(graph: &Graph<'_>) -> Program {
    let steps = (0..graph.nodes.len())
        .map(|id| {
            let node = &graph.nodes[id];
            let op = Lowering { graph, node }.op().unwrap_or_else(Op::Unsupported);
            let used = node.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
            Step {
                inputs: operands(&op, &node.inputs[..used]),
                op,
                outputs: outputs(node),
                nodes: vec![id as NodeId],
                exact: node.exact,
            }
        })
        .collect();
    Program { steps }
}

/// Declared shapes of a node's operands.
fn operands_shapes<'g>(graph: &'g Graph<'_>, node: &'g Node<'_>) -> impl Iterator<Item = &'g Vec<Dim>> {
    node.inputs.iter().flatten().filter_map(|value| graph.values[*value].shape.as_ref())
}

fn outputs(node: &Node<'_>) -> Vec<ValueId> {
    node.outputs.iter().flatten().copied().collect()
}

/// The operands that stay with the step: constants that moved into the operation are left out.
fn operands(op: &Op, inputs: &[Option<ValueId>]) -> Vec<Option<ValueId>> {
    match op {
        Op::Linear { .. } | Op::Conv1d(_) => inputs[..1].to_vec(),
        _ => inputs.to_vec(),
    }
}

struct Lowering<'g, 'a> {
    graph: &'g Graph<'a>,
    node: &'g Node<'a>,
}

type Lowered<T> = Result<T, String>;

impl Lowering<'_, '_> {
    fn op(&self) -> Lowered<Op> {
        let node = self.node;
        let known =
            matches!((node.domain.as_str(), node.op_type.as_str()), ("" | "ai.onnx", _) | ("com.microsoft", "Gelu"));
        if !known {
            return Err(format!("operator {}.{} is not one that the EP knows", node.domain, node.op_type));
        }
        if matches!(node.op_type.as_str(), "If" | "Loop" | "Scan") {
            return Err(format!("{}: ONNX Runtime runs it; its bodies are partitioned by themselves", node.op_type));
        }
        let operands = node.inputs.iter().flatten().map(|value| &self.graph.values[*value]);
        if let Some((value, reason)) = operands.filter_map(|value| Some((value, value.unreadable.as_ref()?))).next() {
            return Err(format!("constant {} cannot be read: {reason}", value.name));
        }
        let results = node.outputs.iter().flatten().filter_map(|value| self.graph.values[*value].shape.as_ref());
        if let Some(shape) = results.chain(operands_shapes(self.graph, node)).find(|shape| shape.len() > MAX_RANK) {
            return Err(format!("{} with {} axes; plans take up to {MAX_RANK}", node.op_type, shape.len()));
        }
        let quantised = matches!(node.op_type.as_str(), "DynamicQuantizeLinear" | "MatMulInteger" | "ConvInteger");
        if !quantised && node.outputs.iter().flatten().count() != 1 {
            return Err(format!("{} with more than one result", node.op_type));
        }
        let op = match node.op_type.as_str() {
            "MatMul" => self.matmul()?,
            "Gemm" => self.gemm()?,
            "Conv" => self.conv()?,
            "LayerNormalization" => self.layer_norm()?,
            "Softmax" => self.softmax()?,
            "Erf" => self.unary(Unary::Erf)?,
            "Gelu" => match node.attributes.get("approximate") {
                Some(Attribute::String(kind)) if kind != "none" => return Err(format!("Gelu approximated by {kind}")),
                _ => self.unary(Unary::Gelu)?,
            },
            "Exp" => self.unary(Unary::Exp)?,
            "Sqrt" => self.unary(Unary::Sqrt)?,
            "Neg" => self.unary(Unary::Neg)?,
            "Abs" => self.unary(Unary::Abs)?,
            "Tanh" => self.unary(Unary::Tanh)?,
            "Sigmoid" => self.unary(Unary::Sigmoid)?,
            "Relu" => self.unary(Unary::Relu)?,
            "Reciprocal" => self.unary(Unary::Reciprocal)?,
            "Log" => self.unary(Unary::Log)?,
            "Add" => self.binary(Binary::Add)?,
            "Sub" => self.binary(Binary::Sub)?,
            "Mul" => self.binary(Binary::Mul)?,
            "Div" => self.binary(Binary::Div)?,
            "Pow" => self.floats().and_then(|()| self.binary(Binary::Pow))?,
            "Min" if node.inputs.len() == 2 => self.binary(Binary::Min)?,
            "Max" if node.inputs.len() == 2 => self.binary(Binary::Max)?,
            "Equal" => self.compare(Compare::Equal)?,
            "Less" => self.compare(Compare::Less)?,
            "LessOrEqual" => self.compare(Compare::LessOrEqual)?,
            "Greater" => self.compare(Compare::Greater)?,
            "GreaterOrEqual" => self.compare(Compare::GreaterOrEqual)?,
            "And" => Op::Logic(Logic::And),
            "Or" => Op::Logic(Logic::Or),
            "Not" => Op::Not,
            "IsNaN" => self.floats().map(|()| Op::IsNaN)?,
            "Where" => self.movable(1).map(|()| Op::Select)?,
            "Reshape" => self.shaped(Op::Reshape { allow_zero: node.int("allowzero", 0) != 0 })?,
            "Unsqueeze" => self.axes_operand(Op::Unsqueeze)?,
            "Squeeze" => self.axes_operand(Op::Squeeze)?,
            "Identity" => self.movable(0).map(|()| Op::Identity)?,
            "Cast" => self.cast()?,
            "Transpose" => self.transpose()?,
            "Concat" => self.movable(0).map(|()| Op::Concat { axis: node.int("axis", 0) })?,
            "Gather" => self.gather()?,
            "Slice" => self.shaped(Op::Slice)?,
            "Expand" => self.shaped(Op::Expand)?,
            "Tile" => self.shaped(Op::Tile)?,
            "Shape" => Op::Shape {
                start: node.int("start", 0),
                end: node.attributes.contains_key("end").then(|| node.int("end", 0)),
            },
            "Range" => self.range()?,
            "ConstantOfShape" => self.constant_of_shape()?,
            "ReduceMean" if node.int("noop_with_empty_axes", 0) != 0 => {
                return Err("ReduceMean with noop_with_empty_axes".into());
            }
            "ReduceMean" => self.floats().map(|()| Op::ReduceMean {
                axes: node.ints("axes").map(<[i64]>::to_vec),
                keep_dims: node.int("keepdims", 1) != 0,
            })?,
            "DequantizeLinear" => self.dequantize()?,
            "DynamicQuantizeLinear" => Op::QuantisedPart(QuantisedPart::DynamicQuantizeLinear),
            "MatMulInteger" => Op::QuantisedPart(QuantisedPart::MatMulInteger),
            "ConvInteger" => Op::QuantisedPart(QuantisedPart::ConvInteger),
            other => return Err(format!("operator {other} is not one that the EP knows")),
        };
        Ok(op)
    }

    fn input(&self, index: usize) -> Option<ValueId> {
        self.node.inputs.get(index).copied().flatten()
    }

    fn dtype(&self, index: usize) -> Option<DataType> {
        self.input(index).and_then(|value| self.graph.values[value].dtype)
    }

    fn constant_shape(&self, index: usize) -> Option<&[usize]> {
        self.input(index).and_then(|value| self.graph.values[value].constant.as_ref()).map(|c| c.shape.as_slice())
    }

    /// The first operand is a floating-point tensor that the plan computes in fp32.
    fn floats(&self) -> Lowered<()> {
        match self.dtype(0) {
            Some(DataType::F32 | DataType::F16) => Ok(()),
            other => Err(format!("{} on {}", self.node.op_type, name(other))),
        }
    }

    fn movable(&self, index: usize) -> Lowered<()> {
        match self.dtype(index) {
            Some(
                DataType::F32
                | DataType::F16
                | DataType::I64
                | DataType::I32
                | DataType::Bool
                | DataType::U8
                | DataType::I8,
            ) => Ok(()),
            other => Err(format!("{} on {}", self.node.op_type, name(other))),
        }
    }

    /// Operands after the first are int64: shapes, axes, bounds.
    fn shaped(&self, op: Op) -> Lowered<Op> {
        self.movable(0)?;
        let mut others = (1..self.node.inputs.len()).filter(|index| self.input(*index).is_some());
        match others.find(|index| self.dtype(*index) != Some(DataType::I64)) {
            None => Ok(op),
            Some(index) => Err(format!("{} with operand {index} of {}", self.node.op_type, name(self.dtype(index)))),
        }
    }

    fn unary(&self, op: Unary) -> Lowered<Op> {
        self.floats().map(|()| Op::Unary(op))
    }

    /// Both operands are of one type. ONNX has operators, such as Pow, that also take two.
    fn alike(&self) -> Lowered<()> {
        match (self.dtype(0), self.dtype(1)) {
            (a, b) if a == b => Ok(()),
            (a, b) => Err(format!("{} on {} and {}", self.node.op_type, name(a), name(b))),
        }
    }

    fn binary(&self, op: Binary) -> Lowered<Op> {
        self.alike()?;
        match self.dtype(0) {
            Some(DataType::F32 | DataType::F16 | DataType::I64) => Ok(Op::Binary(op)),
            other => Err(format!("{} on {}", self.node.op_type, name(other))),
        }
    }

    fn compare(&self, op: Compare) -> Lowered<Op> {
        self.alike()?;
        match self.dtype(0) {
            Some(DataType::F32 | DataType::F16 | DataType::I64) => Ok(Op::Compare(op)),
            other => Err(format!("{} on {}", self.node.op_type, name(other))),
        }
    }

    /// A product with a constant matrix is a linear layer; any other is left for run time.
    fn matmul(&self) -> Lowered<Op> {
        self.floats()?;
        let rank = |index| self.input(index).and_then(|value| self.graph.values[value].shape.as_ref()).map(Vec::len);
        if rank(0).is_some_and(|rank| rank < 2) || rank(1).is_some_and(|rank| rank < 2) {
            return Err("MatMul with a vector".into());
        }
        Ok(match (self.input(1), self.constant_shape(1)) {
            (Some(value), Some([_, _])) if self.constant_shape(0).is_none() => Op::Linear {
                weights: Weights { value, transposed: false, quantised: None, smoothing: None },
                bias: None,
                scale: 1.0,
                activation: Activation::None,
                quantised: false,
            },
            _ => Op::MatMul,
        })
    }

    fn gemm(&self) -> Lowered<Op> {
        self.floats()?;
        let node = self.node;
        let plain = node.int("transA", 0) == 0 && node.float("alpha", 1.0) == 1.0 && node.float("beta", 1.0) == 1.0;
        let transposed = node.int("transB", 0) != 0;
        match (plain, self.input(1), self.constant_shape(1), self.input(2), self.constant_shape(2)) {
            (true, Some(value), Some([a, b]), bias, bias_shape) => {
                let outputs = if transposed { *a } else { *b };
                if bias.is_some() && bias_shape != Some(&[outputs]) {
                    return Err("Gemm whose bias is not a constant row".into());
                }
                Ok(Op::Linear {
                    weights: Weights { value, transposed, quantised: None, smoothing: None },
                    bias,
                    scale: 1.0,
                    activation: Activation::None,
                    quantised: false,
                })
            }
            _ => Err("Gemm whose matrix is not constant, or with alpha, beta or transA".into()),
        }
    }

    fn conv(&self) -> Lowered<Op> {
        self.floats()?;
        let attributes = ConvAttributes::read(self.node)?;
        let (Some(value), Some([out_channels, _, _])) = (self.input(1), self.constant_shape(1)) else {
            return Err("Conv whose kernel is not a constant of rank 3".into());
        };
        let bias = self.input(2);
        if bias.is_some() && self.constant_shape(2) != Some(&[*out_channels]) {
            return Err("Conv whose bias is not constant".into());
        }
        Ok(attributes.op(Weights { value, transposed: false, quantised: None, smoothing: None }, bias))
    }

    fn layer_norm(&self) -> Lowered<Op> {
        self.floats()?;
        let rank = self.input(0).and_then(|x| self.graph.values[x].shape.as_ref()).map(Vec::len);
        let axis = self.node.int("axis", -1);
        if axis != -1 && rank.is_none_or(|rank| axis != rank as i64 - 1) {
            return Err("LayerNormalization over more than the last axis".into());
        }
        Ok(Op::LayerNorm { epsilon: self.node.float("epsilon", 1e-5) })
    }

    fn softmax(&self) -> Lowered<Op> {
        self.floats()?;
        let rank = self.input(0).and_then(|x| self.graph.values[x].shape.as_ref()).map(Vec::len);
        // Before version 13 the default axis was 1 and the axes after it were flattened.
        let axis = self.node.int("axis", if self.node.since_version < 13 { 1 } else { -1 });
        if axis != -1 && rank.is_none_or(|rank| axis != rank as i64 - 1) {
            return Err("Softmax over another than the last axis".into());
        }
        Ok(Op::Softmax)
    }

    /// Since version 13 the axes are an operand; before, they were an attribute, which this EP does not read.
    fn axes_operand(&self, op: Op) -> Lowered<Op> {
        if self.node.attributes.contains_key("axes") {
            return Err(format!("{} with axes as an attribute (opset 12 and older)", self.node.op_type));
        }
        self.shaped(op)
    }

    fn cast(&self) -> Lowered<Op> {
        let known =
            |dtype| matches!(dtype, DataType::F32 | DataType::F16 | DataType::I64 | DataType::I32 | DataType::Bool);
        let to = i32::try_from(self.node.int("to", 0)).ok().and_then(DataType::from_onnx);
        match (self.dtype(0), to) {
            (Some(from), Some(to)) if known(from) && known(to) => Ok(Op::Cast { to }),
            (from, to) => Err(format!("Cast from {} to {}", name(from), name(to))),
        }
    }

    fn transpose(&self) -> Lowered<Op> {
        self.movable(0)?;
        let perm = match self.node.ints("perm") {
            Some(perm) => perm.iter().map(|axis| *axis as usize).collect(),
            None => match self.input(0).and_then(|x| self.graph.values[x].shape.as_ref()) {
                Some(shape) => (0..shape.len()).rev().collect(),
                None => return Err("Transpose without perm, of unknown rank".into()),
            },
        };
        Ok(Op::Transpose { perm })
    }

    fn gather(&self) -> Lowered<Op> {
        self.movable(0)?;
        match self.dtype(1) {
            Some(DataType::I64) => Ok(Op::Gather { axis: self.node.int("axis", 0) }),
            other => Err(format!("Gather with indices of {}", name(other))),
        }
    }

    fn range(&self) -> Lowered<Op> {
        match self.dtype(0) {
            Some(DataType::I64) => Ok(Op::Range),
            other => Err(format!("Range of {}", name(other))),
        }
    }

    fn constant_of_shape(&self) -> Lowered<Op> {
        match self.node.attributes.get("value") {
            None => Ok(Op::ConstantOfShape { dtype: DataType::F32, value: 0f32.to_ne_bytes().to_vec() }),
            Some(Attribute::Tensor(value)) if value.dtype != DataType::F16 => {
                Ok(Op::ConstantOfShape { dtype: value.dtype, value: value.bytes.to_vec() })
            }
            Some(_) => Err("ConstantOfShape of a type that the EP does not fill".into()),
        }
    }

    fn dequantize(&self) -> Lowered<Op> {
        match (self.dtype(0), self.constant_shape(1)) {
            (Some(DataType::U8 | DataType::I8), Some(scale)) if scale.iter().product::<usize>() == 1 => {
                Ok(Op::Dequantize)
            }
            (dtype, _) => Err(format!("DequantizeLinear of {} other than by one constant scale", name(dtype))),
        }
    }
}

/// What Conv and ConvInteger share.
pub struct ConvAttributes {
    stride: usize,
    padding: [usize; 2],
}

impl ConvAttributes {
    /// Reads them, or says what a 1-D convolution of this EP does not do.
    pub fn read(node: &Node<'_>) -> Lowered<Self> {
        if node.int("group", 1) != 1 || node.ints("dilations").is_some_and(|d| d.iter().any(|d| *d != 1)) {
            return Err("Conv with groups or dilation".into());
        }
        if let Some(Attribute::String(pad)) = node.attributes.get("auto_pad")
            && pad != "NOTSET"
        {
            return Err(format!("Conv with auto_pad={pad}"));
        }
        let stride = node.ints("strides").map_or(1, |s| s[0] as usize);
        let padding = match node.ints("pads") {
            None => [0, 0],
            Some([before, after]) if *before >= 0 && *after >= 0 => [*before as usize, *after as usize],
            Some(_) => return Err("Conv that is not 1-D".into()),
        };
        Ok(Self { stride: stride.max(1), padding })
    }

    /// The operation.
    pub fn op(self, weights: Weights, bias: Option<ValueId>) -> Op {
        Op::Conv1d(Conv {
            weights,
            bias,
            stride: self.stride,
            padding: self.padding,
            activation: Activation::None,
            input_channels_last: false,
            output_channels_last: false,
        })
    }
}

fn name(dtype: Option<DataType>) -> String {
    dtype.map_or_else(|| "an element type that the EP does not know".into(), |dtype| dtype.to_string())
}
