//! `undertone devices`: what this machine offers, and which libraries would be used. Opens the libraries to ask them; runs no model.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use undertone_runner::{Device, Engine};

use crate::choices::Libraries;
use crate::{describe, locate, machine, output};

/// Show the devices, instruction sets and libraries of this machine
#[derive(Args)]
#[command(override_usage = "undertone devices [OPTIONS]")]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    libraries: Libraries,
}

/// Prints what there is; a library that is missing is part of the answer.
///
/// # Errors
///
/// If ONNX Runtime cannot be loaded: then nothing runs here.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let answer = collect(&arguments.libraries)?;
    let text = if arguments.json { format!("{answer:#}\n") } else { as_text(&answer) };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn collect(libraries: &Libraries) -> Result<Value> {
    let mut options = libraries.options(Device::Cpu)?;
    let ep_path = options.ep_library.clone();
    let engine = Engine::new(&options)?;
    let ort = json!({ "version": engine.ort_version(), "path": options.ort_library });
    let mut offered = engine.devices();
    let description = match &ep_path {
        Some(path) => describe::describe(path),
        None => Err(libraries.missing_ep().unwrap_or_else(|| anyhow::anyhow!("{} was not found", locate::EP_LIBRARY))),
    };
    let ep = description.and_then(|about| {
        options.device = Device::Auto;
        offered = Engine::new(&options)?.devices();
        Ok(json!({ "path": ep_path, "about": about }))
    });
    let ep = ep.unwrap_or_else(|error| json!({ "path": ep_path, "error": crate::one_line(&format!("{error:#}")) }));
    let offered: Vec<Value> = offered
        .iter()
        .map(|device| {
            json!({ "provider": device.ep, "vendor": device.ep_vendor, "hardware": device.hardware,
                    "hardware_vendor": device.hardware_vendor })
        })
        .collect();
    let devices = devices(&ep);
    Ok(json!({
        "processor": machine::processor(), "cores": machine::cores(), "devices": devices,
        "onnxruntime": ort, "execution_provider": ep, "onnxruntime_devices": offered,
    }))
}

/// Each device that `--device` takes, whether it can be used, and why or what it is.
fn devices(ep: &Value) -> Vec<Value> {
    let compiled = |name: &str| {
        ep["about"]["devices"].as_array().is_some_and(|devices| devices.iter().any(|device| device == name))
    };
    let missing = ep["error"].as_str();
    let entry =
        |name: &str, available: bool, what: String| json!({ "name": name, "available": available, "what": what });
    let not_built = |what: &str| missing.map_or_else(|| format!("this build has no {what}"), str::to_string);
    vec![
        entry("cpu", true, "ONNX Runtime's own CPU provider: the reference".into()),
        entry(
            "host",
            compiled("host"),
            match ep["about"]["instruction_set"].as_str() {
                Some(set) => format!("the NPU kernels' arithmetic on the CPU, with {set}"),
                None => not_built("host device"),
            },
        ),
        entry(
            "sim",
            compiled("sim"),
            match ep["about"]["targets"].as_array() {
                Some(targets) => {
                    let targets: Vec<&str> = targets.iter().filter_map(Value::as_str).collect();
                    format!("the NPU's simulator, of {}", targets.join(" and "))
                }
                None => not_built("simulator"),
            },
        ),
        entry(
            "npu",
            compiled("npu"),
            match ep["about"]["npu"].as_str() {
                Some(found) => found.to_owned(),
                None => not_built("NPU device"),
            },
        ),
    ]
}

fn as_text(answer: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("?").to_string();
    let mut text = format!("{}, {} cores\n\n", word(&answer["processor"]), answer["cores"]);
    for device in answer["devices"].as_array().into_iter().flatten() {
        let mark = if device["available"] == true { "yes" } else { "no" };
        text += &format!("{:<6} {:<4} {}\n", word(&device["name"]), mark, word(&device["what"]));
    }
    let ort = &answer["onnxruntime"];
    text += &format!("\nONNX Runtime        {}  {}\n", word(&ort["version"]), word(&ort["path"]));
    let ep = &answer["execution_provider"];
    text += &match ep["error"].as_str() {
        Some(error) => format!("execution provider  {error}\n"),
        None => format!("execution provider  {}  {}\n", word(&ep["about"]["version"]), word(&ep["path"])),
    };
    text
}
