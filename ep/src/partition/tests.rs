//! Groups are disjoint, convex and whole, whatever the graph; and what is left out says why.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{mark_exact, partition};
use crate::{
    graph::{Attribute, DataType, Graph, NodeId, ValueId},
    memory::{Shared, Store},
    options::{Claim, Options},
    plan::Plan,
    report::Product,
    testing::{Builder, exact, noise},
};

/// A random graph: each node reads one or two earlier values; some nodes are of an operator that the EP does not know.
fn random_graph(choices: &[(u8, u8, bool)]) -> Graph<'static> {
    let mut graph = Builder::default().input("v0", DataType::F32, &[2, 2]);
    for (at, (a, b, known)) in choices.iter().enumerate() {
        let pick = |byte: u8| format!("v{}", usize::from(byte) % (at + 1));
        let operator = if *known { "Add" } else { "FromAnotherWorld" };
        graph = graph.node(operator, &[&pick(*a), &pick(*b)], &format!("v{}", at + 1));
    }
    graph.build(&[&format!("v{}", choices.len())])
}

/// Nodes that can be reached from `from`, itself left out.
fn reachable(graph: &Graph<'_>, from: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let reads = |node: NodeId, value: ValueId| graph.nodes[node].inputs.contains(&Some(value));
    let mut seen = BTreeSet::new();
    let mut open: Vec<NodeId> = from.iter().copied().collect();
    while let Some(node) = open.pop() {
        for output in graph.nodes[node].outputs.iter().flatten() {
            let readers = (0..graph.nodes.len()).filter(|next| reads(*next, *output));
            open.extend(readers.filter(|next| seen.insert(*next)).collect::<Vec<_>>());
        }
    }
    seen
}

fn assert_convex(graph: &Graph<'_>, group: &[NodeId]) {
    let group: BTreeSet<NodeId> = group.iter().copied().collect();
    let left: BTreeSet<NodeId> = reachable(graph, &group).difference(&group).copied().collect();
    let back: Vec<NodeId> = reachable(graph, &left).intersection(&group).copied().collect();
    assert!(back.is_empty(), "a path leaves {group:?} and comes back to {back:?}");
}

proptest! {
    #[test]
    fn groups_are_disjoint_convex_and_whole(
        choices in prop::collection::vec((any::<u8>(), any::<u8>(), prop::bool::weighted(0.8)), 1..40)
    ) {
        let graph = random_graph(&choices);
        let partition = partition(&graph, &Options::default(), None);
        let mut claimed = BTreeSet::new();
        for group in &partition.groups {
            prop_assert!(!group.is_empty());
            assert_convex(&graph, group);
            for node in group {
                prop_assert!(claimed.insert(*node), "node {node} is in two groups");
            }
        }
        for (node, (_, _, known)) in choices.iter().enumerate() {
            prop_assert_eq!(claimed.contains(&node), *known);
        }
        prop_assert_eq!(partition.report.claimed, claimed.len());
        prop_assert_eq!(partition.report.unclaimed.len(), choices.len() - claimed.len());
    }
}

#[test]
fn a_graph_that_is_known_whole_is_one_group() {
    let choices = [(0, 0, true), (1, 0, true), (0, 2, true), (9, 3, true)];
    assert_eq!(partition(&random_graph(&choices), &Options::default(), None).groups, [[0, 1, 2, 3]]);
}

#[test]
fn an_empty_graph_has_no_group() {
    let graph = Builder::default().input("x", DataType::F32, &[1]).build(&["x"]);
    let partition = partition(&graph, &Options::default(), None);
    assert!(partition.groups.is_empty());
    assert_eq!((partition.report.nodes, partition.report.gflop_claimed), (0, 0.0));
}

#[test]
fn an_unknown_operator_is_named() {
    let partition = partition(&random_graph(&[(0, 0, false)]), &Options::default(), None);
    assert_eq!(partition.report.unclaimed[0].op_type, "FromAnotherWorld");
    assert!(partition.report.unclaimed[0].reason.contains("FromAnotherWorld"), "{:?}", partition.report.unclaimed);
}

#[test]
fn more_axes_than_a_plan_takes_are_left_out() {
    let graph = Builder::default().input("x", DataType::F32, &[1; 9]).node("Abs", &["x"], "y").build(&["y"]);
    let partition = partition(&graph, &Options::default(), None);
    assert!(partition.groups.is_empty());
    assert!(partition.report.unclaimed[0].reason.contains("9 axes"), "{:?}", partition.report.unclaimed);
}

/// A node that stands for a product and for attention, of which the second part waits for what is not claimed, is in
/// one group, behind that.
#[test]
fn a_node_of_several_steps_is_in_one_group() {
    let heads = [("num_heads", Attribute::Int(2))];
    let graph = Builder::default()
        .input("x", DataType::F32, &[1, 3, 8])
        .constant("w", &[8, 24], &noise(192, 1))
        .node("Erf", &["x"], "first")
        .shape("first", &[1, 3, 8])
        .node_of("FromAnotherWorld", &["first"], &[("seen", DataType::I32)], &[])
        .shape("seen", &[1, 3])
        .node_of("Attention", &["first", "w", "", "seen"], &[("mixed", DataType::F32)], &heads)
        .of_microsoft()
        .node("Erf", &["mixed"], "y")
        .build(&["y"]);
    let found = partition(&graph, &Options::default(), None);
    assert_eq!(found.groups, [vec![0], vec![2, 3]]);
    assert_eq!((found.report.nodes, found.report.claimed, found.report.unclaimed.len()), (4, 3, 1));
    let fused = &found.report.fused[1];
    assert_eq!((fused.nodes, fused.steps["linear"], fused.steps["attention"]), (2, 1, 1));
    // Part of a node is not claimed: neither its products nor its attention alone.
    for claim in [Claim::Attention, Claim::MatMul] {
        let found = partition(&graph, &Options { claim, ..Options::default() }, None);
        assert!(found.groups.is_empty() && found.report.unclaimed.len() == 4);
    }
}

#[test]
fn claim_matmul_takes_linear_layers_and_products_only() {
    let graph = Builder::default()
        .input("x", DataType::F32, &[3, 4])
        .constant("w", &[4, 4], &noise(16, 1))
        .node("MatMul", &["x", "w"], "a")
        .node("Softmax", &["a"], "p")
        .node("MatMul", &["p", "x"], "b")
        .build(&["b"]);
    let partition = partition(&graph, &Options { claim: Claim::MatMul, ..Options::default() }, None);
    assert_eq!(partition.groups, [[0], [2]]);
    assert_eq!(partition.report.unclaimed.len(), 1);
}

/// A product that `quantize_dynamic` has made one of integers, and that is in no transformer.
fn of_integers() -> Builder {
    let quantised = [("q", DataType::U8), ("s", DataType::F32), ("z", DataType::U8)];
    Builder::default()
        .input("x", DataType::F32, &[3, 4])
        .bytes("w", DataType::I8, &[4, 4], &[1; 16])
        .bytes("w_zero", DataType::I8, &[], &[0])
        .constant("w_scale", &[], &[0.5])
        .node_of("DynamicQuantizeLinear", &["x"], &quantised, &[])
        .node_of("MatMulInteger", &["q", "w", "z", "w_zero"], &[("a", DataType::I32)], &[])
        .node_of("Cast", &["a"], &[("b", DataType::F32)], &[("to", Attribute::Int(1))])
        .node("Mul", &["s", "w_scale"], "both")
        .node("Mul", &["b", "both"], "y")
        .shape("y", &[3, 4])
}

/// Graphs with a product, and what is claimed of them where nobody said what to claim.
#[test]
fn what_is_not_worth_it_is_left_alone() {
    const SIZES: [usize; 2] = [200, 128];
    let few = Builder::default().input("x", DataType::F32, &[3, 4]).constant("w", &[4, 4], &noise(16, 1));
    let start = || {
        let graph = Builder::default().input("x", DataType::F32, &SIZES);
        graph.constant("w", &[128, 128], &noise(128 * 128, 1)).constant("one", &[], &[1.0])
    };
    let product = |graph: Builder| graph.node("MatMul", &["x", "w"], "a").shape("a", &SIZES);
    let equation = |text: &str| [("equation", Attribute::String(text.to_owned()))];
    let einsum = |graph: Builder, x: &str, y: &str| {
        let attributes = equation("ij,jk->ik");
        graph.node_of("Einsum", &[x, "w"], &[(y, DataType::F32)], &attributes).shape(y, &SIZES)
    };
    let quantised =
        |graph: Builder| graph.node_of("QuantizeLinear", &["a", "one"], &[("q", DataType::U8)], &[]).shape("q", &SIZES);
    type Case = (&'static str, Graph<'static>, Vec<Vec<NodeId>>, &'static str);
    let cases: Vec<Case> = vec![
        ("no product", start().node("Add", &["x", "one"], "y").build(&["y"]), vec![], "without products"),
        ("all", product(start()).node("Add", &["a", "one"], "y").build(&["y"]), vec![vec![0, 1]], ""),
        (
            "a group apart",
            product(start())
                .node("FromAnotherWorld", &["a"], "b")
                .shape("b", &SIZES)
                .node("Abs", &["b"], "y")
                .build(&["y"]),
            vec![vec![0]],
            "without products",
        ),
        ("half of the work", einsum(product(start()), "a", "y").build(&["y"]), vec![vec![0]], ""),
        (
            "a third of the work",
            einsum(einsum(product(start()), "a", "b"), "b", "y").build(&["y"]),
            vec![],
            "most of the graph's products",
        ),
        ("quantised", quantised(product(start())).build(&["q"]), vec![], "QuantizeLinear"),
        ("little", few.node("MatMul", &["x", "w"], "y").build(&["y"]), vec![], "less work than its border"),
        ("of integers", of_integers().build(&["y"]), vec![], "outside of a transformer"),
    ];
    for (what, graph, groups, reason) in cases {
        let report = |sparing| partition(&graph, &Options { sparing, ..exact() }, None);
        let partition = report(true);
        assert_eq!(partition.groups, groups, "{what}");
        let mut unclaimed = partition.report.unclaimed.iter();
        assert!(reason.is_empty() || unclaimed.any(|node| node.reason.contains(reason)), "{what}");
        assert_eq!(partition.report.claimed, groups.iter().flatten().count(), "{what}");
        assert!(!report(false).groups.is_empty(), "{what}");
    }
}

#[test]
fn the_work_of_a_product_is_two_operations_per_multiplication() {
    let graph = Builder::default()
        .input("x", DataType::F32, &[3, 4])
        .constant("w", &[4, 5], &noise(20, 1))
        .node("MatMul", &["x", "w"], "y")
        .build(&["y"]);
    let report = partition(&graph, &Options::default(), None).report;
    assert_eq!(report.gflop_claimed, 2.0 * 3.0 * 4.0 * 5.0 / 1e9);
    assert_eq!((report.fused[0].bytes_in, report.fused[0].bytes_out), (3 * 4 * 4, 3 * 5 * 4));
}

/// A group as ONNX Runtime hands it back.
fn group_graph(graph: &Graph<'static>, group: &[NodeId]) -> Graph<'static> {
    let read = |nodes: &[NodeId]| -> BTreeSet<ValueId> {
        nodes.iter().flat_map(|node| graph.nodes[*node].inputs.iter().flatten().copied()).collect()
    };
    let made: BTreeSet<ValueId> =
        group.iter().flat_map(|node| graph.nodes[*node].outputs.iter().flatten().copied()).collect();
    let others: Vec<NodeId> = (0..graph.nodes.len()).filter(|node| !group.contains(node)).collect();
    let outside: BTreeSet<ValueId> = read(&others).into_iter().chain(graph.outputs.iter().copied()).collect();
    let is_fixed = |value: &ValueId| graph.values[*value].constant.is_some();
    Graph {
        nodes: group.iter().map(|node| graph.nodes[*node].clone()).collect(),
        inputs: read(group).difference(&made).copied().filter(|value| !is_fixed(value)).collect(),
        outputs: made.intersection(&outside).copied().collect(),
        ..graph.clone()
    }
}

/// A product as `quantize_dynamic` writes it, of the quantised operand `{x}q`.
fn quantised_product(graph: Builder, x: &str, y: &str) -> Builder {
    let of = |part: &str| format!("{y}{part}");
    let q = |part: &str| format!("{x}{part}");
    graph
        .bytes(&of("w"), DataType::I8, &[4, 4], &[3; 16])
        .constant(&of("s"), &[1], &[0.01])
        .node_of("MatMulInteger", &[&q("q"), &of("w"), &q("z")], &[(&of("sums"), DataType::I32)], &[])
        .node_of("Cast", &[&of("sums")], &[(&of("real"), DataType::F32)], &[("to", Attribute::Int(1))])
        .node("Mul", &[&q("s"), &of("s")], &of("scales"))
        .node("Mul", &[&of("real"), &of("scales")], y)
        .shape(y, &[3, 4])
}

fn quantisation(graph: Builder, x: &str) -> Builder {
    let of = |part: &str| format!("{x}{part}");
    let outputs = [of("q"), of("s"), of("z")];
    let [q, s, z] = &outputs;
    graph
        .node_of("DynamicQuantizeLinear", &[x], &[(q, DataType::U8), (s, DataType::F32), (z, DataType::U8)], &[])
        .shape(s, &[])
        .shape(z, &[])
        .shape(q, &[3, 4])
}

/// Quantised graphs: one operand for several products; a product whose residual comes from outside the groups; one that
/// is read as it is, too.
fn quantised_graphs() -> [Graph<'static>; 3] {
    let start = || quantisation(Builder::default().input("x", DataType::F32, &[3, 4]), "x");
    let shared = ["a", "b", "c"].into_iter().fold(start(), |graph, y| quantised_product(graph, "x", y));
    let apart = quantised_product(quantised_product(start(), "x", "a"), "x", "b")
        .node("FromAnotherWorld", &["a"], "r")
        .shape("r", &[3, 4])
        .node("Add", &["b", "r"], "y");
    let read = quantised_product(start(), "x", "a").node("FromAnotherWorld", &["xq"], "r").shape("r", &[3, 4]).node(
        "Add",
        &["a", "r"],
        "y",
    );
    [shared.build(&["a", "b", "c"]), apart.build(&["y"]), read.build(&["y"])]
}

#[test]
fn what_is_claimed_of_a_quantised_graph_can_be_compiled() {
    for (at, graph) in quantised_graphs().iter().enumerate() {
        for claim in Claim::ALL {
            let options = Options { claim, ..exact() };
            let partition = partition(graph, &options, None);
            let claims = |node: NodeId| partition.groups.iter().flatten().any(|claimed| *claimed == node);
            let products = (0..graph.nodes.len()).filter(|node| graph.nodes[*node].op_type == "MatMulInteger");
            assert!(products.into_iter().all(|node| claims(node) == (claim != Claim::Attention)), "{at} {claim}");
            for group in &partition.groups {
                assert_convex(graph, group);
                let shared = Shared::default();
                let made = Plan::build(&group_graph(graph, group), &options, &Store::new(&shared));
                assert!(made.is_ok(), "{at} {claim} {group:?}: {:?}", made.err());
            }
        }
    }
}

#[test]
fn a_group_s_products_are_marked_by_their_results() {
    let mut graph = Builder::default()
        .input("x", DataType::F32, &[1, 3, 4])
        .constant("w", &[4, 4], &noise(16, 1))
        .node("MatMul", &["x", "w"], "a")
        .node("MatMul", &["a", "w"], "b")
        .node("Abs", &["b"], "y")
        .build(&["y"]);
    mark_exact(&mut graph, |result| result == "a");
    assert_eq!(graph.nodes.iter().map(|node| node.exact).collect::<Vec<_>>(), [false, true, false]);
    let report = partition(&graph, &Options::default(), None).report;
    let products = &report.fused[0].products;
    let is_exact = |product: &Product| product.precision == "f32" && product.reason.contains("not recognised");
    assert!(products.len() == 2 && products.iter().all(is_exact), "{products:?}");
}
