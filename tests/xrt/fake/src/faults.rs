//! Faults that a test asks for: words in the file `fault` of its folder, read at each call, so that it can break a
//! device in the middle.
//!
//! One fault: a word, how often the device still works before (`error 3`: three commands succeed, then all fail), and
//! how often it then strikes before all is well again (`error 3 1`: the fourth command fails, no other).
//!
//! | word | what happens |
//! |---|---|
//! | `timeout` | commands are taken and not completed as long as the file says so; then they end in `ERT_CMD_STATE_TIMEOUT`: a driver whose watchdog is off |
//! | `hang` | the same, but the driver's watchdog resets the device after its time-out ([`crate::queue::WATCHDOG`]) |
//! | `error`, `abort` | commands end in `ERT_CMD_STATE_ERROR`, `ERT_CMD_STATE_ABORT` |
//! | `refused` | the driver refuses to take a command (`EINVAL`) |
//! | `lost` | every call answers `ENODEV`, also those that wait; works until so many *commands* were done |
//! | `no-memory` | no buffer can be made (`ENOMEM`) |
//! | `contexts` | the device has no context left (`EINVAL`) |
//! | `lists` | lists of more than one command are aborted |
//!
//! Or one of the simulator's faults, of the array itself ([`sim::Fault`]), with its own numbers.

use std::fs;
use std::path::{Path, PathBuf};

use undertone_kernels::npu::sim;

/// The word for a device that is gone.
const LOST: &str = "lost";

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A command is not completed.
    Timeout,
    /// A command is not completed, and the driver's watchdog ends it.
    Hang,
    /// A command fails.
    Error,
    /// A command is aborted.
    Abort,
    /// A command is not taken.
    Refused,
    /// The device is gone.
    Lost,
    /// There is no memory.
    NoMemory,
    /// There is no context.
    Contexts,
    /// A list of several commands is aborted.
    Lists,
}

impl Fault {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "timeout" => Fault::Timeout,
            "hang" => Fault::Hang,
            "error" => Fault::Error,
            "abort" => Fault::Abort,
            "refused" => Fault::Refused,
            LOST => Fault::Lost,
            "no-memory" => Fault::NoMemory,
            "contexts" => Fault::Contexts,
            "lists" => Fault::Lists,
            _ => return None,
        })
    }
}

/// The file, and how much of its numbers was used.
#[derive(Debug)]
pub struct Faults {
    file: PathBuf,
    text: String,
    /// How often the device worked, and how often the fault struck.
    used: u64,
    struck: u64,
}

impl Faults {
    /// Faults as asked for in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { file: folder.join("fault"), text: String::new(), used: 0, struck: 0 }
    }

    /// A command was done.
    pub fn done(&mut self) {
        if self.text.starts_with(LOST) {
            self.used += 1;
        }
    }

    /// The fault of the array that was asked for when that was last looked up.
    pub fn array(&self) -> Option<sim::Fault> {
        let word = self.text.split_whitespace().next()?;
        if Fault::from_word(word).is_some() { None } else { self.text.parse().ok() }
    }

    /// Whether one of these faults is asked for at this event. Each question about the fault that is asked for uses
    /// some of its numbers.
    ///
    /// # Errors
    /// A word that is no fault: a test that misspells one must not pass.
    pub fn strikes(&mut self, possible: &[Fault]) -> Result<Option<Fault>, String> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        if text != self.text {
            (self.used, self.struck) = (0, 0);
            self.text = text;
        }
        if self.array().is_some() {
            return Ok(None);
        }
        let mut words = self.text.split_whitespace();
        let Some(word) = words.next() else { return Ok(None) };
        let fault = Fault::from_word(word).ok_or_else(|| format!("{}: \"{word}\" is no fault", self.file.display()))?;
        let mut number = |otherwise| words.next().map_or(Ok(otherwise), str::parse::<u64>);
        let (Ok(grace), Ok(times)) = (number(0), number(u64::MAX)) else {
            return Err(format!("\"{}\": no number", self.text));
        };
        if !possible.contains(&fault) {
            return Ok(None);
        }
        if self.used < grace {
            self.used += u64::from(fault != Fault::Lost);
            return Ok(None);
        }
        self.struck += 1;
        Ok((self.struck <= times).then_some(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_when_its_grace_is_used() {
        let folder = std::env::temp_dir().join(format!("undertone-faults-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let write = |text: &str| fs::write(folder.join("fault"), text).unwrap();
        let mut faults = Faults::new(&folder);
        let commands = [Fault::Error, Fault::Timeout];
        assert_eq!(faults.strikes(&commands), Ok(None));
        write("error 2\n");
        assert_eq!(faults.strikes(&[Fault::Lost]), Ok(None));
        let answers: Vec<_> = (0..4).map(|_| faults.strikes(&commands).unwrap()).collect();
        assert_eq!(answers, [None, None, Some(Fault::Error), Some(Fault::Error)]);
        write("error 1 2\n");
        let answers: Vec<_> = (0..5).map(|_| faults.strikes(&commands).unwrap()).collect();
        assert_eq!(answers, [None, Some(Fault::Error), Some(Fault::Error), None, None]);
        write("lost 2");
        for done in 0..3 {
            // However often it is asked.
            for _ in 0..5 {
                assert_eq!(faults.strikes(&[Fault::Lost]), Ok((done == 2).then_some(Fault::Lost)));
            }
            faults.done();
        }
        write("dead-core 1 2");
        assert_eq!(faults.strikes(&commands), Ok(None));
        assert_eq!(faults.array(), Some(sim::Fault::DeadCore(1, 2)));
        write("error many");
        assert!(faults.strikes(&commands).unwrap_err().contains("many"));
        write("timeout");
        assert_eq!(faults.strikes(&commands), Ok(Some(Fault::Timeout)));
        assert_eq!(faults.array(), None);
        write("tiemout");
        assert!(faults.strikes(&commands).unwrap_err().contains("tiemout"));
        fs::remove_dir_all(folder).unwrap();
    }
}
