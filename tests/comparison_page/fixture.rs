//! Comparisons that tests make up: figures out of a seed, names that are odd, a graph with control flow, a run that
//! failed.

use crate::report::{
    Accuracy, Comparison, Configuration, Energy, FORMAT, GraphComparison, GraphRun, Input, InputSource, Layer, Machine,
    Node, Operator, Part, Span, TensorAccuracy, Time, Timeline, Totals, Transcript, Unclaimed, VERSION,
};

/// Ends a script where it is not escaped, and loads something where it is HTML.
const ODD: &str = "</script><img src='http://elsewhere.invalid/x' onerror='throw 1'>&\"";

/// An encoder with layers, and a decoder with a branch, under three configurations.
pub fn comparison(seed: u64) -> Comparison {
    let mut chance = fastrand::Rng::with_seed(seed);
    let configurations = [("cpu", "cpu", None), ("host:int8", "host", None), ("sim:npu1:int8", "sim", Some("npu1"))];
    let graphs = vec![graph("encoder", 4, &mut chance), graph("decoder", 2, &mut chance)];
    let transcripts = configurations.map(|(id, ..)| Transcript {
        configuration: id.into(),
        text: format!(" Ever tried. {ODD}"),
        language: "en".into(),
        errors: chance.usize(0..3),
        words: 12,
        mean_logprob: Some(-chance.f64()),
        ..Transcript::default()
    });
    Comparison {
        format: FORMAT.into(),
        version: VERSION,
        undertone: "0.1.0".into(),
        made: "2026-11-28T18:00:00Z".into(),
        ort: "1.32.0".into(),
        machine: Machine { processor: "test machine".into(), threads: 2, runs: 5 },
        model: format!("made up {ODD}"),
        input: InputSource { kind: "generated".into(), what: format!("generated from shapes, seed {seed}") },
        configurations: configurations
            .map(|(id, device, target)| Configuration {
                id: id.into(),
                device: device.into(),
                target: target.map(str::to_owned),
                precision: "int8".into(),
                about: format!("about {id}"),
                predicted: target.is_some(),
            })
            .to_vec(),
        reference: "cpu f32".into(),
        graphs,
        transcripts: transcripts.to_vec(),
        notes: vec![format!("a note {ODD}")],
    }
}

/// Each layer has four operators of two nodes each; two nodes stand before the layers, one after them.
fn graph(name: &str, layers: usize, chance: &mut fastrand::Rng) -> GraphComparison {
    let is_decoder = name == "decoder";
    let mut nodes = vec![node("/conv1/Conv", "Conv", None), node(ODD, "Cast", None)];
    for layer in 0..layers {
        for (index, kind) in
            ["LayerNormalization", "MatMul", "MatMul", "Add", "Softmax", "MatMul", "Erf", "Add"].into_iter().enumerate()
        {
            nodes.push(node(&format!("/layers.{layer}/part_{index}/{kind}"), kind, Some(layer)));
        }
    }
    nodes.push(node("/ln_post/LayerNormalization", "LayerNormalization", None));
    if is_decoder {
        nodes.push(Node { within: "If_1.then_branch".into(), ..node("/ln_post/then/Mul", "Mul", None) });
    }
    let edges = (1..nodes.len())
        .map(|index| [index - 1, index])
        .chain((0..layers).map(|layer| [layer * 8 + 2, layer * 8 + 5]))
        .collect();
    let mut runs: Vec<GraphRun> =
        ["cpu", "host:int8", "sim:npu1:int8"].iter().map(|id| run(id, &nodes, layers, chance)).collect();
    if is_decoder {
        runs[1] = GraphRun {
            configuration: "host:int8".into(),
            failed: Some("an <i>odd</i> reason".into()),
            ..GraphRun::default()
        };
    }
    GraphComparison {
        name: name.into(),
        path: format!("/models/{name}.onnx").into(),
        weight_bytes: 1_000_000,
        inputs: vec![Input {
            name: "input".into(),
            dtype: "float32".into(),
            shape: vec![1, 80, 3000],
            source: "generated".into(),
        }],
        layers: (0..layers)
            .map(|layer| Layer { name: format!("layers.{layer}"), by: "names".into(), nodes: 8 })
            .collect(),
        nodes,
        edges,
        runs,
    }
}

fn node(name: &str, op_type: &str, layer: Option<usize>) -> Node {
    Node { name: name.into(), op_type: op_type.into(), layer, within: String::new() }
}

fn run(id: &str, nodes: &[Node], layers: usize, chance: &mut fastrand::Rng) -> GraphRun {
    let (is_cpu, is_sim) = (id == "cpu", id.starts_with("sim"));
    // The second node was folded into constants.
    let mut groups: Vec<Vec<usize>> = vec![vec![0]];
    groups.extend((0..layers * 4).map(|index| vec![2 + 2 * index, 3 + 2 * index]));
    groups.extend((2 + layers * 8..nodes.len()).map(|index| vec![index]));
    let mut operators = Vec::new();
    for group in &groups {
        let is_npu = is_sim && group.len() == 2;
        let place = if is_cpu {
            "cpu provider"
        } else if is_npu {
            "sim"
        } else {
            "host"
        };
        let kind = if is_cpu {
            nodes[group[0]].op_type.clone()
        } else {
            ["linear", "attention", "layer_norm+linear"][group[0] % 3].into()
        };
        operators.push(Operator {
            name: format!("{} {}", nodes[group[0]].name, group[0]),
            kind,
            shape: "1500x512x2048".into(),
            layer: nodes[group[0]].layer,
            nodes: group.clone(),
            part: (!is_cpu).then_some(0),
            place: place.into(),
            precision: "int8".into(),
            calls: 1,
            time: Time {
                measured_ms: Some(1.0 + chance.f64()),
                predicted_ms: is_npu.then(|| 2.0 + chance.f64()),
                simulating_ms: is_npu.then_some(50.0),
            },
            gflop: chance.f64(),
            bytes_in: 1000,
            bytes_out: 2000,
            bytes_weights: 3000,
            ..Operator::default()
        });
    }
    let mut carried_out_by = vec![None; nodes.len()];
    for (operator, group) in groups.iter().enumerate() {
        group.iter().for_each(|node| carried_out_by[*node] = Some(operator));
    }
    let total =
        |of: fn(&Time) -> Option<f64>| operators.iter().filter_map(|operator| of(&operator.time)).reduce(|a, b| a + b);
    let time = Time {
        measured_ms: total(|time| time.measured_ms),
        predicted_ms: total(|time| time.predicted_ms),
        simulating_ms: is_sim.then_some(800.0),
    };
    let measured = time.measured_ms.unwrap();
    let gflop = operators.iter().map(|operator| operator.gflop).sum();
    let (mut ms, mut spans) = (0.0, Vec::new());
    for (operator, one) in operators.iter().enumerate() {
        let mut put = |track: &str, took: f64, predicted: bool| {
            spans.push(Span { track: track.into(), operator, start_ms: ms, ms: took, predicted });
            ms += took + 0.01;
        };
        put(if is_cpu { "cpu provider" } else { "host" }, one.time.measured_ms.unwrap(), false);
        if let Some(ms) = one.time.predicted_ms {
            put("npu", ms, true);
        }
    }
    let tensor = |name: String, layer: Option<usize>, chance: &mut fastrand::Rng| TensorAccuracy {
        name,
        layer,
        dtype: "float32".into(),
        shape: vec![1, 1500, 512],
        cosine: Some(if is_cpu { 1.0 } else { 1.0 - 1e-4 * chance.f64() }),
        relative_l2: Some(if is_cpu { 0.0 } else { 0.01 * (0.1 + chance.f64()) }),
        largest_error: Some(if is_cpu { 0.0 } else { chance.f64() }),
        largest_value: Some(40.0),
        ..TensorAccuracy::default()
    };
    let inner = (0..layers).flat_map(|layer| [("attention", layer), ("out", layer)]);
    let inner =
        inner.map(|(part, layer)| tensor(format!("/layers.{layer}/{part}_output_0"), Some(layer), chance)).collect();
    let unclaimed = Unclaimed {
        op_type: "Shape".into(),
        reason: format!("its result is a shape {ODD}"),
        names: vec!["/Shape".into(), "/Shape_1".into()],
        time: Time { measured_ms: Some(0.0125), ..Time::default() },
        ..Unclaimed::default()
    };
    GraphRun {
        configuration: id.into(),
        totals: Totals {
            time,
            range_ms: (!is_sim).then_some([measured * 0.98, measured * 1.03]),
            runs: 5,
            between_ms: Some(chance.f64()),
            gflop,
            gflop_provider: if is_cpu { 0.0 } else { gflop },
            gflop_npu: if is_sim { gflop * 0.9 } else { 0.0 },
            bytes_in: 960_000,
            bytes_out: 3_072_000,
            nodes_cpu_provider: 3,
            nodes_provider: nodes.len(),
            ..Totals::default()
        },
        parts: if is_cpu {
            Vec::new()
        } else {
            vec![Part {
                name: format!("part {ODD}"),
                nodes: nodes.len(),
                calls: 1,
                time,
                gflop,
                bytes_in: 1,
                bytes_out: 2,
            }]
        },
        operators,
        carried_out_by,
        unclaimed: if is_cpu { Vec::new() } else { vec![unclaimed] },
        timeline: Timeline { kind: if is_sim { "partly predicted" } else { "measured" }.into(), ms, spans },
        accuracy: Accuracy {
            outputs: vec![tensor("out".into(), None, chance)],
            inner,
            inner_note: "the same operators".into(),
        },
        energy: Energy { processor_joules: is_cpu.then_some(3.5), npu_joules: None, note: "made up".into() },
        notes: vec![format!("a note on {id}")],
        ..GraphRun::default()
    }
}

/// An older run of the same: another configuration and graph, slower, one node elsewhere, another reason.
pub fn older(new: &Comparison) -> Comparison {
    let mut old = new.clone();
    old.made = "2026-10-01T00:00:00Z".into();
    old.configurations[2].id = "host:bf16".into();
    for graph in &mut old.graphs {
        graph.runs[2].configuration = "host:bf16".into();
    }
    old.graphs[1].name = "joint".into();
    let runs = &mut old.graphs[0].runs;
    for (run, factor) in runs.iter_mut().zip([1.02, 1.5]) {
        let measured = run.totals.time.measured_ms.unwrap() * factor;
        run.totals.time.measured_ms = Some(measured);
        run.totals.range_ms = Some([measured * 0.98, measured * 1.03]);
        for operator in &mut run.operators {
            operator.time.measured_ms = operator.time.measured_ms.map(|ms| ms * factor);
        }
    }
    let host = &mut runs[1];
    host.operators[0].place = "cpu provider".into();
    host.operators[0].part = None;
    host.unclaimed.push(Unclaimed {
        op_type: "Erf".into(),
        reason: "older".into(),
        names: vec!["/Erf".into()],
        ..Unclaimed::default()
    });
    old
}

/// A graph without layers, of so many nodes.
pub fn long(count: usize) -> Comparison {
    let mut comparison = comparison(4);
    let mut graph = comparison.graphs.swap_remove(0);
    graph.layers.clear();
    graph.nodes = (0..count).map(|index| node(&format!("/stage/block/op_{index}"), "Conv", None)).collect();
    graph.edges = (1..count).map(|index| [index - 1, index]).collect();
    for run in &mut graph.runs {
        let one = Operator {
            layer: None,
            time: Time { measured_ms: Some(0.01), ..Time::default() },
            ..run.operators[0].clone()
        };
        run.operators = (0..count)
            .map(|index| Operator { name: format!("op_{index}"), nodes: vec![index], ..one.clone() })
            .collect();
        run.carried_out_by = (0..count).map(Some).collect();
        let span = |index: usize| Span {
            track: "host".into(),
            operator: index,
            start_ms: 0.01 * index as f64,
            ms: 0.01,
            predicted: false,
        };
        run.timeline.spans = (0..count).map(span).collect();
        run.accuracy.inner.clear();
    }
    comparison.graphs = vec![graph];
    comparison
}
