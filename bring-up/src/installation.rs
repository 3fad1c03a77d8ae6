//! Rung 0: what has to be there before a command can reach the NPU. It reads files, asks AMD's `xrt-smi` where that is
//! installed, and loads XRT.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use undertone_kernels::npu::{Finding, Probe, probe_below};

use crate::Check;
use crate::amd;
use crate::program;

/// `xrt-smi examine` only asks the driver.
const EXAMINE_LIMIT: Duration = Duration::from_secs(20);

/// Looks at the machine below `root`, whose XRT `load` loads. Ends at the first check that fails.
pub(crate) fn climb(root: &Path, load: &dyn Fn() -> Result<String, String>, tell: &mut dyn FnMut(Check)) {
    let probe = probe_below(root);
    let checks: [&dyn Fn() -> Check; 8] = [
        &|| on_the_bus(&probe),
        &|| driver(&probe),
        &|| versions(&probe),
        &|| node(&probe),
        &|| locked_memory(&probe),
        &|| others(root),
        &|| library(load),
        &|| power_mode(root),
    ];
    for check in checks {
        let check = check();
        let failed = check.is_failure();
        tell(check);
        if failed {
            return;
        }
    }
}

/// The words of the first finding of a kind.
fn finding(probe: &Probe, of: fn(&Finding) -> bool) -> Option<String> {
    probe.findings.iter().find(|finding| of(finding)).map(ToString::to_string)
}

fn on_the_bus(probe: &Probe) -> Check {
    let name = "NPU on the PCI bus";
    match finding(probe, |finding| matches!(finding, Finding::NoDevice | Finding::UnknownId { .. } | Finding::NotLinux))
    {
        Some(words) => Check::failed(name, words, ""),
        None => Check::told(name, probe.npus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

fn driver(probe: &Probe) -> Check {
    let name = "driver";
    if let Some(words) = finding(probe, |finding| matches!(finding, Finding::NoDriver { .. })) {
        // What is known of the versions is the likely cause.
        let known = finding(probe, |finding| matches!(finding, Finding::KnownBad(_)));
        return Check::failed(name, words, known.unwrap_or_default());
    }
    let software = &probe.software;
    let origin = software.driver.map(|origin| origin.to_string());
    let words: Vec<String> =
        ["amdxdna".to_owned()].into_iter().chain(software.driver_version.clone()).chain(origin).collect();
    Check::told(name, words.join(" "))
}

fn versions(probe: &Probe) -> Check {
    let name = "kernel, firmware and XRT";
    if let Some(words) = finding(probe, |finding| matches!(finding, Finding::KnownBad(_))) {
        return Check::warned(name, words, "");
    }
    let software = &probe.software;
    let shown = |name: &str, version: &Option<String>| match version {
        Some(version) => format!("{name} {version}"),
        None => format!("{name} not told"),
    };
    let versions =
        [shown("Linux", &software.kernel), shown("firmware", &software.firmware), shown("XRT", &software.xrt)];
    Check::told(name, versions.join(", "))
}

fn node(probe: &Probe) -> Check {
    let name = "device node";
    let of = |finding: &Finding| {
        matches!(finding, Finding::NoNode { .. } | Finding::NoPermission { .. } | Finding::NodeBroken { .. })
    };
    match finding(probe, of) {
        Some(words) => Check::failed(name, words, ""),
        None => Check::told(name, "opens for this user"),
    }
}

fn locked_memory(probe: &Probe) -> Check {
    let name = "memory that may be locked";
    match finding(probe, |finding| matches!(finding, Finding::LockedMemory { .. })) {
        Some(words) => Check::warned(name, words, ""),
        None => Check::told(name, "enough"),
    }
}

/// Other programs that have the NPU open. Those of other users show their files to root only.
fn others(root: &Path) -> Check {
    let name = "other programs on the NPU";
    let mut holders = BTreeSet::new();
    let mut unseen = 0;
    for process in fs::read_dir(root.join("proc")).into_iter().flatten().flatten() {
        let number = process.file_name().to_string_lossy().into_owned();
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(files) = fs::read_dir(process.path().join("fd")) else {
            unseen += 1;
            continue;
        };
        let holds = files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|file| file.starts_with("/dev/accel"));
        if holds {
            let program = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            holders.insert(format!("{} (process {number})", program.trim()));
        }
    }
    if !holders.is_empty() {
        let list = holders.into_iter().collect::<Vec<_>>().join(", ");
        let advice = "end it, at least for the measurements: it takes contexts and time of the NPU";
        return Check::warned(name, format!("{list} has it open"), advice);
    }
    let unseen = if unseen > 0 { format!("; {unseen} processes of other users were not seen") } else { String::new() };
    Check::told(name, format!("none{unseen}"))
}

fn library(load: &dyn Fn() -> Result<String, String>) -> Check {
    let name = "XRT's library";
    match load() {
        Ok(words) => Check::told(name, words),
        Err(words) => Check::failed(name, words, ""),
    }
}

fn power_mode(root: &Path) -> Check {
    let name = "power mode";
    let Some(program) = amd::xrt_smi(root) else {
        return Check::told(name, "not told: `xrt-smi` is not installed");
    };
    match program::run(&program, &["examine", "--batch", "-r", "platform"], EXAMINE_LIMIT) {
        Ok(answer) => match answer.text.lines().find_map(|line| line.trim().strip_prefix("Power Mode")) {
            Some(mode) => {
                let mode = mode.trim_start_matches([' ', ':']).trim();
                if mode.eq_ignore_ascii_case("powersaver") {
                    Check::warned(name, mode, "`sudo xrt-smi configure --pmode default` for the measurements")
                } else {
                    Check::told(name, mode)
                }
            }
            None => Check::warned(name, amd::last_words(&answer.text), "see `xrt-smi examine`"),
        },
        Err(program::NoAnswer::NotStarted(words)) => Check::warned(name, words, "see `xrt-smi examine`"),
        Err(program::NoAnswer::TimedOut(limit)) => Check::failed(
            name,
            format!("`xrt-smi examine` did not end within {} s", limit.as_secs()),
            "the driver does not answer: `sudo dmesg | grep amdxdna` may say why; restart the machine",
        ),
    }
}

/// Where XRT's own programs are beside the PATH.
pub(crate) fn folders(root: &Path) -> [PathBuf; 1] {
    [root.join("opt/xilinx/xrt/bin")]
}
