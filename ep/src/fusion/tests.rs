//! Each pattern: that it is recognised, and that the fused step gives what its nodes give one by one.

use undertone_kernels::Precision;

use super::fuse;
use crate::{
    graph::{Attribute, DataType, Graph},
    lower::lower_in_parts,
    memory::Input,
    options::Options,
    testing::{Builder, assert_close, exact, floats, fused, noise, run, unfused},
};

/// Kinds of the live steps after fusion, in order.
pub(super) fn kinds(graph: &Graph<'_>) -> Vec<&'static str> {
    let (graph, program) = lower_in_parts(graph);
    let program = fuse(&graph, program).without_dead_steps(&graph);
    program.steps.iter().map(|step| step.op.kind()).collect()
}

/// Fused and unfused plans give the same.
pub(super) fn assert_same(graph: &Graph<'_>, inputs: &[Input<'_>]) {
    let want = run(&unfused(graph, &exact()), graph, inputs, 1 << 20).expect("the unfused run");
    let got = run(&fused(graph, &exact()), graph, inputs, 1 << 20).expect("the fused run");
    for (got, want) in got.iter().zip(&want) {
        assert_eq!(got.shape, want.shape);
        assert_close(&got.floats(), &want.floats());
    }
}

fn ints(values: &[i64]) -> Attribute<'static> {
    Attribute::Ints(values.to_vec())
}

pub(super) const F: DataType = DataType::F32;

fn with_gelu(graph: Builder, x: &str, out: &str) -> Builder {
    graph
        .constant("root2", &[], &[std::f32::consts::SQRT_2])
        .constant("one", &[], &[1.0])
        .constant("half", &[], &[0.5])
        .node("Div", &[x, "root2"], "divided")
        .node("Erf", &["divided"], "erf")
        .node("Add", &["erf", "one"], "plus")
        .node("Mul", &[x, "plus"], "product")
        .node("Mul", &["product", "half"], out)
}

#[test]
fn gelu_in_the_order_of_pytorch() {
    let graph = with_gelu(Builder::default().input("x", F, &[2, 7]), "x", "y").build(&["y"]);
    assert_eq!(kinds(&graph), ["gelu"]);
    assert_same(&graph, &[floats(&[2, 7], &noise(14, 1))]);
}

#[test]
fn gelu_with_x_halved_first() {
    let graph = Builder::default()
        .input("x", F, &[9])
        .constant("root", &[1], &[std::f32::consts::FRAC_1_SQRT_2])
        .constant("one", &[1], &[1.0])
        .constant("half", &[1], &[0.5])
        .node("Mul", &["x", "root"], "divided")
        .node("Erf", &["divided"], "erf")
        .node("Add", &["one", "erf"], "plus")
        .node("Mul", &["x", "half"], "halved")
        .node("Mul", &["halved", "plus"], "y")
        .build(&["y"]);
    assert_eq!(kinds(&graph), ["gelu"]);
    assert_same(&graph, &[floats(&[9], &noise(9, 2))]);
}

#[test]
fn gelu_with_the_sum_halved_first() {
    let graph = |half: f32, x: &str| {
        Builder::default()
            .input("x", F, &[9])
            .input("z", F, &[9])
            .constant("root", &[], &[std::f32::consts::FRAC_1_SQRT_2])
            .constant("one", &[], &[1.0])
            .constant("half", &[], &[half])
            .node("Mul", &["x", "root"], "divided")
            .node("Erf", &["divided"], "erf")
            .node("Add", &["erf", "one"], "plus")
            .node("Mul", &["half", "plus"], "halved")
            .node("Mul", &[x, "halved"], "y")
            .build(&["y"])
    };
    assert_eq!(kinds(&graph(0.5, "x")), ["gelu"]);
    let (x, z) = (noise(9, 2), noise(9, 3));
    assert_same(&graph(0.5, "x"), &[floats(&[9], &x), floats(&[9], &z)]);
    for other in [graph(0.25, "x"), graph(0.5, "z")] {
        assert!(!kinds(&other).contains(&"gelu"));
    }
}

#[test]
fn what_only_looks_like_gelu_is_left_alone() {
    let graph = with_gelu(Builder::default().input("x", F, &[4]), "x", "y").build(&["y", "erf"]);
    assert!(!kinds(&graph).contains(&"gelu"), "erf is an output of the graph");
    // Nor is anything taken in that another step reads, wherever in the formula it is.
    for inner in ["divided", "erf", "plus", "product"] {
        let graph = with_gelu(Builder::default().input("x", F, &[4]), "x", "y").node("Exp", &[inner], "z");
        let graph = graph.build(&["y", "z"]);
        assert!(!kinds(&graph).contains(&"gelu"), "{inner} has another reader");
        assert_same(&graph, &[floats(&[4], &noise(4, 3))]);
    }
    let graph = Builder::default()
        .input("x", F, &[4])
        .constant("three", &[], &[3.0])
        .constant("one", &[], &[1.0])
        .constant("half", &[], &[0.5])
        .node("Div", &["x", "three"], "divided")
        .node("Erf", &["divided"], "erf")
        .node("Add", &["erf", "one"], "plus")
        .node("Mul", &["x", "plus"], "product")
        .node("Mul", &["product", "half"], "y")
        .build(&["y"]);
    assert!(!kinds(&graph).contains(&"gelu"), "divided by 3, not by the root of 2");
}

fn linear_graph(rows: usize) -> Builder {
    Builder::default()
        .input("x", F, &[1, rows, 5])
        .input("r", F, &[1, rows, 3])
        .constant("w", &[5, 3], &noise(15, 3))
        .constant("b", &[3], &noise(3, 4))
        .constant("eighth", &[], &[0.125])
        .node("MatMul", &["x", "w"], "xw")
        .node("Add", &["b", "xw"], "biased")
}

/// It is one linear layer that gives what the nodes of [`linear_graph`] with four rows, and more, give.
fn assert_linear(graph: &Graph<'_>) {
    assert_eq!(kinds(graph), ["linear"]);
    assert_same(graph, &[floats(&[1, 4, 5], &noise(20, 5)), floats(&[1, 4, 3], &noise(12, 6))]);
}

#[test]
fn linear_with_bias_gelu_and_residual() {
    let graph = with_gelu(linear_graph(4), "biased", "activated")
        .shape("activated", &[1, 4, 3])
        .node("Add", &["r", "activated"], "y")
        .build(&["y"]);
    assert_linear(&graph);
}

#[test]
fn linear_with_bias_and_gelu_in_one_operator() {
    let graph = linear_graph(4).node("MatMul", &["x", "w"], "product");
    let graph = graph.node("BiasGelu", &["product", "b"], "y").of_microsoft().build(&["y"]);
    assert_linear(&graph);
}

#[test]
fn linear_with_gelu_by_a_hyperbolic_tangent() {
    for rows in [&["product", "b"][..], &["biased"]] {
        let graph = linear_graph(4).node("MatMul", &["x", "w"], "product");
        assert_linear(&graph.node("FastGelu", rows, "y").of_microsoft().build(&["y"]));
    }
}

#[test]
fn a_skip_before_a_layer_norm_is_a_residual() {
    let row = |graph: Builder, name: &str, seed: u64| graph.constant(name, &[3], &noise(3, seed));
    for terms in [["xw", "r"], ["r", "xw"]] {
        let graph = Builder::default().input("x", F, &[1, 4, 5]).input("r", F, &[1, 4, 3]);
        let graph = row(row(row(graph, "gain", 7), "shift", 8), "b", 4).constant("w", &[5, 3], &noise(15, 3));
        let graph = graph.node("MatMul", &["x", "w"], "xw").shape("xw", &[1, 4, 3]);
        let operands = [terms[0], terms[1], "gain", "shift", "b"];
        let results = [("y", F), ("", F), ("", F), ("sum", F)];
        let graph = graph.node_of("SkipLayerNormalization", &operands, &results, &[]).of_microsoft();
        let mut graph = graph.build(&["y", "sum"]);
        graph.nodes.last_mut().expect("a node").outputs[1..3].fill(None);
        assert_eq!(kinds(&graph), ["linear", "layer norm"], "{terms:?}");
        assert_same(&graph, &[floats(&[1, 4, 5], &noise(20, 5)), floats(&[1, 4, 3], &noise(12, 6))]);
    }
}

/// A product and a bias as ONNX Runtime writes them where all sizes are known, with what follows.
#[test]
fn a_linear_layer_of_rows_in_two_axes_takes_them_as_they_are() {
    let of = |flat: &[i64], back: &[i64]| {
        let graph = Builder::default().input("x", F, &[2, 4, 5]).input("r", F, &[2, 4, 3]);
        let graph = graph.constant("w", &[5, 3], &noise(15, 3)).constant("b", &[3], &noise(3, 4));
        let graph = graph.integers("flat", flat).integers("back", back).node("Reshape", &["x", "flat"], "rows");
        let graph = graph.node("Gemm", &["rows", "w", "b"], "xwb").node("Reshape", &["xwb", "back"], "made");
        let graph = with_gelu(graph.shape("made", &[2, 4, 3]), "made", "activated").shape("activated", &[2, 4, 3]);
        graph.node("Add", &["activated", "r"], "y").build(&["y"])
    };
    let (x, r) = (noise(40, 5), noise(24, 6));
    let inputs = [floats(&[2, 4, 5], &x), floats(&[2, 4, 3], &r)];
    for flat in [[8, 5], [-1, 5]] {
        let graph = of(&flat, &[2, 4, 3]);
        assert_eq!(kinds(&graph), ["linear"]);
        assert_same(&graph, &inputs);
    }
    // Axes that are not given back are left to the reshapes.
    assert!(kinds(&of(&[8, 5], &[4, 2, 3])).contains(&"movement"));
}

#[test]
fn linear_with_a_scale_after_the_bias() {
    let graph = linear_graph(4).node("Mul", &["biased", "eighth"], "y").build(&["y"]);
    assert_linear(&graph);
}

#[test]
fn a_residual_of_one_row_is_broadcast() {
    let graph = linear_graph(4).shape("biased", &[1, 4, 3]).node("Add", &["biased", "r"], "y").build(&["y"]);
    assert_eq!(kinds(&graph), ["linear"]);
    assert_same(&graph, &[floats(&[1, 4, 5], &noise(20, 5)), floats(&[1, 1, 3], &noise(3, 6))]);
    assert_same(&graph, &[floats(&[1, 1, 5], &noise(5, 5)), floats(&[1, 4, 3], &noise(12, 6))]);
}

#[test]
fn a_product_that_others_read_keeps_its_own_step() {
    let graph = linear_graph(2).node("Mul", &["biased", "eighth"], "y").build(&["y", "xw"]);
    assert_eq!(kinds(&graph), ["linear", "element-wise", "element-wise"]);
    assert_same(&graph, &[floats(&[1, 2, 5], &noise(10, 5)), floats(&[1, 2, 3], &noise(6, 6))]);
}

#[test]
fn layer_norm_in_single_operations() {
    let mean = |graph: Builder, x: &str, out: &str| {
        graph.node_of("ReduceMean", &[x], &[(out, F)], &[("axes", ints(&[-1])), ("keepdims", Attribute::Int(1))])
    };
    let graph = Builder::default()
        .input("x", F, &[3, 8])
        .constant("two", &[], &[2.0])
        .constant("epsilon", &[], &[1e-5])
        .constant("gain", &[8], &noise(8, 1))
        .constant("bias", &[8], &noise(8, 2));
    let graph = mean(graph, "x", "mean").node("Sub", &["x", "mean"], "d").node("Pow", &["d", "two"], "squares");
    let graph = mean(graph, "squares", "variance")
        .node("Add", &["variance", "epsilon"], "sum")
        .node("Sqrt", &["sum"], "deviation")
        .node("Div", &["d", "deviation"], "normal")
        .node("Mul", &["normal", "gain"], "scaled")
        .node("Add", &["scaled", "bias"], "y")
        .build(&["y"]);
    assert_eq!(kinds(&graph), ["layer norm"]);
    assert_same(&graph, &[floats(&[3, 8], &noise(24, 3))]);
}

#[test]
fn two_convolutions_keep_channels_last_between_them() {
    let conv = |graph: Builder, x: &str, w: &str, b: &str, stride: i64, out: &str| {
        let attributes = [
            ("strides", ints(&[stride])),
            ("pads", ints(&[1, 1])),
            ("dilations", ints(&[1])),
            ("group", Attribute::Int(1)),
        ];
        graph.node_of("Conv", &[x, w, b], &[(out, F)], &attributes)
    };
    let graph = Builder::default()
        .input("x", F, &[2, 4, 11])
        .constant("w1", &[6, 4, 3], &noise(72, 1))
        .constant("b1", &[6], &noise(6, 2))
        .constant("w2", &[5, 6, 3], &noise(90, 3))
        .constant("b2", &[5], &noise(5, 4));
    let graph = with_gelu(conv(graph, "x", "w1", "b1", 1, "c1"), "c1", "g1");
    let graph = conv(graph, "g1", "w2", "b2", 2, "c2").transpose("c2", &[0, 2, 1], "y").build(&["y"]);
    assert_eq!(kinds(&graph), ["convolution", "convolution"]);
    assert_same(&graph, &[floats(&[2, 4, 11], &noise(88, 5))]);
}

/// A product as `quantize_dynamic` writes it, with the real weights that it stands for.
fn quantised_graph() -> (Graph<'static>, Vec<f32>) {
    let stored: Vec<i8> = (0..12).map(|at| (at * 37 % 251) as i8).collect();
    let (scales, zeros) = ([0.01f32, 0.02, 0.005], [3i8, -2, 0]);
    let real = stored.iter().enumerate().map(|(at, w)| f32::from(*w - zeros[at % 3]) * scales[at % 3]).collect();
    let graph = Builder::default()
        .input("x", F, &[2, 4])
        .bytes("w", DataType::I8, &[4, 3], bytemuck::cast_slice(&stored))
        .bytes("wz", DataType::I8, &[3], bytemuck::cast_slice(&zeros))
        .constant("ws", &[3], &scales)
        .constant("b", &[3], &noise(3, 4))
        .node_of("DynamicQuantizeLinear", &["x"], &[("xq", DataType::U8), ("xs", F), ("xz", DataType::U8)], &[])
        .node_of("MatMulInteger", &["xq", "w", "xz", "wz"], &[("sums", DataType::I32)], &[])
        .node_of("Cast", &["sums"], &[("real", F)], &[("to", Attribute::Int(1))])
        .node("Mul", &["xs", "ws"], "scales")
        .node("Mul", &["real", "scales"], "product")
        .node("Add", &["product", "b"], "y")
        .build(&["y"]);
    (graph, real)
}

#[test]
fn a_quantised_product_is_a_linear_layer_of_its_real_weights() {
    let (graph, real) = quantised_graph();
    assert_eq!(kinds(&graph), ["linear"]);
    let plain = Builder::default()
        .input("x", F, &[2, 4])
        .constant("w", &[4, 3], &real)
        .constant("b", &[3], &noise(3, 4))
        .node("MatMul", &["x", "w"], "xw")
        .node("Add", &["xw", "b"], "y")
        .build(&["y"]);
    let x = noise(8, 9);
    let got = run(&fused(&graph, &exact()), &graph, &[floats(&[2, 4], &x)], 1 << 10).expect("a run");
    let want = run(&unfused(&plain, &exact()), &plain, &[floats(&[2, 4], &x)], 1 << 10).expect("a run");
    assert_close(&got[0].floats(), &want[0].floats());
}

/// The same product in a group of its own: its operand is quantised by somebody else.
#[test]
fn a_product_of_an_operand_that_was_quantised_elsewhere_is_that_of_its_real_values() {
    let (whole, weights) = quantised_graph();
    for signed in [false, true] {
        let mut graph = whole.clone();
        graph.nodes.remove(0);
        let named = |name: &str| whole.values.iter().position(|value| value.name == name).expect("it is there");
        graph.inputs = ["xq", "xs", "xz"].map(named).to_vec();
        let dtype = if signed { DataType::I8 } else { DataType::U8 };
        [named("xq"), named("xz")].into_iter().for_each(|value| graph.values[value].dtype = Some(dtype));
        assert_eq!(kinds(&graph), ["linear"]);

        let (stored, scale, zero): ([u8; 8], f32, u8) = ([0, 7, 130, 255, 128, 127, 3, 200], 0.03, 130);
        let real = |byte: u8| if signed { f32::from(byte as i8) } else { f32::from(byte) };
        let x: Vec<f32> = stored.iter().map(|byte| (real(*byte) - real(zero)) * scale).collect();
        let bias = noise(3, 4);
        let dot = |row: usize, at: usize| (0..4).map(|i| x[row * 4 + i] * weights[i * 3 + at]).sum::<f32>() + bias[at];
        let want: Vec<f32> = (0..6).map(|at| dot(at / 3, at % 3)).collect();
        let inputs = [
            Input { dtype, shape: &[2, 4], bytes: &stored },
            floats(&[], std::slice::from_ref(&scale)),
            Input { dtype, shape: &[], bytes: std::slice::from_ref(&zero) },
        ];
        let got = run(&fused(&graph, &exact()), &graph, &inputs, 1 << 10).expect("a run");
        assert_close(&got[0].floats(), &want);
        // One scale for each row is another operation than the graph was fused for.
        let rows = [Input { dtype, shape: &[2, 4], bytes: &stored }, floats(&[2], &[0.03, 0.05]), inputs[2]];
        assert!(run(&fused(&graph, &exact()), &graph, &rows, 1 << 10).is_err());
    }
}

#[test]
fn int8_and_bf16_stay_near_f32() {
    let graph = linear_graph(6).build(&["biased"]);
    let (x, r) = (noise(30, 5), noise(18, 6));
    let inputs = [floats(&[1, 6, 5], &x), floats(&[1, 6, 3], &r)];
    let want = run(&fused(&graph, &exact()), &graph, &inputs, 1 << 10).expect("a run")[0].floats();
    for (precision, bound) in [(Precision::Bf16, 0.02), (Precision::Int8, 0.05)] {
        let options = Options { precision, ..Options::default() };
        let got = run(&fused(&graph, &options), &graph, &inputs, 1 << 10).expect("a run")[0].floats();
        let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst > 0.0 && worst < bound, "{precision}: {worst}");
    }
}
