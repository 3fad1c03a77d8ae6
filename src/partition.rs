//! `undertone partition`: which nodes of a model's graphs the execution provider takes, and why it leaves the others.
//! The plan is the provider's own (its option `report`), made by opening each graph through ONNX Runtime; what ONNX
//! Runtime then gave to whom is asked of it. Nothing is run, unless `--compare` asks for it: that is `compare`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Serialize;
use undertone_boundary::partition::{Fused, GraphReport, Report};
use undertone_runner::{Claim, Device, Engine, EngineOptions, Precision};

use crate::choices::{self, Libraries, ModelChoice, NpuChoice};
use crate::compare::{self, CompareArguments, Compared};
use crate::given::Given;
use crate::output;

/// Show which nodes of a model the execution provider takes, and why not the others
#[derive(Args)]
#[command(override_usage = "undertone partition [OPTIONS] [MODEL]")]
#[command(group = clap::ArgGroup::new("shown").args(["compare", "from"]))]
pub struct Arguments {
    /// A model (a name, a Hugging Face repository, a folder), or one ONNX file [default: base]
    #[arg(value_name = "MODEL", env = "UNDERTONE_MODEL", hide_env_values = true)]
    model: Option<String>,
    /// Which set of files, by the end of their names
    #[arg(long, value_name = "SUFFIX")]
    variant: Option<String>,
    /// The device whose share is shown
    #[arg(short, long, value_parser = choices::device(), default_value_t = Device::Host)]
    device: Device,
    /// The arithmetic
    #[arg(short, long, value_parser = choices::precision(), default_value_t = Precision::Int8)]
    precision: Precision,
    /// Which nodes the provider is to take
    #[arg(long, value_parser = choices::claim(), default_value_t = Claim::All)]
    claim: Claim,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compare: CompareArguments,
    #[command(flatten)]
    npu: NpuChoice,
    #[command(flatten)]
    libraries: Libraries,
}

/// What is printed.
#[derive(Serialize)]
struct Answer {
    ort: String,
    device: String,
    precision: String,
    claim: String,
    graphs: Vec<GraphAnswer>,
}

/// One ONNX file: the graph and, in `parts`, the bodies of its control flow.
#[derive(Serialize)]
struct GraphAnswer {
    name: String,
    path: PathBuf,
    /// As ONNX Runtime assigned them after its optimisations.
    nodes_on_cpu_provider: usize,
    /// Nodes of the graph that ONNX Runtime gave to the execution provider.
    nodes_on_execution_provider: usize,
    /// What the execution provider reports, passed on.
    parts: Vec<GraphReport>,
}

/// Opens every graph of the model and prints the partitions.
///
/// # Errors
/// If the model, a library or a graph cannot be opened.
pub fn run(arguments: &Arguments, given: &Given<'_>) -> Result<ExitCode> {
    if let Some(from) = arguments.compare.from() {
        if given.on_command_line("model") {
            bail!("--from shows what is in a file, and runs nothing: leave the model out");
        }
        arguments.compare.show(from, arguments.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.compare.is_asked() {
        return compare(arguments, given);
    }
    if arguments.device == Device::Cpu {
        bail!("on device cpu nothing is given to the execution provider: name host, sim, npu or auto");
    }
    choices::warn_of_options_without_effect(given, &[arguments.device], &[arguments.precision]);
    choices::check_precision(arguments.device, arguments.precision)?;
    arguments.npu.check(&[arguments.device])?;
    let mut options = arguments.libraries.options(arguments.device)?;
    arguments.npu.apply(&mut options);
    options.precision = arguments.precision;
    options.claim = arguments.claim;
    let mut answer = Answer {
        ort: Engine::new(&options)?.ort_version().to_string(),
        device: options.device.to_string(),
        precision: options.precision.to_string(),
        claim: options.claim.to_string(),
        graphs: Vec::new(),
    };
    let home = tempfile::tempdir().context("cannot create a temporary directory")?;
    for (name, path) in graphs(arguments, given)? {
        let report = home.path().join(format!("{name}.json"));
        let (graph, device) = partition(&options, name, path, report)?;
        answer.device = device;
        answer.graphs.push(graph);
    }
    let text = if arguments.json { format!("{}\n", serde_json::to_string_pretty(&answer)?) } else { as_text(&answer) };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// `--compare`.
fn compare(arguments: &Arguments, given: &Given<'_>) -> Result<ExitCode> {
    if given.on_command_line("device") {
        bail!("--device and --compare: the devices are named in --compare alone");
    }
    let file = arguments.model.as_deref().map(Path::new).filter(|path| path.is_file());
    let model = match file {
        Some(file) => compare::model_around(file),
        None => Some(arguments.chosen().open(given)?),
    };
    let compared = Compared {
        name: arguments.chosen().shown().to_owned(),
        graphs: graphs(arguments, given)?,
        model,
        precision: arguments.precision,
        claim: given.on_command_line("claim").then_some(arguments.claim),
        libraries: &arguments.libraries,
        npu: &arguments.npu,
        json: arguments.json,
    };
    arguments.compare.run(&compared)?;
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn chosen(&self) -> ModelChoice {
        ModelChoice { model: self.model.clone(), variant: self.variant.clone() }
    }
}

/// Names and files.
fn graphs(arguments: &Arguments, given: &Given<'_>) -> Result<Vec<(String, PathBuf)>> {
    if let Some(file) = arguments.model.as_deref().map(Path::new).filter(|path| path.is_file()) {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![(name, file.to_path_buf())]);
    }
    let model = arguments.chosen().open(given)?;
    Ok(model.graphs().into_iter().map(|(name, path)| (name.to_string(), path)).collect())
}

fn partition(options: &EngineOptions, name: String, path: PathBuf, report: PathBuf) -> Result<(GraphAnswer, String)> {
    let options = EngineOptions { report: Some(report.clone()), ..options.clone() };
    let open = Engine::new(&options)?.open(&path)?;
    let text = std::fs::read_to_string(&report)
        .with_context(|| format!("the execution provider wrote no report on {}", path.display()))?;
    let mut report: Report = serde_json::from_str(&text).with_context(|| {
        format!("the report on {} is of another version of the execution provider: rebuild both", path.display())
    })?;
    // ONNX Runtime shows the bodies of control flow first; a reader wants the graph around them first.
    report.graphs.sort_by(|a, b| a.within.cmp(&b.within));
    let graph = GraphAnswer {
        name,
        path,
        nodes_on_cpu_provider: open.cpu_nodes,
        nodes_on_execution_provider: open.ep_nodes,
        parts: report.graphs,
    };
    Ok((graph, report.device))
}

fn as_text(answer: &Answer) -> String {
    let mut text = format!(
        "device {}, {}, claim {}, ONNX Runtime {}; work and bytes are estimates\n",
        answer.device, answer.precision, answer.claim, answer.ort
    );
    for graph in &answer.graphs {
        text += &format!("\n{}  {}\n", graph.name, graph.path.display());
        for part in &graph.parts {
            text += &part_as_text(part, &answer.precision);
        }
        text += &format!("  left to ONNX Runtime's CPU provider: {}\n", nodes(graph.nodes_on_cpu_provider));
    }
    text
}

fn part_as_text(part: &GraphReport, asked: &str) -> String {
    let within = if part.within.is_empty() { String::new() } else { format!("{}: ", part.within) };
    let mut text = format!(
        "  {within}{} of {} claimed, fused into {}\n",
        part.claimed,
        nodes(part.nodes),
        nodes(part.fused.len())
    );
    let work = part.gflop_claimed + part.gflop_unclaimed;
    if work > 0.0 {
        text += &format!("    work: {:.3} GFLOP claimed, {:.3} not", part.gflop_claimed, part.gflop_unclaimed);
        let assumed: Vec<String> = part.assumed.iter().map(|(axis, size)| format!("{axis} = {size}")).collect();
        text += &if assumed.is_empty() { "\n".to_string() } else { format!(" (for {})\n", assumed.join(", ")) };
    }
    for fused in part.fused.iter().take(SHOWN) {
        let steps: Vec<String> = fused.steps.iter().map(|(kind, count)| step_as_text(fused, kind, *count)).collect();
        text += &format!(
            "    fused from {}: {:.3} GFLOP, {} in, {} out; {}\n",
            nodes(fused.nodes),
            fused.gflop,
            bytes(fused.bytes_in),
            bytes(fused.bytes_out),
            steps.join(", ")
        );
        text += &arithmetic_as_text(fused);
        text += &on_host_as_text(fused);
        text += &other_precisions_as_text(fused, asked);
    }
    if part.fused.len() > SHOWN {
        let rest = &part.fused[SHOWN..];
        let crossing: usize = rest.iter().map(|fused| fused.bytes_in + fused.bytes_out).sum();
        text += &format!("    and {} more, {} across the border (--json lists them)\n", rest.len(), bytes(crossing));
    }
    // The same reason for the same operator is one line.
    let mut reasons: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for node in &part.unclaimed {
        reasons.entry((&node.reason, &node.op_type)).or_default().push(&node.name);
    }
    for ((reason, op_type), names) in reasons {
        let first = names.iter().find(|name| !name.is_empty()).map_or(String::new(), |name| format!(" ({name} …)"));
        text += &format!("    not claimed: {} {op_type}{first}: {reason}\n", names.len());
    }
    text
}

/// `18 linear (int8)`; where the products of a kind differ, how many of each: `31 linear (30 int8, 1 f32)`; where some
/// are another device's than the host's, the device: `18 linear (int8; sim)`.
fn step_as_text(fused: &Fused, kind: &str, count: usize) -> String {
    let words = |counts: &BTreeMap<String, usize>| match counts.len() {
        1 => counts.keys().cloned().collect::<Vec<_>>().join(""),
        _ => counts.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", "),
    };
    let Some(precision) = fused.precision.get(kind) else { return format!("{count} {kind}") };
    let device = fused.device.get(kind).filter(|devices| devices.keys().any(|device| device != Device::Host.word()));
    let device = device.map_or_else(String::new, |devices| format!("; {}", words(devices)));
    format!("{count} {kind} ({}{device})", words(precision))
}

/// What int8 is for which layers, a line for each.
fn arithmetic_as_text(fused: &Fused) -> String {
    fused.arithmetic.iter().map(|(what, count)| format!("      int8: {count} linear {what}\n")).collect()
}

/// Why kernels are the host device's beside an NPU, a line for each reason.
fn on_host_as_text(fused: &Fused) -> String {
    let reasons = fused.on_host.iter().flat_map(|(kind, reasons)| reasons.iter().map(move |reason| (kind, reason)));
    reasons.map(|(kind, (reason, count))| format!("      host: {count} {kind}, {reason}\n")).collect()
}

/// Why products are computed in another precision than was asked for, a line for each reason.
fn other_precisions_as_text(fused: &Fused, asked: &str) -> String {
    let mut counts: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for product in fused.products.iter().filter(|product| product.precision != asked) {
        *counts.entry((&product.precision, &product.kind, &product.reason)).or_default() += 1;
    }
    let lines = counts.into_iter();
    lines.map(|((precision, kind, reason), count)| format!("      {precision}: {count} {kind}, {reason}\n")).collect()
}

/// Fused nodes that the text shows one by one; with `claim=matmul` there are dozens alike.
const SHOWN: usize = 8;

fn nodes(count: usize) -> String {
    format!("{count} node{}", if count == 1 { "" } else { "s" })
}

fn bytes(count: usize) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.0} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use undertone_boundary::partition::{Product, Unclaimed};

    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!([bytes(0), bytes(9_999), bytes(960_000), bytes(12_345_678)], ["0 B", "9999 B", "960 kB", "12.3 MB"]);
    }

    #[test]
    fn what_stays_on_the_host_is_said_with_its_reason() {
        let reason = "1×384×384: predicted 0.090 ms on the NPU, 0.005 ms here".to_owned();
        let on_host = BTreeMap::from([("linear".to_owned(), BTreeMap::from([(reason, 2)]))]);
        let fused = Fused { on_host, ..Fused::default() };
        let text = on_host_as_text(&fused);
        assert_eq!(text, "      host: 2 linear, 1×384×384: predicted 0.090 ms on the NPU, 0.005 ms here\n");
    }

    #[test]
    fn products_in_another_precision_are_said_with_their_reason() {
        let product = |(precision, reason): (&str, &str)| Product {
            name: String::new(),
            kind: "linear".into(),
            precision: precision.into(),
            reason: reason.into(),
        };
        let products = [("int8", "a"), ("f32", "sound"), ("f32", "sound")].map(product).to_vec();
        let fused = Fused { products, ..Fused::default() };
        assert_eq!(other_precisions_as_text(&fused, "int8"), "      f32: 2 linear, sound\n");
        assert_eq!(other_precisions_as_text(&fused, "f32"), "      int8: 1 linear, a\n");
    }

    #[test]
    fn equal_reasons_are_one_line() {
        let node =
            |name: &str, reason: &str| Unclaimed { name: name.into(), op_type: "If".into(), reason: reason.into() };
        let part = GraphReport {
            name: "main".into(),
            within: String::new(),
            nodes: 5,
            claimed: 2,
            unclaimed: vec![node("a", "control flow"), node("b", "control flow"), node("c", "other")],
            fused: Vec::new(),
            gflop_claimed: 0.0,
            gflop_unclaimed: 0.0,
            assumed: BTreeMap::new(),
        };
        let text = part_as_text(&part, "int8");
        assert_eq!(text.lines().filter(|line| line.contains("not claimed")).count(), 2, "{text}");
        assert!(text.contains("2 If (a …): control flow"), "{text}");
    }
}
