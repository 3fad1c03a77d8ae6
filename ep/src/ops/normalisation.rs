//! Rows along the last axis are brought to one scale: layer norm and soft-max, in fp32 on the host.

use undertone_kernels::{Context, Norm, host::elementwise::Binary};

use super::{
    Computed, Entry, Inferred, Lowered, Lowering, Movement, Op, Operands, Operator, Parts, Role, Sizes, StepRun, left,
    onnx, several,
};
use crate::graph::{DataType, Dim, ValueId};

pub const OPERATORS: &[Entry] = &[
    onnx("LayerNormalization", Role::Norm, layer_norm),
    onnx("SimplifiedLayerNormalization", Role::Norm, rms_norm),
    onnx("RMSNormalization", Role::Norm, rms_norm),
    several("SkipLayerNormalization", Role::Norm, skip_layer_norm),
    several("SkipSimplifiedLayerNormalization", Role::Norm, skip_rms_norm),
    onnx("Softmax", Role::Softmax, softmax),
    several("EmbedLayerNormalization", Role::Norm, embed_layer_norm),
    left("LogSoftmax", Role::Softmax),
];

/// A normalisation over the last axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalisation {
    /// `x, gain` and perhaps `bias`.
    LayerNorm { epsilon: f32 },
    /// `x, gain`.
    RmsNorm { epsilon: f32 },
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

/// `SkipLayerNormalization` of com.microsoft: `x, skip, gain` and perhaps `bias` and `addend`, a row.
fn skip_layer_norm(node: &Lowering<'_, '_>, parts: Parts) -> Lowered<Parts> {
    let epsilon = node.node.float("epsilon", 1e-12);
    skip_norm(node, parts, node.input(4), Normalisation::LayerNorm { epsilon }, node.input(3))
}

/// `SkipSimplifiedLayerNormalization` of com.microsoft: `x, skip, gain` and perhaps `addend`, a row.
fn skip_rms_norm(node: &Lowering<'_, '_>, parts: Parts) -> Lowered<Parts> {
    let epsilon = node.node.float("epsilon", 1e-12);
    skip_norm(node, parts, node.input(3), Normalisation::RmsNorm { epsilon }, None)
}

/// `norm(x + skip + addend)`, and the sum where it is wanted.
fn skip_norm(
    node: &Lowering<'_, '_>,
    mut parts: Parts,
    addend: Option<ValueId>,
    norm: Normalisation,
    bias: Option<ValueId>,
) -> Lowered<Parts> {
    let refused = |what: &str| Err(format!("{} {what}", node.node.op_type));
    node.floats()?;
    node.alike()?;
    let ([Some(x), Some(skip), Some(gain)], Some(y)) = ([0, 1, 2].map(|index| node.input(index)), node.output(0))
    else {
        return refused("without its operands or its result");
    };
    if node.output(1).is_some() || node.output(2).is_some() {
        return refused("with the mean and the deviation");
    }
    let shape = |index: usize| node.dims(index).map(<[Dim]>::to_vec);
    let mut terms = [x, skip];
    if let Some(addend) = addend {
        // The row is a product's bias, whichever operand that is.
        let at = usize::from(node.is_of_product(1) && !node.is_of_product(0));
        let sum = parts.value(node.dtype(0), shape(at));
        parts.step(Op::Binary(Binary::Add), [Some(terms[at]), Some(addend)], sum);
        terms[at] = sum;
    }
    let sum = node.output(3).unwrap_or_else(|| parts.value(node.dtype(0), shape(0)));
    parts.step(Op::Binary(Binary::Add), terms.map(Some), sum);
    parts.step(Op::Normalisation(norm), [Some(sum), Some(gain), bias], y);
    Ok(parts)
}

/// `EmbedLayerNormalization` of com.microsoft: rows of a table of words and of one of positions, their sum, and its
/// layer norm.
fn embed_layer_norm(node: &Lowering<'_, '_>, mut parts: Parts) -> Lowered<Parts> {
    const MASK: usize = 7;
    const POSITIONS: usize = 8;
    let operands = [0, 2, 3, 5, 6, POSITIONS].map(|index| node.input(index));
    let ([Some(words), Some(table), Some(places), Some(gain), Some(bias), Some(positions)], Some(y)) =
        (operands, node.output(0))
    else {
        return Err("EmbedLayerNormalization without positions".into());
    };
    if [1, 4, MASK].into_iter().any(|index| node.input(index).is_some()) {
        return Err("EmbedLayerNormalization with segments or a mask".into());
    }
    let (dtype, width) = (node.dtype(2), node.constant_shape(2).and_then(<[usize]>::last));
    let is_known = matches!(dtype, Some(DataType::F32 | DataType::F16)) && node.rank(0) == Some(2);
    let Some(width) = width.filter(|_| is_known) else {
        return Err("EmbedLayerNormalization of a table that is not constant, or of words of other axes".into());
    };
    let rows = || node.dims(0).map(|dims| dims.iter().cloned().chain([Dim::Fixed(*width)]).collect());
    let [word, place] = [(table, words), (places, positions)].map(|(table, index)| {
        let row = parts.value(dtype, rows());
        parts.step(Op::Movement(Movement::Gather { axis: 0 }), [Some(table), Some(index)], row);
        Some(row)
    });
    if let Some(mask_index) = node.output(1) {
        // Without a mask it is a zero for each batch item.
        let batch = parts.value(Some(DataType::I64), Some(vec![Dim::Fixed(1)]));
        parts.step(Op::Sizes(Sizes::Shape { start: 0, end: Some(1) }), [Some(words)], batch);
        parts.step(Op::Sizes(Sizes::ConstantOfShape { value: vec![0; 4] }), [Some(batch)], mask_index);
    }
    let sum = node.output(2).unwrap_or_else(|| parts.value(dtype, rows()));
    parts.step(Op::Binary(Binary::Add), [word, place], sum);
    let epsilon = node.node.float("epsilon", 1e-12);
    parts.step(Op::Normalisation(Normalisation::LayerNorm { epsilon }), [Some(sum), Some(gain), Some(bias)], y);
    Ok(parts)
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
            Normalisation::LayerNorm { .. } => ("layer norm", Role::Norm),
            Normalisation::RmsNorm { .. } => ("rms norm", Role::Norm),
            Normalisation::Softmax => ("softmax", Role::Softmax),
        }
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let host = run.fp32()?;
        let [rows, width] = run.rows();
        match self {
            Normalisation::LayerNorm { epsilon } => {
                let norm = layer_norm_of(operands, width, *epsilon)?;
                host.layer_norm(context, rows, &norm, operands.data(0)?, run.elements()?);
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

/// A layer norm with the gain and bias that are its operands.
fn layer_norm_of<'r>(operands: Operands<'r, '_, '_>, width: usize, epsilon: f32) -> Inferred<Norm<'r>> {
    let gain = row(operands, 1, width)?.ok_or("a layer norm without gains")?;
    Ok(Norm { gain, bias: row(operands, 2, width)?, epsilon })
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
