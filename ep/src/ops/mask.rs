//! Comparisons, logic on masks (one byte an element, 0 or 1), and selection by a mask.

use std::ops::Range;

use bytemuck::Pod;
use undertone_kernels::{
    Context,
    host::elementwise::{self, Compare, Logic},
};

use super::{
    Computed, Entry, Inferred, Lowered, Lowering, Op, Operands, Operator, Role, StepRun, node::name, onnx,
    run::AnyElement,
};
use crate::{graph::DataType, memory::Shape};

pub const OPERATORS: &[Entry] = &[
    onnx("Equal", Role::Nothing, |node| compare(node, Compare::Equal)),
    onnx("Less", Role::Nothing, |node| compare(node, Compare::Less)),
    onnx("LessOrEqual", Role::Nothing, |node| compare(node, Compare::LessOrEqual)),
    onnx("Greater", Role::Nothing, |node| compare(node, Compare::Greater)),
    onnx("GreaterOrEqual", Role::Nothing, |node| compare(node, Compare::GreaterOrEqual)),
    onnx("And", Role::Nothing, |_| Ok(Op::Mask(Mask::Logic(Logic::And)))),
    onnx("Or", Role::Nothing, |_| Ok(Op::Mask(Mask::Logic(Logic::Or)))),
    onnx("Not", Role::Nothing, |_| Ok(Op::Mask(Mask::Not))),
    onnx("IsNaN", Role::Nothing, |node| node.floats().map(|()| Op::Mask(Mask::IsNaN))),
    onnx("Where", Role::Movement, |node| node.movable(1).map(|()| Op::Mask(Mask::Select))),
];

/// An operation that makes a mask or reads one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
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
}

/// A comparison of two operands of one type, fp32 or int64.
pub fn compare(node: &mut Lowering<'_, '_>, op: Compare) -> Lowered<Op> {
    node.alike()?;
    match node.dtype(0) {
        Some(DataType::F32 | DataType::F16 | DataType::I64) => Ok(Op::Mask(Mask::Compare(op))),
        other => Err(format!("{} on {}", node.node.op_type, name(other))),
    }
}

impl Operator for Mask {
    fn class(&self) -> (&'static str, Role) {
        match self {
            Mask::Compare(_) | Mask::Logic(_) | Mask::Not | Mask::IsNaN => ("mask", Role::Nothing),
            Mask::Select => ("mask", Role::Movement),
        }
    }

    fn data(&self) -> Range<usize> {
        match self {
            Mask::Compare(_) | Mask::Logic(_) | Mask::Not | Mask::IsNaN => 0..1,
            Mask::Select => 1..3,
        }
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        match self {
            Mask::Not | Mask::IsNaN => operands.shape(0).copied(),
            Mask::Compare(_) | Mask::Logic(_) => operands.broadcast::<2>(),
            Mask::Select => operands.broadcast::<3>(),
        }
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, _: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let shape = run.shape;
        match self {
            Mask::Compare(op) => {
                let (a, b) = (operands.shape(0)?, operands.shape(1)?);
                let out = run.elements()?;
                match operands.dtype(0)? {
                    DataType::I64 => {
                        elementwise::compare::<i64>(*op, operands.data(0)?, a, operands.data(1)?, b, &shape, out)
                    }
                    _ => elementwise::compare::<f32>(*op, operands.data(0)?, a, operands.data(1)?, b, &shape, out),
                }
            }
            Mask::Logic(op) => {
                let (a, b) = (operands.shape(0)?, operands.shape(1)?);
                elementwise::logic(*op, operands.data(0)?, a, operands.data(1)?, b, &shape, run.elements()?);
            }
            Mask::Not => elementwise::not(operands.data(0)?, run.elements()?),
            Mask::IsNaN => elementwise::is_nan(operands.data(0)?, run.elements()?),
            Mask::Select => run.of_any_element(&Select)?,
        }
        Ok(())
    }
}

struct Select;

impl AnyElement for Select {
    fn run_of<T: Pod>(&self, run: &mut StepRun<'_, '_, '_>) -> Computed<()> {
        let (operands, shape) = (run.operands, run.shape);
        elementwise::select::<T>(
            operands.data(0)?,
            operands.shape(0)?,
            operands.data(1)?,
            operands.shape(1)?,
            operands.data(2)?,
            operands.shape(2)?,
            &shape,
            run.elements()?,
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::DataType,
        testing::{Builder, alone, floats, refusal},
    };

    const F: DataType = DataType::F32;

    #[test]
    fn a_mask_selects_with_broadcasting() {
        let graph = Builder::default()
            .input("x", F, &[2, 2])
            .constant("bound", &[2], &[1.0, 3.0])
            .constant("zero", &[], &[0.0])
            .node_of("Greater", &["x", "bound"], &[("greater", DataType::Bool)], &[])
            .node_of("IsNaN", &["x"], &[("nan", DataType::Bool)], &[])
            .node_of("Or", &["greater", "nan"], &[("either", DataType::Bool)], &[])
            .node_of("Not", &["either"], &[("neither", DataType::Bool)], &[])
            .node("Where", &["neither", "x", "zero"], "y")
            .build(&["y"]);
        let made = alone(&graph, &[floats(&[2, 2], &[1.0, 4.0, f32::NAN, 2.0])]);
        assert_eq!((made.shape.as_slice(), made.floats().as_slice()), (&[2, 2][..], &[1.0, 0.0, 0.0, 2.0][..]));
    }

    #[test]
    fn a_comparison_is_of_one_type() {
        let graph = Builder::default().input("x", F, &[1]).input("n", DataType::I64, &[1]);
        let graph = graph.node_of("Less", &["x", "n"], &[("y", DataType::Bool)], &[]).build(&["y"]);
        assert_eq!(refusal(&graph), "Less on float and int64");
    }
}
