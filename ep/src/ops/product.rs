//! Products of two matrices that are known only when the plan runs; of one that is constant, [`super::linear`].

use std::ops::Range;

use undertone_kernels::{
    Context,
    host::{matmul, movement::broadcast_shape},
};

use super::{
    Inferred, Linear, Op, Operator, Role, TOO_MANY_AXES,
    run::{Computed, Operands, Run},
};
use crate::{
    lower::{Lowered, Lowering},
    plan::{
        PlanError,
        prepare::{Kernel, Preparing},
        tensor::{Shape, shape_of},
    },
};

/// `a, b`, both known only at run time: their product, axes before the last two broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMul;

/// `MatMul`: with a constant matrix it is a linear layer.
pub fn matmul(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.floats()?;
    if [0, 1].into_iter().any(|index| node.rank(index).is_some_and(|rank| rank < 2)) {
        return Err("MatMul with a vector".into());
    }
    let linear = if node.constant_shape(0).is_none() { Linear::lower(node, false) } else { None };
    Ok(linear.map_or(Op::MatMul(MatMul), Op::Linear))
}

impl Operator for MatMul {
    fn kind(&self) -> &'static str {
        "matmul"
    }

    fn role(&self) -> Role {
        Role::Product
    }

    fn data(&self) -> Range<usize> {
        0..usize::MAX
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        let (a, b) = (operands.shape(0)?, operands.shape(1)?);
        let undefined = || format!("{a:?} times {b:?}");
        let ([a_batch @ .., m, k], [b_batch @ .., k2, n]) = (&a[..], &b[..]) else { return Err(undefined()) };
        if k != k2 {
            return Err(undefined());
        }
        let batch = broadcast_shape(&[a_batch, b_batch]).ok_or_else(undefined)?;
        shape_of(batch.iter().copied().chain([*m, *n])).ok_or_else(|| TOO_MANY_AXES.into())
    }

    fn flops(&self, operands: &dyn Fn(usize) -> Option<Shape>, result: Option<Shape>) -> Option<f64> {
        Some(2.0 * result?.elements() as f64 * *operands(0)?.last()? as f64)
    }

    fn prepare(&self, preparing: &Preparing<'_>) -> Result<Option<Kernel>, PlanError> {
        Ok(Some(preparing.host()))
    }

    fn run(&self, run: &mut Run<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let isa = run.fp32_isa()?;
        let (a_shape, b_shape, shape) = (operands.shape(0)?, operands.shape(1)?, run.shape);
        let (a, b): (&[f32], &[f32]) = (operands.data(0)?, operands.data(1)?);
        let ([a_batch @ .., m, k], [b_batch @ .., _, n]) = (&a_shape[..], &b_shape[..]) else {
            return Err(format!("{a_shape:?} times {b_shape:?}").into());
        };
        let out = run.elements()?;
        let dims = &shape[..shape.len() - 2];
        let batch: usize = dims.iter().product();
        let (a_count, b_count): (usize, usize) = (a_batch.iter().product(), b_batch.iter().product());
        if a_count == batch && b_count == batch {
            matmul::matmul(isa, context, batch, *m, *k, *n, a, b, out);
        } else if b_count == 1 && a_count == batch {
            matmul::matmul(isa, context, 1, batch * m, *k, *n, a, b, out);
        } else {
            let (a_size, b_size) = (m * k, k * n);
            for (at, out) in out.chunks_exact_mut((m * n).max(1)).enumerate() {
                let a = &a[broadcast_index(at, dims, a_batch) * a_size..][..a_size];
                let b = &b[broadcast_index(at, dims, b_batch) * b_size..][..b_size];
                matmul::matmul(isa, context, 1, *m, *k, *n, a, b, out);
            }
        }
        Ok(())
    }
}

/// The place, in a tensor of dimensions `from`, of what is broadcast to the entry `at` of dimensions `to`.
fn broadcast_index(mut at: usize, to: &[usize], from: &[usize]) -> usize {
    let (mut index, mut stride) = (0, 1);
    for axis in (0..to.len()).rev() {
        let entry = at % to[axis];
        at /= to[axis];
        if let Some(dim) = (axis + from.len()).checked_sub(to.len()).map(|axis| from[axis]) {
            index += if dim == 1 { 0 } else { entry * stride };
            stride *= dim;
        }
    }
    index
}
