//! `undertone bench`: how long a model takes on each device, on synthetic sound, and how far the kernels are from what
//! the machine can do. The work is the crate `undertone-bench`'s; only starts are made here, since the command starts
//! itself.

mod start;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use undertone_bench::{self as bench, BenchOptions, Report};
use undertone_runner::{Device, Engine, EngineOptions, Model, Precision};

use crate::choices::{self, Libraries, ModelChoice, NpuChoice};
use crate::given::Given;
use crate::{machine, output};

/// Rows of the decoder's kernels beside one, if `--batch` does not say.
const KERNEL_BATCH: usize = 8;
/// Runs over long audio: it is its own average.
const MOST_LONG_RUNS: u16 = 3;

/// Measure encoder, decoder and kernels, on synthetic sound
#[derive(Args)]
#[command(override_usage = "undertone bench [OPTIONS]")]
pub struct Arguments {
    /// Devices to compare, separated by commas
    #[arg(long, value_parser = choices::device(), value_delimiter = ',', default_value = choices::DEVICES)]
    devices: Vec<Device>,
    /// The arithmetic of every device but cpu
    #[arg(short, long, value_parser = choices::precision(), default_value_t = Precision::Int8)]
    precision: Precision,
    #[command(flatten)]
    model: ModelChoice,
    /// Tokens that the decoder is made to write for a window
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=440))]
    tokens: u16,
    /// Runs on each device
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Threads that compute [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = choices::threads)]
    threads: Option<usize>,
    /// Also take so many seconds of audio through features, encoder and decoder
    #[arg(long, value_name = "S", value_parser = seconds)]
    audio_seconds: Option<f64>,
    /// Windows of that audio that are decoded together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    batch: u16,
    /// Also decode without the cache, which is slow, to show what it saves
    #[arg(long)]
    without_cache: bool,
    /// Also start the command anew, without and with a packed model, and tell the time to the first token and the
    /// memory
    #[arg(long)]
    start_up: bool,
    /// What a start is: comes to the first token with packed models in this folder, and tells the memory
    #[arg(long, value_name = "DIR", hide = true)]
    first_token: Option<PathBuf>,
    /// Leave out the limits and the kernels
    #[arg(long, conflicts_with = "roofline")]
    no_kernels: bool,
    /// Also print what each kernel takes within the encoder and within a decoder step
    #[arg(long)]
    profile: bool,
    /// Draw the kernels beneath the machine's limits into the file of --svg
    #[arg(long, requires = "svg")]
    roofline: bool,
    /// The file of --roofline
    #[arg(long, value_name = "FILE", requires = "roofline")]
    svg: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    npu: NpuChoice,
    #[command(flatten)]
    libraries: Libraries,
}

/// Measures and prints.
///
/// # Errors
/// If a device does not work, the model cannot be opened, or the figure cannot be written.
pub fn run(arguments: &Arguments, given: &Given<'_>) -> Result<ExitCode> {
    let simulates = arguments.devices.contains(&Device::Sim);
    if simulates && (arguments.audio_seconds.is_some() || arguments.without_cache || arguments.start_up) {
        bail!(
            "what the simulator takes is no speed: leave sim out, or --audio-seconds, --without-cache and --start-up"
        );
    }
    output::warn_if_lost();
    choices::warn_of_options_without_effect(given, &arguments.devices, &[arguments.precision]);
    arguments.npu.check(&arguments.devices)?;
    let model = arguments.model.open(given)?;
    // Said to every layer, so that the number printed is the number used: left alone, each would choose for itself.
    let threads = arguments.threads.unwrap_or_else(machine::cores);
    let mut configurations = Vec::new();
    for &device in &arguments.devices {
        let mut options = arguments.libraries.options(device)?;
        options.precision = arguments.precision;
        options.threads = Some(threads);
        arguments.npu.apply(&mut options);
        configurations.push(options);
    }
    if let (Some(folder), Some(options)) = (&arguments.first_token, configurations.first_mut()) {
        options.packed = Some(folder.clone());
        let memory = bench::first_token(&model, options)?;
        output::print(&serde_json::to_string(&memory)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = measure(arguments, &model, threads, &configurations)?;
    if let Some(path) = &arguments.svg {
        draw(&report, path)?;
    }
    let text =
        if arguments.json { format!("{:#}\n", serde_json::to_value(&report)?) } else { report.text(arguments.profile) };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn measure(arguments: &Arguments, model: &Model, threads: usize, configurations: &[EngineOptions]) -> Result<Report> {
    let (tokens, runs) = (usize::from(arguments.tokens), usize::from(arguments.runs));
    let results = bench::run(model, configurations, &BenchOptions { tokens, runs })?;
    let (mut long_audio, mut cache_gain, mut start_up) = (Vec::new(), Vec::new(), Vec::new());
    let long = BenchOptions { tokens, runs: runs.min(MOST_LONG_RUNS.into()) };
    for configuration in configurations {
        if let Some(seconds) = arguments.audio_seconds {
            long_audio.push(bench::long_audio(model, configuration, &long, seconds, arguments.batch.into())?);
        }
        if arguments.without_cache {
            cache_gain.push(bench::cache_gain(model, configuration, tokens)?);
        }
        if arguments.start_up {
            start_up.push(start::starts(arguments, configuration)?);
        }
    }
    let mut kernels = None;
    if !arguments.no_kernels && configurations.iter().any(|options| options.device != Device::Cpu) {
        let batch = if arguments.batch > 1 { arguments.batch.into() } else { KERNEL_BATCH };
        kernels = Some(bench::kernels(model.config(), threads, runs, batch)?);
    }
    let ort = Engine::new(&arguments.libraries.options(Device::Cpu)?)?.ort_version().to_string();
    let cpu = machine::processor();
    Ok(Report { results, threads, runs: arguments.runs, cpu, ort, long_audio, cache_gain, start_up, kernels })
}

fn draw(report: &Report, path: &Path) -> Result<()> {
    let Some(kernels) = &report.kernels else {
        bail!(
            "there is nothing to draw: kernels are measured for the devices host, sim, npu and auto; name one with \
             --devices"
        );
    };
    let svg = bench::roofline(&report.cpu, kernels);
    std::fs::write(path, svg).with_context(|| format!("cannot write {}; name another file with --svg", path.display()))
}

/// `--audio-seconds`, checked: a day is enough.
fn seconds(text: &str) -> Result<f64> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => bail!("use a number of seconds above 0, at most 86400"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(seconds("0.5").unwrap(), 0.5);
        for wrong in ["0", "-1", "inf", "NaN", "x", "86401"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
