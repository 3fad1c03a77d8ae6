//! Reductions over any axes.

use undertone_kernels::Context;

use super::{
    Computed, Entry, Inferred, Lowered, Lowering, Op, Operands, Operator, Role, StepRun, onnx, operator::TOO_MANY_AXES,
    run::axis,
};
use crate::memory::{MAX_RANK, Shape, shape_of};

pub const OPERATORS: &[Entry] = &[onnx("ReduceMean", Role::Other, reduce_mean)];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// `x`, and perhaps `axes`; the mean over them.
    Mean { axes: Option<Vec<i64>>, keep_dims: bool },
}

pub fn reduce_mean(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    if node.node.int("noop_with_empty_axes", 0) != 0 {
        return Err("ReduceMean with noop_with_empty_axes".into());
    }
    node.floats()?;
    let (axes, keep_dims) = (node.node.ints("axes").map(<[i64]>::to_vec), node.node.int("keepdims", 1) != 0);
    Ok(Op::Reduction(Reduction::Mean { axes, keep_dims }))
}

impl Operator for Reduction {
    fn class(&self) -> (&'static str, Role) {
        ("element-wise", Role::Other)
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        let Reduction::Mean { axes, keep_dims } = self;
        let shape = operands.shape(0)?;
        let reduced = reduced_axes(operands, axes.as_deref(), shape.len())?;
        let dims = shape.iter().enumerate().filter(|(axis, _)| *keep_dims || !reduced[*axis]);
        shape_of(dims.map(|(axis, dim)| if reduced[axis] { 1 } else { *dim })).ok_or_else(|| TOO_MANY_AXES.into())
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, _: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let Reduction::Mean { axes, .. } = self;
        let shape = operands.shape(0)?;
        let reduced = reduced_axes(operands, axes.as_deref(), shape.len())?;
        mean(operands.data(0)?, shape, &reduced, run.elements()?);
        Ok(())
    }
}

/// Which axes are reduced: those of the attribute or of the operand, else all.
fn reduced_axes(operands: Operands<'_, '_, '_>, attribute: Option<&[i64]>, rank: usize) -> Inferred<[bool; MAX_RANK]> {
    let axes = match attribute {
        Some(axes) => axes,
        None => operands.optional(1)?.unwrap_or(&[]),
    };
    let mut reduced = [axes.is_empty(); MAX_RANK];
    for axis in axes {
        reduced[self::axis(*axis, rank)?] = true;
    }
    Ok(reduced)
}

fn mean(x: &[f32], shape: &[usize], reduced: &[bool], out: &mut [f32]) {
    // The result's stride of each axis: 0 where the mean is taken.
    let mut strides = [0; MAX_RANK];
    let (mut stride, mut count) = (1, 1usize);
    for axis in (0..shape.len()).rev() {
        if reduced[axis] {
            count *= shape[axis];
        } else {
            strides[axis] = stride;
            stride *= shape[axis];
        }
    }
    out.fill(0.0);
    let mut index = [0; MAX_RANK];
    for value in x {
        out[index.iter().zip(&strides).map(|(at, stride)| at * stride).sum::<usize>()] += value;
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out.iter_mut().for_each(|sum| *sum /= count.max(1) as f32);
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::{Attribute, DataType},
        testing::{Builder, assert_close, exact, floats, fused, run},
    };

    const F: DataType = DataType::F32;

    #[test]
    fn reduce_mean_over_any_axes() {
        let graph = Builder::default()
            .input("x", F, &[2, 3, 4])
            .node_of(
                "ReduceMean",
                &["x"],
                &[("y", F)],
                &[("axes", Attribute::Ints(vec![0, 2])), ("keepdims", Attribute::Int(0))],
            )
            .build(&["y"]);
        let x: Vec<f32> = (0..24).map(|v| v as f32).collect();
        let made = run(&fused(&graph, &exact()), &graph, &[floats(&[2, 3, 4], &x)], 256).expect("a run");
        assert_eq!(made[0].shape, [3]);
        assert_close(&made[0].floats(), &[7.5, 11.5, 15.5]);
    }
}
