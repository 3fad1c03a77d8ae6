//! `undertone npu bring-up`: climbs the ladder of checks with this machine's NPU, or the simulator in its place. Each rung
//! is climbed by a process of this same command, which this one watches. The work is the crate `undertone-bring-up`'s;
//! here are its options and what a person reads.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use undertone_bring_up::{
    self as ladder, Asked, Check, Fault, KernelLog, Message, Outcome, Place, Report, Rung, RungReport, Scrub, Verdict,
};
use undertone_runner::{Device, EngineOptions, Model, Precision};

use crate::choices::{self, Libraries, NpuChoice};
use crate::given::Given;
use crate::{machine, output};

/// Try this machine's NPU step by step, from the installation up to whole models
///
/// Each rung needs what those below it have shown; the first that fails names what is wrong. With --report there is a
/// file that a tester can send.
#[derive(Args)]
#[command(override_usage = "undertone npu bring-up [OPTIONS]", after_help = rungs())]
pub struct Arguments {
    /// What is tried
    #[arg(short, long, value_parser = choices::npu_device(), default_value_t = Device::Npu)]
    device: Device,
    /// Write what was found into this file (JSON), anew after each rung
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Begin with this rung
    #[arg(long, value_name = "RUNG", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=6))]
    from: u8,
    /// End with this rung
    #[arg(long, value_name = "RUNG", default_value_t = 6, value_parser = clap::value_parser!(u8).range(0..=6))]
    up_to: u8,
    /// Seconds that each rung may take [default: 60 to 600, by the rung]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Models of the last rung, by name or folder; those that are not here are left out, nothing is fetched
    #[arg(long, value_name = "MODELS", value_delimiter = ',', default_value = "tiny,base")]
    models: Vec<String>,
    /// The arithmetic of those models
    #[arg(short, long, value_parser = choices::precision(), default_value_t = Precision::Int8)]
    precision: Precision,
    /// Climb this rung and tell what is found in lines of JSON: what the command calls itself with
    #[arg(long, value_name = "RUNG", hide = true)]
    only: Option<u8>,
    /// What is wrong with the simulated array: for tests of what finds it
    #[arg(long, value_name = "FAULT", hide = true)]
    fault: Option<Fault>,
    #[command(flatten)]
    npu: NpuChoice,
    #[command(flatten)]
    libraries: Libraries,
}

/// The rungs, for `--help`.
fn rungs() -> String {
    let rung = |rung: Rung| format!("\n  {}  {}", rung.number(), rung.title());
    format!("Rungs:{}", Rung::ALL.map(rung).concat())
}

/// Climbs, prints, and writes the report.
///
/// # Errors
///
/// If the report cannot be written, or nothing can be begun.
pub fn run(arguments: &Arguments, given: &Given<'_>) -> Result<ExitCode> {
    if let Some(rung) = arguments.only {
        return climb(arguments, rung);
    }
    if arguments.from > arguments.up_to {
        bail!("rung {} lies above rung {}: give --up-to a higher one", arguments.from, arguments.up_to);
    }
    output::warn_if_lost();
    choices::warn_of_options_without_effect(given, &[arguments.device], &[]);
    let mut report = ladder::begin(arguments.device, arguments.npu.target, machine::processor());
    let scrub = Scrub::of(Path::new("/"), &folders(arguments));
    write(arguments, &mut report, &scrub)?;
    output::print(&headline(&report))?;
    for number in arguments.from..=arguments.up_to {
        let rung = Rung::of_number(number).context("there is no such rung")?;
        if report.stopped_at().is_some() {
            report.add(ladder::not_reached(rung));
            continue;
        }
        output::print(&format!("\nrung {number}: {}\n", rung.title()))?;
        let mut lost = Ok(());
        let climbed = ladder::watch(rung, again(number)?, limit(arguments, rung), &mut |check| {
            first(&mut lost, output::print(&line(check)));
        });
        lost?;
        output::print(&verdict(&climbed))?;
        report.add(climbed);
        write(arguments, &mut report, &scrub)?;
    }
    write(arguments, &mut report, &scrub)?;
    output::print(&ending(arguments, &report))?;
    let Some(stopped) = report.stopped_at() else { return Ok(ExitCode::SUCCESS) };
    output::say(&format!("error: stopped at rung {}, {}: what to do stands above", stopped.rung, stopped.title));
    Ok(ExitCode::FAILURE)
}

/// Keeps the first error.
fn first(lost: &mut Result<()>, done: Result<()>) {
    if lost.is_ok() {
        *lost = done;
    }
}

/// Writes the report where one is wanted. The kernel's log is read anew: it tells what a rung has done to the driver.
fn write(arguments: &Arguments, report: &mut Report, scrub: &Scrub) -> Result<()> {
    let Some(path) = &arguments.report else { return Ok(()) };
    if arguments.device == Device::Npu {
        report.kernel_log = KernelLog::read();
    }
    let failed = || format!("cannot write {}; name another file with --report", path.display());
    report.write(path, scrub).with_context(failed)
}

/// Folders that a person named, or that lie where a person's do.
fn folders(arguments: &Arguments) -> Vec<PathBuf> {
    let models = arguments.models.iter().map(PathBuf::from).filter(|path| path.is_dir());
    let named = models.chain(arguments.npu.bundle_dir.clone());
    let named = named.filter_map(|path| std::path::absolute(path).ok());
    named.chain([env::temp_dir()]).collect()
}

fn limit(arguments: &Arguments, rung: Rung) -> Duration {
    arguments.limit.map_or_else(|| rung.limit(), Duration::from_secs)
}

/// This command as it was called, to climb one rung. Where it was started through a loader, so is the new one.
fn again(rung: u8) -> Result<Command> {
    let own: Vec<OsString> = env::args_os().collect();
    let loader = loader(&own);
    let mut command = match loader.split_first() {
        Some((program, words)) => {
            let mut command = Command::new(program);
            command.args(words).args(own.first());
            command
        }
        None => Command::new(env::current_exe().context("cannot find this command's own file")?),
    };
    command.args(own.iter().skip(1)).args(["--only", &rung.to_string()]);
    Ok(command)
}

/// What stands before this program's own words on the command line: a loader, as `ld.so PROGRAM …`.
#[cfg(target_os = "linux")]
fn loader(own: &[OsString]) -> Vec<OsString> {
    use std::os::unix::ffi::OsStringExt as _;
    let all = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let all: Vec<OsString> = all.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_owned())).collect();
    // The last one is empty, after the last word's end.
    let all = &all[..all.len() - 1];
    all.strip_suffix(own).map(<[OsString]>::to_vec).unwrap_or_default()
}

/// Elsewhere programs are started by themselves.
#[cfg(not(target_os = "linux"))]
fn loader(_own: &[OsString]) -> Vec<OsString> {
    Vec::new()
}

/// What the process of one rung does.
fn climb(arguments: &Arguments, rung: u8) -> Result<ExitCode> {
    let rung = Rung::of_number(rung).context("there is no such rung")?;
    let mut lost = Ok(());
    let mut tell = |message: Message| {
        let line = serde_json::to_string(&message).map_err(anyhow::Error::from);
        let told = line.and_then(|line| output::print(&(line + "\n")));
        first(&mut lost, told);
    };
    // Only whole models need ONNX Runtime and the execution provider.
    let mut options = EngineOptions::new("");
    let mut asked = Vec::new();
    if rung == Rung::Whisper {
        options = arguments.libraries.options(arguments.device)?;
        asked = arguments.models.iter().map(|name| Asked { name: named(name), model: model(name) }).collect();
    }
    options.device = arguments.device;
    options.precision = arguments.precision;
    arguments.npu.apply(&mut options);
    // The scrubbing of a report knows paths by their beginning.
    options.bundle_dir = options.bundle_dir.map(|path| std::path::absolute(&path).unwrap_or(path));
    let place = Place { options: &options, fault: arguments.fault, asked: &asked };
    ladder::climb(rung, &place, limit(arguments, rung), &mut tell);
    lost?;
    Ok(ExitCode::SUCCESS)
}

/// A model as a report may call it: of a folder only the last part.
fn named(name: &str) -> String {
    let path = Path::new(name);
    path.file_name().map_or_else(|| name.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A model that is on this machine.
fn model(name: &str) -> Result<Model, String> {
    let provided = undertone_models::present(name, None).map_err(|error| error.to_string())?;
    let provided = provided.ok_or_else(|| format!("not on this machine: `undertone model get {name}` fetches it"))?;
    let folder = std::path::absolute(&provided.folder).unwrap_or(provided.folder);
    Model::from_directory(&folder, None).map_err(|error| error.to_string())
}

fn headline(report: &Report) -> String {
    match (report.device.as_str(), report.target.as_str()) {
        ("sim", target) => format!("The simulated {target}: nothing of this is about silicon.\n"),
        (_, "") => "This machine's NPU.\n".to_owned(),
        (_, target) => format!("This machine's NPU, {target}.\n"),
    }
}

/// A check in a line, and what to do in another.
fn line(check: &Check) -> String {
    let (mark, found, advice) = match &check.outcome {
        Outcome::Passed => ("ok", "", ""),
        Outcome::Told { found } => ("ok", found.as_str(), ""),
        Outcome::Warned { found, advice } => ("warning", found.as_str(), advice.as_str()),
        Outcome::Failed { found, advice } => ("FAILED", found.as_str(), advice.as_str()),
    };
    let mut text = format!("  {mark:<8}{}", check.name);
    if !found.is_empty() {
        let _ = write!(text, ": {}", crate::one_line(found));
    }
    let figures: Vec<String> = check.figures.iter().map(|(key, value)| format!("{key} {}", figure(*value))).collect();
    if !figures.is_empty() {
        let _ = write!(text, "  ({})", figures.join(", "));
    }
    text.push('\n');
    if !advice.is_empty() {
        let _ = writeln!(text, "          {}", crate::one_line(advice));
    }
    text
}

/// A figure with what a person wants of its digits.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

/// How a rung ended, in a line.
fn verdict(rung: &RungReport) -> String {
    match &rung.verdict {
        Verdict::Passed => format!("  passed in {:.1} s\n", rung.seconds),
        Verdict::Failed => "  failed\n".to_owned(),
        Verdict::TimedOut { found } => format!("  FAILED  {found}\n"),
        Verdict::Broken { found } => format!("  FAILED  {}\n", crate::one_line(found)),
        Verdict::Skipped { why } => format!("  skipped: {why}\n"),
        Verdict::NotReached => String::new(),
    }
}

/// The last words: what it comes to, and what to do with it.
fn ending(arguments: &Arguments, report: &Report) -> String {
    let mut text = String::from("\n");
    match report.stopped_at().and_then(|stopped| Rung::of_number(stopped.rung)) {
        Some(rung) => {
            let _ = writeln!(text, "Stopped at rung {}. {}", rung.number(), rung.blame());
            if rung == Rung::Installation && report.target.is_empty() {
                text += "Where there is no NPU, `--device sim` climbs on the simulator.\n";
            }
        }
        None => text += "Nothing failed.\n",
    }
    match (&arguments.report, arguments.device) {
        (Some(path), _) => {
            let _ = writeln!(text, "The report is {}. {}", path.display(), report.send);
        }
        (None, Device::Npu) => text += "With `--report npu.json` there is a file to send: it holds nothing personal.\n",
        (None, _) => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_a_line_and_its_advice_another() {
        let check =
            Check::failed("device node", "there is no\n/dev/accel/accel0", "load the driver").with("median_us", 22.14);
        let text = line(&check);
        assert_eq!(
            text,
            "  FAILED  device node: there is no; /dev/accel/accel0  (median_us 22.1)\n          load the driver\n"
        );
        assert_eq!(line(&Check::new("one", Outcome::Passed)), "  ok      one\n");
    }

    #[test]
    fn figures_are_short() {
        let shown = [0.0, 3.0, 0.99987, 12.345, 87380.4, 0.00002].map(figure);
        assert_eq!(shown, ["0", "3", "0.9999", "12.3", "87380", "2.00e-5"]);
    }
}
