//! Which nodes to claim, in which groups, and for the others why not. Pure: a graph and options in, a partition out.

mod precision;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use undertone_kernels::{AttentionSpec, Device, DeviceKind, Precision, host::HostDevice, npu::Placement};

use self::precision::Position;
use crate::{
    context,
    fusion::{self, Quantising},
    graph::{Dim, Graph, NodeId, ValueId},
    lower,
    ops::{self, Attention, Op, ProductOp, Unsupported, wide_rows},
    options::{Claim, Options},
    plan::{ASSUMED, Estimate, why_not_on_npu},
    program::{Program, Step},
    report::{ByKind, Fused, GraphReport, Product, Unclaimed},
};

/// What the EP takes of a graph.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Nodes of each group, ascending. Groups are disjoint and convex: no path leaves a group and comes back.
    pub groups: Vec<Vec<NodeId>>,
    /// Nodes of products that may be computed in the narrow formats that the option `precision` names.
    pub narrow: Vec<NodeId>,
    /// The same for a reader.
    pub report: GraphReport,
}

/// Partitions `graph` as `options.claim` says; `placement` says what of it is the NPU's, if there is one.
pub fn partition(graph: &Graph<'_>, options: &Options, placement: Option<&Placement>) -> Partition {
    let made = match options.claim {
        Claim::All => Some(grouped(graph, options, Quantising::Within)).filter(|made| made.is_closed(graph)),
        // Each product is a group by itself, and several read one quantised operand.
        Claim::Attention | Claim::MatMul => None,
    };
    let mut made = made.unwrap_or_else(|| grouped(graph, options, Quantising::Apart));
    let positions = precision::positions(&made.graph, &made.program);
    if options.sparing {
        made.spare(&positions);
    }
    let Grouped { graph, mut program, reasons, steps } = made;
    let graph = &*graph;
    for (step, position) in program.steps.iter_mut().zip(&positions) {
        step.exact = position.is_some_and(|position| !position.is_narrow());
    }
    let of_products = |step: &Step| {
        let is_product = |node: &NodeId| ops::is_product(&graph.nodes[*node]);
        step.nodes.iter().copied().filter(is_product).collect::<Vec<_>>()
    };
    // A node that stands for several products is narrow if all of them are.
    let products = || program.steps.iter().zip(&positions).filter_map(|(step, position)| Some((step, (*position)?)));
    let exact = products().filter(|(_, position)| !position.is_narrow());
    let exact: BTreeSet<NodeId> = exact.flat_map(|(step, _)| of_products(step)).collect();
    let in_layers = products().filter(|(_, position)| position.is_narrow()).flat_map(|(step, _)| of_products(step));
    let narrow: BTreeSet<NodeId> = in_layers.filter(|node| !exact.contains(node)).collect();
    let narrow = narrow.into_iter().collect();
    let report = report(graph, &program, &positions, options, placement, &steps, &reasons);
    let groups = steps.iter().map(|steps| nodes(&program, steps)).collect();
    Partition { groups, narrow, report }
}

/// Has every product computed in fp32 that the partition of the whole graph did not find to be narrow; `is_narrow`
/// tells by the name of its result.
pub fn mark_exact(graph: &mut Graph<'_>, is_narrow: impl Fn(&str) -> bool) {
    let Graph { nodes, values, .. } = graph;
    for node in nodes.iter_mut().filter(|node| ops::is_product(node)) {
        node.exact = !node.outputs.iter().flatten().any(|output| is_narrow(&values[*output].name));
    }
}

/// Floating-point operations that make a group worth the crossing of its border, if an axis of unknown length has one
/// entry. A crossing takes some microseconds, as the multiplication of a row with a matrix of a million entries does
/// with few threads: ONNX Runtime's own operators do that as fast.
const WORTH_A_BORDER: f64 = 4e6;

/// A graph, its fused program, for each step why it is not claimed, and the steps of each group.
struct Grouped<'g, 'a> {
    /// With values between the operations of one node, where it has such nodes.
    graph: Cow<'g, Graph<'a>>,
    program: Program,
    reasons: Vec<Option<String>>,
    steps: Vec<Vec<usize>>,
}

fn grouped<'g, 'a>(graph: &'g Graph<'a>, options: &Options, quantising: Quantising) -> Grouped<'g, 'a> {
    let (graph, program) = match options.claim {
        Claim::All => lower::lower_in_parts(graph),
        // Part of a node cannot be claimed.
        Claim::Attention | Claim::MatMul => (Cow::Borrowed(graph), lower::lower(graph)),
    };
    let program = fusion::fuse_with(&graph, program, quantising);
    let mut reasons = reasons(&graph, &program, options.claim);
    let units = units(&graph, &program);
    leave_whole(&program, &units, &mut reasons);
    let claimed: Vec<bool> = reasons.iter().map(Option::is_none).collect();
    let steps = match options.claim {
        Claim::All => by_level(&graph, &program, &units, &claimed),
        // A fused step is closed, so it is a group by itself.
        Claim::Attention | Claim::MatMul => (0..claimed.len()).filter(|step| claimed[*step]).map(|s| vec![s]).collect(),
    };
    Grouped { graph, program, reasons, steps }
}

/// For each step the first step of its unit: steps that a node is part of belong together, since a node is claimed
/// whole or not at all.
fn units(graph: &Graph<'_>, program: &Program) -> Vec<usize> {
    let mut unit: Vec<usize> = (0..program.steps.len()).collect();
    let mut first: Vec<Option<usize>> = vec![None; graph.nodes.len()];
    for (id, step) in program.steps.iter().enumerate() {
        for node in &step.nodes {
            let other = *first[*node].get_or_insert(id);
            let (from, to) = (unit[id].max(unit[other]), unit[id].min(unit[other]));
            if from != to {
                unit.iter_mut().filter(|unit| **unit == from).for_each(|unit| *unit = to);
            }
        }
    }
    unit
}

/// What is left of a unit leaves all of it.
fn leave_whole(program: &Program, units: &[usize], reasons: &mut [Option<String>]) {
    let mut left: BTreeMap<usize, String> = BTreeMap::new();
    for (unit, reason) in units.iter().zip(reasons.iter()) {
        if let Some(reason) = reason {
            left.entry(*unit).or_insert_with(|| reason.clone());
        }
    }
    for step in 0..program.steps.len() {
        if reasons[step].is_none() {
            reasons[step] = left.get(&units[step]).cloned();
        }
    }
}

impl Grouped<'_, '_> {
    /// Leaves alone all that is not worth it: each group costs a crossing of its border, and ONNX Runtime the fusions
    /// of its own that the border cuts through.
    fn spare(&mut self, positions: &[Option<Position>]) {
        let graph = &*self.graph;
        let work = Estimate::of(graph, &self.program).flops;
        let program = &self.program;
        let has_product = |group: &[usize]| group.iter().any(|step| program.steps[*step].op.product().is_some());
        let of_integers = |node: &NodeId| ["MatMulInteger", "ConvInteger"].contains(&&*graph.nodes[*node].op_type);
        let widens = |group: &[usize]| {
            let widened = |step: &&usize| positions[**step].is_some_and(|position| !position.is_narrow());
            group.iter().filter(widened).any(|step| program.steps[*step].nodes.iter().any(of_integers))
        };
        let light = |group: &[usize]| total(group.iter().map(|step| work[*step])) < WORTH_A_BORDER;
        let carries = |group: &[usize]| !light(group) && !widens(group);
        let worth: f64 = total(self.steps.iter().filter(|group| carries(group)).flatten().map(|step| work[*step]));
        // ONNX Runtime computes operators between QuantizeLinear and DequantizeLinear in integers, as long as it has
        // all three.
        let quantised = graph.nodes.iter().any(|node| node.op_type == "QuantizeLinear");
        let whole = if quantised {
            Some("in a graph with QuantizeLinear, which ONNX Runtime computes in integers (claim=all takes it)")
        } else if worth < 0.5 * total(work.iter().copied()) {
            Some("most of the graph's products are not ones that the EP computes (claim=all takes it)")
        } else {
            None
        };
        let apart = "in a group without products and attention (claim=all takes it)";
        let little = "in a group with less work than its border costs (claim=all takes it)";
        let widening = "with a product of integers outside of a transformer, which the EP would compute in f32 \
                        (claim=all takes it)";
        for group in std::mem::take(&mut self.steps) {
            let reason = match (widens(&group), has_product(&group)) {
                (true, _) => Some(widening),
                (false, false) => whole.or(Some(apart)),
                (false, true) if light(&group) => Some(little),
                (false, true) => whole,
            };
            match reason {
                Some(reason) => group.into_iter().for_each(|step| self.reasons[step] = Some(reason.to_owned())),
                None => self.steps.push(group),
            }
        }
    }

    /// Whether every quantisation of an operand is in one group with all products that have taken it in.
    fn is_closed(&self, graph: &Graph<'_>) -> bool {
        let mut group_of: Vec<Option<usize>> = vec![None; graph.nodes.len()];
        for (group, steps) in self.steps.iter().enumerate() {
            nodes(&self.program, steps).into_iter().for_each(|node| group_of[node] = Some(group));
        }
        let quantises = |node: &NodeId| graph.nodes[*node].op_type == "DynamicQuantizeLinear";
        (0..graph.nodes.len()).filter(quantises).all(|quantise| {
            let made = &graph.nodes[quantise].outputs;
            let reads = |node: &NodeId| graph.nodes[*node].inputs.iter().flatten().any(|x| made.contains(&Some(*x)));
            (0..graph.nodes.len()).filter(reads).all(|reader| group_of[reader] == group_of[quantise])
        })
    }
}

/// The partition of a packed model: each of its packed nodes, and nothing else; `None` if it has none.
pub fn packed(graph: &Graph<'_>) -> Option<Partition> {
    let (packed, others): (Vec<NodeId>, Vec<NodeId>) =
        (0..graph.nodes.len()).partition(|node| context::node::is_packed(&graph.nodes[*node]));
    if packed.is_empty() {
        return None;
    }
    let program = lower::lower(graph);
    let work = Estimate::of(graph, &program);
    let left =
        program.steps.iter().zip(&work.flops).filter(|(step, _)| !step.nodes.iter().any(|node| packed.contains(node)));
    let gflop_unclaimed = total(left.map(|(_, flops)| flops / 1e9));
    let fused: Vec<Fused> = packed
        .iter()
        .map(|node| Fused {
            nodes: 1,
            steps: BTreeMap::from([("packed".to_owned(), 1)]),
            gflop: context::node::gflop(&graph.nodes[*node]),
            ..Fused::default()
        })
        .collect();
    let unclaimed = others.into_iter().map(|node| &graph.nodes[node]).map(|node| Unclaimed {
        name: node.name.clone(),
        op_type: node.op_type.clone(),
        reason: "not packed; of a packed model only what is packed is claimed".to_owned(),
    });
    let report = GraphReport {
        name: graph.name.clone(),
        within: graph.within.clone(),
        nodes: graph.nodes.len(),
        claimed: packed.len(),
        unclaimed: unclaimed.collect(),
        gflop_claimed: total(fused.iter().map(|group| group.gflop)),
        gflop_unclaimed,
        fused,
        assumed: BTreeMap::new(),
    };
    Some(Partition { groups: packed.into_iter().map(|node| vec![node]).collect(), narrow: Vec::new(), report })
}

/// For each step why it is not claimed, or `None`.
fn reasons(graph: &Graph<'_>, program: &Program, claim: Claim) -> Vec<Option<String>> {
    let live = live(graph, program);
    let steps = program.steps.iter().zip(live);
    let reason = |(step, live): (&Step, bool)| match (&step.op, claim) {
        (Op::Unsupported(Unsupported { reason, .. }), _) => Some(reason.clone()),
        // What a fused product has taken in is left without readers, and is claimed so that nobody computes it.
        (Op::QuantisedPart(part), Claim::All) if live => Some(part.reason()),
        (Op::QuantisedPart(_), Claim::All) => None,
        (Op::Attention(_), Claim::Attention) | (Op::Linear(_) | Op::MatMul(_), Claim::MatMul) => None,
        (_, Claim::Attention) => Some("not attention (claim=attention)".into()),
        (_, Claim::MatMul) => Some("no matrix product (claim=matmul)".into()),
        (_, Claim::All) => None,
    };
    steps.map(reason).collect()
}

/// Whether each step's result is read, directly or not, by an output of the graph.
fn live(graph: &Graph<'_>, program: &Program) -> Vec<bool> {
    let kept = program.clone().without_dead_steps(graph);
    let results: BTreeSet<ValueId> = kept.steps.iter().flat_map(|step| step.outputs.iter().copied()).collect();
    program.steps.iter().map(|step| step.outputs.iter().any(|output| results.contains(output))).collect()
}

/// Groups claimed steps by how often a path to them from the graph's inputs has changed sides. A path that leaves a
/// group through a step that is not claimed comes back at a higher level, so every group is convex; and there are as
/// few as changes of sides allow. The steps of a unit are at one level.
fn by_level(graph: &Graph<'_>, program: &Program, units: &[usize], claimed: &[bool]) -> Vec<Vec<usize>> {
    let mut maker: Vec<Option<usize>> = vec![None; graph.values.len()];
    for (id, step) in program.steps.iter().enumerate() {
        step.outputs.iter().for_each(|output| maker[*output] = Some(id));
    }
    let mut level = vec![0; program.steps.len()];
    // A unit's later step may lift it above what its earlier ones were followed by: until nothing changes. Units have
    // no cycles, so that each round settles one at least.
    for _ in 0..program.steps.len() {
        let before = level.clone();
        for (id, step) in program.steps.iter().enumerate() {
            let above = step.operands().filter_map(|value| maker[value]).filter(|maker| units[*maker] != units[id]);
            let above = above.map(|maker| level[units[maker]] + usize::from(claimed[maker] != claimed[id])).max();
            level[units[id]] = level[units[id]].max(above.unwrap_or(0));
        }
        if level == before {
            break;
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for id in (0..program.steps.len()).filter(|id| claimed[*id]) {
        groups.entry(level[units[id]]).or_default().push(id);
    }
    groups.into_values().collect()
}

fn nodes(program: &Program, steps: &[usize]) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = steps.iter().flat_map(|step| program.steps[*step].nodes.iter().copied()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

fn report(
    graph: &Graph<'_>,
    program: &Program,
    positions: &[Option<Position>],
    options: &Options,
    placement: Option<&Placement>,
    groups: &[Vec<usize>],
    reasons: &[Option<String>],
) -> GraphReport {
    let work = Estimate::of(graph, program);
    let gflop = |step: usize| work.flops[step] / 1e9;
    let fused: Vec<Fused> =
        groups.iter().map(|steps| fused(graph, program, positions, options, placement, &work, steps)).collect();
    let left = program.steps.iter().zip(reasons).filter_map(|(step, reason)| Some((step, reason.as_ref()?)));
    let left = left.flat_map(|(step, reason)| step.nodes.iter().map(move |node| (*node, reason)));
    let mut seen = BTreeSet::new();
    let unclaimed: Vec<Unclaimed> = left
        .filter(|(node, _)| seen.insert(*node))
        .map(|(node, reason)| (&graph.nodes[node], reason))
        .map(|(node, reason)| Unclaimed {
            name: node.name.clone(),
            op_type: node.op_type.clone(),
            reason: reason.clone(),
        })
        .collect();
    GraphReport {
        name: graph.name.clone(),
        within: graph.within.clone(),
        nodes: graph.nodes.len(),
        claimed: graph.nodes.len() - unclaimed.len(),
        gflop_claimed: total(fused.iter().map(|group| group.gflop)),
        gflop_unclaimed: total((0..reasons.len()).filter(|step| reasons[*step].is_some()).map(gflop)),
        unclaimed,
        fused,
        assumed: assumed(graph),
    }
}

fn fused(
    graph: &Graph<'_>,
    program: &Program,
    positions: &[Option<Position>],
    options: &Options,
    placement: Option<&Placement>,
    work: &Estimate,
    steps: &[usize],
) -> Fused {
    let mut kinds = BTreeMap::new();
    let (mut precision, mut device, mut on_host) = (ByKind::new(), ByKind::new(), ByKind::new());
    let mut arithmetic: BTreeMap<String, usize> = BTreeMap::new();
    let (mut read, mut made) = (BTreeSet::new(), BTreeSet::new());
    let mut products = Vec::new();
    for (step, position) in steps.iter().map(|step| (&program.steps[*step], positions[*step])) {
        *kinds.entry(step.op.kind().to_owned()).or_insert(0) += 1;
        if let Some(op) = step.op.product() {
            let used = match op {
                ProductOp::Linear(_) | ProductOp::Conv1d(_) => step.precision(options.precision),
                ProductOp::Attention(attention) => attention_used(attention, step, options, work),
                ProductOp::MatMul => Precision::F32,
            };
            products.push(product(graph, step, position, used, options.precision));
            *precision.entry(step.op.kind().to_owned()).or_default().entry(used.to_string()).or_insert(0) += 1;
            let reason = placement.map(|placement| why_not_on_npu(step, options, placement, &work.shapes));
            if let Some(rows) = rows_of(step, options, reason == Some(None), work) {
                *arithmetic.entry(rows).or_insert(0) += 1;
            }
            let on = if reason == Some(None) { options.device } else { DeviceKind::Host }.to_string();
            *device.entry(step.op.kind().to_owned()).or_default().entry(on).or_insert(0) += 1;
            if let Some(reason) = reason.flatten() {
                *on_host.entry(step.op.kind().to_owned()).or_default().entry(reason).or_insert(0) += 1;
            }
        }
        read.extend(step.operands().filter(|value| graph.values[*value].constant.is_none()));
        made.extend(step.outputs.iter().copied());
    }
    let inside: BTreeSet<usize> = steps.iter().copied().collect();
    let read_outside: BTreeSet<ValueId> = (0..program.steps.len())
        .filter(|step| !inside.contains(step))
        .flat_map(|step| program.steps[step].operands().collect::<Vec<_>>())
        .chain(graph.outputs.iter().copied())
        .collect();
    let bytes = |values: &mut dyn Iterator<Item = &ValueId>| values.map(|value| work.bytes(graph, *value)).sum();
    Fused {
        nodes: nodes(program, steps).len(),
        steps: kinds,
        precision,
        device,
        arithmetic,
        on_host,
        gflop: total(steps.iter().map(|step| work.flops[*step] / 1e9)),
        bytes_in: bytes(&mut read.difference(&made)),
        bytes_out: bytes(&mut made.intersection(&read_outside)),
        products,
    }
}

/// What the report says of one product.
fn product(graph: &Graph<'_>, step: &Step, position: Option<Position>, used: Precision, asked: Precision) -> Product {
    let node = step.nodes.iter().map(|node| &graph.nodes[*node]);
    let node = node.clone().find(|node| ops::is_product(node)).or_else(|| node.clone().next());
    let position = position.map(|position| position.to_string()).unwrap_or_default();
    Product {
        name: node.map(|node| node.name.clone()).unwrap_or_default(),
        kind: step.op.kind().to_owned(),
        precision: used.to_string(),
        reason: match (step.exact, used) {
            (false, Precision::F32) if asked != Precision::F32 => {
                format!(
                    "{position}; its keys and values are read once for each query, and rounding them would cost more"
                )
            }
            (false, Precision::F32) => "as asked".to_owned(),
            _ => position,
        },
    }
}

/// A sum that is 0 for nothing, not the −0 of an empty floating-point sum.
fn total(terms: impl Iterator<Item = f64>) -> f64 {
    terms.fold(0.0, |sum, term| sum + term)
}

/// The precision in which the host device would carry out attention of the assumed sizes.
fn attention_used(attention: &Attention, step: &Step, options: &Options, work: &Estimate) -> Precision {
    let Attention { head_width, scale, q, .. } = *attention;
    let precision = attention.precision(step.precision(options.precision));
    let queries = step.inputs[0].and_then(|value| q.sizes(&work.shapes[value]?).ok());
    let (Some([_, _, queries, _]), Some(head_width)) = (queries, head_width) else { return precision };
    let spec = AttentionSpec { head_width, scale, precision };
    HostDevice::new().attention(&spec).map_or(precision, |kernel| kernel.precision_for(queries))
}

/// The shape of a linear layer in int8, the bits of its rows' values, and why.
fn rows_of(step: &Step, options: &Options, on_npu: bool, work: &Estimate) -> Option<String> {
    let Op::Linear(linear) = &step.op else { return None };
    let precision = Some(step.precision(options.precision)).filter(|precision| *precision == Precision::Int8)?;
    let sizes = linear.sizes(step.input(0).and_then(|x| work.shapes[x]));
    let (wide, why) = if on_npu { (false, "as the NPU computes") } else { wide_rows(precision, sizes, linear.form()) };
    Some(format!("{sizes}: rows of {} bits, {why}", if wide { 16 } else { 8 }))
}

/// The assumptions that bear on this graph: those whose axes its inputs have.
fn assumed(graph: &Graph<'_>) -> BTreeMap<String, usize> {
    let names = graph.inputs.iter().filter_map(|value| graph.values[*value].shape.as_ref()).flatten();
    names
        .filter_map(|dim| match dim {
            Dim::Named(name) => {
                ASSUMED.iter().find(|(part, _)| name.contains(part)).map(|(_, size)| (name.clone(), *size))
            }
            _ => None,
        })
        .collect()
}
