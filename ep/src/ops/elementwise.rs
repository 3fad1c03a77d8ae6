//! Functions of one value and of two, with ONNX's broadcasting. What they compute is in the kernels' [`Unary`] and
//! [`Binary`].

use std::ops::Range;

use undertone_kernels::{
    Context,
    host::elementwise::{self, Binary, Unary},
};

use super::{
    Computed, Entry, Inferred, Lowered, Lowering, Op, Operands, Operator, Parts, Role, StepRun, left, microsoft,
    node::name, onnx, several,
};
use crate::{
    graph::{Attribute, DataType, Dim},
    memory::Shape,
};

pub const OPERATORS: &[Entry] = &[
    onnx("Erf", Role::Activation, |node| unary(node, Unary::Erf)),
    onnx("Gelu", Role::Activation, gelu),
    microsoft("Gelu", Role::Activation, gelu),
    microsoft("BiasGelu", Role::Activation, |node| biased_gelu(node, Gelu::Exact)),
    microsoft("FastGelu", Role::Activation, |node| biased_gelu(node, Gelu::Tanh)),
    several("QuickGelu", Role::Activation, quick_gelu),
    onnx("Exp", Role::Other, |node| unary(node, Unary::Exp)),
    onnx("Sqrt", Role::Other, |node| unary(node, Unary::Sqrt)),
    onnx("Neg", Role::Arithmetic, |node| unary(node, Unary::Neg)),
    onnx("Abs", Role::Other, |node| unary(node, Unary::Abs)),
    onnx("Tanh", Role::Activation, |node| unary(node, Unary::Tanh)),
    onnx("Sigmoid", Role::Activation, |node| unary(node, Unary::Sigmoid)),
    onnx("Relu", Role::Activation, |node| unary(node, Unary::Relu)),
    onnx("Reciprocal", Role::Other, |node| unary(node, Unary::Reciprocal)),
    onnx("Log", Role::Log, |node| unary(node, Unary::Log)),
    onnx("Add", Role::Arithmetic, |node| binary(node, Binary::Add)),
    onnx("Sub", Role::Arithmetic, |node| binary(node, Binary::Sub)),
    onnx("Mul", Role::Arithmetic, |node| binary(node, Binary::Mul)),
    onnx("Div", Role::Arithmetic, |node| binary(node, Binary::Div)),
    onnx("Pow", Role::Arithmetic, pow),
    onnx("Min", Role::Arithmetic, |node| of_two(node, Binary::Min)),
    onnx("Max", Role::Arithmetic, |node| of_two(node, Binary::Max)),
    left("Swish", Role::Activation),
    left("HardSwish", Role::Activation),
    left("Elu", Role::Activation),
    left("LeakyRelu", Role::Activation),
];

/// An operator of one fp32 operand.
pub fn unary(node: &mut Lowering<'_, '_>, op: Unary) -> Lowered<Op> {
    node.floats().map(|()| Op::Unary(op))
}

/// GELU in the forms that [`Unary::Gelu`] is not: `x`, and perhaps `bias`, a row that is added first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x/2 · (1 + erf(x/√2))`.
    Exact,
    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    Tanh,
}

/// `Gelu`, of ONNX and of com.microsoft.
pub fn gelu(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    match node.node.attributes.get("approximate") {
        Some(Attribute::String(kind)) if kind == "tanh" => biased_gelu(node, Gelu::Tanh),
        Some(Attribute::String(kind)) if kind != "none" => Err(format!("Gelu approximated by {kind}")),
        _ => unary(node, Unary::Gelu),
    }
}

/// `BiasGelu` and `FastGelu` of com.microsoft.
pub fn biased_gelu(node: &mut Lowering<'_, '_>, op: Gelu) -> Lowered<Op> {
    node.floats()?;
    if node.input(1).is_some() {
        node.alike()?;
    }
    Ok(Op::Gelu(op))
}

/// `QuickGelu` of com.microsoft: `x · sigmoid(alpha · x)`.
fn quick_gelu(node: &Lowering<'_, '_>, mut parts: Parts) -> Lowered<Parts> {
    node.floats()?;
    let (Some(x), Some(y)) = (node.input(0), node.output(0)) else { return Err("QuickGelu of nothing".into()) };
    let alpha = parts.constant(node.node.float("alpha", 1.702));
    let like = |parts: &mut Parts| parts.value(node.dtype(0), node.dims(0).map(<[Dim]>::to_vec));
    let (scaled, factor) = (like(&mut parts), like(&mut parts));
    parts.step(Op::Binary(Binary::Mul), [Some(x), Some(alpha)], scaled);
    parts.step(Op::Unary(Unary::Sigmoid), [Some(scaled)], factor);
    parts.step(Op::Binary(Binary::Mul), [Some(x), Some(factor)], y);
    Ok(parts)
}

/// An operator of two operands of one type, fp32 or int64.
pub fn binary(node: &mut Lowering<'_, '_>, op: Binary) -> Lowered<Op> {
    node.alike()?;
    match node.dtype(0) {
        Some(DataType::F32 | DataType::F16 | DataType::I64) => Ok(Op::Binary(op)),
        other => Err(format!("{} on {}", node.node.op_type, name(other))),
    }
}

/// An operator that ONNX has for any number of operands, and the EP for two.
pub fn of_two(node: &mut Lowering<'_, '_>, op: Binary) -> Lowered<Op> {
    match node.node.inputs.len() {
        2 => binary(node, op),
        count => Err(format!("{} of {count} operands", node.node.op_type)),
    }
}

/// `Pow`, of floating-point operands only.
pub fn pow(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.floats()?;
    binary(node, Binary::Pow)
}

impl Operator for Unary {
    fn class(&self) -> (&'static str, Role) {
        match self {
            Unary::Gelu | Unary::GeluTanh => ("gelu", Role::Activation),
            Unary::Erf | Unary::Tanh | Unary::Sigmoid | Unary::Relu => ("element-wise", Role::Activation),
            Unary::Log => ("element-wise", Role::Log),
            Unary::Neg => ("element-wise", Role::Arithmetic),
            Unary::Exp | Unary::Sqrt | Unary::Abs | Unary::Reciprocal => ("element-wise", Role::Other),
        }
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let host = run.fp32()?;
        host.unary(context, *self, operands.data(0)?, run.elements()?);
        Ok(())
    }
}

impl Operator for Gelu {
    fn class(&self) -> (&'static str, Role) {
        ("gelu", Role::Activation)
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        let x = operands.shape(0)?;
        match operands.shape(1) {
            Ok(bias) if bias.len() != 1 || x.last() != bias.last() => Err(format!("{x:?} with a bias of {bias:?}")),
            _ => Ok(*x),
        }
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()> {
        let (host, operands, [_, width]) = (run.fp32()?, run.operands, run.rows());
        let Context { pool, counters, ref mut scratch } = *context;
        let (mut x, bias): (&[f32], _) = (operands.data(0)?, operands.optional::<f32>(1)?);
        let (sums, scratch) = scratch.floats_and_rest(if bias.is_some() { x.len() } else { 0 });
        if let Some(bias) = bias {
            let rows = sums.chunks_exact_mut(width.max(1)).zip(x.chunks_exact(width.max(1)));
            rows.for_each(|(sums, row)| add(row, bias, sums));
            x = sums;
        }
        let out = run.elements()?;
        match self {
            Gelu::Exact => host.unary(&mut Context { pool, counters, scratch }, Unary::Gelu, x, out),
            Gelu::Tanh => host.unary(&mut Context { pool, counters, scratch }, Unary::GeluTanh, x, out),
        }
        Ok(())
    }
}

/// Adds a row to another.
pub fn add_to(sums: &mut [f32], row: &[f32]) {
    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
}

/// Adds two rows.
pub fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a + b);
}

impl Operator for Binary {
    fn class(&self) -> (&'static str, Role) {
        ("element-wise", Role::Arithmetic)
    }

    fn data(&self) -> Range<usize> {
        0..usize::MAX
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        operands.broadcast::<2>()
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let (a, b, shape) = (operands.shape(0)?, operands.shape(1)?, run.shape);
        if run.dtype == DataType::I64 {
            elementwise::binary_i64(*self, operands.data(0)?, a, operands.data(1)?, b, &shape, run.elements()?);
            return Ok(());
        }
        let (host, operands) = (run.fp32()?, [(operands.data(0)?, &a[..]), (operands.data(1)?, &b[..])]);
        host.binary(context, *self, operands, &shape, run.elements()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Builder, alone, assert_close, floats, noise, refusal};

    const X: [f32; 6] = [-3.0, -0.5, 0.0, 0.25, 1.0, 40.0];

    fn graph(operator: &str, approximate: &str) -> crate::graph::Graph<'static> {
        let attributes = [("approximate", Attribute::String(approximate.to_owned()))];
        let graph = Builder::default().input("x", DataType::F32, &[2, 3]);
        graph.node_of(operator, &["x"], &[("y", DataType::F32)], &attributes).build(&["y"])
    }

    #[test]
    fn gelu_by_a_hyperbolic_tangent() {
        let made = alone(&graph("Gelu", "tanh"), &[floats(&[2, 3], &X)]);
        let tanh = |x: f32| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (f64::from(x) + 0.044_715 * f64::from(x).powi(3));
            (0.5 * f64::from(x) * (1.0 + inner.tanh())) as f32
        };
        assert_close(&made.floats(), &X.map(tanh));
        assert!(refusal(&graph("Gelu", "sigmoid")).contains("sigmoid"));
    }

    #[test]
    fn a_bias_is_added_before_gelu() {
        let bias = noise(3, 1);
        let graph = |operator: &str| {
            let graph = Builder::default().input("x", DataType::F32, &[2, 3]).constant("bias", &[3], &bias);
            match operator {
                "Gelu" => graph.node("Add", &["x", "bias"], "sum").node("Gelu", &["sum"], "y"),
                other => graph.node(other, &["x", "bias"], "y").of_microsoft(),
            }
            .build(&["y"])
        };
        let [got, want] = ["BiasGelu", "Gelu"].map(|operator| alone(&graph(operator), &[floats(&[2, 3], &X)]).floats());
        assert_close(&got, &want);
        // The approximation is near, and another.
        let fast = alone(&graph("FastGelu"), &[floats(&[2, 3], &X)]).floats();
        assert!(fast.iter().zip(&want).all(|(fast, exact)| (fast - exact).abs() < 1e-3) && fast != want);
    }

    #[test]
    fn what_the_kernels_do_not_take_is_refused() {
        let graph = |operator: &str, inputs: &[&str]| {
            let graph = Builder::default().input("x", DataType::F32, &[2]).input("n", DataType::I64, &[2]);
            refusal(&graph.node(operator, inputs, "y").build(&["y"]))
        };
        assert_eq!(graph("Erf", &["n"]), "Erf on int64");
        assert_eq!(graph("Pow", &["x", "n"]), "Pow on float and int64");
        assert_eq!(graph("Max", &["x", "x", "x"]), "Max of 3 operands");
    }
}
