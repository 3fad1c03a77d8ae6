//! `undertone npu plan` counts the kernels that a model's encoder asks of an NPU, predicts their time, says which bundles
//! they need, and measures this machine's host device beside. No NPU is used, and none is needed.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use undertone_bench::{self as bench, BenchOptions, Plan};
use undertone_runner::npu::{BundleReport, DesignReport, NpuReport, TileReport};
use undertone_runner::{Device, Precision, Target};

use crate::choices::{self, Libraries, ModelChoice};
use crate::given::Given;
use crate::output;

const WINDOW_MS: f64 = 30_000.0;

/// Show which kernels and bundles a model needs on an NPU, and the time predicted for them
///
/// Nothing runs on an NPU: times of its kernels are predicted by a cost model, times of this machine's CPU are
/// measured.
#[derive(Args)]
#[command(override_usage = "undertone npu plan [OPTIONS] --target <NPU> [MODEL]")]
pub struct Arguments {
    /// A model: a name, a Hugging Face repository, or a folder [default: base]
    #[arg(value_name = "MODEL", env = "UNDERTONE_MODEL", hide_env_values = true)]
    model: Option<String>,
    /// Which set of files, by the end of their names
    #[arg(long, value_name = "SUFFIX")]
    variant: Option<String>,
    /// The NPU: npu1 is XDNA (Phoenix, Hawk Point), npu4 XDNA2 (Strix, Krackan)
    #[arg(long, value_parser = choices::target(), value_name = "NPU")]
    target: Target,
    /// The arithmetic
    #[arg(short, long, value_parser = choices::precision(), default_value_t = Precision::Int8)]
    precision: Precision,
    /// Folder of compiled NPU kernels: says which of those needed are there [default: what `npu fetch` put in place]
    #[arg(long, value_name = "DIR")]
    bundle_dir: Option<PathBuf>,
    /// Report of `undertone npu bring-up`: its measurements take the place of the cost model's own numbers
    #[arg(long, value_name = "FILE")]
    core_costs: Option<PathBuf>,
    /// Leave out the time of this CPU alone; packing and the rest beside the NPU are measured all the same
    #[arg(long)]
    no_measure: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    libraries: Libraries,
}

/// What is printed.
#[derive(Serialize)]
struct Answer {
    model: PathBuf,
    target: String,
    precision: String,
    #[serde(flatten)]
    plan: Plan,
    /// Seconds of audio in a second of encoder, predicted.
    predicted_realtime_factor: f64,
    /// The host device on this machine's CPU, milliseconds of the encoder for the same window.
    measured_host_ms: Option<f64>,
}

/// Carries it out.
///
/// # Errors
///
/// If the model or a library cannot be loaded.
pub fn run(arguments: &Arguments, given: &Given<'_>) -> Result<ExitCode> {
    choices::check_precision(Device::Sim, arguments.precision)?;
    choices::check_core_costs(arguments.core_costs.as_deref(), Some(arguments.target))?;
    let model = ModelChoice { model: arguments.model.clone(), variant: arguments.variant.clone() }.open(given)?;
    let mut options = arguments.libraries.options(Device::Sim)?;
    options.precision = arguments.precision;
    options.target = Some(arguments.target);
    options.bundle_dir.clone_from(&arguments.bundle_dir);
    options.core_costs.clone_from(&arguments.core_costs);
    let plan = bench::plan(&model, &options)?;
    let measured_host_ms = if arguments.no_measure {
        None
    } else {
        let mut host = arguments.libraries.options(Device::Host)?;
        host.precision = arguments.precision;
        let results = bench::run(&model, &[host], &BenchOptions { tokens: 1, runs: 3 })?;
        results.first().and_then(|result| result.encoder_ms)
    };
    let answer = Answer {
        model: model.directory().to_owned(),
        target: options.target.map(|target| target.to_string()).unwrap_or_default(),
        precision: options.precision.to_string(),
        predicted_realtime_factor: WINDOW_MS / plan.predicted_ms,
        plan,
        measured_host_ms,
    };
    let text = if arguments.json { serde_json::to_string_pretty(&answer)? + "\n" } else { text(&answer) };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The answer in words.
fn text(answer: &Answer) -> String {
    let Answer { target, precision, plan, .. } = answer;
    let mut text = format!(
        "{}: one window of 30 s through the encoder on {target}, {precision}\nNothing ran on an NPU: its times are \
         predicted.\n",
        answer.model.display()
    );
    for (name, operator) in &plan.npu.operators {
        let _ = writeln!(text, "\n{name}:");
        let _ = writeln!(text, "  {:<28} {:>6} {:>13} {:>8}", "kernel", "calls", "predicted ms", "useful");
        for (shape, problem) in &operator.problems {
            let ms = problem.predicted_seconds * 1e3;
            let _ = writeln!(text, "  {shape:<28} {:>6} {ms:>13.2} {:>7.0}%", problem.calls, problem.useful * 100.0);
        }
    }
    bundles(&mut text, &plan.npu);
    let npu = &plan.npu;
    let sum = |of: fn(&undertone_runner::npu::OperatorReport) -> u64| npu.operators.values().map(of).sum::<u64>();
    let switches = sum(|operator| operator.context_switches);
    let _ = write!(
        text,
        "\nNPU, predicted            {:>9.1} ms  ({} kernels, {} dispatches, {switches} changes of design)\n\
         packing on this CPU       {:>9.1} ms  (measured)\n\
         rest of it on this CPU    {:>9.1} ms  (measured: layer norms, additions, moving data)\n\
         together                  {:>9.1} ms, {:.0} times real time (encoder only)\n",
        npu.predicted_ms().unwrap_or(0.0),
        npu.calls(),
        sum(|operator| operator.dispatches),
        plan.packing_ms,
        plan.host_ms,
        plan.predicted_ms,
        answer.predicted_realtime_factor,
    );
    if let Some(ms) = answer.measured_host_ms {
        let _ = writeln!(
            text,
            "this CPU alone, measured  {ms:>9.1} ms, {:.0} times real time (encoder only, device host)",
            WINDOW_MS / ms
        );
    }
    if npu.fallbacks.refused > 0 {
        let reason = npu.fallbacks.reason.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{} kernels stay on the CPU: {reason}", npu.fallbacks.refused);
    }
    if let Some(rates) = &npu.rates {
        let _ = writeln!(text, "weighed against {rates}");
    }
    text += "The decoder's single tokens stay on the CPU: a dispatch costs more than the product of one row.\n";
    text
}

/// The bundles that the kernels need: whether they are there, or how to make them. One serves linear layers and
/// attention.
fn bundles(text: &mut String, npu: &NpuReport) {
    let mut told: Vec<&DesignReport> = Vec::new();
    for operator in npu.operators.values() {
        let Some(design) = operator.design.as_ref().filter(|design| !told.contains(design)) else { continue };
        told.push(design);
        let DesignReport { kernels, tile: TileReport { m, k, n }, .. } = design;
        let _ = write!(text, "\nbundle of {kernels} kernels, tiles {m}×{k}×{n}: ");
        let _ = match &operator.bundle {
            None => writeln!(text, "none is here: `undertone npu fetch FROM`, or name a folder with --bundle-dir"),
            Some(BundleReport::Present(folder)) => writeln!(text, "{}", folder.display()),
            Some(BundleReport::Missing(reason)) => writeln!(text, "missing ({reason})"),
        };
    }
}
