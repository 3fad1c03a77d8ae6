//! Rows along the last axis are brought to one scale: layer norm and soft-max, in fp32 on the host.

use std::ops::Range;

use undertone_kernels::{Context, Norm, host::elementwise::Binary};

use super::{
    Computed, Entry, Inferred, Lowered, Lowering, Op, Operands, Operator, Role, StepRun, elementwise::add_to, left,
    microsoft, onnx,
};

pub const OPERATORS: &[Entry] = &[
    onnx("LayerNormalization", Role::Norm, layer_norm),
    onnx("SimplifiedLayerNormalization", Role::Norm, rms_norm),
    onnx("RMSNormalization", Role::Norm, rms_norm),
    microsoft("SkipLayerNormalization", Role::Norm, skip_layer_norm),
    onnx("Softmax", Role::Softmax, softmax),
    left("SkipSimplifiedLayerNormalization", Role::Norm),
    left("EmbedLayerNormalization", Role::Norm),
    left("LogSoftmax", Role::Softmax),
];

/// A normalisation over the last axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalisation {
    /// `x, gain` and perhaps `bias`.
    LayerNorm { epsilon: f32 },
    /// `x, gain`.
    RmsNorm { epsilon: f32 },
    /// `x, skip, gain` and perhaps `bias` and `addend`, a row: layer norm of `x + skip + addend`.
    SkipLayerNorm { epsilon: f32 },
    /// `x`.
    Softmax,
}

pub fn layer_norm(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    over_last_axis(node)?;
    Ok(Op::Normalisation(Normalisation::LayerNorm { epsilon: node.node.float("epsilon", 1e-5) }))
}

/// `RMSNormalization`, and ONNX Runtime's `SimplifiedLayerNormalization`.
pub fn rms_norm(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    over_last_axis(node)?;
    node.alike()?;
    Ok(Op::Normalisation(Normalisation::RmsNorm { epsilon: node.node.float("epsilon", 1e-5) }))
}

/// `SkipLayerNormalization` of com.microsoft.
pub fn skip_layer_norm(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.floats()?;
    node.alike()?;
    Ok(Op::Normalisation(Normalisation::SkipLayerNorm { epsilon: node.node.float("epsilon", 1e-12) }))
}

fn over_last_axis(node: &Lowering<'_, '_>) -> Lowered<()> {
    node.floats()?;
    if node.is_last_axis(node.node.int("axis", -1)) {
        return Ok(());
    }
    Err(format!("{} over more than the last axis", node.node.op_type))
}

pub fn softmax(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.floats()?;
    // Before version 13 the default axis was 1 and the axes after it were flattened.
    if !node.is_last_axis(node.node.int("axis", if node.node.since_version < 13 { 1 } else { -1 })) {
        return Err("Softmax over another than the last axis".into());
    }
    Ok(Op::Normalisation(Normalisation::Softmax))
}

impl Operator for Normalisation {
    fn class(&self) -> (&'static str, Role) {
        match self {
            Normalisation::LayerNorm { .. } | Normalisation::SkipLayerNorm { .. } => ("layer norm", Role::Norm),
            Normalisation::RmsNorm { .. } => ("rms norm", Role::Norm),
            Normalisation::Softmax => ("softmax", Role::Softmax),
        }
    }

    fn data(&self) -> Range<usize> {
        match self {
            Normalisation::LayerNorm { .. } | Normalisation::RmsNorm { .. } | Normalisation::Softmax => 0..1,
            Normalisation::SkipLayerNorm { .. } => 0..2,
        }
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let host = run.fp32()?;
        let [rows, width] = run.rows();
        match self {
            Normalisation::LayerNorm { epsilon } => {
                let norm = layer_norm_of(operands, [1, 2], width, *epsilon)?;
                host.layer_norm(context, rows, &norm, operands.data(0)?, run.elements()?);
            }
            Normalisation::SkipLayerNorm { epsilon } => {
                let norm = layer_norm_of(operands, [2, 3], width, *epsilon)?;
                let (shape, [x, skip]) = (run.shape, [operands.shape(0)?, operands.shape(1)?]);
                let broadcast = operands.broadcast::<2>()?;
                if broadcast != shape {
                    return Err(format!("{skip:?} added to {x:?}").into());
                }
                let Context { pool, counters, ref mut scratch } = *context;
                let (sums, scratch) = scratch.floats_and_rest(shape.elements());
                let context = &mut Context { pool, counters, scratch };
                let (a, b) = (operands.data(0)?, operands.data(1)?);
                host.binary(context, Binary::Add, [(a, x), (b, skip)], &shape, sums);
                if let Some(addend) = row(operands, 4, width)? {
                    let rows = sums.chunks_exact_mut(width.max(1));
                    rows.for_each(|row| add_to(row, addend));
                }
                host.layer_norm(context, rows, &norm, sums, run.elements()?);
            }
            Normalisation::RmsNorm { epsilon } => {
                let gain = row(operands, 1, width)?.ok_or("an RMS norm without gains")?;
                let x: &[f32] = operands.data(0)?;
                let out = run.elements::<f32>()?.chunks_exact_mut(width.max(1));
                for (out, x) in out.zip(x.chunks_exact(width.max(1))) {
                    let squares: f32 = x.iter().map(|x| x * x).sum();
                    let factor = (squares / width as f32 + epsilon).sqrt().recip();
                    out.iter_mut().zip(x).zip(gain).for_each(|((out, x), gain)| *out = x * factor * gain);
                }
            }
            Normalisation::Softmax => host.softmax(context, [rows, width], operands.data(0)?, run.elements()?),
        }
        Ok(())
    }
}

/// A layer norm whose gain and bias are these operands.
fn layer_norm_of<'r>(
    operands: Operands<'r, '_, '_>,
    [gain, bias]: [usize; 2],
    width: usize,
    epsilon: f32,
) -> Inferred<Norm<'r>> {
    let gain = row(operands, gain, width)?.ok_or("a layer norm without gains")?;
    Ok(Norm { gain, bias: row(operands, bias, width)?, epsilon })
}

/// An operand with one value for each of a row, if it is given.
fn row<'r>(operands: Operands<'r, '_, '_>, index: usize, width: usize) -> Inferred<Option<&'r [f32]>> {
    match operands.optional::<f32>(index)? {
        Some(row) if row.len() != width => Err(format!("operand {index} has {} values for rows of {width}", row.len())),
        row => Ok(row),
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::{Attribute, DataType},
        testing::{Builder, alone, assert_close, floats, noise, refusal},
    };

    const F: DataType = DataType::F32;

    #[test]
    fn an_rms_norm_divides_by_the_root_of_the_mean_square() {
        let epsilon = [("epsilon", Attribute::Float(0.5))];
        let graph = Builder::default().input("x", F, &[2, 2]).constant("gain", &[2], &[2.0, 1.0]);
        let graph = graph.node_of("RMSNormalization", &["x", "gain"], &[("y", F)], &epsilon).build(&["y"]);
        let made = alone(&graph, &[floats(&[2, 2], &[3.0, 4.0, 0.0, 0.0])]);
        let root = 13f32.sqrt();
        assert_close(&made.floats(), &[6.0 / root, 4.0 / root, 0.0, 0.0]);
    }

    #[test]
    fn a_skip_is_added_before_a_layer_norm() {
        let graph = |operator: &str| {
            let graph = Builder::default().input("x", F, &[2, 3, 4]).input("skip", F, &[3, 4]);
            let rows = ["gain", "bias", "addend"].into_iter().zip(1..);
            let graph = rows.fold(graph, |graph, (name, seed)| graph.constant(name, &[4], &noise(4, seed)));
            let epsilon = [("epsilon", Attribute::Float(1e-3))];
            match operator {
                "LayerNormalization" => graph
                    .node("Add", &["x", "skip"], "sum")
                    .node("Add", &["sum", "addend"], "more")
                    .node_of(operator, &["more", "gain", "bias"], &[("y", F)], &epsilon),
                other => {
                    let operands = ["x", "skip", "gain", "bias", "addend"];
                    graph.node_of(other, &operands, &[("y", F)], &epsilon).of_microsoft()
                }
            }
            .build(&["y"])
        };
        let (x, skip) = (noise(24, 8), noise(12, 9));
        let inputs = [floats(&[2, 3, 4], &x), floats(&[3, 4], &skip)];
        let of = |operator| alone(&graph(operator), &inputs).floats();
        assert_close(&of("SkipLayerNormalization"), &of("LayerNormalization"));
    }

    #[test]
    fn only_the_last_axis_is_normed() {
        for operator in ["LayerNormalization", "RMSNormalization", "Softmax"] {
            let graph = Builder::default().input("x", F, &[2, 3]).constant("gain", &[2, 3], &[1.0; 6]);
            let axis = [("axis", Attribute::Int(0))];
            let graph = graph.node_of(operator, &["x", "gain"], &[("y", F)], &axis).build(&["y"]);
            assert!(refusal(&graph).contains("last axis"), "{operator}");
        }
    }
}
