//! `undertone npu bring-up`: climbs the ladder of checks with this machine's NPU, or the simulator in its place. Each rung
//! is climbed by a process of this same command, which this one watches. The work is the crate `undertone-bring-up`'s;
//! here are its options and what a person reads.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use undertone_bring_up::{
    self as ladder, Asked, Check, Fault, KernelLog, Message, Outcome, Place, Report, Rung, RungReport, Scrub, Verdict,
};
use undertone_runner::{Device, EngineOptions, Model, Precision};

use crate::choices::{self, Libraries, NpuChoice};
use crate::given::Given;
use crate::{interrupt, machine, output};

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
    /// Write what was found into this file (JSON), anew after each check
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Begin with this rung
    #[arg(long, value_name = "RUNG", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=6))]
    from: u8,
    /// End with this rung
    #[arg(long, value_name = "RUNG", default_value_t = 6, value_parser = clap::value_parser!(u8).range(0..=6))]
    up_to: u8,
    /// Seconds that each rung may take, from 0.1 [default: 60 to 600, by the rung]
    #[arg(long, value_name = "S", value_parser = seconds)]
    limit: Option<Duration>,
    /// Models of the last rung, by name or folder; those that are not here are left out, nothing is fetched
    #[arg(long, value_name = "MODELS", value_delimiter = ',', default_value = "tiny,base")]
    models: Vec<String>,
    /// The arithmetic of those models
    #[arg(short, long, value_parser = choices::npu_precision(), default_value_t = Precision::Int8)]
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
    check_files(arguments)?;
    output::warn_if_lost();
    choices::warn_of_options_without_effect(given, &[arguments.device], &[]);
    let reported = arguments.report.is_some();
    interrupt::end_after(move || {
        ladder::end_work();
        let kept = if reported { ": the report holds what was found until then" } else { "" };
        output::say(&format!("stopped{kept}"));
    });
    let mut report = ladder::begin(arguments.device, arguments.npu.target, machine::processor());
    let writer = Writer { arguments, scrub: Scrub::of(Path::new("/"), &folders(arguments)) };
    writer.read_log(&mut report);
    writer.write(&report)?;
    let climbed = climb_all(arguments, &mut report, &writer);
    // Also where standard output is full.
    writer.write_last(&report)?;
    climbed?;
    output::print(&ending(arguments, &report))?;
    let Some(stopped) = report.stopped_at() else { return Ok(ExitCode::SUCCESS) };
    output::say(&format!("error: stopped at rung {}, {}: what to do stands above", stopped.rung, stopped.title));
    Ok(ExitCode::FAILURE)
}

/// What would only be found out rungs later.
fn check_files(arguments: &Arguments) -> Result<()> {
    if let Some(path) = &arguments.npu.core_costs {
        ladder::check_core_costs(path).map_err(|words| anyhow!("--core-costs {}: {words}", path.display()))?;
    }
    for name in arguments.models.iter().filter(|_| arguments.up_to == Rung::Whisper.number()) {
        undertone_models::present(name, None).with_context(|| format!("--models {name}"))?;
    }
    Ok(())
}

/// Climbs from rung to rung, prints what is found, and writes it as it comes. What can't be printed, a disk being full,
/// is an error at the end where a report takes it, and at once where none does.
fn climb_all(arguments: &Arguments, report: &mut Report, writer: &Writer<'_>) -> Result<()> {
    let mut lost = output::print(&headline(report));
    for number in arguments.from..=arguments.up_to {
        let rung = Rung::of_number(number).context("there is no such rung")?;
        if report.stopped_at().is_some() {
            report.add(ladder::not_reached(rung));
            continue;
        }
        if lost.is_err() && arguments.report.is_none() {
            break;
        }
        report.begin(rung, limit(arguments, rung));
        writer.write(report)?;
        first(&mut lost, output::print(&format!("\nrung {number}: {}\n", rung.title())));
        let climbed = ladder::watch(rung, again(number)?, limit(arguments, rung), &mut |check| {
            report.tell(check);
            first(&mut lost, writer.write(report));
            first(&mut lost, output::print(&line(check)));
        });
        let words = verdict(&climbed);
        report.add(climbed);
        writer.read_log(report);
        writer.write(report)?;
        first(&mut lost, output::print(&words));
    }
    lost
}

/// Keeps the first error.
fn first(lost: &mut Result<()>, done: Result<()>) {
    if lost.is_ok() {
        *lost = done;
    }
}

/// Writes the report where one is wanted.
struct Writer<'a> {
    arguments: &'a Arguments,
    scrub: Scrub,
}

impl Writer<'_> {
    /// Reads the kernel's log anew: it tells what a rung has done to the driver.
    fn read_log(&self, report: &mut Report) {
        if self.arguments.report.is_some() && self.arguments.device == Device::Npu {
            report.kernel_log = KernelLog::read();
        }
    }

    /// Writes what there is. A pipe gets only the last one.
    fn write(&self, report: &Report) -> Result<()> {
        match &self.arguments.report {
            Some(path) if ladder::is_stream(path) => Ok(()),
            _ => self.write_last(report),
        }
    }

    fn write_last(&self, report: &Report) -> Result<()> {
        let Some(path) = &self.arguments.report else { return Ok(()) };
        let failed = || format!("cannot write {}; name another file with --report", path.display());
        report.write(path, &self.scrub).with_context(failed)
    }
}

/// Folders that a person named, or that lie where a person's do.
fn folders(arguments: &Arguments) -> Vec<PathBuf> {
    let Arguments { npu, libraries, .. } = arguments;
    let models: Vec<PathBuf> = arguments.models.iter().map(PathBuf::from).collect();
    let files = [&npu.core_costs, &libraries.ep_library, &libraries.ort_library, &arguments.report];
    let files = files.into_iter().flatten().chain(&models).map(|path| whole(path));
    let above = files.filter_map(|path| path.parent().map(Path::to_owned));
    let named = models.iter().filter(|path| path.is_dir()).chain(&npu.bundle_dir).map(|path| whole(path));
    named.chain(above).chain([env::temp_dir()]).collect()
}

/// A path from the root: the scrubbing of a report knows paths by their beginning.
fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// `--limit`.
fn seconds(word: &str) -> Result<Duration, String> {
    let seconds = word.parse().ok().filter(|seconds: &f64| (0.1..=1e6).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give a number of seconds, from 0.1 to 1000000".to_owned())
}

fn limit(arguments: &Arguments, rung: Rung) -> Duration {
    arguments.limit.unwrap_or_else(|| rung.limit())
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
    ladder::end_with_parent();
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
    for path in [&mut options.bundle_dir, &mut options.core_costs, &mut options.ep_library].into_iter().flatten() {
        *path = whole(path);
    }
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
    Model::from_directory(&whole(&provided.folder), None).map_err(|error| error.to_string())
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
    let figures: Vec<String> = check.figures.iter().map(|(key, value)| figure(key, *value)).collect();
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
fn figure(key: &str, value: f64) -> String {
    if let (Some(what), Ok(time)) = (key.strip_suffix("_s"), Duration::try_from_secs_f64(value))
        && !what.ends_with("_per")
    {
        return format!("{what} {}", ladder::time(time));
    }
    let digits = match value.abs() {
        size if size >= 1000.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    };
    format!("{key} {digits}")
}

/// How a rung ended, in a line.
fn verdict(rung: &RungReport) -> String {
    match &rung.verdict {
        Verdict::Passed => format!("  passed in {}\n", ladder::time(Duration::from_secs_f64(rung.seconds))),
        Verdict::Failed => "  failed\n".to_owned(),
        Verdict::TimedOut { found } => format!("  FAILED  {found}\n"),
        Verdict::Broken { found } => format!("  FAILED  {}\n", crate::one_line(found)),
        Verdict::Skipped { why } => format!("  skipped: {why}\n"),
        Verdict::NotReached | Verdict::Begun => String::new(),
    }
}

/// The last words: what it comes to, and what to do with it.
fn ending(arguments: &Arguments, report: &Report) -> String {
    let mut text = String::from("\n");
    match report.stopped_at().and_then(|stopped| Some((stopped, Rung::of_number(stopped.rung)?))) {
        Some((stopped, rung)) => {
            let _ = writeln!(text, "Stopped at rung {}. {}", rung.number(), cause(arguments, stopped, rung));
            if report.target.is_empty() {
                text += "Where there is no NPU, `--device sim` climbs on the simulator.\n";
            }
        }
        None => text += "Nothing failed.\n",
    }
    match (&arguments.report, arguments.device) {
        (Some(path), _) => {
            let _ = writeln!(text, "{}", format!("The report is {}. {}", path.display(), report.send).trim_end());
        }
        (None, Device::Npu) => text += "With `--report npu.json` there is a file to send.\n",
        (None, _) => {}
    }
    text
}

/// Where the fault lies, as far as what was climbed tells.
fn cause(arguments: &Arguments, stopped: &RungReport, rung: Rung) -> &'static str {
    let lowest = if arguments.device == Device::Sim { Rung::PassThrough } else { Rung::Installation };
    match stopped.verdict {
        Verdict::TimedOut { .. } => {
            "It did not end in time. Where the driver hangs, `sudo dmesg | grep amdxdna` may say why; a machine that is \
             only slow needs a longer `--limit`."
        }
        Verdict::Broken { .. } => {
            "Its process broke off: the words above are the last that it, XRT or the driver said."
        }
        _ if stopped.checks.last().is_some_and(|check| check.name == ladder::OPENED) => {
            "The NPU was not opened, so nothing of this rung was tried."
        }
        _ if rung <= Rung::Amd || arguments.from <= lowest.number() => rung.blame(),
        _ => "The rungs below were not climbed: `--from 0` tells whether the fault lies there.",
    }
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
        let shown = [0.0, 3.0, 0.99987, 12.345, 87380.4, 0.00002].map(|value| figure("x", value));
        assert_eq!(shown, ["x 0", "x 3", "x 0.9999", "x 12.3", "x 87380", "x 2.00e-5"]);
        assert_eq!(
            (figure("latency_s", 5.56e-3).as_str(), figure("op_per_s", 2.0).as_str()),
            ("latency 6 ms", "op_per_s 2")
        );
    }

    #[test]
    fn limits_are_seconds() {
        assert_eq!((seconds("0.5"), seconds("60")), (Ok(Duration::from_millis(500)), Ok(Duration::from_secs(60))));
        for word in ["0", "-1", "nan", "inf", "x", ""] {
            assert!(seconds(word).unwrap_err().contains("from 0.1"), "{word}");
        }
    }
}
