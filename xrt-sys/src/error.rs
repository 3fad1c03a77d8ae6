//! What can go wrong below, as types.

use std::{fmt, time::Duration};

use crate::table::{self, Failure};

/// The state of a command, as XRT and its drivers number them (`ert_cmd_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandState(pub u32);

impl CommandState {
    /// Names by number, beginning with 1; the shim checks them against XRT's header when it is built.
    pub const NAMES: [&'static str; 11] = [
        "NEW",
        "QUEUED",
        "RUNNING",
        "COMPLETED",
        "ERROR",
        "ABORT",
        "SUBMITTED",
        "TIMEOUT",
        "NORESPONSE",
        "SKERROR",
        "SKCRASHED",
    ];
    /// The driver gave up on the command.
    pub const TIMEOUT: Self = Self(8);
    /// The firmware does not answer.
    pub const NORESPONSE: Self = Self(9);
}

impl fmt::Display for CommandState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.get((self.0 as usize).wrapping_sub(1)) {
            Some(name) => write!(f, "ERT_CMD_STATE_{name}"),
            None => write!(f, "unknown state {}", self.0),
        }
    }
}

/// A call into XRT that failed, with XRT's own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// XRT threw.
    #[error("XRT, on {doing}: {words}{}", .code.map_or_else(String::new, |code| format!(" (error {code})")))]
    Xrt {
        /// What was asked of it.
        doing: &'static str,
        /// `errno`, where XRT told one.
        code: Option<i32>,
        /// What it said.
        words: String,
    },
    /// A command ended in another state than completed.
    #[error("the command ended in state {state}: {words}")]
    Command {
        /// The state.
        state: CommandState,
        /// What XRT said.
        words: String,
    },
    /// The time limit passed. The context takes no more commands, and the buffers of the command may still be written.
    #[error("no answer within {limit:?}: {words}")]
    Timeout {
        /// The limit.
        limit: Duration,
        /// The commands' state.
        words: String,
    },
    /// A mistake in the shim or in its use.
    #[error("in the XRT shim, on {doing}: {words}")]
    Shim {
        /// What was asked of it.
        doing: &'static str,
        /// What it said.
        words: String,
    },
}

impl Error {
    /// Linux's number for "no memory".
    const ENOMEM: i32 = 12;
    /// … "no such device".
    const ENODEV: i32 = 19;

    pub(crate) fn new(doing: &'static str, limit: Duration, failure: &Failure) -> Self {
        let words = failure.text();
        match failure.kind {
            // Drivers give numbers below zero; C++ gives them above.
            table::EXCEPTION => {
                Self::Xrt { doing, code: (failure.code != 0).then(|| failure.code.saturating_abs()), words }
            }
            table::COMMAND => Self::Command { state: CommandState(failure.code as u32), words },
            table::TIMEOUT => Self::Timeout { limit, words },
            _ => Self::Shim { doing, words },
        }
    }

    /// `errno`, where XRT told one.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Xrt { code, .. } => *code,
            _ => None,
        }
    }

    /// Whether there was not enough memory.
    pub fn is_out_of_memory(&self) -> bool {
        self.code() == Some(Self::ENOMEM)
    }

    /// Whether the device is gone.
    pub fn is_lost_device(&self) -> bool {
        self.code() == Some(Self::ENODEV)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_their_names() {
        assert_eq!(CommandState(4).to_string(), "ERT_CMD_STATE_COMPLETED");
        assert_eq!(CommandState::TIMEOUT.to_string(), "ERT_CMD_STATE_TIMEOUT");
        assert_eq!(CommandState::NORESPONSE.to_string(), "ERT_CMD_STATE_NORESPONSE");
        for unknown in [0, 12, u32::MAX] {
            assert_eq!(CommandState(unknown).to_string(), format!("unknown state {unknown}"));
        }
    }

    #[test]
    fn failures_become_errors_with_xrts_words() {
        let error = |kind, code| {
            let mut failure = Failure::empty();
            failure.say(kind, code, "words");
            Error::new("opening", Duration::from_millis(5), &failure)
        };
        assert!(error(table::EXCEPTION, -12).is_out_of_memory());
        assert!(error(table::EXCEPTION, 19).is_lost_device());
        assert_eq!(error(table::EXCEPTION, -22).to_string(), "XRT, on opening: words (error 22)");
        assert_eq!(error(table::EXCEPTION, 0).to_string(), "XRT, on opening: words");
        assert_eq!(error(table::COMMAND, 5).to_string(), "the command ended in state ERT_CMD_STATE_ERROR: words");
        assert_eq!(error(table::TIMEOUT, 0).to_string(), "no answer within 5ms: words");
        assert_eq!(error(table::PANIC, 0).to_string(), "in the XRT shim, on opening: words");
        assert_eq!(error(table::EXCEPTION, i32::MIN).code(), Some(i32::MAX));
    }
}
