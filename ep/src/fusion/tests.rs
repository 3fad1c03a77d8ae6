//! Each pattern: that it is recognised, and that the fused step gives what its nodes give one by one.

use proptest::prelude::*;
use undertone_kernels::Precision;

use super::fuse;
use crate::{
    graph::{Attribute, DataType, Dim, Graph},
    lower::lower_in_parts,
    memory::Input,
    ops::{HeadLayout, Op},
    options::Options,
    program::Step,
    testing::{Builder, assert_close, exact, floats, fused, noise, run, unfused},
};

/// Kinds of the live steps after fusion, in order.
fn kinds(graph: &Graph<'_>) -> Vec<&'static str> {
    let (graph, program) = lower_in_parts(graph);
    let program = fuse(&graph, program).without_dead_steps(&graph);
    program.steps.iter().map(|step| step.op.kind()).collect()
}

/// Fused and unfused plans give the same.
fn assert_same(graph: &Graph<'_>, inputs: &[Input<'_>]) {
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

const F: DataType = DataType::F32;

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

/// Attention as a decoder with a cache has it: a mask, the guard against NaN, keys that are also an output.
fn attention_graph(queries: usize, keys: usize, guard: bool) -> Graph<'static> {
    let swap = [0, 2, 1, 3];
    let graph = Builder::default()
        .input("q", F, &[1, queries, 2, 8])
        .input("k", F, &[1, 2, keys, 8])
        .input("v", F, &[1, keys, 2, 8])
        .input("mask", F, &[1, 1, queries, keys])
        .constant("zero", &[1], &[0.0])
        .constant("scale", &[], &[0.3])
        .transpose("q", &swap, "qt")
        .transpose("k", &[0, 1, 3, 2], "kt")
        .transpose("v", &swap, "vt")
        .node("MatMul", &["qt", "kt"], "raw")
        .node("Mul", &["raw", "scale"], "scores")
        .node("Add", &["scores", "mask"], "masked")
        .node("Softmax", &["masked"], "p");
    let graph = if guard {
        graph
            .node_of("IsNaN", &["p"], &[("nan", DataType::Bool)], &[])
            .node("Where", &["nan", "zero", "p"], "guarded")
            .node("MatMul", &["guarded", "vt"], "mixed")
    } else {
        graph.node("MatMul", &["p", "vt"], "mixed")
    };
    graph.transpose("mixed", &swap, "y").build(&["y"])
}

proptest! {
    #[test]
    fn attention_with_mask_and_guard(queries in 1usize..6, keys in 2usize..9, hidden: u32) {
        let graph = attention_graph(queries, keys, true);
        prop_assert_eq!(kinds(&graph), ["attention"]);
        let count = queries * keys;
        let mask: Vec<f32> =
            (0..count).map(|at| if hidden >> (at % 32) & 1 == 1 { f32::NEG_INFINITY } else { 0.0 }).collect();
        let (q, k, v) = (noise(queries * 16, 1), noise(keys * 16, 2), noise(keys * 16, 3));
        assert_same(&graph, &[
            floats(&[1, queries, 2, 8], &q),
            floats(&[1, 2, keys, 8], &k),
            floats(&[1, keys, 2, 8], &v),
            floats(&[1, 1, queries, keys], &mask),
        ]);
    }
}

/// Attention of operands of any shapes, `[batch, heads, length, 8]` and a mask of up to four axes.
fn attention_of(q: &[usize], k: &[usize], v: &[usize], mask: &[usize]) -> Graph<'static> {
    Builder::default()
        .input("q", F, q)
        .input("k", F, k)
        .input("v", F, v)
        .input("mask", F, mask)
        .transpose("k", &[0, 1, 3, 2], "kt")
        .node("MatMul", &["q", "kt"], "scores")
        .node("Add", &["scores", "mask"], "masked")
        .node("Softmax", &["masked"], "p")
        .node("MatMul", &["p", "v"], "y")
        .build(&["y"])
}

proptest! {
    /// Each axis of a mask may be there once, that of the keys too (openai-whisper's and sherpa-onnx's graphs in every
    /// step after the first), and so may the batch and the heads of any operand.
    #[test]
    fn attention_of_operands_that_are_there_once(
        sizes in [1usize..3, 1usize..4, 1usize..5, 1usize..6],
        once in prop::array::uniform10(prop::bool::ANY),
        leading in 0usize..4,
        large in prop::bool::ANY,
    ) {
        let [batch, heads, queries, keys] = sizes;
        let dim = |at: usize, full: usize| if once[at] { 1 } else { full };
        let q = [dim(0, batch), dim(1, heads), queries, 8];
        let k = [dim(2, batch), dim(3, heads), keys, 8];
        let v = [dim(4, batch), dim(5, heads), keys, 8];
        // Together they have all batch items and heads, or scores would be fewer than a mask's entries.
        let scores = [q[0].max(k[0]).max(v[0]), q[1].max(k[1]).max(v[1])];
        let mask = [dim(6, scores[0]), dim(7, scores[1]), dim(8, queries), dim(9, keys)];
        let mask = &mask[if mask[..leading].iter().all(|dim| *dim == 1) { leading } else { 0 }..];
        let graph = attention_of(&q, &k, &v, mask);
        prop_assert_eq!(kinds(&graph), ["attention"]);
        let of = |shape: &[usize], seed: u64| noise(shape.iter().product(), seed);
        // The least number hides scores that it is added to: what is left is the mean of all values.
        let mask_values: Vec<f32> =
            of(mask, 4).iter().map(|v| if large && *v < 0.0 { f32::MIN } else { *v }).collect();
        assert_same(&graph, &[
            floats(&q, &of(&q, 1)),
            floats(&k, &of(&k, 2)),
            floats(&v, &of(&v, 3)),
            floats(mask, &mask_values),
        ]);
    }
}

/// Attention as PyTorch's exporters write `scaled_dot_product_attention`: the scale's root on both operands, and `kᵀ`
/// made with batch and heads as one axis, whose sizes are constants or computed. `sizes` are the sizes that `kᵀ` gets
/// at last.
fn torch_attention(computed: bool, sizes: &[i64]) -> Graph<'static> {
    let swap = [0, 2, 1, 3];
    let graph = ["q", "k", "v"].into_iter().fold(Builder::default(), |graph, name| graph.input(name, F, &[2, 5, 3, 8]));
    let graph = graph.transpose("q", &swap, "qt").transpose("k", &swap, "kt").transpose("v", &swap, "vt");
    let graph = graph.constant("root", &[], &[0.6]).shape("kt", &[2, 3, 5, 8]);
    let graph = if computed {
        let of_shape = [("sizes", DataType::I64)];
        let axis = [("axis", Attribute::Int(0))];
        let bound = |graph: Builder, name: &str, at: i64| graph.integers(name, &[at]);
        let graph = [("-1", -1), ("-2", -2), ("end", i64::MAX), ("start", i64::MIN)]
            .into_iter()
            .fold(graph, |graph, (name, at)| bound(graph, name, at));
        graph
            .node_of("Shape", &["kt"], &of_shape, &[])
            .node_of("Slice", &["sizes", "-1", "end"], &[("width", DataType::I64)], &[])
            .node_of("Slice", &["sizes", "-2", "-1"], &[("length", DataType::I64)], &[])
            .node_of("Slice", &["sizes", "start", "-2"], &[("outer", DataType::I64)], &[])
            .node_of("Concat", &["-1", "length", "width"], &[("joined", DataType::I64)], &axis)
            .node_of("Concat", &["outer", "width", "length"], &[("parted", DataType::I64)], &axis)
    } else {
        graph.integers("joined", &[-1, 5, 8]).integers("parted", sizes)
    };
    graph
        .node("Reshape", &["kt", "joined"], "k3")
        .transpose("k3", &[0, 2, 1], "k3t")
        .node("Reshape", &["k3t", "parted"], "k4t")
        .node("Mul", &["qt", "root"], "qs")
        .node("Mul", &["k4t", "root"], "ks")
        .node("MatMul", &["qs", "ks"], "scores")
        .node("Softmax", &["scores"], "p")
        .node("MatMul", &["p", "vt"], "mixed")
        .transpose("mixed", &swap, "y")
        .build(&["y"])
}

#[test]
fn attention_in_the_order_of_pytorch() {
    let data = [1, 2, 3].map(|seed| noise(240, seed));
    let inputs = data.each_ref().map(|data| floats(&[2, 5, 3, 8], data));
    let of = |graph: &Graph<'_>| -> Vec<&'static str> {
        kinds(graph).into_iter().filter(|kind| ["attention", "matmul", "softmax"].contains(kind)).collect()
    };
    for computed in [false, true] {
        let graph = torch_attention(computed, &[2, 3, 8, 5]);
        assert_eq!(of(&graph), ["attention"]);
        assert_same(&graph, &inputs);
        // Keys that lie as a projection leaves them may be computed in a narrow precision.
        let (graph, program) = lower_in_parts(&graph);
        let program = fuse(&graph, program);
        let is_by_length = |step: &Step| match step.op {
            Op::Attention(attention) => Some(attention.k == HeadLayout::LengthFirst),
            _ => None,
        };
        assert_eq!(program.steps.iter().find_map(is_by_length), Some(true));
    }
    // Other sizes make other heads of the same elements: batch items and heads change places.
    let graph = torch_attention(false, &[3, 2, 8, 5]);
    assert!(!of(&graph).contains(&"attention"));
}

/// The same, as ONNX Runtime's own optimiser leaves it where all sizes are known.
#[test]
fn attention_of_keys_that_a_reshape_leaves_as_they_are() {
    let swap = [0, 2, 1, 3];
    let of = |sizes: &[i64]| {
        let names = ["q", "k", "v"];
        let graph = names.into_iter().fold(Builder::default(), |graph, name| graph.input(name, F, &[1, 5, 3, 8]));
        let graph = graph.transpose("q", &swap, "qt").transpose("k", &swap, "kt").transpose("v", &swap, "vt");
        let graph = graph.shape("kt", &[1, 3, 5, 8]).integers("sizes", sizes).node("Reshape", &["kt", "sizes"], "same");
        let graph = graph.transpose("same", &[0, 1, 3, 2], "turned").node("MatMul", &["qt", "turned"], "scores");
        let graph = graph.node("Softmax", &["scores"], "p").node("MatMul", &["p", "vt"], "mixed");
        graph.transpose("mixed", &swap, "y").build(&["y"])
    };
    let graph = of(&[1, 3, 5, 8]);
    assert_eq!(kinds(&graph), ["attention"]);
    let data = [1, 2, 3].map(|seed| noise(120, seed));
    assert_same(&graph, &data.each_ref().map(|data| floats(&[1, 5, 3, 8], data)));
    // Other rows of the same elements are other keys.
    assert!(kinds(&of(&[1, 3, 8, 5])).len() > 1);
}

/// Attention as one operator between the transpositions that PyTorch's exporter writes around it.
#[test]
fn attention_in_one_operator_reads_through_transpositions() {
    let swap = [0, 2, 1, 3];
    let data = [1, 2, 3].map(|seed| noise(240, seed));
    let inputs = data.each_ref().map(|data| floats(&[2, 5, 3, 8], data));
    let start = || {
        let names = ["q", "k", "v"];
        let graph = names.into_iter().fold(Builder::default(), |graph, name| graph.input(name, F, &[2, 5, 3, 8]));
        let graph = graph.transpose("q", &swap, "qt").transpose("k", &swap, "kt").transpose("v", &swap, "vt");
        names.into_iter().fold(graph, |graph, name| graph.shape(&format!("{name}t"), &[2, 3, 5, 8]))
    };
    for causal in [0, 1] {
        let attributes = [("is_causal", Attribute::Int(causal))];
        let graph = start().node_of("Attention", &["qt", "kt", "vt"], &[("mixed", F)], &attributes);
        let graph = graph.transpose("mixed", &swap, "y").build(&["y"]);
        assert_eq!(kinds(&graph), ["attention"]);
        assert_same(&graph, &inputs);
        // What others read too is made.
        let graph = start().node_of("Attention", &["qt", "kt", "vt"], &[("mixed", F)], &attributes);
        let graph = graph.transpose("mixed", &swap, "y").node("Abs", &["kt"], "z").build(&["y", "z", "mixed"]);
        assert_eq!(kinds(&graph).iter().filter(|kind| **kind == "movement").count(), 2);
        assert_same(&graph, &inputs);
    }
    // New keys behind a past.
    let outputs = [("mixed", F), ("keys", F), ("values", F)];
    let graph = start().input("past k", F, &[2, 3, 4, 8]).input("past v", F, &[2, 3, 4, 8]);
    let graph = graph.node_of("Attention", &["qt", "kt", "vt", "", "past k", "past v"], &outputs, &[]);
    let graph = graph.build(&["mixed", "keys", "values"]);
    let past = [4, 5].map(|seed| noise(192, seed));
    let past = past.each_ref().map(|past| floats(&[2, 3, 4, 8], past));
    assert_eq!(kinds(&graph), ["attention"]);
    assert_same(&graph, &[inputs[0], inputs[1], inputs[2], past[0], past[1]]);
}

/// Masks whose shape is known only when it runs, and is another one in each run: a row's one entry, and an entry for
/// each key.
#[test]
fn one_plan_takes_masks_of_every_shape() {
    let mut graph = attention_of(&[1, 2, 0, 8], &[1, 2, 0, 8], &[1, 2, 0, 8], &[0; 4]);
    for input in graph.inputs.clone() {
        let dims = graph.values[input].shape.iter_mut().flatten();
        dims.filter(|dim| **dim == Dim::Fixed(0)).for_each(|dim| *dim = Dim::Unknown);
    }
    assert_eq!(kinds(&graph), ["attention"]);
    let (whole, obvious) = (fused(&graph, &exact()), unfused(&graph, &exact()));
    for (step, (queries, keys, mask)) in
        [(4, 4, [1, 1, 4, 4]), (1, 5, [1, 1, 1, 1]), (3, 7, [1, 1, 3, 1]), (1, 8, [1, 1, 1, 8]), (2, 9, [1, 2, 1, 9])]
            .into_iter()
            .enumerate()
    {
        let of = |shape: &[usize], seed: usize| noise(shape.iter().product(), (10 * step + seed) as u64);
        let (q, kv) = ([1, 2, queries, 8], [1, 2, keys, 8]);
        let values = [of(&q, 1), of(&kv, 2), of(&kv, 3), of(&mask, 4)];
        let inputs =
            [floats(&q, &values[0]), floats(&kv, &values[1]), floats(&kv, &values[2]), floats(&mask, &values[3])];
        let [got, want] = [&whole, &obvious].map(|plan| run(plan, &graph, &inputs, 1 << 16).expect("a run"));
        assert_close(&got[0].floats(), &want[0].floats());
    }
}

#[test]
fn attention_without_a_guard() {
    let graph = attention_graph(3, 5, false);
    assert_eq!(kinds(&graph), ["attention"]);
    let (q, k, v, mask) = (noise(48, 1), noise(80, 2), noise(80, 3), vec![0.0; 15]);
    assert_same(
        &graph,
        &[
            floats(&[1, 3, 2, 8], &q),
            floats(&[1, 2, 5, 8], &k),
            floats(&[1, 5, 2, 8], &v),
            floats(&[1, 1, 3, 5], &mask),
        ],
    );
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
