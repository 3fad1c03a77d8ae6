//! Carries out one step: shape, memory, and then the kernel or the host's plain functions.

use bytemuck::Pod;
use smallvec::SmallVec;
use undertone_kernels::{
    AttentionArgs, Context, Heads, HeadsMut, Linear, Mask,
    host::{elementwise, elementwise::Binary, matmul, movement, norm},
};

use super::{
    infer::{self, Slicing, operand},
    layout::{PlanStep, is_view},
    machine::{Machine, Target},
    prepare::Kernel,
    tensor::{Place, Shape},
};
use crate::{
    graph::{DataType, ValueId},
    program::{HeadLayout, Op},
};

type Computed<T> = Result<T, String>;

/// Most elements of an integer tensor that is computed when only shapes are wanted.
const SHAPE_ELEMENTS: usize = 4096;

/// Carries out `step`.
///
/// # Errors
/// What the operands lack, in words.
pub fn step<'io>(
    machine: &mut Machine<'_, 'io>,
    step: &PlanStep,
    kernel: Option<&Kernel>,
    context: &mut Context<'_>,
) -> Computed<()> {
    let shape = match kernel {
        Some(Kernel::Linear { inputs, outputs, .. }) => linear_shape(machine, step, *inputs, *outputs),
        Some(Kernel::Conv1d { shape, .. }) => conv_shape(machine, step, *shape).map(|(_, out)| out),
        _ => infer::shape(machine, step),
    }?;
    if step.inputs.first().is_some_and(|source| is_viewed(machine, step, *source)) {
        machine.view(step.output, operand(step, 0)?, shape);
        return Ok(());
    }
    let mut target = machine.begin(step.output, shape)?;
    let written = compute(machine, step, kernel, context, &shape, &mut target);
    machine.finish(target);
    written
}

/// As [`step`], when only shapes and the integers that shapes are made of are wanted. `shape` is the result's, where the
/// operation alone does not tell.
pub fn step_for_shapes(
    machine: &mut Machine<'_, '_>,
    step: &PlanStep,
    shape: Option<Shape>,
    context: &mut Context<'_>,
) -> Computed<()> {
    let shape = shape.map_or_else(|| infer::shape(machine, step), Ok)?;
    let small = machine.tensor(step.output).dtype != DataType::F32 && shape.elements() <= SHAPE_ELEMENTS;
    let reads_data = !matches!(step.op, Op::Shape { .. });
    let known = |value: &ValueId| machine.tensor(*value).place != Place::Unknown;
    if step.inputs.first().is_some_and(|source| is_viewed(machine, step, *source)) {
        machine.view(step.output, operand(step, 0)?, shape);
        return Ok(());
    }
    if !small || (reads_data && !step.inputs.iter().flatten().all(known)) {
        machine.note(step.output, shape);
        return Ok(());
    }
    let Ok(mut target) = machine.begin(step.output, shape) else {
        machine.note(step.output, shape);
        return Ok(());
    };
    let written = compute(machine, step, None, context, &shape, &mut target);
    machine.finish(target);
    written
}

fn is_viewed(machine: &Machine<'_, '_>, step: &PlanStep, source: Option<ValueId>) -> bool {
    source.is_some_and(|source| {
        let (from, to) = (machine.tensor(source).dtype, machine.tensor(step.output).dtype);
        is_view(&step.op, from, to) && machine.has_no_home(step.output)
    })
}

fn compute(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    kernel: Option<&Kernel>,
    context: &mut Context<'_>,
    shape: &Shape,
    target: &mut Target<'_>,
) -> Computed<()> {
    match (&step.op, kernel) {
        (Op::Linear { .. }, Some(Kernel::Linear { inputs, outputs, kernel })) => {
            let x: &[f32] = machine.data(operand(step, 0)?)?;
            let rows = x.len() / (*inputs).max(1);
            let Some(residual) = step.inputs.get(1).copied().flatten() else {
                let out: &mut [f32] = target.elements(rows * outputs)?;
                kernel.run(context, rows, x, None, out);
                return Ok(());
            };
            if machine.shape(residual) != shape || rows * outputs != shape.elements() {
                return broadcast_residual(machine, step, (*inputs, *outputs, &***kernel), context, shape, target);
            }
            kernel.run(context, rows, x, Some(machine.data(residual)?), target.elements(rows * outputs)?);
            Ok(())
        }
        (Op::Attention { .. }, Some(Kernel::Attention(kernel))) => {
            let (width, args) = attention(machine, step, target)?;
            kernel.for_width(width)?.run(context, args);
            Ok(())
        }
        (Op::Conv1d(_), Some(Kernel::Conv1d { shape: weights, kernel })) => {
            let ([batch, length], _) = conv_shape(machine, step, *weights)?;
            kernel.run(context, batch, length, machine.data(operand(step, 0)?)?, target.elements(shape.elements())?);
            Ok(())
        }
        (op, Some(Kernel::Host(isa))) => floating(machine, step, op, *isa, context, shape, target)
            .unwrap_or_else(|| plain(machine, step, shape, target)),
        _ => plain(machine, step, shape, target),
    }
}

/// fp32 work on the host; `None` if the operands are not fp32.
fn floating(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    op: &Op,
    isa: undertone_kernels::host::Isa,
    context: &mut Context<'_>,
    shape: &Shape,
    target: &mut Target<'_>,
) -> Option<Computed<()>> {
    if machine.tensor(step.output).dtype != DataType::F32 {
        return None;
    }
    let x = |index: usize| -> Computed<&[f32]> { machine.data(operand(step, index)?) };
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
                    return Err(format!("layer norm of rows of {width} with {} gains", gain.len()));
                }
                norm::layer_norm(isa, context, rows, width, x(0)?, gain, bias, *epsilon, out);
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
    isa: undertone_kernels::host::Isa,
    context: &mut Context<'_>,
    shape: &Shape,
    out: &mut [f32],
) -> Computed<()> {
    let (a_id, b_id) = (operand(step, 0)?, operand(step, 1)?);
    let (a_shape, b_shape) = (machine.shape(a_id), machine.shape(b_id));
    let (a, b): (&[f32], &[f32]) = (machine.data(a_id)?, machine.data(b_id)?);
    let ([a_batch @ .., m, k], [b_batch @ .., _, n]) = (&a_shape[..], &b_shape[..]) else {
        return Err(format!("{a_shape:?} times {b_shape:?}"));
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

/// A residual of another shape than the layer's result, which no exported Whisper has: added by itself, with broadcasting.
fn broadcast_residual(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    (inputs, outputs, kernel): (usize, usize, &dyn Linear),
    context: &mut Context<'_>,
    shape: &Shape,
    target: &mut Target<'_>,
) -> Computed<()> {
    let x_id = operand(step, 0)?;
    let x: &[f32] = machine.data(x_id)?;
    let rows = x.len() / inputs.max(1);
    let mut y = vec![0.0; rows * outputs];
    kernel.run(context, rows, x, None, &mut y);
    let y_shape = infer::linear(machine.shape(x_id), inputs, outputs)?;
    let residual = operand(step, 1)?;
    let out = target.elements(shape.elements())?;
    let isa = undertone_kernels::host::Isa::Portable;
    elementwise::binary_f32(
        isa,
        context,
        Binary::Add,
        &y,
        &y_shape,
        machine.data(residual)?,
        machine.shape(residual),
        shape,
        out,
    );
    Ok(())
}

/// A linear layer's result, widened by its residual if that has more rows.
fn linear_shape(machine: &Machine<'_, '_>, step: &PlanStep, inputs: usize, outputs: usize) -> Computed<Shape> {
    let product = infer::linear(machine.shape(operand(step, 0)?), inputs, outputs)?;
    let Some(residual) = step.inputs.get(1).copied().flatten() else { return Ok(product) };
    let residual = machine.shape(residual);
    if *residual == product {
        return Ok(product);
    }
    movement::broadcast_shape(&[&product, residual])
        .ok_or_else(|| format!("a residual of {residual:?} added to {product:?}"))
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

fn conv_shape(machine: &Machine<'_, '_>, step: &PlanStep, weights: [usize; 3]) -> Computed<([usize; 2], Shape)> {
    let Op::Conv1d(conv) = &step.op else { return Err("it is no convolution".into()) };
    infer::convolution(machine.shape(operand(step, 0)?), conv, weights)
}

fn attention<'a>(
    machine: &'a Machine<'_, '_>,
    step: &PlanStep,
    target: &'a mut Target<'_>,
) -> Computed<(usize, AttentionArgs<'a>)> {
    let Op::Attention { q, k, v, out, .. } = &step.op else { return Err("it is no attention".into()) };
    let operand_heads = |index: usize, layout: HeadLayout| -> Computed<(Heads<'a>, [usize; 4])> {
        let value = operand(step, index)?;
        let sizes = infer::heads(machine.shape(value), layout)?;
        let [batch_stride, head_stride, row_stride] = strides(sizes, layout);
        Ok((Heads { data: machine.data(value)?, batch_stride, head_stride, row_stride }, sizes))
    };
    let (q, [batch, heads, queries, width]) = operand_heads(0, *q)?;
    let (k, k_sizes) = operand_heads(1, *k)?;
    let (v, v_sizes) = operand_heads(2, *v)?;
    let keys = k_sizes[2];
    if k_sizes != v_sizes || k_sizes != [batch, heads, keys, width] {
        return Err(format!("queries [{batch}, {heads}, {queries}, {width}], keys {k_sizes:?}, values {v_sizes:?}"));
    }
    let mask = match step.inputs.get(3).copied().flatten() {
        None => Mask::None,
        Some(value) => additive_mask(machine, value, [batch, heads, queries, keys])?,
    };
    let [batch_stride, head_stride, row_stride] = strides([batch, heads, queries, width], *out);
    let out =
        HeadsMut { data: target.elements(batch * heads * queries * width)?, batch_stride, head_stride, row_stride };
    Ok((width, AttentionArgs { batch, heads, queries, keys, q, k, v, mask, out }))
}

/// Strides of batch, head and row.
fn strides([_, heads, length, width]: [usize; 4], layout: HeadLayout) -> [usize; 3] {
    match layout {
        HeadLayout::HeadsFirst => [heads * length * width, length * width, width],
        HeadLayout::LengthFirst => [heads * length * width, width, heads * width],
    }
}

fn additive_mask<'a>(machine: &'a Machine<'_, '_>, value: ValueId, full: [usize; 4]) -> Computed<Mask<'a>> {
    let shape = machine.shape(value);
    let mut dims = [1; 4];
    let leading = 4usize.checked_sub(shape.len()).ok_or_else(|| format!("a mask of {shape:?}"))?;
    dims[leading..].copy_from_slice(shape);
    let fits = dims.iter().zip(&full).all(|(dim, full)| dim == full || *dim == 1);
    // A mask that is the same for all keys changes nothing that a soft-max keeps, but a kernel reads one entry per key.
    if !fits || dims[3] != full[3] {
        return Err(format!("a mask of {shape:?} for scores of {full:?}"));
    }
    let stride = |axis: usize, inner: usize| if dims[axis] == 1 { 0 } else { inner };
    Ok(Mask::Additive {
        data: machine.data(value)?,
        batch_stride: stride(0, dims[1] * dims[2] * dims[3]),
        head_stride: stride(1, dims[2] * dims[3]),
        row_stride: stride(2, dims[3]),
    })
}

/// Work on shapes, masks and layouts, of any element type.
fn plain(machine: &Machine<'_, '_>, step: &PlanStep, shape: &Shape, target: &mut Target<'_>) -> Computed<()> {
    match machine.tensor(step.output).dtype.size() {
        1 => plain_of::<u8>(machine, step, shape, target),
        2 => plain_of::<u16>(machine, step, shape, target),
        4 => plain_of::<u32>(machine, step, shape, target),
        _ => plain_of::<u64>(machine, step, shape, target),
    }
}

fn plain_of<T: Pod>(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    shape: &Shape,
    target: &mut Target<'_>,
) -> Computed<()> {
    let len = shape.elements();
    let first = || operand(step, 0);
    match &step.op {
        Op::Reshape { .. } | Op::Unsqueeze | Op::Squeeze | Op::Identity => {
            target.elements::<T>(len)?.copy_from_slice(machine.data(first()?)?);
        }
        Op::Cast { .. } => cast(machine, first()?, machine.tensor(step.output).dtype, target)?,
        Op::Transpose { perm } => {
            movement::transpose::<T>(machine.data(first()?)?, machine.shape(first()?), perm, target.elements(len)?);
        }
        Op::Concat { axis } => {
            let axis = infer::axis(*axis, shape.len())?;
            let (outer, inner) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
            let mut parts: SmallVec<[(&[T], usize); 8]> = SmallVec::new();
            for value in step.inputs.iter().flatten() {
                parts.push((machine.data(*value)?, machine.shape(*value)[axis]));
            }
            movement::concat(&parts, outer, inner, target.elements(len)?);
        }
        Op::Gather { axis } => {
            let data_shape = machine.shape(first()?);
            let axis = infer::axis(*axis, data_shape.len())?;
            let indices: &[i64] = machine.data(operand(step, 1)?)?;
            movement::gather::<T>(machine.data(first()?)?, data_shape, axis, indices, target.elements(len)?)
                .map_err(|error| error.to_string())?;
        }
        Op::Slice => {
            let Slicing { starts, steps, shape } = Slicing::resolve(machine, step)?;
            let (x, rank) = (machine.shape(first()?), shape.len());
            let out = target.elements::<T>(len)?;
            movement::slice(machine.data(first()?)?, x, &starts[..rank], &steps[..rank], &shape, out);
        }
        Op::Expand => {
            movement::expand::<T>(machine.data(first()?)?, machine.shape(first()?), shape, target.elements(len)?)
        }
        Op::Tile => {
            let x = machine.shape(first()?);
            let mut repeats = [0; super::tensor::MAX_RANK];
            for (repeat, value) in repeats.iter_mut().zip(machine.data::<i64>(operand(step, 1)?)?) {
                *repeat = *value as usize;
            }
            movement::tile::<T>(machine.data(first()?)?, x, &repeats[..x.len()], target.elements(len)?);
        }
        Op::Select => {
            let [condition, a, b] = [first()?, operand(step, 1)?, operand(step, 2)?];
            elementwise::select::<T>(
                machine.data(condition)?,
                machine.shape(condition),
                machine.data(a)?,
                machine.shape(a),
                machine.data(b)?,
                machine.shape(b),
                shape,
                target.elements(len)?,
            );
        }
        Op::ConstantOfShape { value, .. } => {
            let value = bytemuck::try_pod_read_unaligned(value).map_err(|error| error.to_string())?;
            target.elements::<T>(len)?.fill(value);
        }
        _ => return typed(machine, step, shape, target),
    }
    Ok(())
}

/// What depends on the element type.
fn typed(machine: &Machine<'_, '_>, step: &PlanStep, shape: &Shape, target: &mut Target<'_>) -> Computed<()> {
    let len = shape.elements();
    let first = operand(step, 0)?;
    let x = machine.shape(first);
    match &step.op {
        Op::Shape { start, end } => {
            let (from, to) = infer::shape_range(x.len(), *start, *end);
            for (out, dim) in target.elements::<i64>(len)?.iter_mut().zip(&x[from..to]) {
                *out = *dim as i64;
            }
        }
        Op::Range => {
            let (start, delta) = (machine.data::<i64>(first)?[0], machine.data::<i64>(operand(step, 2)?)?[0]);
            for (at, out) in target.elements::<i64>(len)?.iter_mut().enumerate() {
                *out = start + at as i64 * delta;
            }
        }
        Op::Binary(op) => {
            let second = operand(step, 1)?;
            let (a, b) = (machine.data(first)?, machine.data(second)?);
            elementwise::binary_i64(*op, a, x, b, machine.shape(second), shape, target.elements(len)?);
        }
        Op::Compare(op) => {
            let second = operand(step, 1)?;
            let (y, out) = (machine.shape(second), target.elements(len)?);
            match machine.tensor(first).dtype {
                DataType::I64 => {
                    elementwise::compare::<i64>(*op, machine.data(first)?, x, machine.data(second)?, y, shape, out)
                }
                _ => elementwise::compare::<f32>(*op, machine.data(first)?, x, machine.data(second)?, y, shape, out),
            }
        }
        Op::Logic(op) => {
            let second = operand(step, 1)?;
            let (a, b) = (machine.data(first)?, machine.data(second)?);
            elementwise::logic(*op, a, x, b, machine.shape(second), shape, target.elements(len)?);
        }
        Op::Not => elementwise::not(machine.data(first)?, target.elements(len)?),
        Op::IsNaN => elementwise::is_nan(machine.data(first)?, target.elements(len)?),
        Op::ReduceMean { axes, .. } => {
            let reduced = infer::reduced_axes(machine, step, axes.as_deref(), x.len())?;
            reduce_mean(machine.data(first)?, x, &reduced, target.elements(len)?);
        }
        Op::Dequantize => {
            let scale = machine.data::<f32>(operand(step, 1)?)?[0];
            let stored: &[u8] = machine.data(first)?;
            let signed = machine.tensor(first).dtype == DataType::I8;
            let real = |byte: u8| if signed { f32::from(byte as i8) } else { f32::from(byte) };
            let zero = match step.inputs.get(2).copied().flatten() {
                Some(zero) => real(machine.data::<u8>(zero)?[0]),
                None => 0.0,
            };
            for (out, byte) in target.elements::<f32>(len)?.iter_mut().zip(stored) {
                *out = (real(*byte) - zero) * scale;
            }
        }
        _ => return Err("it has no kernel".into()),
    }
    Ok(())
}

fn reduce_mean(x: &[f32], shape: &[usize], reduced: &[bool], out: &mut [f32]) {
    // The result's stride of each axis: 0 where the mean is taken.
    let mut strides = [0; super::tensor::MAX_RANK];
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
    let mut index = [0; super::tensor::MAX_RANK];
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

fn cast(machine: &Machine<'_, '_>, source: ValueId, to: DataType, target: &mut Target<'_>) -> Computed<()> {
    // Through f64 every value of these types survives except int64 beyond 2^53, which no shape or token reaches.
    match machine.tensor(source).dtype {
        DataType::F32 => cast_from(machine.data::<f32>(source)?, f64::from, to, target),
        DataType::I64 => cast_from(machine.data::<i64>(source)?, |value| value as f64, to, target),
        DataType::I32 => cast_from(machine.data::<i32>(source)?, f64::from, to, target),
        _ => cast_from(machine.data::<u8>(source)?, f64::from, to, target),
    }
}

fn cast_from<S: Pod>(x: &[S], real: impl Fn(S) -> f64, to: DataType, target: &mut Target<'_>) -> Computed<()> {
    fn write<S: Pod, D: Pod>(x: &[S], target: &mut Target<'_>, cast: impl Fn(S) -> D) -> Computed<()> {
        target.elements::<D>(x.len())?.iter_mut().zip(x).for_each(|(out, value)| *out = cast(*value));
        Ok(())
    }
    match to {
        DataType::F32 => write(x, target, |value| real(value) as f32),
        DataType::I64 => write(x, target, |value| real(value) as i64),
        DataType::I32 => write(x, target, |value| real(value) as i32),
        _ => write(x, target, |value| u8::from(real(value) != 0.0)),
    }
}
