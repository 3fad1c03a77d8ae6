//! `undertone devices`: what this machine offers, and which libraries would be used. Opens the libraries to ask them;
//! runs no model.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use undertone_boundary::description::Description;
use undertone_runner::Device;
use undertone_runner::engine::{self, Engine};

use crate::choices::Libraries;
use crate::{locate, machine, output};

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
        Some(path) => engine::describe(path).map_err(Into::into),
        None => Err(libraries.missing_ep().unwrap_or_else(|| anyhow::anyhow!("{} was not found", locate::EP_LIBRARY))),
    };
    let description = description.and_then(|about| {
        options.device = Device::Auto;
        offered = Engine::new(&options)?.devices();
        Ok(about)
    });
    let description = description.map_err(|error| crate::one_line(&format!("{error:#}")));
    let offered: Vec<Value> = offered
        .iter()
        .map(|device| {
            json!({ "provider": device.ep, "vendor": device.ep_vendor, "hardware": device.hardware,
                    "hardware_vendor": device.hardware_vendor })
        })
        .collect();
    let devices = devices(description.as_ref().map_err(String::as_str));
    let ep = match description {
        Ok(about) => json!({ "path": ep_path, "about": about }),
        Err(error) => json!({ "path": ep_path, "error": error }),
    };
    Ok(json!({
        "processor": machine::processor(), "cores": machine::cores(), "devices": devices,
        "onnxruntime": ort, "execution_provider": ep, "onnxruntime_devices": offered,
    }))
}

/// Each device that `--device` takes, whether it can be used, and why or what it is.
fn devices(ep: Result<&Description, &str>) -> Vec<Value> {
    let entry = |name: Device, available: bool, what: String| json!({ "name": name.word(), "available": available, "what": what });
    let of_ep = |name: Device, what: fn(&Description) -> String| match ep {
        Ok(about) => entry(name, about.devices.iter().any(|device| device == name.word()), what(about)),
        Err(missing) => entry(name, false, missing.to_owned()),
    };
    vec![
        entry(Device::Cpu, true, "ONNX Runtime's own CPU provider: the reference".into()),
        of_ep(Device::Host, |about| format!("the NPU kernels' arithmetic on the CPU, with {}", about.instruction_set)),
        of_ep(Device::Sim, |about| format!("the NPU's simulator, of {}", about.targets.join(" and "))),
        of_ep(Device::Npu, |about| about.npu.clone()),
    ]
}

/// The versions below an NPU that a person is shown, by their keys in [`undertone_boundary::description::NpuSoftware`].
const NPU_SOFTWARE: [(&str, &str); 6] = [
    ("kernel", "Linux"),
    ("driver", "amdxdna"),
    ("driver_version", "amdxdna's version"),
    ("firmware", "NPU's firmware"),
    ("firmware_file", "firmware's file"),
    ("xrt", "XRT"),
];

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
    for (key, name) in NPU_SOFTWARE {
        if let Some(version) = ep["about"]["npu_software"][key].as_str() {
            text += &format!("{name:<19} {version}\n");
        }
    }
    text
}
