//! The operators. A family's file holds all that the EP knows of its operators: how an ONNX node becomes an operation,
//! the shape of the result, how it is computed, what a report calls it, and tests.
//!
//! A new operator is an arm of each match in its family's file, one line in [`PRODUCTS`] or [`OTHERS`], and a test.
//! What the rest of the EP asks of any operation is in the trait [`Operator`]; fusion and planning, which look for
//! certain operations, match on [`Op`].

pub mod attention;
pub mod convolution;
pub mod elementwise;
pub mod linear;
pub mod mask;
pub mod movement;
pub mod normalisation;
pub mod product;
pub mod quantised;
pub mod reduction;
pub mod run;
pub mod sizes;
pub mod view;

use std::ops::Range;

use undertone_kernels::{
    Context,
    host::elementwise::{Binary, Compare, Logic, Unary},
};

use self::run::{Computed, Operands, Run};
pub use self::{
    attention::{Attention, HeadLayout},
    convolution::Conv,
    elementwise::Gelu,
    linear::{Linear, Weights},
    mask::Mask,
    movement::Movement,
    normalisation::Normalisation,
    product::MatMul,
    quantised::{Dequantize, QuantisedPart},
    reduction::Reduction,
    sizes::Sizes,
    view::View,
};
use crate::{
    graph::{DataType, Node, ValueId},
    lower::{Lowered, Lowering},
    plan::{
        PlanError,
        prepare::{Kernel, Preparing},
        tensor::Shape,
    },
};

/// One operation. Its operands are in [`crate::program::Step::inputs`], in the order that its family names.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each variant is a family or an operator, explained where it is defined")]
pub enum Op {
    Linear(Linear),
    MatMul(MatMul),
    Attention(Attention),
    Conv1d(Conv),
    Normalisation(Normalisation),
    /// `x`.
    Unary(Unary),
    Gelu(Gelu),
    /// `a, b`.
    Binary(Binary),
    Mask(Mask),
    View(View),
    Movement(Movement),
    Sizes(Sizes),
    Reduction(Reduction),
    Dequantize(Dequantize),
    QuantisedPart(QuantisedPart),
    /// Not claimed, and why.
    Unsupported(Unsupported),
}

/// An operation that is a product: what a precision, a device and a report's numbers are for.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each variant is explained where its operation is defined")]
pub enum ProductOp<'o> {
    Linear(&'o Linear),
    Conv1d(&'o Conv),
    Attention(&'o Attention),
    MatMul(&'o MatMul),
}

/// A node that is left to ONNX Runtime, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

/// What a shape rule gives, or what the operands lack for the operation to be defined.
pub type Inferred<T> = Result<T, String>;

/// What every operation can tell and do.
pub trait Operator {
    /// What a report calls it.
    fn kind(&self) -> &'static str;

    /// What it does to the values that flow through it.
    fn role(&self) -> Role;

    /// Places of the operands whose values flow into the result; those of shapes, indices and conditions left out.
    fn data(&self) -> Range<usize> {
        0..1
    }

    /// The constants that are a part of the operation, and not among the step's operands.
    fn constants(&self) -> [Option<ValueId>; 5] {
        [None; 5]
    }

    /// Whether only the shape of its operand counts, not its elements.
    fn reads_shape_only(&self) -> bool {
        false
    }

    /// Whether the result is the first operand's bytes in another shape, between these element types.
    fn is_view(&self, _from: DataType, _to: DataType) -> bool {
        false
    }

    /// The shape of the result.
    ///
    /// # Errors
    /// What the operands lack for the operation to be defined.
    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape>;

    /// Floating-point operations of a product (a multiplication and an addition are two), from the shapes of its
    /// operands and its result; `None` for what is no product.
    fn flops(&self, _operands: &dyn Fn(usize) -> Option<Shape>, _result: Option<Shape>) -> Option<f64> {
        None
    }

    /// What it runs with; `None` for what needs nothing.
    ///
    /// # Errors
    /// If a constant is missing or of the wrong type or shape.
    fn prepare(&self, _preparing: &Preparing<'_>) -> Result<Option<Kernel>, PlanError> {
        Ok(None)
    }

    /// Computes the result.
    ///
    /// # Errors
    /// If operands do not fit, or a device failed.
    fn run(&self, run: &mut Run<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()>;
}

/// What an operation does to what flows through it, as far as the recognition of a transformer's parts goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A layer norm.
    Norm,
    /// A soft-max, or its logarithm.
    Softmax,
    /// Scaled-dot-product attention as one operator.
    Attention,
    /// A product with weights, or of two activations.
    Product,
    /// A logarithm.
    Log,
    /// A non-linear function of each value.
    Activation,
    /// Arithmetic of each value with another.
    Arithmetic,
    /// Values are moved, cast or quantised.
    Movement,
    /// Values do not flow through it.
    Nothing,
    /// Not known.
    Other,
}

impl Op {
    /// What every operation can tell and do.
    pub fn operator(&self) -> &dyn Operator {
        match self {
            Op::Linear(op) => op,
            Op::MatMul(op) => op,
            Op::Attention(op) => op,
            Op::Conv1d(op) => op,
            Op::Normalisation(op) => op,
            Op::Unary(op) => op,
            Op::Gelu(op) => op,
            Op::Binary(op) => op,
            Op::Mask(op) => op,
            Op::View(op) => op,
            Op::Movement(op) => op,
            Op::Sizes(op) => op,
            Op::Reduction(op) => op,
            Op::Dequantize(op) => op,
            Op::QuantisedPart(op) => op,
            Op::Unsupported(op) => op,
        }
    }

    /// The operation, if it is a product.
    pub fn product(&self) -> Option<ProductOp<'_>> {
        match self {
            Op::Linear(op) => Some(ProductOp::Linear(op)),
            Op::Conv1d(op) => Some(ProductOp::Conv1d(op)),
            Op::Attention(op) => Some(ProductOp::Attention(op)),
            Op::MatMul(op) => Some(ProductOp::MatMul(op)),
            Op::Normalisation(_) | Op::Unary(_) | Op::Gelu(_) | Op::Binary(_) | Op::Mask(_) | Op::View(_) => None,
            Op::Movement(_) | Op::Sizes(_) | Op::Reduction(_) | Op::Dequantize(_) => None,
            Op::QuantisedPart(_) | Op::Unsupported(_) => None,
        }
    }

    /// What a report calls it.
    pub fn kind(&self) -> &'static str {
        self.operator().kind()
    }

    /// Whether only the shape of its operand counts, not its elements.
    pub fn reads_shape_only(&self) -> bool {
        self.operator().reads_shape_only()
    }
}

impl Operator for Unsupported {
    fn kind(&self) -> &'static str {
        "not claimed"
    }

    fn role(&self) -> Role {
        Role::Other
    }

    fn data(&self) -> Range<usize> {
        0..usize::MAX
    }

    fn shape(&self, _: Operands<'_, '_, '_>) -> Inferred<Shape> {
        Err(NOT_CARRIED_OUT.into())
    }

    fn run(&self, _: &mut Run<'_, '_, '_>, _: &mut Context<'_>) -> Computed<()> {
        Err(NOT_CARRIED_OUT.into())
    }
}

const NOT_CARRIED_OUT: &str = "the operation is not one that the EP carries out";
const TOO_MANY_AXES: &str = "the result has too many axes";

/// Makes an operation of a node, or says why the EP does not carry it out.
pub type Lower = fn(&mut Lowering<'_, '_>) -> Lowered<Op>;

/// An operator's domain and name, and how it is lowered.
type Entry = (&'static str, &'static str, Lower);

const ONNX: &str = "";
const MICROSOFT: &str = "com.microsoft";

/// The operators that are products, whose nodes the option `precision` bears on.
const PRODUCTS: &[Entry] = &[
    (ONNX, "MatMul", product::matmul),
    (MICROSOFT, "FusedMatMul", product::fused_matmul),
    (ONNX, "Gemm", linear::gemm),
    (ONNX, "Conv", convolution::conv),
    (ONNX, "Attention", attention::attention),
    (MICROSOFT, "MultiHeadAttention", attention::multi_head_attention),
    (ONNX, "MatMulInteger", |_| Ok(Op::QuantisedPart(QuantisedPart::MatMulInteger))),
    (ONNX, "ConvInteger", |_| Ok(Op::QuantisedPart(QuantisedPart::ConvInteger))),
];

/// All other operators.
const OTHERS: &[Entry] = &[
    (ONNX, "LayerNormalization", normalisation::layer_norm),
    (ONNX, "SimplifiedLayerNormalization", normalisation::rms_norm),
    (ONNX, "RMSNormalization", normalisation::rms_norm),
    (MICROSOFT, "SkipLayerNormalization", normalisation::skip_layer_norm),
    (ONNX, "Softmax", normalisation::softmax),
    (ONNX, "Erf", |node| elementwise::unary(node, Unary::Erf)),
    (ONNX, "Gelu", elementwise::gelu),
    (MICROSOFT, "Gelu", elementwise::gelu),
    (MICROSOFT, "BiasGelu", |node| elementwise::biased_gelu(node, Gelu::Exact)),
    (MICROSOFT, "FastGelu", |node| elementwise::biased_gelu(node, Gelu::Tanh)),
    (ONNX, "Exp", |node| elementwise::unary(node, Unary::Exp)),
    (ONNX, "Sqrt", |node| elementwise::unary(node, Unary::Sqrt)),
    (ONNX, "Neg", |node| elementwise::unary(node, Unary::Neg)),
    (ONNX, "Abs", |node| elementwise::unary(node, Unary::Abs)),
    (ONNX, "Tanh", |node| elementwise::unary(node, Unary::Tanh)),
    (ONNX, "Sigmoid", |node| elementwise::unary(node, Unary::Sigmoid)),
    (ONNX, "Relu", |node| elementwise::unary(node, Unary::Relu)),
    (ONNX, "Reciprocal", |node| elementwise::unary(node, Unary::Reciprocal)),
    (ONNX, "Log", |node| elementwise::unary(node, Unary::Log)),
    (ONNX, "Add", |node| elementwise::binary(node, Binary::Add)),
    (ONNX, "Sub", |node| elementwise::binary(node, Binary::Sub)),
    (ONNX, "Mul", |node| elementwise::binary(node, Binary::Mul)),
    (ONNX, "Div", |node| elementwise::binary(node, Binary::Div)),
    (ONNX, "Pow", elementwise::pow),
    (ONNX, "Min", |node| elementwise::of_two(node, Binary::Min)),
    (ONNX, "Max", |node| elementwise::of_two(node, Binary::Max)),
    (ONNX, "Equal", |node| mask::compare(node, Compare::Equal)),
    (ONNX, "Less", |node| mask::compare(node, Compare::Less)),
    (ONNX, "LessOrEqual", |node| mask::compare(node, Compare::LessOrEqual)),
    (ONNX, "Greater", |node| mask::compare(node, Compare::Greater)),
    (ONNX, "GreaterOrEqual", |node| mask::compare(node, Compare::GreaterOrEqual)),
    (ONNX, "And", |_| Ok(Op::Mask(Mask::Logic(Logic::And)))),
    (ONNX, "Or", |_| Ok(Op::Mask(Mask::Logic(Logic::Or)))),
    (ONNX, "Not", |_| Ok(Op::Mask(Mask::Not))),
    (ONNX, "IsNaN", mask::is_nan),
    (ONNX, "Where", mask::select),
    (ONNX, "Reshape", view::reshape),
    (ONNX, "Unsqueeze", |node| view::with_axes(node, View::Unsqueeze)),
    (ONNX, "Squeeze", |node| view::with_axes(node, View::Squeeze)),
    (ONNX, "Identity", view::identity),
    (ONNX, "Cast", view::cast),
    (ONNX, "Transpose", movement::transpose),
    (ONNX, "Concat", movement::concat),
    (ONNX, "Gather", movement::gather),
    (ONNX, "Slice", |node| movement::with_sizes(node, Movement::Slice)),
    (ONNX, "Expand", |node| movement::with_sizes(node, Movement::Expand)),
    (ONNX, "Tile", |node| movement::with_sizes(node, Movement::Tile)),
    (ONNX, "Shape", sizes::shape),
    (ONNX, "Range", sizes::range),
    (ONNX, "ConstantOfShape", sizes::constant_of_shape),
    (ONNX, "ReduceMean", reduction::reduce_mean),
    (ONNX, "DequantizeLinear", quantised::dequantize),
    (ONNX, "DynamicQuantizeLinear", |_| Ok(Op::QuantisedPart(QuantisedPart::DynamicQuantizeLinear))),
    (ONNX, "If", control_flow),
    (ONNX, "Loop", control_flow),
    (ONNX, "Scan", control_flow),
];

fn control_flow(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    Err(format!("{}: ONNX Runtime runs it; its bodies are partitioned by themselves", node.node.op_type))
}

/// How a node's operator is lowered, if the EP knows it.
pub fn registered(node: &Node<'_>) -> Option<Lower> {
    PRODUCTS.iter().chain(OTHERS).find(|entry| is_entry_of(entry, node)).map(|(_, _, lower)| *lower)
}

/// Whether a node's operator is one that products are made of.
pub fn is_product(node: &Node<'_>) -> bool {
    PRODUCTS.iter().any(|entry| is_entry_of(entry, node))
}

fn is_entry_of((domain, op_type, _): &Entry, node: &Node<'_>) -> bool {
    let of_node = if node.domain == "ai.onnx" { ONNX } else { &node.domain };
    node.op_type == *op_type && of_node == *domain
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operator_is_registered_once() {
        let names: BTreeSet<_> = PRODUCTS.iter().chain(OTHERS).map(|(domain, op_type, _)| (domain, op_type)).collect();
        assert_eq!(names.len(), PRODUCTS.len() + OTHERS.len());
    }
}
