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

/// Looks at the machine below `root`, whose XRT `load` loads. Ends at the first check that fails; true if none does.
pub(crate) fn climb(root: &Path, load: &dyn Fn() -> Result<String, String>, tell: &mut dyn FnMut(Check)) -> bool {
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
            return false;
        }
    }
    true
}

/// The words of the first finding of a kind.
fn finding(probe: &Probe, of: fn(&Finding) -> bool) -> Option<String> {
    probe.findings.iter().find(|finding| of(finding)).map(ToString::to_string)
}

fn on_the_bus(probe: &Probe) -> Check {
    let name = "NPU";
    match finding(probe, |finding| {
        matches!(finding, Finding::NoDevice | Finding::UnknownId { .. } | Finding::OtherSystem)
    }) {
        Some(words) => Check::failed(name, words, ""),
        None => Check::told(name, probe.npus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

fn driver(probe: &Probe) -> Check {
    let name = "driver";
    if let Some(words) =
        finding(probe, |finding| matches!(finding, Finding::NoDriver { .. } | Finding::NoWindowsDriver { .. }))
    {
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
            format!("`xrt-smi examine` did not end within {}", crate::time(limit)),
            "the driver does not answer: `sudo dmesg | grep amdxdna` may say why; restart the machine",
        ),
    }
}

/// Where XRT's own programs are beside the PATH.
pub(crate) fn folders(root: &Path) -> [PathBuf; 1] {
    [root.join("opt/xilinx/xrt/bin")]
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;
    use crate::Outcome;

    const DEVICE: &str = "sys/bus/pci/devices/0000:c5:00.1";
    const WELL: &str = "Platform\n  Name                   : NPU Strix\n  Power Mode             : Default\n";

    /// A folder with the files of a machine whose NPU is installed well.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            for (file, text) in
                [("vendor", "0x1022"), ("device", "0x17f0"), ("class", "0x118000"), ("revision", "0x10")]
            {
                machine.write(&format!("{DEVICE}/{file}"), text);
            }
            machine.write(&format!("{DEVICE}/fw_version"), "1.1.2.64");
            machine.write("proc/sys/kernel/osrelease", "7.0.4-arch1-1");
            machine.write("sys/module/amdxdna/taint", "");
            machine.write("dev/accel/accel0", "");
            machine.link("/sys/bus/pci/drivers/amdxdna", &format!("{DEVICE}/driver"));
            machine.smi(&format!("cat <<END\n{WELL}END"));
            machine
        }

        fn place(&self, path: &str) -> PathBuf {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        }

        fn write(&self, path: &str, text: &str) {
            fs::write(self.place(path), text).unwrap();
        }

        fn link(&self, to: &str, path: &str) {
            symlink(to, self.place(path)).unwrap();
        }

        /// AMD's program, played by a script. Another process writes it: this one starts programs in several threads, each
        /// of which holds what is open for writing for a moment, and what somebody writes cannot be started.
        fn smi(&self, script: &str) {
            let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod +x "$2""#;
            let file = self.place("opt/xilinx/xrt/bin/xrt-smi");
            assert!(Command::new("sh").args(["-c", write, "sh", script]).arg(file).status().unwrap().success());
        }

        fn remove(&self, path: &str) {
            fs::remove_file(self.0.path().join(path)).unwrap();
        }

        fn checks(&self) -> Vec<Check> {
            let mut checks = Vec::new();
            climb(self.0.path(), &|| Ok("libundertone_xrt.so".into()), &mut |check| checks.push(check));
            checks
        }

        /// The check that failed, as the last, and its words.
        fn failed(&self) -> (String, String) {
            let checks = self.checks();
            let last = checks.last().unwrap().clone();
            assert_eq!(checks.iter().filter(|check| check.is_failure()).count(), 1, "{checks:?}");
            let Outcome::Failed { found, .. } = last.outcome else { panic!("{checks:?}") };
            (last.name, found)
        }

        /// The words of a check that warns.
        fn warned(&self, name: &str) -> String {
            let checks = self.checks();
            let check = checks.iter().find(|check| check.name == name).unwrap();
            let Outcome::Warned { found, .. } = &check.outcome else { panic!("{check:?}") };
            found.clone()
        }
    }

    #[test]
    fn an_npu_that_is_installed_well() {
        let checks = Machine::new().checks();
        assert_eq!(checks.len(), 8);
        let told: String = checks.iter().map(|check| format!("{check:?}")).collect();
        assert!(checks.iter().all(|check| matches!(check.outcome, Outcome::Told { .. })), "{told}");
        for words in ["npu4 at 0000:c5:00.1", "amdxdna in-tree", "Linux 7.0.4-arch1-1, firmware 1.1.2.64", "Default"] {
            assert!(told.contains(words), "{words}: {told}");
        }
    }

    #[test]
    fn what_is_missing_fails_by_its_name() {
        let machine = Machine::new();
        machine.remove("dev/accel/accel0");
        assert_eq!(machine.failed().0, "device node");
        machine.remove(&format!("{DEVICE}/driver"));
        let (name, found) = machine.failed();
        assert!(name == "driver" && found.contains("modprobe amdxdna"), "{name}: {found}");
        machine.write(&format!("{DEVICE}/device"), "0x17f1");
        machine.write(&format!("{DEVICE}/class"), "0x118000");
        let (name, found) = machine.failed();
        assert!(name == "NPU" && found.contains("1022:17f1"), "{name}: {found}");
        let mut checks = Vec::new();
        let without = || Err("libundertone_xrt.so did not load".to_owned());
        climb(Machine::new().0.path(), &without, &mut |check| checks.push(check));
        let last = checks.last().unwrap();
        assert!(last.name == "XRT's library" && last.is_failure(), "{last:?}");
    }

    #[test]
    fn what_may_matter_is_a_warning() {
        let machine = Machine::new();
        machine
            .write("proc/self/limits", "Max locked memory         65536                65536                bytes\n");
        assert!(machine.warned("memory that may be locked").contains("64 KiB"));
        machine.write(&format!("{DEVICE}/fw_version"), "1.0.0.63");
        assert!(machine.warned("kernel, firmware and XRT").contains("firmware 1.1"));
        machine.write("proc/417/comm", "flm\n");
        machine.link("/dev/accel/accel0", "proc/417/fd/7");
        machine.write("proc/418/comm", "other\n");
        machine.link("/dev/null", "proc/418/fd/0");
        assert_eq!(machine.warned("other programs on the NPU"), "flm (process 417) has it open");
        machine.smi(&format!("cat <<END\n{}END", WELL.replace("Default", "Powersaver")));
        assert_eq!(machine.warned("power mode"), "Powersaver");
        machine.smi("echo ERROR: no devices found; exit 1");
        assert!(machine.warned("power mode").contains("no devices found"));
    }
}
