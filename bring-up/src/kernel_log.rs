//! What the kernel says about the NPU's driver, where it may be read.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::program::{self, NoAnswer};
use crate::text::{MOST_OF_A_LINE, cut};

/// Lines that a report holds at most, the last ones.
const MOST_LINES: usize = 80;
const LIMIT: Duration = Duration::from_secs(10);
/// Programs that show the kernel's log, without the machine's name before each line.
const READERS: [(&str, &[&str]); 2] =
    [("dmesg", &[]), ("journalctl", &["--dmesg", "--boot", "--no-pager", "--output=cat", "--quiet"])];

/// The kernel's lines about the driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelLog {
    /// The lines with `amdxdna` in them.
    pub lines: Vec<String>,
    /// Why there are none, and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub missing: String,
}

impl KernelLog {
    /// Reads it. A program that hung is not asked again.
    pub fn read() -> Self {
        static HUNG: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
        let mut hung = HUNG.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, arguments) in READERS {
            let Some(program) = program::find(name, &[]).filter(|_| !hung.contains(name)) else { continue };
            match program::run(&program, arguments, LIMIT) {
                Ok(answer) if answer.is_well && !answer.text.trim().is_empty() => return Self::of(&answer.text),
                Ok(_) | Err(NoAnswer::NotStarted(_)) => {}
                Err(NoAnswer::TimedOut(_)) => {
                    hung.insert(name);
                }
            }
        }
        let missing =
            "the kernel's log may not be read by this user: please add what `sudo dmesg | grep amdxdna` prints";
        Self { lines: Vec::new(), missing: missing.into() }
    }

    fn of(text: &str) -> Self {
        let mut lines: Vec<String> =
            text.lines().filter(|line| line.contains("amdxdna")).map(|line| cut(line, MOST_OF_A_LINE)).collect();
        lines.drain(..lines.len().saturating_sub(MOST_LINES));
        let missing = if lines.is_empty() { "the kernel's log has no line about amdxdna" } else { "" };
        Self { lines, missing: missing.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_s_last_lines_are_kept() {
        let log = KernelLog::of("[1.0] usb 1-1: new\n[2.0] amdxdna 0000:c5:00.1: enabling device\n");
        assert_eq!((log.lines.len(), log.missing.as_str()), (1, ""));
        let many: String = (0..200).map(|n| format!("amdxdna {n}\n")).collect();
        let log = KernelLog::of(&many);
        assert_eq!((log.lines.len(), log.lines[0].as_str()), (MOST_LINES, "amdxdna 120"));
        assert!(KernelLog::of("nothing\n").missing.contains("no line"));
    }
}
