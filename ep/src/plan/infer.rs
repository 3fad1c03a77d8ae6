//! The shape of each step's result, from the shapes of its operands and the values of those that hold shapes.

use undertone_kernels::host::movement::broadcast_shape;

use super::{
    layout::PlanStep,
    machine::Machine,
    tensor::{MAX_RANK, Shape, shape_of},
};
use crate::{
    graph::ValueId,
    program::{Conv, HeadLayout, Op},
};

type Inferred<T> = Result<T, String>;

const TOO_MANY: &str = "the result has too many axes";

/// The shape of `step`'s result.
///
/// # Errors
/// What the operands lack for the operation to be defined.
pub fn shape(machine: &Machine<'_, '_>, step: &PlanStep) -> Inferred<Shape> {
    let at = |index: usize| -> Inferred<&Shape> { operand(step, index).map(|value| machine.shape(value)) };
    let known = |shape: Option<Shape>| shape.ok_or_else(|| TOO_MANY.to_owned());
    match &step.op {
        Op::Linear { .. } => Err("a linear layer's width comes from its kernel".into()),
        Op::MatMul => matmul(at(0)?, at(1)?),
        Op::Attention { out, .. } => {
            let Scores { batch, heads, queries, width, .. } = scores(machine, step)?;
            known(Shape::new(&match out {
                HeadLayout::HeadsFirst => [batch, heads, queries, width],
                HeadLayout::LengthFirst => [batch, queries, heads, width],
            }))
        }
        Op::Conv1d(_) => Err("a convolution's width comes from its kernel".into()),
        Op::LayerNorm { .. }
        | Op::Softmax
        | Op::Unary(_)
        | Op::Not
        | Op::IsNaN
        | Op::Identity
        | Op::Cast { .. }
        | Op::Dequantize => Ok(*at(0)?),
        Op::Binary(_) | Op::Compare(_) | Op::Logic(_) => broadcast(&[at(0)?, at(1)?]),
        Op::Select => broadcast(&[at(0)?, at(1)?, at(2)?]),
        Op::Reshape { allow_zero } => reshape(at(0)?, machine.data(operand(step, 1)?)?, *allow_zero),
        Op::Unsqueeze => unsqueeze(at(0)?, machine.data(operand(step, 1)?)?),
        Op::Squeeze => {
            let axes: &[i64] = operand(step, 1).map_or(Ok(&[][..]), |axes| machine.data(axes))?;
            squeeze(at(0)?, axes)
        }
        Op::Transpose { perm } => {
            let shape = at(0)?;
            if perm.len() != shape.len() || perm.iter().any(|axis| *axis >= shape.len()) {
                return Err(format!("{shape:?} cannot be permuted by {perm:?}"));
            }
            known(shape_of(perm.iter().map(|axis| shape[*axis])))
        }
        Op::Concat { axis } => concat(machine, step, *axis),
        Op::Gather { axis } => {
            let (data, indices) = (at(0)?, at(1)?);
            let axis = self::axis(*axis, data.len())?;
            known(shape_of(data[..axis].iter().chain(indices.iter()).chain(&data[axis + 1..]).copied()))
        }
        Op::Slice => Slicing::resolve(machine, step).map(|slicing| slicing.shape),
        Op::Expand => {
            let target = self::sizes(machine.data(operand(step, 1)?)?)?;
            broadcast(&[at(0)?, &target])
        }
        Op::Tile => {
            let (shape, repeats) = (at(0)?, self::sizes(machine.data(operand(step, 1)?)?)?);
            if repeats.len() != shape.len() {
                return Err(format!("{shape:?} cannot be repeated {repeats:?} times"));
            }
            known(shape_of(shape.iter().zip(repeats.iter()).map(|(dim, times)| dim * times)))
        }
        Op::Shape { start, end } => {
            let (from, to) = shape_range(at(0)?.len(), *start, *end);
            known(Shape::new(&[to - from]))
        }
        Op::Range => {
            let scalar = |index| -> Inferred<i64> {
                machine.data::<i64>(operand(step, index)?)?.first().copied().ok_or_else(|| "an empty bound".into())
            };
            let (start, limit, delta) = (scalar(0)?, scalar(1)?, scalar(2)?);
            known(Shape::new(&[range_length(start, limit, delta)?]))
        }
        Op::ConstantOfShape { .. } => self::sizes(machine.data(operand(step, 0)?)?),
        Op::ReduceMean { axes, keep_dims } => {
            let shape = at(0)?;
            let reduced = reduced_axes(machine, step, axes.as_deref(), shape.len())?;
            known(shape_of(
                shape
                    .iter()
                    .enumerate()
                    .filter(|(axis, _)| *keep_dims || !reduced[*axis])
                    .map(|(axis, dim)| if reduced[axis] { 1 } else { *dim }),
            ))
        }
        Op::QuantisedPart(_) | Op::Unsupported(_) => Err("the operation is not one that the EP carries out".into()),
    }
}

/// A linear layer's result.
pub fn linear(x: &Shape, inputs: usize, outputs: usize) -> Inferred<Shape> {
    match x.split_last() {
        Some((last, leading)) if *last == inputs => {
            shape_of(leading.iter().copied().chain([outputs])).ok_or_else(|| TOO_MANY.into())
        }
        _ => Err(format!("{x:?} times a matrix of {inputs} rows")),
    }
}

/// A convolution's batch and length, and its result.
pub fn convolution(x: &Shape, conv: &Conv, weights: [usize; 3]) -> Inferred<([usize; 2], Shape)> {
    let [out_channels, in_channels, width] = weights;
    let [batch, a, b] = x[..] else { return Err(format!("a convolution of {x:?}")) };
    let (channels, length) = if conv.input_channels_last { (b, a) } else { (a, b) };
    let padded = length + conv.padding[0] + conv.padding[1];
    if channels != in_channels || padded < width {
        return Err(format!("{x:?} convolved by kernels of {in_channels} channels and width {width}"));
    }
    let out_length = (padded - width) / conv.stride + 1;
    let out =
        if conv.output_channels_last { [batch, out_length, out_channels] } else { [batch, out_channels, out_length] };
    Ok(([batch, length], Shape::new(&out).ok_or(TOO_MANY)?))
}

/// Batch, heads, length and width of an operand of attention.
pub fn heads(shape: &Shape, layout: HeadLayout) -> Inferred<[usize; 4]> {
    match (&shape[..], layout) {
        ([batch, heads, length, width], HeadLayout::HeadsFirst)
        | ([batch, length, heads, width], HeadLayout::LengthFirst) => Ok([*batch, *heads, *length, *width]),
        _ => Err(format!("{shape:?} is no operand of attention")),
    }
}

/// Sizes of an attention's scores, and the width of its heads.
#[derive(Clone, Copy, Debug)]
pub struct Scores {
    /// Batch items.
    pub batch: usize,
    /// Heads of each.
    pub heads: usize,
    /// Queries of a head.
    pub queries: usize,
    /// Keys of a head.
    pub keys: usize,
    /// Values of a query, a key and a value.
    pub width: usize,
}

/// The sizes of an attention step. Queries, keys, values and a mask that are there once are the same for every batch item or head.
pub fn scores(machine: &Machine<'_, '_>, step: &PlanStep) -> Inferred<Scores> {
    let Op::Attention { q, k, v, .. } = &step.op else { return Err("it is no attention".into()) };
    let of = |index: usize, layout: HeadLayout| heads(machine.shape(operand(step, index)?), layout);
    let (q, k, v) = (of(0, *q)?, of(1, *k)?, of(2, *v)?);
    let mask = step.inputs.get(3).copied().flatten().map(|value| mask(machine.shape(value))).transpose()?;
    let [_, _, queries, width] = q;
    let [_, _, keys, _] = k;
    let outer = mask.map_or([1, 1], |mask| [mask[0], mask[1]]);
    let each = broadcast_shape(&[&q[..2], &k[..2], &v[..2], &outer]);
    match each.as_deref() {
        Some(&[batch, heads]) if k[3] == width && v[2..] == [keys, width] => {
            if let Some(mask) = mask.filter(|mask| ![1, queries].contains(&mask[2]) || ![1, keys].contains(&mask[3])) {
                return Err(format!("a mask of {mask:?} for scores of {:?}", [batch, heads, queries, keys]));
            }
            Ok(Scores { batch, heads, queries, keys, width })
        }
        _ => Err(format!("queries {q:?}, keys {k:?}, values {v:?}, mask {mask:?}")),
    }
}

/// The four axes of a mask.
pub fn mask(shape: &Shape) -> Inferred<[usize; 4]> {
    let mut dims = [1; 4];
    let leading = 4usize.checked_sub(shape.len()).ok_or_else(|| format!("a mask of {shape:?}"))?;
    dims[leading..].copy_from_slice(shape);
    Ok(dims)
}

/// Operand `index` of a step.
pub fn operand(step: &PlanStep, index: usize) -> Inferred<ValueId> {
    step.inputs.get(index).copied().flatten().ok_or_else(|| format!("operand {index} is missing"))
}

/// An axis counted from the front.
pub fn axis(axis: i64, rank: usize) -> Inferred<usize> {
    let from_front = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(from_front).ok().filter(|axis| *axis < rank).ok_or_else(|| format!("axis {axis} of {rank} axes"))
}

/// The axes that `Shape` takes, as a range.
pub fn shape_range(rank: usize, start: i64, end: Option<i64>) -> (usize, usize) {
    let clamp = |at: i64| (if at < 0 { at + rank as i64 } else { at }).clamp(0, rank as i64) as usize;
    let (from, to) = (clamp(start), end.map_or(rank, clamp));
    (from, to.max(from))
}

/// Batch dimensions and sizes of a product.
pub fn matmul(a: &Shape, b: &Shape) -> Inferred<Shape> {
    let undefined = || format!("{a:?} times {b:?}");
    let ([a_batch @ .., m, k], [b_batch @ .., k2, n]) = (&a[..], &b[..]) else { return Err(undefined()) };
    if k != k2 {
        return Err(undefined());
    }
    let batch = broadcast_shape(&[a_batch, b_batch]).ok_or_else(undefined)?;
    shape_of(batch.iter().copied().chain([*m, *n])).ok_or_else(|| TOO_MANY.into())
}

/// Which axes `ReduceMean` takes the mean over.
pub fn reduced_axes(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    attribute: Option<&[i64]>,
    rank: usize,
) -> Inferred<[bool; MAX_RANK]> {
    let axes = match (attribute, step.inputs.get(1).copied().flatten()) {
        (Some(axes), _) => axes,
        (None, Some(value)) => machine.data(value)?,
        (None, None) => &[],
    };
    let mut reduced = [axes.is_empty(); MAX_RANK];
    for axis in axes {
        reduced[self::axis(*axis, rank)?] = true;
    }
    Ok(reduced)
}

fn broadcast(shapes: &[&Shape]) -> Inferred<Shape> {
    let mut slices = [&[][..]; 3];
    for (slice, shape) in slices.iter_mut().zip(shapes) {
        *slice = shape;
    }
    broadcast_shape(&slices[..shapes.len()]).ok_or_else(|| format!("{shapes:?} do not broadcast"))
}

fn sizes(values: &[i64]) -> Inferred<Shape> {
    let mut negative = false;
    let shape = shape_of(values.iter().map(|value| {
        negative |= *value < 0;
        *value as usize
    }));
    match shape {
        Some(shape) if !negative => Ok(shape),
        _ => Err(format!("{values:?} is no shape")),
    }
}

fn reshape(from: &Shape, target: &[i64], allow_zero: bool) -> Inferred<Shape> {
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

fn unsqueeze(from: &Shape, axes: &[i64]) -> Inferred<Shape> {
    let rank = from.len() + axes.len();
    let mut added = [false; MAX_RANK];
    if rank > MAX_RANK {
        return Err(TOO_MANY.into());
    }
    for axis in axes {
        added[self::axis(*axis, rank)?] = true;
    }
    let mut rest = from.iter().copied();
    shape_of((0..rank).map_while(|axis| if added[axis] { Some(1) } else { rest.next() })).ok_or_else(|| TOO_MANY.into())
}

fn squeeze(from: &Shape, axes: &[i64]) -> Inferred<Shape> {
    let mut removed = [false; MAX_RANK];
    for axis in axes {
        let axis = self::axis(*axis, from.len())?;
        if from[axis] != 1 {
            return Err(format!("axis {axis} of {from:?} is not 1"));
        }
        removed[axis] = true;
    }
    let gone = |axis: usize| if axes.is_empty() { from[axis] == 1 } else { removed[axis] };
    shape_of((0..from.len()).filter(|axis| !gone(*axis)).map(|axis| from[axis])).ok_or_else(|| TOO_MANY.into())
}

fn concat(machine: &Machine<'_, '_>, step: &PlanStep, axis: i64) -> Inferred<Shape> {
    let first = *machine.shape(operand(step, 0)?);
    let axis = self::axis(axis, first.len())?;
    let mut length = 0;
    for value in step.inputs.iter().flatten() {
        let shape = machine.shape(*value);
        let fits = shape.len() == first.len() && (0..first.len()).all(|at| at == axis || shape[at] == first[at]);
        if !fits {
            return Err(format!("{first:?} and {shape:?} joined along axis {axis}"));
        }
        length += shape[axis];
    }
    shape_of(first.iter().enumerate().map(|(at, dim)| if at == axis { length } else { *dim }))
        .ok_or_else(|| TOO_MANY.into())
}

fn range_length(start: i64, limit: i64, delta: i64) -> Inferred<usize> {
    /// More than any graph asks, and little enough to be allocated: a damaged bound must not exhaust memory.
    const LONGEST: i64 = 1 << 28;
    let length = match delta {
        0 => return Err("a range with steps of 0".into()),
        _ if (delta > 0) != (limit > start) || limit == start => 0,
        _ => (limit.saturating_sub(start).saturating_abs() as u64).div_ceil(delta.unsigned_abs()) as i64,
    };
    if length > LONGEST {
        return Err(format!("a range of {length} entries"));
    }
    Ok(length as usize)
}

/// `Slice` with its bounds resolved.
pub struct Slicing {
    /// First entry of each axis.
    pub starts: [usize; MAX_RANK],
    /// Step along each axis.
    pub steps: [isize; MAX_RANK],
    /// The result's shape.
    pub shape: Shape,
}

impl Slicing {
    /// From the step's operands.
    pub fn resolve(machine: &Machine<'_, '_>, step: &PlanStep) -> Inferred<Self> {
        let x = machine.shape(operand(step, 0)?);
        let (starts, ends): (&[i64], &[i64]) = (machine.data(operand(step, 1)?)?, machine.data(operand(step, 2)?)?);
        let optional = |index: usize| -> Inferred<Option<&[i64]>> {
            step.inputs.get(index).copied().flatten().map(|value| machine.data(value)).transpose()
        };
        let (axes, by) = (optional(3)?, optional(4)?);
        let mut dims = [0; MAX_RANK];
        dims[..x.len()].copy_from_slice(x);
        let mut slicing = Self { starts: [0; MAX_RANK], steps: [1; MAX_RANK], shape: *x };
        for (at, (start, end)) in starts.iter().zip(ends).enumerate() {
            let axis = match axes {
                Some(axes) => *axes.get(at).ok_or("fewer axes than starts")?,
                None => at as i64,
            };
            let axis = self::axis(axis, x.len())?;
            let by = by.map_or(Ok(1), |by| by.get(at).copied().ok_or("fewer steps than starts"))?;
            if by == 0 {
                return Err("a slice with steps of 0".into());
            }
            let length = x[axis] as i64;
            let clamp = |bound: i64, low: i64, high: i64| {
                (if bound < 0 { bound.saturating_add(length) } else { bound }).clamp(low, high)
            };
            let (from, to) = if by > 0 {
                (clamp(*start, 0, length), clamp(*end, 0, length))
            } else {
                (clamp(*start, 0, (length - 1).max(0)), clamp(*end, -1, length - 1))
            };
            let span = if by > 0 { to - from } else { from - to };
            slicing.starts[axis] = from as usize;
            slicing.steps[axis] = by as isize;
            dims[axis] = if span <= 0 { 0 } else { (span as u64).div_ceil(by.unsigned_abs()) as usize };
        }
        slicing.shape = Shape::new(&dims[..x.len()]).ok_or(TOO_MANY)?;
        Ok(slicing)
    }
}
