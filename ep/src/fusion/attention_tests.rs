//! Attention in all the ways that tools write it: recognised, and the same as its nodes one by one.

use proptest::prelude::*;

use super::{
    fuse,
    tests::{F, assert_same, kinds},
};
use crate::{
    graph::{Attribute, DataType, Dim, Graph},
    lower::lower_in_parts,
    ops::{HeadLayout, Op},
    program::Step,
    testing::{Builder, assert_close, exact, floats, fused, noise, run, unfused},
};

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
