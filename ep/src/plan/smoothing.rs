//! Smoothing for int8 of few rows, as decoders have them: a layer norm whose results are only multiplied with constant
//! weights hands on its channels at more equal sizes, and the weights make up for it. The products are the same; what
//! int8 loses of them is less, and a run takes no longer.
//!
//! A layer norm's result has about unit size in each channel before its gain `g` and bias `b`. With them a channel has
//! about the size `√(g² + b²)`, which differs by up to twenty times from channel to channel, and a row's scale follows
//! the largest. Dividing by the square root of that shares the difference between the row and the weights, which have a
//! scale for each output: SmoothQuant (Xiao et al., 2023) at α = ½, without recordings to calibrate with. What it
//! brings: `docs/int8.md`.

use std::borrow::Cow;

use undertone_kernels::Precision;

use super::estimate::Estimate;
use crate::{
    graph::{Constant, DataType, Dim, Graph, Value, ValueId},
    memory::floats,
    ops::{FEW_ROWS, Normalisation, Op, View},
    options::Options,
    program::{Program, Step},
};

/// Smooths what can be smoothed in `program`: `graph` with the constants that it then reads, or as it was.
pub fn smooth<'g, 'a>(graph: &'g Graph<'a>, program: &mut Program, options: &Options) -> Cow<'g, Graph<'a>> {
    let mut graph = Cow::Borrowed(graph);
    if options.precision != Precision::Int8 {
        return graph;
    }
    let shapes = Estimate::of(&graph, program).shapes;
    // Products of many rows stay as they are: an NPU may compute them, and encoders gained nothing.
    let many = |step: &Step| {
        let x = step.input(0).and_then(|x| shapes[x]);
        x.is_some_and(|x| x.elements() > FEW_ROWS * x.last().copied().unwrap_or(1))
    };
    for norm in 0..program.steps.len() {
        if many(&program.steps[norm]) {
            continue;
        }
        let Some((smoothing, readers)) = smoothed(&graph, program, norm, options) else { continue };
        let Smoothing { channels, gain, bias } = smoothing;
        let graph = graph.to_mut();
        let (channels, gain) = (constant(graph, "smoothing", channels), constant(graph, "gain", gain));
        let inputs = &mut program.steps[norm].inputs;
        inputs[1] = Some(gain);
        if let Some(bias) = bias {
            inputs[2] = Some(constant(graph, "bias", bias));
        }
        for reader in readers {
            if let Op::Linear(linear) = &mut program.steps[reader].op {
                linear.weights.smoothing = Some(channels);
            }
        }
    }
    graph
}

/// What a layer norm's channels are divided by, and its gain and bias after that.
struct Smoothing {
    channels: Vec<f32>,
    gain: Vec<f32>,
    bias: Option<Vec<f32>>,
}

/// How a step is smoothed, and the products that make up for it; `None` for what is no layer norm, or is read by
/// others.
fn smoothed(graph: &Graph<'_>, program: &Program, norm: usize, options: &Options) -> Option<(Smoothing, Vec<usize>)> {
    let Step { op, inputs, outputs, .. } = &program.steps[norm];
    let Op::Normalisation(Normalisation::LayerNorm { .. }) = op else { return None };
    let row = |value: ValueId| floats(graph.values[value].constant.as_ref()?).ok();
    let gain = row((*inputs.get(1)?)?)?;
    let bias = match inputs.get(2).copied().flatten() {
        Some(bias) => Some(row(bias)?),
        None => None,
    };
    if bias.as_ref().is_some_and(|bias| bias.len() != gain.len()) {
        return None;
    }
    let readers = products(graph, program, *outputs.first()?, gain.len(), options)?;
    let size = |(at, gain): (usize, &f32)| {
        let bias = bias.as_ref().map_or(0.0, |bias| bias[at]);
        // Square roots, unlike powers, are the same on every machine: packed kernels are found by the digest of these.
        let size = (gain * gain + bias * bias).sqrt().sqrt();
        if size.is_normal() { size } else { 1.0 }
    };
    let channels: Vec<f32> = gain.iter().enumerate().map(size).collect();
    let divided = |row: &[f32]| row.iter().zip(&channels).map(|(value, size)| value / size).collect();
    let smoothing = Smoothing { gain: divided(&gain), bias: bias.as_deref().map(divided), channels };
    Some((smoothing, readers))
}

/// The int8 products with constant weights that read rows of `width` of `value`; `None` if there are none, or anything
/// else reads it.
fn products(
    graph: &Graph<'_>,
    program: &Program,
    value: ValueId,
    width: usize,
    options: &Options,
) -> Option<Vec<usize>> {
    if graph.outputs.contains(&value) {
        return None;
    }
    let mut found = Vec::new();
    for (at, step) in program.steps.iter().enumerate().filter(|(_, step)| step.operands().any(|read| read == value)) {
        let once = step.operands().filter(|read| *read == value).count() == 1;
        if !once || step.inputs.first() != Some(&Some(value)) {
            return None;
        }
        if let Op::Linear(linear) = &step.op {
            let stored = linear.quantised || linear.weights.quantised.is_some();
            if stored || linear.inputs != width || step.precision(options.precision) != Precision::Int8 {
                return None;
            }
            found.push(at);
        } else {
            // Rows that stay rows.
            let Op::View(View::Reshape { .. }) = step.op else { return None };
            let reshaped = *step.outputs.first()?;
            if graph.values[reshaped].shape.as_ref()?.last() != Some(&Dim::Fixed(width)) {
                return None;
            }
            found.extend(products(graph, program, reshaped, width, options)?);
        }
    }
    (!found.is_empty()).then_some(found)
}

/// A new constant row of the graph.
fn constant(graph: &mut Graph<'_>, name: &str, row: Vec<f32>) -> ValueId {
    let shape = vec![row.len()];
    let bytes = Cow::Owned(bytemuck::cast_slice(&row).to_vec());
    graph.values.push(Value {
        name: format!("{name} #{}", graph.values.len()),
        dtype: Some(DataType::F32),
        shape: Some(vec![Dim::Fixed(row.len())]),
        constant: Some(Constant::new(DataType::F32, shape, bytes)),
        unreadable: None,
    });
    graph.values.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fusion::fuse,
        graph::Attribute,
        lower::lower,
        memory::{Shared, Store},
        plan::Plan,
        testing::{Builder, floats, fused, noise, run},
    };

    const WIDTH: usize = 64;

    /// A gain with one channel thirty times as large as the others, as real layer norms have them.
    fn gain() -> Vec<f32> {
        (0..WIDTH).map(|channel| if channel == 5 { 30.0 } else { 1.0 }).collect()
    }

    /// `[WIDTH, outputs]`, or the other way round; small for the channel with the large gain, as real weights are.
    fn weights(outputs: usize, transposed: bool, seed: u64) -> Vec<f32> {
        let mut weights = noise(WIDTH * outputs, seed);
        for (at, weight) in weights.iter_mut().enumerate() {
            let channel = if transposed { at % WIDTH } else { at / outputs };
            *weight /= gain()[channel];
        }
        weights
    }

    /// A layer norm over `x`, and what its readers need.
    fn norm(rows: usize) -> Builder {
        Builder::default()
            .input("x", DataType::F32, &[1, rows, WIDTH])
            .constant("gain", &[WIDTH], &gain())
            .constant("bias", &[WIDTH], &noise(WIDTH, 1))
            .constant("w", &[WIDTH, 96], &weights(96, false, 2))
            .constant("v", &[WIDTH, 32], &weights(32, false, 3))
            .node("LayerNormalization", &["x", "gain", "bias"], "n")
    }

    fn options(precision: Precision) -> Options {
        Options { precision, ..Options::default() }
    }

    /// Products that make up for a smoothed layer norm.
    fn smoothed_products(graph: &Graph<'_>, precision: Precision) -> usize {
        let mut program = fuse(graph, lower(graph));
        smooth(graph, &mut program, &options(precision));
        let made_up = |step: &&Step| matches!(&step.op, Op::Linear(linear) if linear.weights.smoothing.is_some());
        program.steps.iter().filter(made_up).count()
    }

    #[test]
    fn products_alone_are_smoothed() {
        let products = || norm(3).node("MatMul", &["n", "w"], "y").node("MatMul", &["n", "v"], "z");
        assert_eq!(smoothed_products(&products().build(&["y", "z"]), Precision::Int8), 2);
        assert_eq!(smoothed_products(&products().build(&["y", "z"]), Precision::Bf16), 0);
        assert_eq!(smoothed_products(&products().build(&["y", "z"]), Precision::F32), 0);
        // Others that read it would see other values.
        assert_eq!(smoothed_products(&products().build(&["y", "z", "n"]), Precision::Int8), 0);
        let other = products().node("Sqrt", &["n"], "root").build(&["y", "z", "root"]);
        assert_eq!(smoothed_products(&other, Precision::Int8), 0);
        // As many rows as an encoder has: no product is smoothed.
        let many = norm(1500).node("MatMul", &["n", "w"], "y").node("MatMul", &["n", "v"], "z");
        assert_eq!(smoothed_products(&many.build(&["y", "z"]), Precision::Int8), 0);
        let residual = products().constant("u", &[WIDTH, WIDTH], &noise(WIDTH * WIDTH, 4));
        let residual = residual.node("MatMul", &["n", "u"], "m").node("Add", &["m", "n"], "r");
        assert_eq!(smoothed_products(&residual.build(&["y", "z", "r"]), Precision::Int8), 0);
    }

    /// What the products come to is what it was before, and int8 is closer to it; also behind a reshape, with weights
    /// stored the other way, as exporters have the projection to the vocabulary.
    #[test]
    fn int8_loses_less_and_nothing_else_changes() {
        let x = noise(3 * WIDTH, 7);
        let graph = norm(3)
            .constant("t", &[40, WIDTH], &weights(40, true, 5))
            .integers("rows", &[3, WIDTH as i64])
            .node("MatMul", &["n", "w"], "y")
            .node("MatMul", &["n", "v"], "z")
            .node("Reshape", &["n", "rows"], "m")
            .shape("m", &[3, WIDTH])
            .node_of("Gemm", &["m", "t"], &[("logits", DataType::F32)], &[("transB", Attribute::Int(1))])
            .build(&["y", "z", "logits"]);
        assert_eq!(smoothed_products(&graph, Precision::Int8), 3);
        let results = |plan: &Plan| -> Vec<Vec<f32>> {
            let made = run(plan, &graph, &[floats(&[1, 3, WIDTH], &x)], 4 * 3 * 96).unwrap();
            made.iter().map(|made| made.floats()).collect()
        };
        let int8 = options(Precision::Int8);
        let plain =
            Plan::from_program(&graph, fuse(&graph, lower(&graph)), &int8, &Store::new(&Shared::default())).unwrap();
        let (exact, plain, smoothed) =
            (results(&fused(&graph, &options(Precision::F32))), results(&plain), results(&fused(&graph, &int8)));
        for ((exact, plain), smoothed) in exact.iter().zip(&plain).zip(&smoothed) {
            let norm = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
            let error =
                |got: &[f32]| norm(&exact.iter().zip(got).map(|(a, b)| a - b).collect::<Vec<_>>()) / norm(exact);
            let (plain, smoothed) = (error(plain), error(smoothed));
            assert!(smoothed < 0.6 * plain && smoothed < 0.02, "{smoothed} instead of {plain}");
        }
    }
}
