//! Rung 1: AMD's own tests, `xrt-smi validate`, so that a fault of driver, firmware or XRT is told from one of ours. Its
//! words are read (XRT, `core/tools/xbutil2/SubCmdValidate.cpp`): its JSON goes to files only, and says no more.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::installation::folders;
use crate::program::{self, Answer, NoAnswer};
use crate::text::cut;
use crate::{Check, Outcome, time};

const PROGRAM: &str = "xrt-smi";
/// Characters that the key of a figure has at most.
const MOST_OF_A_KEY: usize = 100;

/// The test of chained commands. Newer XRT runs it only when asked, and some builds (Debian's 2.25) do not know it.
const CHAINED: [&str; 5] = ["validate", "--batch", "--advanced", "-r", "cmd-chain-latency"];

/// How to get it.
const INSTALL: &str = "the ladder goes on without it; it comes with XRT: the package libxrt-utils-npu (Debian, Ubuntu) or xrt \
                       (Arch), or AMD's own in /opt/xilinx/xrt";

/// Where AMD's program is.
pub(crate) fn xrt_smi(root: &Path) -> Option<PathBuf> {
    program::find(PROGRAM, &folders(root))
}

/// Runs the tests within `limit`, which is somewhat less than this rung's own.
pub(crate) fn climb(root: &Path, limit: Duration, tell: &mut dyn FnMut(Check)) {
    let Some(program) = xrt_smi(root) else {
        return tell(Check::warned(PROGRAM, "it is not installed: whether AMD's own tests pass is not known", INSTALL));
    };
    let checks = match program::run(&program, &["validate", "--batch"], limit) {
        Ok(answer) => judged(&answer),
        Err(NoAnswer::NotStarted(words)) => vec![Check::warned(PROGRAM, words, INSTALL)],
        Err(NoAnswer::TimedOut(limit)) => vec![Check::failed(
            "xrt-smi validate",
            format!("it did not end within {}", time(limit)),
            "the NPU or its driver hangs: `sudo dmesg | grep amdxdna` may say why; restart the machine",
        )],
    };
    let well = checks.iter().any(|check| check.outcome == Outcome::Passed) && !checks.iter().any(Check::is_failure);
    let has_chained = checks.iter().any(|check| check.name.contains("chain"));
    checks.into_iter().for_each(&mut *tell);
    if !well || has_chained {
        return;
    }
    match program::run(&program, &CHAINED, limit) {
        Ok(answer) => match tests(&answer.text) {
            found if !found.is_empty() => found.into_iter().chain(bad_end(&answer)).for_each(tell),
            _ => tell(Check::told("chained commands", "this xrt-smi has no test of them; rung 2 has one of its own")),
        },
        Err(_) => tell(Check::warned("chained commands", "their test did not end", "see `sudo dmesg | grep amdxdna`")),
    }
}

/// What `xrt-smi validate` came to.
fn judged(answer: &Answer) -> Vec<Check> {
    let mut checks = tests(&answer.text);
    if !checks.is_empty() {
        checks.extend(bad_end(answer));
        return checks;
    }
    let words = last_words(&answer.text);
    let name = "xrt-smi validate";
    // Debian's package has the program and not its tests (XRT 2.25).
    if answer.text.contains("Archive not found") || answer.text.contains("No such file or directory") {
        let advice = "AMD's archive of tests is not installed: `xrt-smi validate` says how to get it; the ladder goes on \
                      without it";
        return vec![Check::warned(name, words, advice)];
    }
    vec![Check::failed(name, words, "see `xrt-smi examine`, and `sudo dmesg | grep amdxdna`")]
}

/// That the program ended badly, whatever its tests say.
fn bad_end(answer: &Answer) -> Option<Check> {
    let found = format!("it ended with {}, whatever its tests say", answer.end);
    let advice = "see `xrt-smi validate --verbose`, and `sudo dmesg | grep amdxdna`";
    (!answer.is_well).then(|| Check::warned("the end of xrt-smi validate", found, advice))
}

/// The tests in the words of `xrt-smi validate`.
fn tests(text: &str) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut current: Option<(String, Vec<String>)> = None;
    for line in text.lines() {
        if line.starts_with("Test ") {
            let name = line.split_once(" : ").or(line.rsplit_once(": ")).map_or("", |(_, name)| name);
            current = Some((name.trim().to_owned(), Vec::new()));
            continue;
        }
        let Some((name, details)) = &mut current else { continue };
        let (key, value) = match line.split_once(" : ") {
            Some((key, value)) => (key.trim(), value.trim()),
            None => match line.trim().strip_prefix("Test Status") {
                Some(rest) => ("Test Status", rest.trim_start_matches([' ', ':']).trim()),
                None => ("", line.trim()),
            },
        };
        match key {
            "Test Status" => {
                checks.push(check(name, details, value.trim_matches(['[', ']'])));
                current = None;
            }
            // A line that goes on with the one before, or with words of its own.
            "" | "Details" | "Error(s)" | "Warning(s)" if !value.is_empty() && !value.starts_with("---") => {
                details.push(value.to_owned());
            }
            _ => {}
        }
    }
    if let Some((name, details)) = current {
        // It broke off.
        checks.push(check(&name, &details, "without an end"));
    }
    checks
}

fn check(name: &str, details: &[String], status: &str) -> Check {
    let said = details.join("; ");
    let mut check = match status {
        "PASSED" => Check::new(name, Outcome::Passed),
        "SKIPPED" => Check::told(name, format!("skipped by xrt-smi: {said}")),
        status if status.starts_with("PASSED") => Check::warned(name, said, "`xrt-smi validate --verbose` says more"),
        status => Check::failed(name, format!("{status}: {said}"), "`xrt-smi validate --verbose` says more"),
    };
    for detail in details {
        let Some((what, rest)) = detail.split_once(':') else { continue };
        let mut words = rest.split_whitespace();
        let figure = words.next().and_then(|word| word.trim_matches('\'').parse::<f64>().ok());
        let unit = words.next().map(|unit| format!("_{}", unit.replace('/', "_per_"))).unwrap_or_default();
        let key = what.trim().to_lowercase().replace(' ', "_");
        if !key.is_empty() {
            check = check.with(&cut(&(key + &unit), MOST_OF_A_KEY), figure);
        }
    }
    check
}

/// The last line of a program's words that says something of an error, or the last at all.
pub(crate) fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let error = lines.iter().rev().find(|line| line.to_lowercase().contains("error"));
    error.or(lines.last()).map_or_else(|| "it said nothing".to_owned(), |line| (*line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As XRT 2.20 writes it on a Strix (amd/IRON, issue 43), with a second line of details.
    const WELL: &str = "\
WARNING: User doesn't have admin permissions to set performance mode. Running validate in Default mode
Validate Device           : [0000:c5:00.1]
    Platform              : NPU Strix
    Power Mode            : Default
-------------------------------------------------------------------------------
Test 1 [0000:c5:00.1]     : gemm 
    Details               : TOPS: 51.0                                          
    Test Status           : [PASSED]
-------------------------------------------------------------------------------
Test 2 [0000:c5:00.1]     : latency 
    Details               : Instruction size: '20' bytes
                            Average latency: '50.0' us                            
    Test Status           : [PASSED]
-------------------------------------------------------------------------------
Test 3 [0000:c5:00.1]     : throughput 
    Details               : Average throughput: 87380.0 op/s                    
    Test Status           : [PASSED]
-------------------------------------------------------------------------------
Validation completed. Please run the command '--verbose' option for more details
";

    fn answer(text: &str) -> Answer {
        Answer { text: text.to_owned(), is_well: true, end: "exit status: 0".into() }
    }

    #[test]
    fn tests_that_passed_and_a_bad_end_are_a_warning() {
        let checks = judged(&Answer { is_well: false, end: "signal: 11 (SIGSEGV)".into(), ..answer(WELL) });
        let Outcome::Warned { found, .. } = &checks[3].outcome else { panic!("{checks:?}") };
        assert!(found.contains("signal: 11"), "{found}");
        assert!(checks[..3].iter().all(|check| check.outcome == Outcome::Passed));
    }

    #[test]
    fn passed_tests_and_their_figures_are_read() {
        let checks = judged(&answer(WELL));
        let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["gemm", "latency", "throughput"]);
        assert!(checks.iter().all(|check| check.outcome == Outcome::Passed), "{checks:?}");
        assert_eq!(checks[0].figures["tops"], 51.0);
        assert_eq!(checks[1].figures["average_latency_us"], 50.0);
        assert_eq!(checks[2].figures["average_throughput_op_per_s"], 87380.0);
    }

    #[test]
    fn failed_skipped_and_broken_tests_are_told_apart() {
        let failed = WELL.replace("Average throughput: 87380.0 op/s", "x").replace(
            "    Details               : x                    \n    Test Status           : [PASSED]",
            "    Error(s)              : The test timed out\n    Test Status           : [FAILED]",
        );
        let checks = judged(&answer(&failed));
        let Outcome::Failed { found, .. } = &checks[2].outcome else { panic!("{checks:?}") };
        assert_eq!(found, "FAILED: The test timed out");
        let skipped = judged(&answer(&WELL.replacen("[PASSED]", "[SKIPPED]", 1)));
        assert!(matches!(&skipped[0].outcome, Outcome::Told { found } if found.contains("skipped")), "{skipped:?}");
        let warned = judged(&answer(&WELL.replacen("[PASSED]", "[PASSED WITH WARNINGS]", 1)));
        assert!(matches!(&warned[0].outcome, Outcome::Warned { .. }), "{warned:?}");
        let cut = judged(&answer(&WELL[..WELL.find("    Test Status").unwrap()]));
        assert!(cut[0].is_failure(), "{cut:?}");
    }

    #[test]
    fn a_program_without_its_tests_is_a_warning_and_other_errors_are_not() {
        // Debian's XRT 2.25 above the pretended NPU.
        let missing = "Error: Archive not found: amdxdna/bins/xrt_smi_strx.a\nHOST: x\n\
                       [xrt-smi] ERROR: No such file or directory 'amdxdna/bins/xrt_smi_strx.a'\n";
        assert!(matches!(judged(&answer(missing))[0].outcome, Outcome::Warned { .. }));
        let refused = "ERROR: DRM_IOCTL_AMDXDNA_CREATE_HWCTX IOCTL failed (err=-22): Invalid argument\n";
        let Outcome::Failed { found, .. } = &judged(&answer(refused))[0].outcome else { panic!() };
        assert!(found.contains("CREATE_HWCTX"), "{found}");
        assert!(judged(&answer(""))[0].is_failure());
    }
}
