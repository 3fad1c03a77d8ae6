//! Work on shapes, masks and layouts, of any element type, one element after another.

use bytemuck::Pod;
use smallvec::SmallVec;
use undertone_kernels::host::{elementwise, movement};

use super::{
    super::{
        infer::{self, Slicing, operand},
        layout::PlanStep,
        machine::{Machine, Target},
        tensor::{MAX_RANK, Shape},
    },
    Computed,
};
use crate::{
    graph::{DataType, ValueId},
    program::Op,
};

/// Carries out a step whatever its element type.
///
/// # Errors
/// If operands do not fit, or the operation is another file's.
pub fn run(machine: &Machine<'_, '_>, step: &PlanStep, shape: &Shape, target: &mut Target<'_>) -> Computed<()> {
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
            let mut repeats = [0; MAX_RANK];
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
