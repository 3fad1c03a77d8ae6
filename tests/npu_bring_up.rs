//! `undertone npu bring-up`: the whole ladder on the simulator, with each of its faults; what a person without an NPU is
//! told; AMD's tests, played by a script; and a report that holds nothing personal.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn bring_up() -> Command {
    let mut command = common::undertone();
    command.args(["npu", "bring-up"]);
    command
}

/// The ladder on the simulator from rung 2 on: exit code, standard output, and the report.
fn simulated(arguments: &[&str]) -> (Option<i32>, String, Value) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("report.json");
    let models = common::reference();
    let mut command = bring_up();
    command.args(["--device", "sim", "--models"]).arg(models).args(arguments).arg("--report").arg(&file);
    let output = common::run(&mut command);
    let text = common::text(&output.stdout);
    assert!(file.is_file(), "{text}{}", common::text(&output.stderr));
    (output.status.code(), text, common::json(&file))
}

/// Number and verdict of each rung.
fn verdicts(report: &Value) -> Vec<(u64, &str)> {
    let rungs = report["rungs"].as_array().unwrap();
    rungs.iter().map(|rung| (rung["rung"].as_u64().unwrap(), rung["verdict"].as_str().unwrap())).collect()
}

#[test]
fn the_simulators_climb_the_whole_ladder() {
    for (target, precision) in [("npu1", "int8"), ("npu4", "bf16")] {
        let (code, text, report) = simulated(&["--target", target, "--precision", precision]);
        assert_eq!(code, Some(0), "{text}");
        let skipped = [(0, "skipped"), (1, "skipped")];
        let passed = (2..=6).map(|rung| (rung, "passed"));
        assert_eq!(verdicts(&report), skipped.into_iter().chain(passed).collect::<Vec<_>>(), "{text}");
        assert_eq!(
            (&report["target"], &report["device"], &report["format"]),
            (&target.into(), &"sim".into(), &1.into())
        );
        for words in [
            &format!("The simulated {target}"),
            "nothing of this is about silicon",
            "rung 6:",
            "Nothing failed.",
            "cosine",
        ] {
            assert!(text.contains(words), "{words} is not in:\n{text}");
        }
        let model = report["rungs"][6]["checks"].as_array().unwrap().last().unwrap();
        assert_eq!(model["name"], format!("reference, {precision}"));
        assert!(model["figures"]["cosine"].as_f64().unwrap() > 0.999, "{model}");
        assert!(model["figures"]["predicted_array_ms"].as_f64().unwrap() > 0.0, "{model}");
        assert!(model["figures"].get("npu_window_ms").is_none(), "a simulator's time is none of an NPU: {model}");
        // What was not measured costs nothing.
        assert_eq!(report.get("core_costs"), None, "{report}");
        documented(&report);
    }
}

/// Each field of a report is explained.
fn documented(report: &Value) {
    let text = std::fs::read_to_string(common::root().join("docs/npu.md")).unwrap();
    let mut fields: Vec<&String> = report.as_object().unwrap().keys().collect();
    let rung = &report["rungs"][2];
    for object in [&report["machine"], &report["kernel_log"], rung, &rung["checks"][0]] {
        fields.extend(object.as_object().unwrap().keys());
    }
    assert!(fields.len() > 15, "{fields:?}");
    for field in fields {
        assert!(text.contains(&format!("`{field}`")), "docs/npu.md does not explain `{field}`");
    }
}

/// A fault of the simulated array, the rung that has to find it, and words that have to be there.
const FAULTS: [(&str, u64, &str); 14] = [
    ("error", 2, "a single command"),
    ("hang", 2, "did not answer within"),
    ("lists", 2, "a list of 2 commands"),
    ("patches", 3, "offsets of patches are ignored"),
    ("strides", 3, "steps of descriptors are ignored"),
    ("repeats", 3, "a task that is repeated"),
    ("alignment", 4, "bytes at each offset"),
    ("rounding", 4, "adding 1.5"),
    ("product", 4, "fp32 products"),
    ("exp2", 4, "powers of two"),
    ("dead-core 2 1", 5, "the core in row 2 of cores, column 1 gives zeros"),
    ("dead-column 3", 5, "all cores of column 3 give zeros"),
    ("long", 5, "a long stream"),
    ("attention", 6, "attention on the whole array"),
];

#[test]
fn each_fault_stops_the_ladder_at_its_rung() {
    for (fault, rung, words) in FAULTS {
        let (code, text, report) = simulated(&["--from", "2", "--fault", fault]);
        assert_eq!(code, Some(1), "{fault}: {text}");
        let expected = (2..=6).map(|number| {
            let order = number.cmp(&rung);
            (
                number,
                if order.is_lt() {
                    "passed"
                } else if order.is_eq() {
                    "failed"
                } else {
                    "not_reached"
                },
            )
        });
        assert_eq!(verdicts(&report), expected.collect::<Vec<_>>(), "{fault}: {text}");
        let last = report["rungs"][rung as usize - 2]["checks"].as_array().unwrap().last().unwrap();
        assert_eq!(last["outcome"], "failed", "{fault}: {last}");
        assert!(last.to_string().contains(words), "{fault}: {words} is not in {last}");
        assert!(last["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{fault}: {last}");
        for words in ["FAILED", &format!("Stopped at rung {rung}."), "The report is "] {
            assert!(text.contains(words), "{fault}: {words} is not in:\n{text}");
        }
        assert!(!text.contains("attach this file"), "nobody needs a report of the simulator:\n{text}");
    }
}

/// Whether a real NPU would answer.
fn has_an_npu() -> bool {
    let here = Path::new("/dev/accel/accel0").exists();
    if here {
        println!("NOT RUN: this machine has an NPU, or another accelerator");
    }
    here
}

fn said(output: &Output) -> (String, String) {
    (common::text(&output.stdout), common::text(&output.stderr))
}

#[test]
fn without_an_npu_the_first_rung_says_so() {
    if has_an_npu() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("report.json");
    let output = common::run(bring_up().arg("--report").arg(&file));
    let (text, error) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{error}");
    for words in [
        "This machine's NPU.",
        "rung 0: the installation",
        "FAILED  NPU: no AMD NPU on the PCI bus",
        "Stopped at rung 0.",
        "`--device sim`",
        "look it through, then attach this file to an issue",
    ] {
        assert!(text.contains(words), "{words} is not in:\n{text}");
    }
    assert!(!text.contains("rung 1:"), "{text}");
    assert_eq!(error.trim(), "error: stopped at rung 0, the installation: what to do stands above");
    let report = common::json(&file);
    assert_eq!(verdicts(&report)[0], (0, "failed"));
    assert!(verdicts(&report)[1..].iter().all(|(_, verdict)| *verdict == "not_reached"), "{report}");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    assert_eq!(report["machine"]["kernel"], kernel.trim());
    let log = &report["kernel_log"];
    assert!(!log["lines"].as_array().unwrap().is_empty() || log["missing"].is_string(), "{report}");
}

#[test]
fn a_report_that_cannot_be_written_is_an_error_at_once() {
    let output = common::run(bring_up().args(["--device", "sim", "--report", "no/such/folder/report.json"]));
    let (text, error) = said(&output);
    assert!(output.status.code() == Some(1) && text.is_empty(), "{text}");
    assert!(error.contains("error:") && error.contains("--report"), "{error}");
    let output = common::run(bring_up().args(["--from", "3", "--up-to", "2"]));
    assert!(said(&output).1.contains("rung 3 lies above rung 2"), "{}", said(&output).1);
}

#[test]
fn a_model_that_is_not_here_is_left_out_and_not_fetched() {
    let home = tempfile::tempdir().unwrap();
    let mut command = common::first_start(home.path());
    command.args(["npu", "bring-up", "--device", "sim", "--from", "6", "--models", "tiny"]);
    let output = common::run(&mut command);
    let (text, error) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{error}");
    assert!(text.contains("warning tiny, int8: not on this machine: `undertone model get tiny` fetches it"), "{text}");
    let options =
        [["--models", "tiny,no-such-model"], ["--core-costs", "no-such.json"], ["-p", "f32"], ["--limit", "0"]];
    for [option, value] in options {
        let output = common::run(bring_up().args(["--device", "sim", "--from", "6", option, value]));
        let (text, error) = said(&output);
        assert!(!output.status.success() && text.is_empty(), "{option}: {text}{error}");
        assert!(error.contains(option) || error.contains("--precision"), "{option}: {error}");
    }
}

/// Waits for what has to come.
#[cfg(unix)]
fn soon(what: impl Fn() -> bool) -> bool {
    (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        what()
    })
}

/// A stop of the command alone ends its rung and AMD's program too, and the report holds what was found.
#[cfg(unix)]
#[test]
fn a_stop_ends_all_and_keeps_what_was_found() {
    for signal in ["-INT", "-KILL"] {
        let home = tempfile::tempdir().unwrap();
        let (program, number) = (home.path().join("xrt-smi"), home.path().join("number"));
        // Written by another process: see the module `amd`.
        let play = format!("sleep 100 & echo $! > {0}.new; mv {0}.new {0}; sleep 100", number.display());
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod +x "$2""#;
        assert!(Command::new("sh").args(["-c", write, "sh", &play]).arg(&program).status().unwrap().success());
        let report = home.path().join("report.json");
        let path = format!("{}:{}", home.path().display(), std::env::var("PATH").unwrap());
        let mut command = bring_up();
        command.args(["--from", "1", "--up-to", "1", "--report"]).arg(&report).env("PATH", path);
        let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
        assert!(soon(|| number.exists()));
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let code = child.wait().unwrap().code();
        assert_eq!(code, (signal == "-INT").then_some(130));
        let left = std::fs::read_to_string(&number).unwrap();
        let runs = || {
            let asked = Command::new("ps").args(["-o", "stat=", "-p", left.trim()]).output().unwrap();
            let state = common::text(&asked.stdout);
            !state.trim().is_empty() && !state.trim().starts_with('Z')
        };
        assert!(soon(|| !runs()), "{signal}: process {left} is left behind");
        assert_eq!(verdicts(&common::json(&report)), [(1, "begun")]);
    }
}

#[cfg(unix)]
mod amd {
    use super::*;

    const WELL: &str = "\
Validate Device           : [0000:c5:00.1]
-------------------------------------------------------------------------------
Test 1 [0000:c5:00.1]     : gemm
    Details               : TOPS: 51.0
    Test Status           : [PASSED]
-------------------------------------------------------------------------------
Test 2 [0000:c5:00.1]     : latency
    Details               : Average latency: 50.0 us
    Test Status           : [PASSED]
-------------------------------------------------------------------------------
Validation completed. Please run the command '--verbose' option for more details
";

    /// Rung 1 with a script in AMD's program's place: exit code, what stands there, and the report.
    fn rung(script: &str, limit: &str) -> (Option<i32>, String, Value) {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("xrt-smi");
        // Written by another process: this one starts programs in several threads, each of which holds what is open for
        // writing for a moment, and what somebody writes cannot be started.
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod +x "$2""#;
        assert!(Command::new("sh").args(["-c", write, "sh", script]).arg(&program).status().unwrap().success());
        let file = home.path().join("report.json");
        let path = std::env::var("PATH").unwrap();
        let mut command = bring_up();
        command.env("PATH", format!("{}:{path}", home.path().display()));
        command.env("HOME", "/home/ann").env("USER", "ann-of-somewhere");
        command.args(["--from", "1", "--up-to", "1", "--limit", limit, "--report"]).arg(&file);
        let output = common::run(&mut command);
        let (text, error) = said(&output);
        assert!(file.is_file(), "{text}{error}");
        (output.status.code(), text, common::json(&file))
    }

    #[test]
    fn its_tests_are_told_with_their_figures() {
        let (code, text, report) = rung(&format!("case $* in *advanced*) exit 1;; esac\ncat <<END\n{WELL}END"), "60");
        assert_eq!((code, verdicts(&report)), (Some(0), vec![(1, "passed")]), "{text}");
        assert_eq!(report["rungs"][0]["checks"][0]["figures"]["tops"], 51.0);
        assert!(text.contains("ok      latency  (average_latency_us 50)"), "{text}");
        assert!(text.contains("no test of them"), "{text}");
        let chained = "Test 1 [0000:c5:00.1]     : cmd-chain-latency\n    Test Status           : [FAILED]\n";
        let script = format!("case $* in *advanced*) cat <<END\n{chained}END\n;; *) cat <<END\n{WELL}END\n;; esac");
        let (code, text, report) = rung(&script, "60");
        assert_eq!((code, verdicts(&report)), (Some(1), vec![(1, "failed")]), "{text}");
        assert!(text.contains("FAILED  cmd-chain-latency"), "{text}");
    }

    #[test]
    fn a_failure_is_called_one_below_undertone() {
        let script = format!("cat <<END\n{}END", WELL.replacen("[PASSED]", "[FAILED]", 1));
        let (code, text, report) = rung(&script, "60");
        assert_eq!((code, verdicts(&report)), (Some(1), vec![(1, "failed")]), "{text}");
        assert!(text.contains("FAILED  gemm") && text.contains("the fault lies below Undertone"), "{text}");
        assert!(text.contains("`--from 2`"), "{text}");
    }

    #[test]
    fn one_that_hangs_is_ended() {
        let (code, text, report) = rung("exec sleep 100", "2");
        assert_eq!((code, verdicts(&report)), (Some(1), vec![(1, "failed")]), "{text}");
        assert!(text.contains("did not end within"), "{text}");
        assert!(report["rungs"][0]["seconds"].as_f64().unwrap() < 60.0, "{report}");
    }

    #[test]
    fn a_report_holds_nothing_personal() {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let script = "echo \"ERROR: on HOST: $(cat /proc/sys/kernel/hostname), by ann-of-somewhere, in /home/ann/secret/x.so, \
                      /home/ann and /srv/private/tests/a.xclbin: no answer\"";
        let (_, text, report) = rung(script, "60");
        // The person who reads the terminal may know where things are.
        assert!(text.contains("/home/ann/secret/x.so"), "{text}");
        let whole = report.to_string();
        assert!(whole.contains("…/x.so") && whole.contains("…/a.xclbin"), "{whole}");
        for personal in ["/home/ann", "ann-of-somewhere", "secret", "private"] {
            assert!(!whole.contains(personal), "{personal} is in {whole}");
        }
        let found = report["rungs"][0]["checks"][0]["found"].as_str().unwrap();
        // A name that many machines have is nobody's.
        let kept = ["", "localhost"].contains(&host.trim());
        assert!(kept || found.contains("HOST: HOST, by USER"), "{found}");
    }

    #[test]
    fn without_it_the_ladder_goes_on() {
        let folders = ["/opt/xilinx/xrt/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
        if folders.iter().any(|folder| Path::new(folder).join("xrt-smi").exists()) || has_an_npu() {
            return;
        }
        let output = common::run(bring_up().env("PATH", "/no/such").args(["--from", "1", "--up-to", "1"]));
        let (text, error) = said(&output);
        assert_eq!(output.status.code(), Some(0), "{text}{error}");
        assert!(text.contains("warning xrt-smi: it is not installed"), "{text}");
    }
}

#[test]
fn folders_of_models_are_not_told() {
    let home = tempfile::tempdir().unwrap();
    let model = home.path().join("My Secret Folder/a model");
    std::fs::create_dir_all(&model).unwrap();
    let file = home.path().join("report.json");
    let mut command = bring_up();
    command.args(["--device", "sim", "--from", "6", "--models"]).arg(&model).arg("--report").arg(&file);
    let (text, _) = said(&common::run(&mut command));
    assert!(text.contains("My Secret Folder"), "{text}");
    let report = common::json(&file).to_string();
    assert!(!report.contains("Secret") && report.contains("a model"), "{report}");
}

#[test]
fn help_names_the_rungs() {
    let text = common::stdout_of(bring_up().arg("--help"));
    for words in ["0  the installation", "6  attention and Whisper", "--report", "--up-to", "--models"] {
        assert!(text.contains(words), "{words} is not in:\n{text}");
    }
    assert!(!text.contains("--only") && !text.contains("--fault"), "{text}");
}
