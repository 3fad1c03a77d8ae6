//! The operators. A family's file holds all that the EP knows of its operators: how an ONNX node becomes an operation,
//! the shape of the result, how it is computed, what a report calls it, and tests.
//!
//! A new operator is an arm of each match in its family's file, a line in the table at the head of that file, and a
//! test. What the rest of the EP asks of any operation is in the trait [`Operator`]; fusion and planning, which look
//! for certain operations, match on [`Op`].

mod attention;
mod coded;
mod coded_rows;
mod convolution;
mod elementwise;
mod left;
mod linear;
mod mask;
mod movement;
mod node;
mod normalisation;
mod operator;
mod parts;
mod prepare;
mod product;
mod quantised;
mod reduction;
mod run;
mod sizes;
mod view;
mod weights;

use std::ops::Range;

use undertone_kernels::{
    Context,
    host::elementwise::{Binary, Unary},
};

pub use self::{
    attention::{Append, Attention, Causal, HeadLayout},
    coded_rows::CodedRows,
    convolution::Conv,
    elementwise::Gelu,
    left::work as work_left,
    linear::{FEW_ROWS, Linear, wide_rows},
    mask::Mask,
    movement::Movement,
    node::{Lowered, Lowering},
    normalisation::Normalisation,
    operator::{Operator, Role},
    parts::{Apart, Parts},
    prepare::{Prepared, Preparing},
    product::MatMul,
    quantised::{Dequantize, QuantisedPart},
    reduction::Reduction,
    run::{Computed, Inferred, Operands, StepRun},
    sizes::Sizes,
    view::View,
    weights::Weights,
};
use crate::{graph::Node, memory::Shape};
use operator::NOT_CARRIED_OUT;

/// One operation. Its operands are in [`crate::program::Step::inputs`], in the order that its family names.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Linear(Linear),
    MatMul(MatMul),
    Attention(Attention),
    Append(Append),
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
    CodedRows(CodedRows),
    Sizes(Sizes),
    Reduction(Reduction),
    Dequantize(Dequantize),
    QuantisedPart(QuantisedPart),
    /// Not claimed, and why.
    Unsupported(Unsupported),
}

/// An operation that is a product: what a precision, a device and a report's numbers are for.
#[derive(Clone, Copy, Debug)]
pub enum ProductOp<'o> {
    Linear(&'o Linear),
    Conv1d(&'o Conv),
    Attention(&'o Attention),
    MatMul,
}

/// A node that is left to ONNX Runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    pub reason: String,
    /// What it does to values all the same.
    pub role: Role,
}

impl Op {
    /// What every operation can tell and do.
    pub fn operator(&self) -> &dyn Operator {
        match self {
            Op::Linear(op) => op,
            Op::MatMul(op) => op,
            Op::Attention(op) => op,
            Op::Append(op) => op,
            Op::Conv1d(op) => op,
            Op::Normalisation(op) => op,
            Op::Unary(op) => op,
            Op::Gelu(op) => op,
            Op::Binary(op) => op,
            Op::Mask(op) => op,
            Op::View(op) => op,
            Op::Movement(op) => op,
            Op::CodedRows(op) => op,
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
            Op::MatMul(_) => Some(ProductOp::MatMul),
            Op::Append(_)
            | Op::Normalisation(_)
            | Op::Unary(_)
            | Op::Gelu(_)
            | Op::Binary(_)
            | Op::Mask(_)
            | Op::View(_) => None,
            Op::Movement(_) | Op::CodedRows(_) | Op::Sizes(_) | Op::Reduction(_) | Op::Dequantize(_) => None,
            Op::QuantisedPart(_) | Op::Unsupported(_) => None,
        }
    }

    /// Whether it can have so many results. Parts of quantised products, which are not executed by themselves, have any
    /// number.
    pub fn can_have_results(&self, count: usize) -> bool {
        let appends = matches!(self, Op::Attention(Attention { appends: Some(_), .. }));
        matches!(self, Op::QuantisedPart(_)) || count == if appends { 3 } else { 1 }
    }

    /// What a report calls it.
    pub fn kind(&self) -> &'static str {
        self.operator().class().0
    }

    /// What it does to the values that flow through it.
    pub fn role(&self) -> Role {
        self.operator().class().1
    }

    /// Whether only the shape of its operand counts, not its elements.
    pub fn reads_shape_only(&self) -> bool {
        self.operator().reads_shape_only()
    }
}

impl Operator for Unsupported {
    fn class(&self) -> (&'static str, Role) {
        ("not claimed", self.role)
    }

    fn data(&self) -> Range<usize> {
        0..usize::MAX
    }

    fn shape(&self, _: Operands<'_, '_, '_>) -> Inferred<Shape> {
        Err(NOT_CARRIED_OUT.into())
    }

    fn run(&self, _: &mut StepRun<'_, '_, '_>, _: &mut Context<'_>) -> Computed<()> {
        Err(NOT_CARRIED_OUT.into())
    }
}

/// Makes an operation of a node, or says why the EP does not carry it out.
pub type Lower = fn(&mut Lowering<'_, '_>) -> Lowered<Op>;

/// An operator of ONNX or ONNX Runtime, in the table of its family.
pub struct Entry {
    domain: &'static str,
    op_type: &'static str,
    /// What it does to values, whether the EP carries it out or not.
    role: Role,
    /// How a node becomes an operation; `None` for operators that never are one.
    lower: Option<Lower>,
    /// How a node becomes several operations, for operators that stand for several.
    apart: Option<Apart>,
}

/// One of ONNX's own operators.
const fn onnx(op_type: &'static str, role: Role, lower: Lower) -> Entry {
    Entry { domain: "", op_type, role, lower: Some(lower), apart: None }
}

/// One of ONNX Runtime's own operators.
const fn microsoft(op_type: &'static str, role: Role, lower: Lower) -> Entry {
    Entry { domain: "com.microsoft", op_type, role, lower: Some(lower), apart: None }
}

/// One of ONNX Runtime's own operators that stands for several operations.
const fn several(op_type: &'static str, role: Role, apart: Apart) -> Entry {
    Entry { domain: "com.microsoft", op_type, role, lower: None, apart: Some(apart) }
}

/// An operator that is left to ONNX Runtime, and known for what it does between those that are not.
const fn left(op_type: &'static str, role: Role) -> Entry {
    Entry { domain: "", op_type, role, lower: None, apart: None }
}

/// The operators, family by family.
const FAMILIES: [&[Entry]; 14] = [
    attention::OPERATORS,
    coded::OPERATORS,
    coded_rows::OPERATORS,
    convolution::OPERATORS,
    elementwise::OPERATORS,
    linear::OPERATORS,
    mask::OPERATORS,
    movement::OPERATORS,
    normalisation::OPERATORS,
    product::OPERATORS,
    quantised::OPERATORS,
    reduction::OPERATORS,
    sizes::OPERATORS,
    view::OPERATORS,
];

fn operators() -> impl Iterator<Item = &'static Entry> {
    FAMILIES.into_iter().flatten()
}

/// A node's operator, if it is in a table.
fn entry(node: &Node<'_>) -> Option<&'static Entry> {
    let of_node = if node.domain == "ai.onnx" { "" } else { &node.domain };
    operators().find(|entry| entry.op_type == node.op_type && entry.domain == of_node)
}

/// How a node's operator becomes an operation, if it does.
pub fn registered(node: &Node<'_>) -> Option<Lower> {
    entry(node)?.lower
}

/// How a node's operator becomes several operations, if it does.
pub fn apart(node: &Node<'_>) -> Option<Apart> {
    entry(node)?.apart
}

/// What a node's operator does to values, by its name in whatever domain.
pub fn role(node: &Node<'_>) -> Role {
    operators().find(|entry| entry.op_type == node.op_type).map_or(Role::Other, |entry| entry.role)
}

/// Whether a node is one that products are made of: the option `precision` bears on it.
pub fn is_product(node: &Node<'_>) -> bool {
    let is_known = entry(node).is_some_and(|entry| entry.lower.is_some() || entry.apart.is_some());
    matches!(role(node), Role::Product | Role::Attention) && is_known
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_operator_is_registered_once_and_has_one_role() {
        let (mut known, mut roles) = (std::collections::BTreeSet::new(), BTreeMap::new());
        for entry in operators() {
            assert!(known.insert((entry.domain, entry.op_type)), "{} {}", entry.domain, entry.op_type);
            assert_eq!(*roles.entry(entry.op_type).or_insert(entry.role), entry.role, "{}", entry.op_type);
        }
    }
}
