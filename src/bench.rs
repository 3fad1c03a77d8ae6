//! `undertone bench`: how long a model takes on each device, on a synthetic window. Measures through the runner; the figures are
//! medians of runs that take turns, so that a busy moment hits all devices alike.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use undertone_runner::bench::{self, BenchOptions};
use undertone_runner::{Device, Engine};

use crate::choices::{self, DeviceWord, Libraries, ModelChoice, PrecisionWord};
use crate::{machine, output};

/// Measure encoder and decoder on a synthetic 30 s window
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelChoice,
    /// Devices to compare, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [DeviceWord::Cpu, DeviceWord::Host])]
    devices: Vec<DeviceWord>,
    /// The arithmetic of every device but cpu
    #[arg(short, long, value_enum, default_value_t = PrecisionWord::Int8)]
    precision: PrecisionWord,
    /// Tokens that the decoder is made to write
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=440))]
    tokens: u16,
    /// Runs on each device
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Threads that compute [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = choices::threads)]
    threads: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    libraries: Libraries,
}

/// Measures and prints.
///
/// # Errors
///
/// If a device does not work or the model cannot be opened.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let model = arguments.model.open()?;
    // Said to every layer, so that the number printed is the number used: left alone, each would choose for itself.
    let threads = arguments.threads.unwrap_or_else(machine::cores);
    let mut configurations = Vec::new();
    for &device in &arguments.devices {
        let mut options = arguments.libraries.options(device.into())?;
        options.precision = arguments.precision.into();
        options.threads = Some(threads);
        configurations.push(options);
    }
    let options = BenchOptions { tokens: arguments.tokens.into(), runs: arguments.runs.into() };
    let results = bench::run(&model, &configurations, &options)?;
    let cpu = machine::processor();
    let ort = Engine::new(&arguments.libraries.options(Device::Cpu)?)?.ort_version().to_string();
    let text = if arguments.json {
        format!("{:#}\n", json!({ "results": results, "threads": threads, "cpu": cpu, "ort": ort }))
    } else {
        let mut text = format!("{cpu}, {threads} threads, ONNX Runtime {ort}, medians of {} runs\n\n", arguments.runs);
        text += "device  precision  encoder ms  decoder ms/token  real time\n";
        for result in &results {
            text += &format!(
                "{:<6}  {:<9}  {:>10.1}  {:>16.2}  {:>8.1}x\n",
                result.device, result.precision, result.encoder_ms, result.decoder_ms_per_token, result.realtime_factor
            );
        }
        text
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
