//! Faults that a test asks for: words in the file `fault` of its folder, read at each call, so that it can break a device in the middle.
//!
//! One fault: a word, and how often the device still works before (`error 3`: three commands succeed, then all fail).
//!
//! | word | what happens |
//! |---|---|
//! | `timeout` | commands are taken and not completed as long as the file says so; then they end in `ERT_CMD_STATE_TIMEOUT` |
//! | `error`, `abort` | commands end in `ERT_CMD_STATE_ERROR`, `ERT_CMD_STATE_ABORT` |
//! | `refused` | the driver refuses to take a command (`EINVAL`) |
//! | `lost` | every call answers `ENODEV`, also those that wait |
//! | `no-memory` | no buffer can be made (`ENOMEM`) |
//! | `contexts` | the device has no context left (`EINVAL`) |

use std::fs;
use std::path::{Path, PathBuf};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A command is not completed.
    Timeout,
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
}

impl Fault {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "timeout" => Fault::Timeout,
            "error" => Fault::Error,
            "abort" => Fault::Abort,
            "refused" => Fault::Refused,
            "lost" => Fault::Lost,
            "no-memory" => Fault::NoMemory,
            "contexts" => Fault::Contexts,
            _ => return None,
        })
    }
}

/// The file, and how much of its grace was used.
#[derive(Debug)]
pub struct Faults {
    file: PathBuf,
    text: String,
    used: u64,
}

impl Faults {
    /// Faults as asked for in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { file: folder.join("fault"), text: String::new(), used: 0 }
    }

    /// Whether one of these faults is asked for at this event. Each question about the fault that is asked for uses some of its grace.
    ///
    /// # Errors
    /// A word that is no fault: a test that misspells one must not pass.
    pub fn strikes(&mut self, possible: &[Fault]) -> Result<Option<Fault>, String> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        if text != self.text {
            self.used = 0;
            self.text = text;
        }
        let mut words = self.text.split_whitespace();
        let Some(word) = words.next() else { return Ok(None) };
        let fault = Fault::from_word(word).ok_or_else(|| format!("{}: \"{word}\" is no fault", self.file.display()))?;
        let grace =
            words.next().map_or(Ok(0), str::parse::<u64>).map_err(|_| format!("\"{}\": no number", self.text))?;
        if !possible.contains(&fault) {
            return Ok(None);
        }
        self.used += 1;
        Ok((self.used > grace).then_some(fault))
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
        write("timeout");
        assert_eq!(faults.strikes(&commands), Ok(Some(Fault::Timeout)));
        write("tiemout");
        assert!(faults.strikes(&commands).unwrap_err().contains("tiemout"));
        fs::remove_dir_all(folder).unwrap();
    }
}
