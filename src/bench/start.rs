//! Starts: the command calls itself, so that each start is one of a fresh process, with a folder for packed models that
//! is empty at the first start and filled at the second.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use undertone_bench::{StartMemory, StartResult};
use undertone_runner::EngineOptions;

use super::Arguments;

/// Second starts; the first is one only.
const SECOND_STARTS: usize = 3;

/// Measures the starts on the device of `configuration`.
pub fn starts(arguments: &Arguments, configuration: &EngineOptions) -> Result<StartResult> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder for packed models")?;
    let device = configuration.device.to_string();
    let start = || -> Result<(f64, StartMemory)> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this command's own file")?);
        command.args(["bench", "--devices", &device, "--precision", &configuration.precision.to_string()]);
        command.arg("--first-token").arg(folder.path());
        command.arg("--ort-library").arg(&configuration.ort_library);
        if let Some(library) = &configuration.ep_library {
            command.arg("--ep-library").arg(library);
        }
        if let Some(threads) = configuration.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        let model = &arguments.model;
        for (option, value) in [("--model", &model.model), ("--variant", &model.variant)] {
            if let Some(value) = value {
                command.args([option, value]);
            }
        }
        let begun = Instant::now();
        let output = command.stderr(Stdio::inherit()).output().context("cannot start this command again")?;
        let seconds = begun.elapsed().as_secs_f64();
        if !output.status.success() {
            bail!("a start on {device} failed: its own error is above");
        }
        Ok((seconds, serde_json::from_slice(&output.stdout).context("a start's answer is not understood")?))
    };
    let (first_seconds, _) = start()?;
    let mut second = start()?;
    for _ in 1..SECOND_STARTS {
        let next = start()?;
        if next.0 < second.0 {
            second = next;
        }
    }
    let (second_seconds, memory) = second;
    Ok(StartResult { device, first_seconds, second_seconds, memory })
}
