//! Elements are put in other places, joined, picked and repeated, whatever their type.

use std::ops::Range;

use bytemuck::Pod;
use smallvec::SmallVec;
use undertone_kernels::{Context, host::movement};

use super::{
    Computed, Entry, Inferred, Lowered, Lowering, Op, Operands, Operator, Role, StepRun, left,
    node::name,
    onnx,
    operator::TOO_MANY_AXES,
    run::{AnyElement, axis},
};
use crate::{
    graph::{DataType, Dim},
    memory::{MAX_RANK, Shape, shape_of},
};

pub const OPERATORS: &[Entry] = &[
    onnx("Transpose", Role::Movement, transpose),
    onnx("Concat", Role::Movement, concat),
    onnx("Gather", Role::Movement, gather),
    onnx("GatherND", Role::Movement, gather_nd),
    onnx("Slice", Role::Movement, |node| with_sizes(node, Movement::Slice, 3)),
    onnx("Expand", Role::Movement, |node| with_sizes(node, Movement::Expand, 2)),
    onnx("Tile", Role::Movement, |node| with_sizes(node, Movement::Tile, 2)),
    left("Split", Role::Movement),
    left("Pad", Role::Movement),
];

/// An operation that moves elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Movement {
    /// `x`.
    Transpose { perm: Vec<usize> },
    /// Any number of parts.
    Concat { axis: i64 },
    /// `x, indices`.
    Gather { axis: i64 },
    /// `x, indices` along the first axis, the last axis of which has one entry.
    GatherSlices,
    /// `x, starts, ends` and perhaps `axes, steps`.
    Slice,
    /// `x, shape`.
    Expand,
    /// `x, repeats`.
    Tile,
}

pub fn transpose(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.movable(0)?;
    let perm = match node.node.ints("perm") {
        Some(perm) => {
            let is_permutation = (0..perm.len()).all(|axis| perm.contains(&(axis as i64)));
            let perm = is_permutation.then(|| perm.iter().map(|axis| *axis as usize).collect());
            perm.ok_or_else(|| format!("Transpose by {:?}", node.node.ints("perm").unwrap_or_default()))?
        }
        None => match node.rank(0) {
            Some(rank) => (0..rank).rev().collect(),
            None => return Err("Transpose without perm, of unknown rank".into()),
        },
    };
    Ok(Op::Movement(Movement::Transpose { perm }))
}

pub fn concat(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.movable(0)?;
    Ok(Op::Movement(Movement::Concat { axis: node.node.int("axis", 0) }))
}

pub fn gather(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.movable(0)?;
    match node.dtype(1) {
        Some(DataType::I64 | DataType::I32) => Ok(Op::Movement(Movement::Gather { axis: node.node.int("axis", 0) })),
        other => Err(format!("Gather with indices of {}", name(other))),
    }
}

/// `GatherND` with indices of one entry, as PyTorch's exporter writes the choice of rows.
fn gather_nd(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.movable(0)?;
    let of_one = node.dims(1).is_some_and(|dims| dims.last() == Some(&Dim::Fixed(1)));
    match node.dtype(1) {
        Some(DataType::I64) if of_one && node.node.int("batch_dims", 0) == 0 => {
            Ok(Op::Movement(Movement::GatherSlices))
        }
        _ => Err("GatherND other than along the first axis".into()),
    }
}

/// An operator whose operands after the first are int64: shapes, axes, bounds. It has `least` operands.
pub fn with_sizes(node: &mut Lowering<'_, '_>, op: Movement, least: usize) -> Lowered<Op> {
    node.shaped(least).map(|()| Op::Movement(op))
}

impl Operator for Movement {
    fn class(&self) -> (&'static str, Role) {
        ("movement", Role::Movement)
    }

    fn data(&self) -> Range<usize> {
        match self {
            Movement::Concat { .. } => 0..usize::MAX,
            Movement::Transpose { .. }
            | Movement::Gather { .. }
            | Movement::GatherSlices
            | Movement::Slice
            | Movement::Expand
            | Movement::Tile => 0..1,
        }
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        let x = operands.shape(0)?;
        let known = |shape: Option<Shape>| shape.ok_or_else(|| TOO_MANY_AXES.to_owned());
        match self {
            Movement::Transpose { perm } => {
                if perm.len() != x.len() || perm.iter().any(|axis| *axis >= x.len()) {
                    return Err(format!("{x:?} cannot be permuted by {perm:?}"));
                }
                known(shape_of(perm.iter().map(|axis| x[*axis])))
            }
            Movement::Concat { axis } => joined(operands, *axis),
            Movement::Gather { axis } => {
                let (indices, axis) = (operands.shape(1)?, self::axis(*axis, x.len())?);
                known(shape_of(x[..axis].iter().chain(indices.iter()).chain(&x[axis + 1..]).copied()))
            }
            Movement::GatherSlices => match (&x[..], &operands.shape(1)?[..]) {
                ([_, slice @ ..], [indices @ .., 1]) => known(shape_of(indices.iter().chain(slice).copied())),
                (_, indices) => Err(format!("slices of {x:?} at {indices:?}")),
            },
            Movement::Slice => Slicing::resolve(operands).map(|slicing| slicing.shape),
            Movement::Expand => {
                let target = operands.sizes(1)?;
                movement::broadcast_shape(&[x, &target]).ok_or_else(|| format!("{:?} do not broadcast", [x, &target]))
            }
            Movement::Tile => {
                let repeats = operands.sizes(1)?;
                if repeats.len() != x.len() {
                    return Err(format!("{x:?} cannot be repeated {repeats:?} times"));
                }
                known(shape_of(x.iter().zip(repeats.iter()).map(|(dim, times)| dim.saturating_mul(*times))))
            }
        }
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, _: &mut Context<'_>) -> Computed<()> {
        run.of_any_element(self)
    }
}

impl AnyElement for Movement {
    fn run_of<T: Pod>(&self, run: &mut StepRun<'_, '_, '_>) -> Computed<()> {
        let operands = run.operands;
        let x = || -> Inferred<(&[T], &Shape)> { Ok((operands.data(0)?, operands.shape(0)?)) };
        let shape = run.shape;
        let out: &mut [T] = run.elements()?;
        match self {
            Movement::Transpose { perm } => {
                let (x, from) = x()?;
                movement::transpose(x, from, perm, out);
            }
            Movement::Concat { axis } => {
                let axis = self::axis(*axis, shape.len())?;
                let (outer, inner) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
                let mut parts: SmallVec<[(&[T], usize); 8]> = SmallVec::new();
                for value in operands.values.iter().flatten() {
                    parts.push((operands.from.data(*value)?, operands.from.shape(*value)[axis]));
                }
                movement::concat(&parts, outer, inner, out);
            }
            Movement::Gather { axis } => {
                let (x, from) = x()?;
                let axis = self::axis(*axis, from.len())?;
                let wide: SmallVec<[i64; 64]>;
                let indices = match operands.dtype(1)? {
                    DataType::I32 => {
                        wide = operands.data::<i32>(1)?.iter().map(|index| i64::from(*index)).collect();
                        &wide[..]
                    }
                    _ => operands.data(1)?,
                };
                movement::gather(x, from, axis, indices, out).map_err(|error| error.to_string())?;
            }
            Movement::GatherSlices => {
                let (x, from) = x()?;
                movement::gather(x, from, 0, operands.data(1)?, out).map_err(|error| error.to_string())?;
            }
            Movement::Slice => {
                let (x, from) = x()?;
                let Slicing { starts, steps, shape } = Slicing::resolve(operands)?;
                movement::slice(x, from, &starts[..shape.len()], &steps[..shape.len()], &shape, out);
            }
            Movement::Expand => {
                let (x, from) = x()?;
                movement::expand(x, from, &shape, out);
            }
            Movement::Tile => {
                let (x, from) = x()?;
                movement::tile(x, from, &operands.sizes(1)?, out);
            }
        }
        Ok(())
    }
}

/// The shape of the operands joined along an axis.
fn joined(operands: Operands<'_, '_, '_>, axis: i64) -> Inferred<Shape> {
    let first = operands.shape(0)?;
    let axis = self::axis(axis, first.len())?;
    let mut length = 0;
    for value in operands.values.iter().flatten() {
        let shape = operands.from.shape(*value);
        let fits = shape.len() == first.len() && (0..first.len()).all(|at| at == axis || shape[at] == first[at]);
        if !fits {
            return Err(format!("{first:?} and {shape:?} joined along axis {axis}"));
        }
        length += shape[axis];
    }
    let dims = first.iter().enumerate().map(|(at, dim)| if at == axis { length } else { *dim });
    shape_of(dims).ok_or_else(|| TOO_MANY_AXES.into())
}

/// `Slice` with its bounds resolved.
struct Slicing {
    /// First entry of each axis.
    starts: [usize; MAX_RANK],
    /// Step along each axis.
    steps: [isize; MAX_RANK],
    shape: Shape,
}

impl Slicing {
    fn resolve(operands: Operands<'_, '_, '_>) -> Inferred<Self> {
        let x = operands.shape(0)?;
        let (starts, ends): (&[i64], &[i64]) = (operands.data(1)?, operands.data(2)?);
        let (axes, by) = (operands.optional::<i64>(3)?, operands.optional::<i64>(4)?);
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
        slicing.shape = Shape::new(&dims[..x.len()]).ok_or(TOO_MANY_AXES)?;
        Ok(slicing)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::{Attribute, DataType, Graph},
        memory::Input,
        testing::{Builder, alone, floats, integers, refusal},
    };

    const F: DataType = DataType::F32;

    fn numbers() -> Vec<f32> {
        (0..6).map(|number| number as f32).collect()
    }

    fn assert_gives(graph: &Graph<'_>, shape: &[usize], values: &[f32]) {
        let made = alone(graph, &[floats(&[2, 3], &numbers())]);
        assert_eq!((made.shape.as_slice(), made.floats().as_slice()), (shape, values));
    }

    #[test]
    fn bounds_of_a_slice_may_lie_outside_and_its_steps_be_negative() {
        let graph = Builder::default()
            .input("x", F, &[2, 3])
            .integers("starts", &[i64::MAX, -9])
            .integers("ends", &[i64::MIN, 9])
            .integers("axes", &[-1, 0])
            .integers("steps", &[-2, 1])
            .node("Slice", &["x", "starts", "ends", "axes", "steps"], "y");
        assert_gives(&graph.build(&["y"]), &[2, 2], &[2.0, 0.0, 5.0, 3.0]);
    }

    #[test]
    fn indices_may_be_int32() {
        let graph = Builder::default().input("x", F, &[2, 3]).input("at", DataType::I32, &[2]);
        let graph = graph.node_of("Gather", &["x", "at"], &[("y", F)], &[("axis", Attribute::Int(1))]).build(&["y"]);
        let at = Input { dtype: DataType::I32, shape: &[2], bytes: bytemuck::cast_slice(&[-1i32, 0]) };
        let made = alone(&graph, &[floats(&[2, 3], &numbers()), at]);
        assert_eq!((made.shape.as_slice(), made.floats().as_slice()), (&[2, 2][..], &[2.0, 0.0, 5.0, 3.0][..]));
    }

    #[test]
    fn slices_are_gathered_by_indices_of_one_entry() {
        let of = |width: usize| {
            let graph = Builder::default().input("x", F, &[2, 3]).input("at", DataType::I64, &[2, 1, width]);
            graph.node("GatherND", &["x", "at"], "y").build(&["y"])
        };
        let made = alone(&of(1), &[floats(&[2, 3], &numbers()), integers(&[2, 1, 1], &[1, 0])]);
        let want = [3.0, 4.0, 5.0, 0.0, 1.0, 2.0];
        assert_eq!((made.shape.as_slice(), made.floats().as_slice()), (&[2, 1, 3][..], &want[..]));
        assert!(refusal(&of(2)).contains("first axis"));
    }

    #[test]
    fn parts_are_joined_picked_and_repeated() {
        let graph = || Builder::default().input("x", F, &[2, 3]);
        let axis = |axis: i64| [("axis", Attribute::Int(axis))];
        let joined = graph().node_of("Concat", &["x", "x"], &[("y", F)], &axis(-1));
        assert_gives(&joined.build(&["y"]), &[2, 6], &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 4.0, 5.0]);
        let picked = graph().integers("last", &[-1]).node_of("Gather", &["x", "last"], &[("y", F)], &axis(1));
        assert_gives(&picked.build(&["y"]), &[2, 1], &[2.0, 5.0]);
        let tiled = graph().integers("repeats", &[1, 2]).node("Tile", &["x", "repeats"], "y");
        assert_gives(&tiled.build(&["y"]), &[2, 6], &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 4.0, 5.0]);
        let turned = graph().node("Transpose", &["x"], "y");
        assert_gives(&turned.build(&["y"]), &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let expanded = graph().integers("shape", &[2, 1, 1]).node("Expand", &["x", "shape"], "y");
        assert_gives(&expanded.build(&["y"]), &[2, 2, 3], &[numbers(), numbers()].concat());
    }
}
