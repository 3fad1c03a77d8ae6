//! The same elements in another shape or of another type: where the type stays, no byte is moved.

use bytemuck::Pod;
use undertone_kernels::Context;

use super::{
    Computed, Entry, Inferred, Lowered, Lowering, Op, Operands, Operator, Role, StepRun, left,
    node::name,
    onnx,
    operator::TOO_MANY_AXES,
    run::{AnyElement, axis},
};
use crate::{
    graph::DataType,
    memory::{MAX_RANK, Shape, shape_of},
};

pub const OPERATORS: &[Entry] = &[
    onnx("Reshape", Role::Movement, reshape),
    onnx("Unsqueeze", Role::Movement, |node| node.shaped(2).map(|()| Op::View(View::Unsqueeze))),
    onnx("Squeeze", Role::Movement, squeeze),
    onnx("Identity", Role::Movement, |node| node.movable(0).map(|()| Op::View(View::Identity))),
    onnx("Cast", Role::Movement, cast),
    left("Flatten", Role::Movement),
];

/// An operation whose result has the elements of its first operand, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
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
}

pub fn reshape(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.shaped(2)?;
    Ok(Op::View(View::Reshape { allow_zero: node.node.int("allowzero", 0) != 0 }))
}

/// `Squeeze`. Without axes it removes every axis of length 1; before version 13 they were an attribute, which this EP
/// does not read.
fn squeeze(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    let least = if node.node.attributes.contains_key("axes") { 2 } else { 1 };
    node.shaped(least).map(|()| Op::View(View::Squeeze))
}

pub fn cast(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    let known = |dtype| matches!(dtype, DataType::F32 | DataType::F16 | DataType::I64 | DataType::I32 | DataType::Bool);
    let to = i32::try_from(node.node.int("to", 0)).ok().and_then(DataType::from_onnx);
    match (node.dtype(0), to) {
        (Some(from), Some(to)) if known(from) && known(to) => Ok(Op::View(View::Cast { to })),
        (from, to) => Err(format!("Cast from {} to {}", name(from), name(to))),
    }
}

impl Operator for View {
    fn class(&self) -> (&'static str, Role) {
        ("movement", Role::Movement)
    }

    fn is_view(&self, from: DataType, to: DataType) -> bool {
        match self {
            View::Reshape { .. } | View::Unsqueeze | View::Squeeze | View::Identity => true,
            View::Cast { .. } => from == to,
        }
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        let x = operands.shape(0)?;
        match self {
            View::Reshape { allow_zero } => reshaped(x, operands.data(1)?, *allow_zero),
            View::Unsqueeze => unsqueezed(x, operands.data(1)?),
            View::Squeeze => squeezed(x, operands.optional(1)?.unwrap_or(&[])),
            View::Identity | View::Cast { .. } => Ok(*x),
        }
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, _: &mut Context<'_>) -> Computed<()> {
        match self {
            View::Reshape { .. } | View::Unsqueeze | View::Squeeze | View::Identity => run.of_any_element(&Copied),
            View::Cast { .. } => converted(run),
        }
    }
}

/// A view whose result has a place of its own.
struct Copied;

impl AnyElement for Copied {
    fn run_of<T: Pod>(&self, run: &mut StepRun<'_, '_, '_>) -> Computed<()> {
        let x = run.operands.data(0)?;
        run.elements::<T>()?.copy_from_slice(x);
        Ok(())
    }
}

fn converted(run: &mut StepRun<'_, '_, '_>) -> Computed<()> {
    let operands = run.operands;
    // Through f64 every value of these types survives except int64 beyond 2^53, which no shape or token reaches.
    match operands.dtype(0)? {
        DataType::F32 => converted_from(operands.data::<f32>(0)?, f64::from, run),
        DataType::I64 => converted_from(operands.data::<i64>(0)?, |value| value as f64, run),
        DataType::I32 => converted_from(operands.data::<i32>(0)?, f64::from, run),
        _ => converted_from(operands.data::<u8>(0)?, f64::from, run),
    }
}

fn converted_from<S: Pod>(x: &[S], real: impl Fn(S) -> f64, run: &mut StepRun<'_, '_, '_>) -> Computed<()> {
    fn write<S: Pod, D: Pod>(x: &[S], run: &mut StepRun<'_, '_, '_>, cast: impl Fn(S) -> D) -> Computed<()> {
        run.elements::<D>()?.iter_mut().zip(x).for_each(|(out, value)| *out = cast(*value));
        Ok(())
    }
    match run.dtype {
        DataType::F32 => write(x, run, |value| real(value) as f32),
        DataType::I64 => write(x, run, |value| real(value) as i64),
        DataType::I32 => write(x, run, |value| real(value) as i32),
        _ => write(x, run, |value| u8::from(real(value) != 0.0)),
    }
}

fn reshaped(from: &Shape, target: &[i64], allow_zero: bool) -> Inferred<Shape> {
    let undefined = || format!("{from:?} reshaped to {target:?}");
    let copied = |at: usize, dim: i64| match dim {
        0 if !allow_zero => from.get(at).copied(),
        -1 => Some(1),
        dim => usize::try_from(dim).ok(),
    };
    let mut dims = [0; MAX_RANK];
    if target.len() > MAX_RANK || target.iter().filter(|dim| **dim == -1).count() > 1 {
        return Err(undefined());
    }
    for (at, dim) in target.iter().enumerate() {
        dims[at] = copied(at, *dim).ok_or_else(undefined)?;
    }
    let dims = &mut dims[..target.len()];
    if let Some(inferred) = target.iter().position(|dim| *dim == -1) {
        let others: usize = dims.iter().product();
        if others == 0 || !from.elements().is_multiple_of(others) {
            return Err(undefined());
        }
        dims[inferred] = from.elements() / others;
    }
    Shape::new(dims).filter(|shape| shape.elements() == from.elements()).ok_or_else(undefined)
}

fn unsqueezed(from: &Shape, axes: &[i64]) -> Inferred<Shape> {
    let rank = from.len() + axes.len();
    let mut added = [false; MAX_RANK];
    if rank > MAX_RANK {
        return Err(TOO_MANY_AXES.into());
    }
    for axis in axes {
        added[self::axis(*axis, rank)?] = true;
    }
    let mut rest = from.iter().copied();
    let dims = (0..rank).map_while(|axis| if added[axis] { Some(1) } else { rest.next() });
    shape_of(dims).ok_or_else(|| TOO_MANY_AXES.into())
}

fn squeezed(from: &Shape, axes: &[i64]) -> Inferred<Shape> {
    let mut removed = [false; MAX_RANK];
    for axis in axes {
        let axis = self::axis(*axis, from.len())?;
        if from[axis] != 1 {
            return Err(format!("axis {axis} of {from:?} is not 1"));
        }
        removed[axis] = true;
    }
    let gone = |axis: usize| if axes.is_empty() { from[axis] == 1 } else { removed[axis] };
    let dims = (0..from.len()).filter(|axis| !gone(*axis)).map(|axis| from[axis]);
    shape_of(dims).ok_or_else(|| TOO_MANY_AXES.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Attribute,
        testing::{Builder, alone, floats, refusal},
    };

    fn shape(dims: &[usize]) -> Shape {
        Shape::new(dims).expect("few axes")
    }

    #[test]
    fn a_shape_is_resolved_as_onnx_says() {
        let from = shape(&[2, 3, 4]);
        assert_eq!(reshaped(&from, &[0, -1], false), Ok(shape(&[2, 12])));
        assert_eq!(reshaped(&shape(&[0, 4]), &[4, 0], true), Ok(shape(&[4, 0])));
        for wrong in [&[-1, -1][..], &[5, -1], &[2, 3], &[0, 0, 0, 0], &[-2, 12]] {
            assert!(reshaped(&from, wrong, false).is_err(), "{wrong:?}");
        }
        assert_eq!(unsqueezed(&from, &[0, -1]), Ok(shape(&[1, 2, 3, 4, 1])));
        assert_eq!(squeezed(&shape(&[1, 3, 1]), &[-1]), Ok(shape(&[1, 3])));
        assert_eq!(squeezed(&shape(&[1, 3, 1]), &[]), Ok(shape(&[3])));
        assert!(squeezed(&from, &[1]).is_err());
    }

    #[test]
    fn attributes_in_the_place_of_operands_are_refused() {
        let graph = |operator, name: &str| {
            let attribute = [(name, Attribute::Ints(vec![0]))];
            let graph = Builder::default().input("x", DataType::F32, &[1, 3]);
            graph.node_of(operator, &["x"], &[("y", DataType::F32)], &attribute).build(&["y"])
        };
        let old =
            [("Slice", "starts"), ("Squeeze", "axes"), ("Unsqueeze", "axes"), ("Reshape", "shape"), ("Tile", "tiles")];
        for (operator, attribute) in old {
            let reason = refusal(&graph(operator, attribute));
            assert!(reason.starts_with(operator) && reason.contains("attributes for operands"), "{reason}");
        }
    }

    #[test]
    fn a_cast_rounds_to_zero() {
        let to = |code: i64| [("to", Attribute::Int(code))];
        let graph = |code, dtype| {
            let graph = Builder::default().input("x", DataType::F32, &[3]);
            graph.node_of("Cast", &["x"], &[("y", dtype)], &to(code)).build(&["y"])
        };
        let x = [-1.7, 0.0, 2.9];
        let made = alone(&graph(7, DataType::I64), &[floats(&[3], &x)]);
        assert_eq!(bytemuck::pod_collect_to_vec::<u8, i64>(&made.bytes), [-1, 0, 2]);
        assert_eq!(alone(&graph(9, DataType::Bool), &[floats(&[3], &x)]).bytes, [1, 0, 1]);
        assert_eq!(refusal(&graph(11, DataType::F64)), "Cast from float to double");
    }
}
