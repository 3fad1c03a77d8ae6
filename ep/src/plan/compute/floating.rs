//! fp32 work on the host that has no weights: norms, soft-max, products of two run-time operands, element-wise functions.

use undertone_kernels::{
    Context, Norm,
    host::{Isa, elementwise, matmul, norm},
};

use super::{
    super::{
        infer::operand,
        layout::PlanStep,
        machine::{Machine, Target},
        tensor::Shape,
    },
    Computed,
};
use crate::{graph::DataType, program::Op};

/// fp32 work on the host; `None` if the operands are not fp32.
pub fn run(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    op: &Op,
    isa: Isa,
    context: &mut Context<'_>,
    shape: &Shape,
    target: &mut Target<'_>,
) -> Option<Computed<()>> {
    if machine.tensor(step.output).dtype != DataType::F32 {
        return None;
    }
    let x = |index: usize| -> Computed<&[f32]> { Ok(machine.data(operand(step, index)?)?) };
    let mut run = || -> Computed<()> {
        let out: &mut [f32] = target.elements(shape.elements())?;
        let width = shape.last().copied().unwrap_or(1);
        let rows = shape.elements().checked_div(width).unwrap_or(0);
        match op {
            Op::MatMul => return product(machine, step, isa, context, shape, out),
            Op::LayerNorm { epsilon } => {
                let (gain, bias) = (x(1)?, step.inputs.get(2).copied().flatten().map(|bias| machine.data(bias)));
                let bias: Option<&[f32]> = bias.transpose()?;
                if gain.len() != width || bias.is_some_and(|bias| bias.len() != width) {
                    return Err(format!("layer norm of rows of {width} with {} gains", gain.len()).into());
                }
                let norm = Norm { gain, bias, epsilon: *epsilon };
                norm::layer_norm(isa, context, rows, &norm, x(0)?, out);
            }
            Op::Softmax => norm::softmax(isa, context, rows, width, x(0)?, out),
            Op::Unary(op) => elementwise::unary(isa, context, *op, x(0)?, out),
            Op::Binary(op) => {
                let (a, b) = (machine.shape(operand(step, 0)?), machine.shape(operand(step, 1)?));
                elementwise::binary_f32(isa, context, *op, x(0)?, a, x(1)?, b, shape, out);
            }
            _ => return Err("it has no kernel".into()),
        }
        Ok(())
    };
    Some(run())
}

/// A batched product, batch dimensions broadcast.
fn product(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    isa: Isa,
    context: &mut Context<'_>,
    shape: &Shape,
    out: &mut [f32],
) -> Computed<()> {
    let (a_id, b_id) = (operand(step, 0)?, operand(step, 1)?);
    let (a_shape, b_shape) = (machine.shape(a_id), machine.shape(b_id));
    let (a, b): (&[f32], &[f32]) = (machine.data(a_id)?, machine.data(b_id)?);
    let ([a_batch @ .., m, k], [b_batch @ .., _, n]) = (&a_shape[..], &b_shape[..]) else {
        return Err(format!("{a_shape:?} times {b_shape:?}").into());
    };
    let batch: usize = shape[..shape.len() - 2].iter().product();
    let (a_count, b_count): (usize, usize) = (a_batch.iter().product(), b_batch.iter().product());
    if a_count == batch && b_count == batch {
        matmul::matmul(isa, context, batch, *m, *k, *n, a, b, out);
    } else if b_count == 1 && a_count == batch {
        matmul::matmul(isa, context, 1, batch * m, *k, *n, a, b, out);
    } else {
        let dims = &shape[..shape.len() - 2];
        let (a_size, b_size) = (m * k, k * n);
        for (at, out) in out.chunks_exact_mut((m * n).max(1)).enumerate() {
            let a = &a[broadcast_index(at, dims, a_batch) * a_size..][..a_size];
            let b = &b[broadcast_index(at, dims, b_batch) * b_size..][..b_size];
            matmul::matmul(isa, context, 1, *m, *k, *n, a, b, out);
        }
    }
    Ok(())
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
