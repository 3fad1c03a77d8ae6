//! What follows from shapes alone: the sizes of a tensor, numbers that count up, a tensor of one value.

use bytemuck::Pod;
use undertone_kernels::Context;

use super::{
    Computed, Entry, Inferred, Lowered, Lowering, Op, Operands, Operator, Role, StepRun, left, node::name, onnx,
    operator::TOO_MANY_AXES, run::AnyElement,
};
use crate::{
    graph::{Attribute, DataType},
    memory::Shape,
};

pub const OPERATORS: &[Entry] = &[
    onnx("Shape", Role::Nothing, shape),
    onnx("Range", Role::Nothing, range),
    onnx("ConstantOfShape", Role::Nothing, constant_of_shape),
    left("Size", Role::Nothing),
    // Their bodies are graphs of their own.
    onnx("If", Role::Nothing, control_flow),
    onnx("Loop", Role::Nothing, control_flow),
    onnx("Scan", Role::Nothing, control_flow),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// `x`.
    Shape { start: i64, end: Option<i64> },
    /// `start, limit, delta`.
    Range,
    /// `shape`; the value is given by its bytes.
    ConstantOfShape { value: Vec<u8> },
}

pub fn shape(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    let end = node.node.attributes.contains_key("end").then(|| node.node.int("end", 0));
    Ok(Op::Sizes(Sizes::Shape { start: node.node.int("start", 0), end }))
}

pub fn range(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    match node.dtype(0) {
        Some(DataType::I64) => Ok(Op::Sizes(Sizes::Range)),
        other => Err(format!("Range of {}", name(other))),
    }
}

pub fn constant_of_shape(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    let value = match node.node.attributes.get("value") {
        None => 0f32.to_ne_bytes().to_vec(),
        Some(Attribute::Tensor(value)) if value.dtype != DataType::F16 => value.bytes.to_vec(),
        Some(_) => return Err("ConstantOfShape of a type that the EP does not fill".into()),
    };
    Ok(Op::Sizes(Sizes::ConstantOfShape { value }))
}

fn control_flow(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    Err(format!("{}: ONNX Runtime runs it; its bodies are partitioned by themselves", node.node.op_type))
}

impl Operator for Sizes {
    fn class(&self) -> (&'static str, Role) {
        ("shape", Role::Nothing)
    }

    fn reads_shape_only(&self) -> bool {
        match self {
            Sizes::Shape { .. } => true,
            Sizes::Range | Sizes::ConstantOfShape { .. } => false,
        }
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        let length = match self {
            Sizes::Shape { start, end } => {
                let (from, to) = axes(operands.shape(0)?.len(), *start, *end);
                to - from
            }
            Sizes::Range => {
                let scalar = |index| -> Inferred<i64> {
                    operands.data(index)?.first().copied().ok_or_else(|| "an empty bound".into())
                };
                range_length(scalar(0)?, scalar(1)?, scalar(2)?)?
            }
            Sizes::ConstantOfShape { .. } => return operands.sizes(0),
        };
        Shape::new(&[length]).ok_or_else(|| TOO_MANY_AXES.into())
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, _: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        match self {
            Sizes::Shape { start, end } => {
                let x = operands.shape(0)?;
                let (from, to) = axes(x.len(), *start, *end);
                for (out, dim) in run.elements::<i64>()?.iter_mut().zip(&x[from..to]) {
                    *out = *dim as i64;
                }
            }
            Sizes::Range => {
                let (start, delta) = (operands.data::<i64>(0)?[0], operands.data::<i64>(2)?[0]);
                for (at, out) in run.elements::<i64>()?.iter_mut().enumerate() {
                    *out = start + at as i64 * delta;
                }
            }
            Sizes::ConstantOfShape { value } => run.of_any_element(&Filled(value))?,
        }
        Ok(())
    }
}

struct Filled<'v>(&'v [u8]);

impl AnyElement for Filled<'_> {
    fn run_of<T: Pod>(&self, run: &mut StepRun<'_, '_, '_>) -> Computed<()> {
        let value = bytemuck::try_pod_read_unaligned::<T>(self.0).map_err(|error| error.to_string())?;
        run.elements()?.fill(value);
        Ok(())
    }
}

/// The axes that `Shape` takes, as a range.
fn axes(rank: usize, start: i64, end: Option<i64>) -> (usize, usize) {
    let clamp = |at: i64| (if at < 0 { at + rank as i64 } else { at }).clamp(0, rank as i64) as usize;
    let (from, to) = (clamp(start), end.map_or(rank, clamp));
    (from, to.max(from))
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

#[cfg(test)]
mod tests {
    use crate::{
        graph::DataType,
        testing::{Builder, exact, fused, integers, run},
    };

    /// The arithmetic of shapes that exporters write around a cache.
    #[test]
    fn shape_arithmetic() {
        let graph = Builder::default()
            .input("ids", DataType::I64, &[1, 3])
            .bytes("i1", DataType::I64, &[], &1i64.to_ne_bytes())
            .bytes("i0", DataType::I64, &[], &0i64.to_ne_bytes())
            .integers("axis0", &[0])
            .node_of("Shape", &["ids"], &[("shape", DataType::I64)], &[])
            .node_of("Gather", &["shape", "i1"], &[("length", DataType::I64)], &[])
            .node_of("Range", &["i0", "length", "i1"], &[("positions", DataType::I64)], &[])
            .node_of("Unsqueeze", &["positions", "axis0"], &[("row", DataType::I64)], &[])
            .node_of("Tile", &["row", "shape"], &[("tiled", DataType::I64)], &[])
            .node_of("LessOrEqual", &["row", "ids"], &[("mask", DataType::Bool)], &[])
            .build(&["tiled", "mask"]);
        let made = run(&fused(&graph, &exact()), &graph, &[integers(&[1, 3], &[2, 0, 5])], 256).expect("a run");
        assert_eq!(made[0].shape, [1, 9]);
        assert_eq!(bytemuck::pod_collect_to_vec::<u8, i64>(&made[0].bytes), [0, 1, 2, 0, 1, 2, 0, 1, 2]);
        assert_eq!((made[1].shape.as_slice(), made[1].bytes.as_slice()), (&[1, 3][..], &[1, 0, 1][..]));
    }
}
