//! One graph under every configuration: timed in turns, traced, and its tensors compared with the reference's.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use undertone_boundary::EP_NAME;
use undertone_boundary::partition::Report;
use undertone_models::nodes::nodes;
use undertone_runner::any_graph::{AnyGraph, Fed, NamedTensor, Opening};
use undertone_runner::{Claim, Device, Engine, EngineOptions};

use super::accuracy;
use super::choice::Choice;
use super::energy::Meter;
use super::inputs::Sources;
use super::operators::{self, Traced, add};
use super::report::{Accuracy, Energy, GraphComparison, GraphRun, TensorAccuracy, Time, Totals};
use super::structure;
use super::subject::Subject;
use super::trace;

/// Traced runs, of which the median is told.
const TRACED: usize = 3;
/// Weights of which ONNX Runtime's optimised graph is not written: it holds them all.
const MOST_WRITTEN: u64 = 2_000_000_000;

/// What all graphs are measured with.
pub struct Bench<'a> {
    /// With the libraries, the threads and the NPU's settings; device and precision are each configuration's.
    pub options: EngineOptions,
    /// The configurations.
    pub choices: &'a [Choice],
    /// Which nodes the execution provider asks for; `None` leaves it the choice.
    pub claim: Option<Claim>,
    /// Measured runs.
    pub runs: usize,
    /// The processor's energy, or why it can't be read.
    pub meter: Result<Meter, String>,
    /// Says what is going on.
    pub say: &'a dyn Fn(&str),
}

/// A configuration's session.
struct Lane {
    choice: Choice,
    engine: Engine,
    graph: AnyGraph,
    fed: Fed,
    report: Option<Report>,
    outputs: Vec<NamedTensor>,
    times: Vec<f64>,
    joules: Option<f64>,
}

impl Lane {
    fn is_simulated(&self) -> bool {
        self.choice.device == Device::Sim
    }
}

/// Tensors that others are compared with.
struct Reference {
    outputs: Vec<NamedTensor>,
    /// Those within the graph, or why there are none.
    inner: Result<Vec<NamedTensor>, String>,
}

impl Bench<'_> {
    /// Compares one graph.
    ///
    /// # Errors
    /// If the reference can't be had: the graph or its inputs are in error.
    pub fn graph(&mut self, subject: &Subject, sources: &mut Sources) -> Result<GraphComparison> {
        let home = tempfile::tempdir().context("cannot create a temporary directory")?;
        let engine = self.engine(Choice { device: Device::Cpu, target: None, precision: None })?;
        let mut graph = engine.open_any(&subject.path, &Opening::default())?;
        let inputs = sources.of(&mut graph)?;
        let outputs = graph.run(&graph.feed(&inputs.tensors)?)?;
        drop(graph);
        let inner = self.inner(&engine, subject, &inputs.tensors).map(|(tensors, _)| tensors);
        let reference = Reference { outputs, inner };

        let mut lanes: Vec<Result<Lane, String>> = Vec::new();
        for (at, choice) in self.choices.iter().enumerate() {
            (self.say)(&format!("{}: {choice}: opened", subject.name));
            let report = home.path().join(format!("{at}.json"));
            let lane = self.lane(*choice, subject, &inputs.tensors, &report);
            lanes.push(lane.map_err(|error| crate::words(&error)));
        }
        self.time(subject, &mut lanes);
        let mut runs = Vec::new();
        for (choice, lane) in self.choices.iter().zip(lanes) {
            (self.say)(&format!("{}: {choice}: traced", subject.name));
            let run = lane.and_then(|lane| {
                self.told(lane, subject, &inputs.tensors, &reference, home.path()).map_err(|error| crate::words(&error))
            });
            let configuration = choice.to_string();
            runs.push(match run {
                Ok(run) => GraphRun { configuration, ..run },
                Err(reason) => GraphRun { configuration, failed: Some(reason), ..GraphRun::default() },
            });
        }
        Ok(GraphComparison {
            name: subject.name.clone(),
            path: subject.path.clone(),
            weight_bytes: subject.nodes.constant_bytes,
            inputs: inputs.described,
            layers: subject.layers.clone(),
            nodes: structure::nodes(&subject.nodes, &subject.layer_of),
            edges: subject.nodes.edges.clone(),
            runs,
        })
    }

    /// Runs a graph that is not compared, for the inputs of those after it.
    ///
    /// # Errors
    /// If it can't be run.
    pub fn run_through(&self, path: &Path, sources: &mut Sources) -> Result<()> {
        let engine = self.engine(Choice { device: Device::Cpu, target: None, precision: None })?;
        sources.of(&mut engine.open_any(path, &Opening::default())?)?;
        Ok(())
    }

    fn engine(&self, choice: Choice) -> Result<Engine> {
        self.engine_with(choice, None)
    }

    fn engine_with(&self, choice: Choice, report: Option<&Path>) -> Result<Engine> {
        let mut options = EngineOptions { report: report.map(Path::to_owned), ..self.options.clone() };
        choice.apply(&mut options);
        Ok(Engine::new(&options)?)
    }

    /// Opens a graph for a configuration, and runs it once, to warm up and for its outputs.
    fn lane(&self, choice: Choice, subject: &Subject, inputs: &[NamedTensor], report: &Path) -> Result<Lane> {
        let is_cpu = choice.device == Device::Cpu;
        let engine = self.engine_with(choice, (!is_cpu).then_some(report))?;
        let mut graph = engine.open_any(&subject.path, &Opening { claim: self.claim, ..Opening::default() })?;
        let fed = graph.feed(inputs)?;
        let outputs = graph.run(&fed)?;
        let text = if is_cpu { None } else { std::fs::read_to_string(report).ok() };
        let report = text
            .as_deref()
            .map(serde_json::from_str)
            .transpose()
            .context("the report is of another version of the execution provider: rebuild both")?;
        Ok(Lane { choice, engine, graph, fed, report, outputs, times: Vec::new(), joules: None })
    }

    /// Times all, turn by turn, so that a change of the machine's load meets all. What a simulator takes is no time.
    fn time(&mut self, subject: &Subject, lanes: &mut [Result<Lane, String>]) {
        (self.say)(&format!("{}: {} runs of each", subject.name, self.runs));
        for _ in 0..self.runs {
            for slot in lanes.iter_mut() {
                let Ok(lane) = slot else { continue };
                if lane.is_simulated() {
                    continue;
                }
                if let Ok(meter) = &mut self.meter {
                    meter.joules();
                }
                match lane.graph.time(&lane.fed) {
                    Ok(taken) => lane.times.push(taken.as_secs_f64() * 1e3),
                    Err(error) => *slot = Err(crate::words(&error.into())),
                }
                if let (Ok(lane), Ok(meter)) = (slot, &mut self.meter)
                    && let Some(joules) = meter.joules()
                {
                    *lane.joules.get_or_insert(0.0) += joules / self.runs as f64;
                }
            }
        }
    }

    /// What is to be told of a configuration that was timed.
    fn told(
        &self,
        lane: Lane,
        subject: &Subject,
        inputs: &[NamedTensor],
        reference: &Reference,
        home: &Path,
    ) -> Result<GraphRun> {
        let simulated = lane.is_simulated();
        let Lane { choice, engine, graph, report, outputs, times, joules, .. } = lane;
        let (nodes_cpu_provider, nodes_provider) = (graph.cpu_nodes, graph.ep_nodes);
        // Its memory is the next session's.
        drop(graph);
        let before = engine.npu();
        let runs = if simulated { 1 } else { TRACED };
        let traced = self.traced(&engine, subject, subject.named.as_deref(), inputs, runs, home)?;
        let npu = engine.npu().zip(before).map(|(now, before)| now.since(&before));
        let run = traced.median().context("ONNX Runtime's trace shows no run")?;
        let carried = traced.carried(run, subject, report.as_ref(), simulated);
        let is_predicted = carried.timeline.kind != "measured";
        let mut totals = Totals {
            runs: times.len(),
            nodes_cpu_provider,
            nodes_provider,
            bytes_in: carried.parts.iter().map(|part| part.bytes_in).sum(),
            bytes_out: carried.parts.iter().map(|part| part.bytes_out).sum(),
            ..Totals::default()
        };
        for operator in &carried.operators {
            totals.gflop += operator.gflop;
            if operator.part.is_none() {
                add(&mut totals.cpu_provider, operator.time);
            } else {
                totals.gflop_provider += operator.gflop;
            }
            if matches!(operator.place.as_str(), "sim" | "npu") {
                totals.gflop_npu += operator.gflop;
            }
        }
        carried.parts.iter().for_each(|part| add(&mut totals.provider, part.time));
        add(&mut totals.time, totals.cpu_provider);
        add(&mut totals.time, totals.provider);
        if !is_predicted && !times.is_empty() {
            let inside = totals.time.measured_ms.unwrap_or(0.0);
            totals.between_ms = Some((carried.timeline.ms - inside).max(0.0));
            totals.time = Time { measured_ms: Some(median(&times)), ..Time::default() };
            let ends = times.iter().fold([f64::INFINITY, 0.0], |[low, high], ms| [ms.min(low), ms.max(high)]);
            totals.range_ms = Some(ends);
        }
        let mut notes = Vec::new();
        if is_predicted {
            notes.push(
                "predicted times are the cost model's: nothing of this was measured on an NPU (docs/npu.md)".to_owned(),
            );
        }
        if let Some(npu) = npu.filter(|npu| npu.fell_back()) {
            notes.push(format!("not all on the NPU: {npu}"));
        }
        if report.is_some() && nodes_provider == 0 {
            notes.push("the execution provider took nothing of this graph: all of it ran on the CPU provider".into());
        }
        let accuracy = Accuracy {
            outputs: compared(&reference.outputs, &outputs, subject),
            ..self.inner_accuracy(&engine, subject, inputs, reference, &carried.operators)
        };
        Ok(GraphRun {
            configuration: choice.to_string(),
            failed: None,
            unclaimed: report
                .as_ref()
                .map(|report| operators::unclaimed(report, &carried.operators))
                .unwrap_or_default(),
            energy: self.energy(choice, joules),
            operators: carried.operators,
            parts: fused_sizes(carried.parts, report.as_ref()),
            carried_out_by: carried.carried_out_by,
            timeline: carried.timeline,
            totals,
            accuracy,
            notes,
        })
    }

    fn energy(&self, choice: Choice, processor_joules: Option<f64>) -> Energy {
        let mut words = vec![match &self.meter {
            Ok(_) if choice.device == Device::Sim => "processor: a simulation's energy says nothing".to_owned(),
            Ok(_) => "processor: RAPL, all packages, all that they did meanwhile".to_owned(),
            Err(reason) => format!("processor: not readable: {reason}"),
        }];
        match choice.device {
            Device::Npu => words.push("NPU: not readable: its driver shows no energy".to_owned()),
            Device::Sim => words.push("NPU: not predicted".to_owned()),
            _ => {}
        }
        Energy { processor_joules, npu_joules: None, note: words.join("; ") }
    }

    /// Traces a few runs, after one that warms up.
    fn traced(
        &self,
        engine: &Engine,
        subject: &Subject,
        model: Option<&[u8]>,
        inputs: &[NamedTensor],
        runs: usize,
        home: &Path,
    ) -> Result<Traced> {
        let home = tempfile::tempdir_in(home).context("cannot create a temporary directory")?;
        let (prefix, written) = (home.path().join("trace"), home.path().join("optimised.onnx"));
        let is_cpu = engine.options().device == Device::Cpu;
        let opening = Opening { model, claim: self.claim, trace: Some(&prefix), optimised: None };
        let writes = is_cpu && subject.nodes.constant_bytes <= MOST_WRITTEN;
        let with_graph = Opening { optimised: writes.then_some(&written), ..opening };
        let opened = engine.open_any(&subject.path, &with_graph);
        let mut graph = if writes { opened.or_else(|_| engine.open_any(&subject.path, &opening))? } else { opened? };
        let fed = graph.feed(inputs)?;
        graph.time(&fed)?;
        engine.profile(true);
        let done = (0..runs).try_for_each(|_| graph.time(&fed).map(drop));
        let profile = engine.profile(false);
        let path = graph.end_trace()?;
        done?;
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut all = trace::runs(&text).map_err(anyhow::Error::msg)?;
        // The first warmed up.
        let runs = all.split_off(all.len().saturating_sub(runs));
        let optimised = std::fs::read(&written).ok().and_then(|bytes| nodes(&bytes).ok());
        let events = profile.unwrap_or_default().events;
        // Without them a simulator's time would be taken for the device's.
        if events.is_empty() && runs.iter().flat_map(|run| &run.nodes).any(|node| node.provider == EP_NAME) {
            bail!(
                "the execution provider tells nothing of the steps that it carried out: its library is of another version \
                 than this command; build both anew, or name the library that belongs to it (--ep-library)"
            );
        }
        Ok(Traced { runs, events, optimised })
    }

    /// The tensors within a graph, and what was carried out for them; in words why there are none.
    fn inner(
        &self,
        engine: &Engine,
        subject: &Subject,
        inputs: &[NamedTensor],
    ) -> Result<(Vec<NamedTensor>, Vec<String>), String> {
        let Some(model) = &subject.with_inner else {
            return Err("no tensor of its main graph is one through which all goes on".to_owned());
        };
        let refused = |error: anyhow::Error| format!("the graph with more outputs: {}", crate::words(&error));
        let opening = Opening { model: Some(model), claim: self.claim, ..Opening::default() };
        let mut graph = engine.open_any(&subject.path, &opening).map_err(|error| refused(error.into()))?;
        let fed = graph.feed(inputs).map_err(|error| refused(error.into()))?;
        engine.profile(true);
        let outputs = graph.run(&fed);
        let noted = engine.profile(false).unwrap_or_default();
        let outputs = outputs.map_err(|error| refused(error.into()))?;
        let is_inner = |tensor: &NamedTensor| subject.inner.iter().any(|(name, _)| *name == tensor.name);
        let mut kinds: Vec<String> =
            noted.events.iter().filter(|event| event.kernel).flat_map(|e| e.kinds.clone()).collect();
        kinds.sort_unstable();
        Ok((outputs.into_iter().filter(is_inner).collect(), kinds))
    }

    /// Accuracies within the graph.
    fn inner_accuracy(
        &self,
        engine: &Engine,
        subject: &Subject,
        inputs: &[NamedTensor],
        reference: &Reference,
        timed: &[super::report::Operator],
    ) -> Accuracy {
        let none = |inner_note: String| Accuracy { inner_note, ..Accuracy::default() };
        let expected = match &reference.inner {
            Ok(expected) => expected,
            Err(reason) => return none(reason.clone()),
        };
        let (found, kinds) = match self.inner(engine, subject, inputs) {
            Ok(found) => found,
            Err(reason) => return none(reason),
        };
        let count = |operators: &[super::report::Operator]| {
            let kernels = operators.iter().filter(|operator| operator.part.is_some());
            kernels.map(|operator| kernels_in(&operator.kind)).sum::<usize>()
        };
        let (then, now) = (count(timed), kinds.iter().filter(|kind| KERNELS.contains(&kind.as_str())).count());
        let inner_note = if engine.options().device == Device::Cpu {
            "more outputs may keep ONNX Runtime from joining nodes in the second session".to_owned()
        } else if then == now {
            format!("the second session carried out the same {now} products and attentions")
        } else {
            format!("the second session is fused otherwise: {now} products and attentions, the timed one has {then}")
        };
        Accuracy { inner: compared(expected, &found, subject), inner_note, ..Accuracy::default() }
    }
}

/// Kinds of steps that fusion joins or leaves apart.
const KERNELS: [&str; 4] = ["linear", "attention", "convolution", "matmul"];

/// How many of [`KERNELS`] an operator's kind names: `layer_norm + 3 linear` has three.
fn kernels_in(kind: &str) -> usize {
    let count = |word: &str| match word.split_once(' ') {
        Some((count, kind)) if KERNELS.contains(&kind) => count.parse().unwrap_or(0),
        None if KERNELS.contains(&word) => 1,
        _ => 0,
    };
    kind.split(" + ").map(count).sum()
}

/// How many nodes each fused node stands for: the report has them in the order in which they were made.
fn fused_sizes(mut parts: Vec<super::report::Part>, report: Option<&Report>) -> Vec<super::report::Part> {
    let fused = report.into_iter().flat_map(|report| &report.graphs).flat_map(|graph| &graph.fused);
    let sizes: Vec<usize> = fused.map(|fused| fused.nodes).collect();
    if sizes.len() == parts.len() {
        parts.iter_mut().zip(sizes).for_each(|(part, nodes)| part.nodes = nodes);
    }
    parts
}

/// Tensors of one name beside each other.
fn compared(expected: &[NamedTensor], found: &[NamedTensor], subject: &Subject) -> Vec<TensorAccuracy> {
    let nodes = &subject.nodes.nodes;
    let mut compared: Vec<TensorAccuracy> = Vec::new();
    for tensor in found {
        let Some(expected) = expected.iter().find(|expected| expected.name == tensor.name) else { continue };
        let node = nodes.iter().position(|node| node.within.is_empty() && node.outputs.contains(&tensor.name));
        let layer = node.and_then(|node| subject.layer_of[node]);
        compared.push(TensorAccuracy { node, layer, ..accuracy::compare(expected, tensor) });
    }
    compared.sort_by_key(|tensor| tensor.node);
    compared
}

/// Of at least one.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!((median(&[3.0]), median(&[3.0, 1.0]), median(&[5.0, 1.0, 2.0])), (3.0, 2.0, 2.0));
    }

    #[test]
    fn kernels_are_counted_in_a_kind() {
        assert_eq!(kernels_in("layer_norm + 3 linear"), 3);
        assert_eq!(kernels_in("layer_norm + 4 linear + attention"), 5);
        assert_eq!((kernels_in("linear"), kernels_in("softmax"), kernels_in("")), (1, 0, 0));
    }
}
