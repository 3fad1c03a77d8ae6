//! Products of two matrices that are known only when the plan runs; of one that is constant, [`super::linear`].

use std::ops::Range;

use undertone_kernels::{
    Context, Scratch,
    host::movement::{self, broadcast_shape},
};

use super::{
    Computed, Entry, Inferred, Linear, Lowered, Lowering, Op, Operands, Operator, Role, StepRun, left, microsoft, onnx,
    operator::TOO_MANY_AXES,
};
use crate::memory::{MAX_RANK, Shape, shape_of};

pub const OPERATORS: &[Entry] = &[
    onnx("MatMul", Role::Product, matmul),
    microsoft("FusedMatMul", Role::Product, fused_matmul),
    left("Einsum", Role::Product),
];

/// `a, b`, both known only at run time: their product, axes before the last two broadcast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatMul {
    /// A factor of the product.
    pub alpha: f32,
    /// Whether the last two axes of each operand change places first.
    pub transposed: [bool; 2],
}

/// `MatMul`: with a constant matrix it is a linear layer.
pub fn matmul(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    lower(node, MatMul::PLAIN)
}

/// `FusedMatMul` of com.microsoft.
pub fn fused_matmul(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    let of = node.node;
    if of.int("transBatchA", 0) != 0 || of.int("transBatchB", 0) != 0 {
        return Err("FusedMatMul with transBatchA or transBatchB".into());
    }
    let transposed = [of.int("transA", 0) != 0, of.int("transB", 0) != 0];
    lower(node, MatMul { alpha: of.float("alpha", 1.0), transposed })
}

fn lower(node: &mut Lowering<'_, '_>, op: MatMul) -> Lowered<Op> {
    node.floats()?;
    if [0, 1].into_iter().any(|index| node.rank(index).is_some_and(|rank| rank < 2)) {
        return Err(format!("{} with a vector", node.node.op_type));
    }
    let [a, b] = op.transposed;
    let linear = if node.constant_shape(0).is_none() && !a { Linear::lower(node, b) } else { None };
    Ok(linear.map_or(Op::MatMul(op), |linear| Op::Linear(Linear { scale: op.alpha, ..linear })))
}

impl MatMul {
    /// ONNX's `MatMul`.
    pub const PLAIN: Self = Self { alpha: 1.0, transposed: [false; 2] };

    /// The shapes of the operands as they are multiplied.
    fn shapes(&self, operands: Operands<'_, '_, '_>) -> Inferred<[Shape; 2]> {
        let of = |index: usize| -> Inferred<Shape> {
            let mut shape = *operands.shape(index)?;
            if self.transposed[index] {
                let (rank, from) = (shape.len(), shape);
                let dims = (0..rank).map(|axis| from[swapped(axis, rank)]);
                shape = shape_of(dims).ok_or(TOO_MANY_AXES)?;
            }
            Ok(shape)
        };
        Ok([of(0)?, of(1)?])
    }

    /// An operand as it is multiplied, and the working memory that is left.
    fn operand<'r>(
        &self,
        operands: Operands<'r, '_, '_>,
        index: usize,
        scratch: &'r mut Scratch,
    ) -> Inferred<(&'r [f32], &'r mut Scratch)> {
        let (x, shape): (&[f32], _) = (operands.data(index)?, operands.shape(index)?);
        if !self.transposed[index] {
            return Ok((x, scratch));
        }
        let mut perm = [0; MAX_RANK];
        perm.iter_mut().enumerate().for_each(|(axis, from)| *from = swapped(axis, shape.len()));
        let (transposed, rest) = scratch.floats_and_rest(x.len());
        movement::transpose(x, shape, &perm[..shape.len()], transposed);
        Ok((transposed, rest))
    }
}

/// The axis that comes to the place of `axis` when the last two of `rank` change places.
fn swapped(axis: usize, rank: usize) -> usize {
    if axis + 2 >= rank && rank >= 2 { 2 * rank - 3 - axis } else { axis }
}

impl Operator for MatMul {
    fn class(&self) -> (&'static str, Role) {
        ("matmul", Role::Product)
    }

    fn data(&self) -> Range<usize> {
        0..usize::MAX
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        let [a, b] = self.shapes(operands)?;
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

    fn run(&self, run: &mut StepRun<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let host = run.fp32()?;
        let ([a_shape, b_shape], shape) = (self.shapes(operands)?, run.shape);
        let Context { pool, counters, ref mut scratch } = *context;
        let (a, rest) = self.operand(operands, 0, scratch)?;
        let (b, scratch) = self.operand(operands, 1, rest)?;
        let context = &mut Context { pool, counters, scratch };
        let ([a_batch @ .., m, k], [b_batch @ .., _, n]) = (&a_shape[..], &b_shape[..]) else {
            return Err(format!("{a_shape:?} times {b_shape:?}").into());
        };
        let out = run.elements()?;
        let dims = &shape[..shape.len() - 2];
        let batch: usize = dims.iter().product();
        let (a_count, b_count): (usize, usize) = (a_batch.iter().product(), b_batch.iter().product());
        if a_count == batch && b_count == batch {
            host.matmul(context, batch, [*m, *k, *n], a, b, out);
        } else if b_count == 1 && a_count == batch {
            host.matmul(context, 1, [batch * m, *k, *n], a, b, out);
        } else {
            let (a_size, b_size) = (m * k, k * n);
            for (at, out) in out.chunks_exact_mut((m * n).max(1)).enumerate() {
                let a = &a[broadcast_index(at, dims, a_batch) * a_size..][..a_size];
                let b = &b[broadcast_index(at, dims, b_batch) * b_size..][..b_size];
                host.matmul(context, 1, [*m, *k, *n], a, b, out);
            }
        }
        if self.alpha != 1.0 {
            out.iter_mut().for_each(|value| *value *= self.alpha);
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

#[cfg(test)]
mod tests {
    use crate::{
        graph::{Attribute, DataType, Graph},
        lower,
        testing::{Builder, alone, assert_close, floats, noise, refusal},
    };

    const F: DataType = DataType::F32;

    /// `a · bᵀ / 4`, written in one operator or in three.
    fn graph(b: Builder, fused: bool) -> Graph<'static> {
        let graph = b.input("a", F, &[2, 3, 4]).shape("b", &[5, 4]).constant("quarter", &[], &[0.25]);
        if fused {
            let attributes = [("alpha", Attribute::Float(0.25)), ("transB", Attribute::Int(1))];
            return graph.node_of("FusedMatMul", &["a", "b"], &[("y", F)], &attributes).of_microsoft().build(&["y"]);
        }
        let perm = [("perm", Attribute::Ints(vec![1, 0]))];
        let graph = graph.node_of("Transpose", &["b"], &[("t", F)], &perm);
        graph.node("MatMul", &["a", "t"], "product").node("Mul", &["product", "quarter"], "y").build(&["y"])
    }

    #[test]
    fn a_fused_product_transposes_and_scales() {
        let (a, b) = (noise(24, 1), noise(20, 2));
        let of = |fused| {
            let graph = graph(Builder::default().input("b", F, &[5, 4]), fused);
            alone(&graph, &[floats(&[5, 4], &b), floats(&[2, 3, 4], &a)])
        };
        let (got, want) = (of(true), of(false));
        assert_eq!(got.shape, want.shape);
        assert_close(&got.floats(), &want.floats());
        // With a constant matrix it is a linear layer, which fusion and an NPU know.
        let constant = graph(Builder::default().constant("b", &[5, 4], &b), true);
        assert_eq!(lower::lower(&constant).steps[0].op.kind(), "linear");
        assert_close(&alone(&constant, &[floats(&[2, 3, 4], &a)]).floats(), &want.floats());
    }

    #[test]
    fn axes_of_the_batch_stay_where_they_are() {
        let graph = Builder::default().input("a", F, &[2, 3, 4]).input("b", F, &[3, 4, 2]);
        let attributes = [("transBatchA", Attribute::Int(1))];
        let graph = graph.node_of("FusedMatMul", &["a", "b"], &[("y", F)], &attributes).of_microsoft().build(&["y"]);
        assert!(refusal(&graph).contains("transBatchA"));
    }
}
