//! Where products stand: front ends of every kind stay exact, layers and stems of every kind do not.

use std::collections::BTreeMap;

use super::{Position, positions};
use crate::{
    fusion::fuse,
    graph::{Attribute, DataType, Graph},
    lower::lower,
    testing::{Builder, noise},
};

const WIDTH: usize = 8;

/// For each product, by the name of its result, where it stands.
fn found(graph: &Graph<'_>) -> BTreeMap<String, Position> {
    let program = fuse(graph, lower(graph));
    let positions = positions(graph, &program);
    let named = program.steps.iter().zip(positions).filter_map(|(step, place)| Some((step.outputs[0], place?)));
    named.map(|(output, place)| (graph.values[output].name.clone(), place)).collect()
}

fn assert_positions(graph: &Graph<'_>, wanted: &[(&str, Position)]) {
    let found = found(graph);
    for (name, place) in wanted {
        assert_eq!(found.get(*name), Some(place), "{name} in {found:?}");
    }
}

fn matrix(graph: Builder, name: &str, rows: usize, columns: usize) -> Builder {
    graph.constant(name, &[rows, columns], &noise(rows * columns, 3))
}

/// A pre-norm transformer layer from `x` to `y`, `[1, length, WIDTH]`, one head without axes of its own.
fn layer(graph: Builder, x: &str, y: &str) -> Builder {
    let mut graph = graph.constant("gain", &[WIDTH], &noise(WIDTH, 1)).constant("bias", &[WIDTH], &noise(WIDTH, 2));
    for name in ["wq", "wk", "wv", "wo", "w1", "w2"] {
        graph = matrix(graph, name, WIDTH, WIDTH);
    }
    graph
        .node("LayerNormalization", &[x, "gain", "bias"], "n")
        .node("MatMul", &["n", "wq"], "q")
        .node("MatMul", &["n", "wk"], "k")
        .node("MatMul", &["n", "wv"], "v")
        .transpose("k", &[0, 2, 1], "kt")
        .node("MatMul", &["q", "kt"], "scores")
        .node("Softmax", &["scores"], "p")
        .node("MatMul", &["p", "v"], "mixed")
        .node("MatMul", &["mixed", "wo"], "o")
        .node("Add", &["o", x], "r")
        .node("LayerNormalization", &["r", "gain", "bias"], "m")
        .node("MatMul", &["m", "w1"], "h")
        .node("Relu", &["h"], "a")
        .node("MatMul", &["a", "w2"], "f")
        .node("Add", &["f", "r"], y)
}

#[test]
fn every_product_of_a_layer_is_narrow() {
    let graph = Builder::default().input("x", DataType::F32, &[1, 5, WIDTH]);
    let graph = matrix(layer(graph, "x", "y"), "vocabulary", WIDTH, 3)
        .node("LayerNormalization", &["y", "gain"], "last")
        .node("MatMul", &["last", "vocabulary"], "logits")
        // Log-probabilities, as decoders give them: a soft-max is of a scale of its own.
        .node("Softmax", &["logits"], "probabilities")
        .node("Log", &["probabilities"], "log")
        .build(&["log"]);
    assert_positions(
        &graph,
        &[
            ("q", Position::BeforeAttention),
            ("k", Position::BeforeAttention),
            ("v", Position::BeforeAttention),
            ("scores", Position::RunTime),
            ("mixed", Position::RunTime),
            ("o", Position::AfterAttention),
            ("h", Position::AfterNorm),
            ("f", Position::AfterLayer),
            ("logits", Position::AfterNorm),
        ],
    );
}

#[test]
fn keys_of_another_model_s_result_are_narrow_and_an_embedding_is_not() {
    let graph = Builder::default().input("x", DataType::F32, &[1, 5, 3]).input("hidden", DataType::F32, &[1, 9, 7]);
    let graph = matrix(matrix(matrix(graph, "embedding", 3, WIDTH), "ck", 7, WIDTH), "cv", 7, WIDTH);
    let graph = matrix(graph, "cq", WIDTH, WIDTH).node("MatMul", &["x", "embedding"], "e");
    let graph = layer(graph, "e", "y")
        .node("MatMul", &["hidden", "ck"], "k2")
        .node("MatMul", &["hidden", "cv"], "v2")
        .transpose("k2", &[0, 2, 1], "kt2")
        .node("LayerNormalization", &["y", "gain"], "n2")
        .node("MatMul", &["n2", "cq"], "q2")
        .node("MatMul", &["q2", "kt2"], "scores2")
        .node("Softmax", &["scores2"], "p2")
        .node("MatMul", &["p2", "v2"], "z")
        .build(&["z"]);
    let positions =
        [("e", Position::Unrecognised), ("k2", Position::BeforeAttention), ("v2", Position::BeforeAttention)];
    assert_positions(&graph, &positions);
}

/// A stem of two convolutions with GELU, from `[1, 4, length]` features to `[1, length, WIDTH]`.
fn stem(graph: Builder, features: &str, y: &str) -> Builder {
    let kernel = |inputs: usize| noise(WIDTH * inputs * 3, 5);
    graph
        .constant("c1", &[WIDTH, 4, 3], &kernel(4))
        .constant("c2", &[WIDTH, WIDTH, 3], &kernel(WIDTH))
        .constant("positions", &[5, WIDTH], &noise(5 * WIDTH, 6))
        .node_of("Conv", &[features, "c1"], &[("s1", DataType::F32)], &[("pads", Attribute::Ints(vec![1, 1]))])
        .node("Gelu", &["s1"], "g1")
        .node_of("Conv", &["g1", "c2"], &[("s2", DataType::F32)], &[("pads", Attribute::Ints(vec![1, 1]))])
        .node("Gelu", &["s2"], "g2")
        .transpose("g2", &[0, 2, 1], "t")
        .node("Add", &["t", "positions"], y)
}

fn front_end(kind: &str) -> (Graph<'static>, Vec<&'static str>) {
    let graph = Builder::default().input("sound", DataType::F32, &[1, 40]);
    let mut products = vec!["mel"];
    let graph = match kind {
        "convolution" => {
            // With the transposition that it takes in.
            products.push("rows");
            graph
                .constant("dft", &[6, 1, 8], &noise(48, 7))
                .integers("axis", &[1])
                .node("Unsqueeze", &["sound", "axis"], "one")
                .node_of(
                    "Conv",
                    &["one", "dft"],
                    &[("spectrum", DataType::F32)],
                    &[("strides", Attribute::Ints(vec![8]))],
                )
                .transpose("spectrum", &[0, 2, 1], "rows")
                .node("Mul", &["rows", "rows"], "power")
        }
        "matrix" => {
            products.push("spectrum");
            matrix(graph, "dft", 8, 6)
                .integers("frames", &[1, 5, 8])
                .node("Reshape", &["sound", "frames"], "framed")
                .node("MatMul", &["framed", "dft"], "spectrum")
                .node("Mul", &["spectrum", "spectrum"], "power")
        }
        // An operator that the EP does not carry out.
        _ => graph.node("STFT", &["sound"], "spectrum").node("Mul", &["spectrum", "spectrum"], "power"),
    };
    let graph = matrix(graph, "filters", 6, 4)
        .constant("floor", &[1], &[1e-10])
        .node("MatMul", &["power", "filters"], "mel")
        .node("Max", &["mel", "floor"], "clamped")
        .node("Log", &["clamped"], "log")
        .transpose("log", &[0, 2, 1], "features");
    (layer(stem(graph, "features", "x"), "x", "y").build(&["y"]), products)
}

#[test]
fn front_ends_are_exact_and_what_follows_them_is_not() {
    for kind in ["convolution", "matrix", "operator"] {
        let (graph, products) = front_end(kind);
        let found = found(&graph);
        for product in products {
            assert!(matches!(found[product], Position::BeforeLog), "{kind}: {product} in {found:?}");
        }
        assert_eq!(found.values().filter(|place| **place == Position::Stem).count(), 2, "{kind}: {found:?}");
        assert_eq!((found["q"], found["h"]), (Position::BeforeAttention, Position::AfterNorm), "{kind}");
    }
}

#[test]
fn a_stem_that_reads_sound_or_its_spectrum_is_exact() {
    let kernel = |inputs: usize| noise(WIDTH * inputs, 5);
    for (shape, inputs, operator) in [(&[1, 1, 5][..], 1, None), (&[1, 40][..], 4, Some("STFT"))] {
        let graph = Builder::default().input("sound", DataType::F32, shape);
        let graph = graph.constant("c0", &[WIDTH, inputs, 1], &kernel(inputs));
        let (graph, x) = match operator {
            Some(operator) => (graph.node(operator, &["sound"], "spectrum").node("Abs", &["spectrum"], "size"), "size"),
            None => (graph, "sound"),
        };
        let graph = graph.node("Conv", &[x, "c0"], "s0").node("Gelu", &["s0"], "g0").transpose("g0", &[0, 2, 1], "x");
        let graph = layer(graph, "x", "y").build(&["y"]);
        let found = found(&graph);
        assert!(found.values().any(|place| *place == Position::OfSound), "{found:?}");
        assert!(found.values().all(|place| *place != Position::Stem), "{found:?}");
    }
}

#[test]
fn without_attention_nothing_is_a_transformer() {
    let graph = matrix(Builder::default().input("x", DataType::F32, &[1, 5, WIDTH]), "w", WIDTH, WIDTH)
        .constant("gain", &[WIDTH], &noise(WIDTH, 1))
        .node("LayerNormalization", &["x", "gain"], "n")
        .node("MatMul", &["n", "w"], "y")
        .build(&["y"]);
    assert_positions(&graph, &[("y", Position::Unrecognised)]);
}
