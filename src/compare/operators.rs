//! What a run carried out, one operator after another: ONNX Runtime's trace and the execution provider's notes, made
//! one list.

use std::collections::HashMap;

use undertone_boundary::EP_NAME;
use undertone_boundary::partition::Report;
use undertone_boundary::profile::Event;
use undertone_models::nodes::Nodes;

use super::report::{Operator, Part, Span, Time, Timeline, Unclaimed};
use super::subject::Subject;
use super::trace;

/// What is known of a traced session.
pub struct Traced {
    /// ONNX Runtime's trace of the runs.
    pub runs: Vec<trace::Run>,
    /// What the execution provider noted of the same runs.
    pub events: Vec<Event>,
    /// The graph as ONNX Runtime optimised it, where it can be written.
    pub optimised: Option<Nodes>,
}

/// One run.
#[derive(Default)]
pub struct Carried {
    /// In their order.
    pub operators: Vec<Operator>,
    /// The fused nodes.
    pub parts: Vec<Part>,
    /// For each node of the graph its operator.
    pub carried_out_by: Vec<Option<usize>>,
    /// The run as it went.
    pub timeline: Timeline,
}

impl Traced {
    /// The run whose length is the median of all.
    pub fn median(&self) -> Option<usize> {
        let mut order: Vec<usize> = (0..self.runs.len()).collect();
        order.sort_by(|a, b| self.runs[*a].duration.total_cmp(&self.runs[*b].duration));
        order.get(order.len().saturating_sub(1) / 2).copied()
    }

    /// What a run carried out. `simulated`: its NPU is one in software, whose own time is no speed.
    pub fn carried(&self, run: usize, subject: &Subject, report: Option<&Report>, simulated: bool) -> Carried {
        let mut made = Maker {
            subject,
            report,
            simulated,
            stands_for: self.optimised.as_ref().map(|optimised| subject.stands_for(optimised)).unwrap_or_default(),
            weights: Weights::of(self.optimised.as_ref().unwrap_or(&subject.nodes)),
            carried: Carried { carried_out_by: vec![None; subject.nodes.nodes.len()], ..Carried::default() },
        };
        // Runs of fused nodes are numbered through all runs of the session.
        let is_fused = |node: &&trace::Node| node.provider == EP_NAME;
        let mut fused: u64 = self.runs[..run].iter().map(|run| run.nodes.iter().filter(is_fused).count() as u64).sum();
        for node in &self.runs[run].nodes {
            if is_fused(&node) {
                let events: Vec<&Event> = self.events.iter().filter(|event| event.run == fused).collect();
                made.fused(node, &events);
                fused += 1;
            } else {
                made.single(node);
            }
        }
        let mut carried = made.carried;
        let is_predicted = carried.operators.iter().any(|operator| operator.time.predicted_ms.is_some());
        carried.timeline.kind = if is_predicted { "partly predicted" } else { "measured" }.to_owned();
        if is_predicted {
            carried.timeline = laid_out(&carried.operators);
        } else {
            carried.timeline.ms = self.runs[run].duration / 1e3;
        }
        carried
    }
}

/// Operators one after another.
fn laid_out(operators: &[Operator]) -> Timeline {
    let mut timeline = Timeline { kind: "partly predicted".to_owned(), ..Timeline::default() };
    for (index, operator) in operators.iter().enumerate() {
        let on_npu = operator.time.predicted_ms.is_some();
        let track = match (operator.part, on_npu) {
            (None, _) => "cpu provider",
            (Some(_), true) => "packing",
            (Some(_), false) => "host",
        };
        for (track, ms, predicted) in
            [(track, operator.time.measured_ms, false), ("npu", operator.time.predicted_ms, true)]
        {
            let Some(ms) = ms.filter(|ms| *ms > 0.0) else { continue };
            let start_ms = timeline.ms;
            timeline.spans.push(Span { track: track.to_owned(), operator: index, start_ms, ms, predicted });
            timeline.ms += ms;
        }
    }
    timeline
}

struct Maker<'a> {
    subject: &'a Subject,
    report: Option<&'a Report>,
    simulated: bool,
    stands_for: HashMap<String, Vec<usize>>,
    weights: Weights<'a>,
    carried: Carried,
}

/// The constants that nodes read.
struct Weights<'a> {
    graph: &'a Nodes,
    places: HashMap<&'a str, usize>,
}

impl<'a> Weights<'a> {
    fn of(graph: &'a Nodes) -> Self {
        let places = graph.nodes.iter().enumerate().map(|(at, node)| (node.label(), at)).collect();
        Self { graph, places }
    }

    /// Sizes and bytes of those of the node of that name.
    fn read_by(&self, name: &str) -> (Vec<Vec<usize>>, u64) {
        let node = self.places.get(name).map(|at| &self.graph.nodes[*at]);
        let constants =
            node.into_iter().flat_map(|node| &node.inputs).filter_map(|name| self.graph.constants.get(name));
        let constants: Vec<_> = constants.collect();
        (constants.iter().map(|c| c.shape.clone()).collect(), constants.iter().map(|c| c.bytes).sum())
    }
}

impl Maker<'_> {
    /// A node on ONNX Runtime's CPU provider.
    fn single(&mut self, node: &trace::Node) {
        let known = self.stands_for.get(&node.name).cloned();
        let nodes = known.or_else(|| self.subject.node(&node.name).map(|at| vec![at])).unwrap_or_default();
        let (weights, bytes_weights) = self.weights.read_by(&node.name);
        let flops = trace::flops(node, &weights);
        let ms = node.duration / 1e3;
        let operator = Operator {
            name: node.name.clone(),
            kind: node.op_type.clone(),
            shape: shape(node, &weights),
            layer: self.subject.layer(&nodes),
            part: None,
            place: "cpu provider".to_owned(),
            precision: if flops > 0.0 { precision(node) } else { String::new() },
            reason: String::new(),
            calls: 1,
            time: Time { measured_ms: Some(ms), ..Time::default() },
            gflop: flops / 1e9,
            bytes_in: node.bytes_in,
            bytes_out: node.bytes_out,
            bytes_weights,
            nodes,
        };
        let start_ms = node.start / 1e3;
        self.push(operator, Some(("cpu provider", start_ms, ms)));
    }

    /// A fused node, and what the execution provider noted of it.
    fn fused(&mut self, node: &trace::Node, events: &[&Event]) {
        let part = self.part(node);
        let first = events.first().map_or(0, |event| event.start);
        let last = events.last().map_or(0, |event| event.start + event.nanoseconds);
        // The two clocks have no common beginning; what a fused node takes around its steps is much the same before and
        // after them.
        let around = (node.duration - (last - first) as f64 / 1e3).max(0.0) / 2.0;
        let mut time = Time::default();
        let begun = self.carried.operators.len();
        // A step without nodes is a decoder's choice of a token, which nobody asked for here.
        for event in events.iter().filter(|event| !event.nodes.is_empty()) {
            let operator = self.section(event, part);
            add(&mut time, operator.time);
            let start_ms = (node.start + around) / 1e3 + (event.start - first) as f64 / 1e6;
            let track = if operator.place == "npu" { "npu" } else { "host" };
            let ms = event.nanoseconds as f64 / 1e6;
            self.push(operator, Some((track, start_ms, ms)));
        }
        let gflop: f64 = self.carried.operators[begun..].iter().map(|operator| operator.gflop).sum();
        let found = &mut self.carried.parts[part];
        found.calls += 1;
        found.gflop += gflop;
        found.bytes_in += node.bytes_in;
        found.bytes_out += node.bytes_out;
        if time.predicted_ms.is_none() {
            time.measured_ms = Some(node.duration / 1e3);
        }
        add(&mut found.time, time);
    }

    /// The place of a fused node among the parts.
    fn part(&mut self, node: &trace::Node) -> usize {
        let parts = &mut self.carried.parts;
        if let Some(at) = parts.iter().position(|part| part.name == node.name) {
            return at;
        }
        parts.push(Part { name: node.name.clone(), ..Part::default() });
        parts.len() - 1
    }

    /// A section of a fused node's plan.
    fn section(&self, event: &Event, part: usize) -> Operator {
        let nodes: Vec<usize> = {
            let mut nodes: Vec<usize> = event.nodes.iter().filter_map(|name| self.subject.node(name)).collect();
            nodes.sort_unstable();
            nodes.dedup();
            nodes
        };
        let op_type = |at: &usize| self.subject.nodes.nodes[*at].op_type.as_str();
        let product = nodes.iter().rev().find(|at| {
            matches!(op_type(at), "MatMul" | "Gemm" | "Conv" | "Attention" | "MultiHeadAttention" | "MatMulNBits")
                || op_type(at).contains("MatMul")
        });
        let named = product.or(nodes.last()).map(|at| self.subject.nodes.nodes[*at].label().to_owned());
        let measured = event.nanoseconds as f64 / 1e6;
        let time = match event.npu.filter(|_| self.simulated) {
            Some(npu) => Time {
                measured_ms: Some(event.nanoseconds.saturating_sub(npu.commands) as f64 / 1e6),
                predicted_ms: Some(npu.predicted as f64 / 1e6),
                simulating_ms: Some(npu.commands as f64 / 1e6),
            },
            None => Time { measured_ms: Some(measured), ..Time::default() },
        };
        let used_npu = event.npu.is_some();
        Operator {
            name: named.unwrap_or_else(|| event.kinds.first().cloned().unwrap_or_default()),
            kind: counted(&event.kinds),
            shape: event.shape.clone(),
            layer: self.subject.layer(&nodes),
            part: Some(part),
            place: if used_npu { event.device.clone() } else { "host".to_owned() },
            precision: event.precision.clone(),
            reason: self.reason(event),
            calls: 1,
            time,
            gflop: event.flops / 1e9,
            bytes_in: event.bytes_in,
            bytes_out: event.bytes_out,
            bytes_weights: event.bytes_weights,
            nodes,
        }
    }

    /// Why a product is not in the precision, or not on the device, that was asked for.
    fn reason(&self, event: &Event) -> String {
        let Some(report) = self.report else { return String::new() };
        let fused = || report.graphs.iter().flat_map(|graph| &graph.fused);
        let mut reasons: Vec<&str> = Vec::new();
        let narrower = |product: &&undertone_boundary::partition::Product| {
            product.precision != report.precision && event.nodes.contains(&product.name)
        };
        if let Some(product) = fused().flat_map(|fused| &fused.products).find(narrower) {
            reasons.push(&product.reason);
        }
        if report.device != "host" && event.npu.is_none() {
            let shape = format!("{}:", event.shape.replace('x', "×"));
            let kinds = event.kinds.iter();
            let why = kinds
                .flat_map(|kind| fused().filter_map(move |fused| fused.on_host.get(kind)))
                .flat_map(|reasons| reasons.keys())
                .find(|reason| reason.starts_with(&shape) || !reason.contains('×'));
            reasons.extend(why.map(String::as_str));
        }
        reasons.join("; ")
    }

    fn push(&mut self, operator: Operator, span: Option<(&str, f64, f64)>) {
        let Carried { operators, carried_out_by, timeline, .. } = &mut self.carried;
        let index = operators.len();
        operator.nodes.iter().for_each(|node| {
            carried_out_by[*node].get_or_insert(index);
        });
        operators.push(operator);
        if let Some((track, start_ms, ms)) = span {
            timeline.spans.push(Span { track: track.to_owned(), operator: index, start_ms, ms, predicted: false });
        }
    }
}

/// Adds times, each kind for itself.
pub fn add(sum: &mut Time, time: Time) {
    let add = |sum: &mut Option<f64>, more: Option<f64>| {
        if let Some(more) = more {
            *sum = Some(sum.unwrap_or(0.0) + more);
        }
    };
    add(&mut sum.measured_ms, time.measured_ms);
    add(&mut sum.predicted_ms, time.predicted_ms);
    add(&mut sum.simulating_ms, time.simulating_ms);
}

/// `layer_norm + 3 linear`.
fn counted(kinds: &[String]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for kind in kinds {
        match counts.iter_mut().find(|(known, _)| known == kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((kind, 1)),
        }
    }
    let words =
        counts.into_iter().map(|(kind, count)| if count == 1 { kind.to_owned() } else { format!("{count} {kind}") });
    words.collect::<Vec<_>>().join(" + ")
}

/// Rows, inputs and outputs of a product with weights, else the result's axes.
fn shape(node: &trace::Node, weights: &[Vec<usize>]) -> String {
    let joined = |shape: &[usize]| shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
    let (Some(first), Some(result)) = (node.inputs.first(), node.outputs.first()) else { return String::new() };
    let is_product = node.op_type.contains("MatMul") || node.op_type.contains("Gemm");
    match (result.shape.last(), is_product && weights.iter().any(|shape| shape.len() == 2)) {
        (Some(&outputs), true) if outputs > 0 => {
            let rows = result.elements() / outputs as f64;
            format!("{rows}x{}x{outputs}", first.elements() / rows.max(1.0))
        }
        _ => joined(&result.shape),
    }
}

/// The number format of a node's operands.
fn precision(node: &trace::Node) -> String {
    match node.inputs.first().map_or("", |tensor| tensor.dtype.as_str()) {
        "float" => "f32",
        "double" => "f64",
        "float16" => "f16",
        "bfloat16" => "bf16",
        other => other,
    }
    .to_owned()
}

/// Nodes that were not claimed, the same reason for the same operator once; with what they take in this run.
pub fn unclaimed(report: &Report, operators: &[Operator]) -> Vec<Unclaimed> {
    let mut found: Vec<Unclaimed> = Vec::new();
    for node in report.graphs.iter().flat_map(|graph| &graph.unclaimed) {
        let same = |known: &&mut Unclaimed| known.op_type == node.op_type && known.reason == node.reason;
        let entry = match found.iter_mut().find(same) {
            Some(known) => known,
            None => {
                found.push(Unclaimed {
                    op_type: node.op_type.clone(),
                    reason: node.reason.clone(),
                    ..Unclaimed::default()
                });
                let last = found.len() - 1;
                &mut found[last]
            }
        };
        entry.names.push(node.name.clone());
        for operator in operators.iter().filter(|operator| operator.part.is_none() && operator.name == node.name) {
            entry.gflop += operator.gflop;
            add(&mut entry.time, operator.time);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use undertone_boundary::profile::NpuTime;

    use super::*;

    fn subject() -> Subject {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/reference/encoder_model.onnx");
        Subject::read("encoder".into(), &path).unwrap()
    }

    fn traced() -> Traced {
        let node = |name: &str, provider: &str, start: f64, duration: f64| trace::Node {
            name: name.into(),
            op_type: "MatMul".into(),
            provider: provider.into(),
            start,
            duration,
            bytes_in: 100,
            ..trace::Node::default()
        };
        let run = |duration: f64| trace::Run {
            start: 0.0,
            duration,
            nodes: vec![
                node("/conv1/Conv", "CPUExecutionProvider", 5.0, 10.0),
                node("fused_0", EP_NAME, 20.0, duration - 25.0),
            ],
        };
        let event = |run, start, npu| Event {
            run,
            nodes: vec!["/layers.1/fc1/MatMul".into(), "/layers.1/fc1/Add".into()],
            kinds: ["layer_norm", "linear", "linear"].map(str::to_owned).to_vec(),
            device: "sim".into(),
            start,
            nanoseconds: 20_000,
            flops: 5e9,
            npu,
            ..Event::default()
        };
        let npu = Some(NpuTime { predicted: 7_000, commands: 15_000, packing: 4_000 });
        Traced {
            runs: vec![run(100.0), run(80.0), run(90.0)],
            events: (0..3).flat_map(|at| [event(at, 1000 * at, npu), event(at, 1000 * at + 20_000, None)]).collect(),
            optimised: None,
        }
    }

    #[test]
    fn measured_and_predicted_never_share_a_number() {
        let (subject, traced) = (subject(), traced());
        assert_eq!(traced.median(), Some(2));
        let carried = traced.carried(2, &subject, None, true);
        let [cpu, npu, host] = &carried.operators[..] else { panic!("{:?}", carried.operators.len()) };
        assert_eq!((cpu.part, cpu.place.as_str(), cpu.time.measured_ms), (None, "cpu provider", Some(0.01)));
        assert_eq!((npu.kind.as_str(), npu.place.as_str()), ("layer_norm + 2 linear", "sim"));
        assert_eq!((npu.time.measured_ms, npu.time.predicted_ms), (Some(0.005), Some(0.007)));
        assert_eq!((npu.time.simulating_ms, npu.gflop, npu.name.as_str()), (Some(0.015), 5.0, "/layers.1/fc1/MatMul"));
        assert_eq!((host.place.as_str(), host.time.measured_ms, host.time.predicted_ms), ("host", Some(0.02), None));
        assert_eq!(subject.layers[npu.layer.unwrap()].name, "layers.1");
        let part = &carried.parts[0];
        assert!((part.time.measured_ms.unwrap() - 0.025).abs() < 1e-9 && part.time.predicted_ms == Some(0.007));
        assert_eq!((part.calls, part.bytes_in, carried.timeline.kind.as_str()), (1, 100, "partly predicted"));
        let sum: f64 = carried.timeline.spans.iter().map(|span| span.ms).sum();
        assert!((sum - carried.timeline.ms).abs() < 1e-9);
        assert!(carried.timeline.spans.iter().all(|span| span.predicted == (span.track == "npu")));
        let at = subject.node("/layers.1/fc1/Add").unwrap();
        assert_eq!(carried.carried_out_by[at], Some(1));
    }

    #[test]
    fn a_measured_run_keeps_its_gaps_and_steps_stay_within_their_node() {
        let (subject, mut traced) = (subject(), traced());
        traced.events.iter_mut().for_each(|event| event.npu = None);
        let carried = traced.carried(0, &subject, None, false);
        assert_eq!((carried.timeline.kind.as_str(), carried.timeline.ms), ("measured", 0.1));
        assert_eq!(carried.parts[0].time.measured_ms, Some(0.075));
        for span in &carried.timeline.spans[1..] {
            assert!(span.start_ms >= 0.02 && span.start_ms + span.ms <= 0.095 + 1e-9, "{span:?}");
        }
        let sum: f64 = carried.operators.iter().filter_map(|operator| operator.time.measured_ms).sum();
        assert!(sum <= carried.timeline.ms);
    }
}
