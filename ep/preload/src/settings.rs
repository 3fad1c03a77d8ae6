//! What a person wrote into the environment.

use std::path::PathBuf;

/// Turns it on: `1`, or options of the provider (`precision=int8,device=host`). Not set, empty, `0` or `off`: nothing is
/// changed.
pub const SWITCH: &str = "UNDERTONE_EP";
/// The provider's library, where it does not lie beside this one.
pub const LIBRARY: &str = "UNDERTONE_EP_LIBRARY";
/// A file that gets, at the process's end, what was executed, as JSON.
pub const COUNTERS: &str = "UNDERTONE_EP_COUNTERS";

/// The environment, read once.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// The provider's options, pairs of key and value.
    pub options: Vec<(String, String)>,
    /// The value of [`LIBRARY`].
    pub library: Option<PathBuf>,
    /// The value of [`COUNTERS`].
    pub counters: Option<PathBuf>,
}

/// A value of [`SWITCH`] that says nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{SWITCH} has \"{part}\": write 1, or options as in precision=int8,device=host; nothing is changed")]
pub struct NotUnderstood {
    part: String,
}

/// The options in a value of [`SWITCH`]; `None` where it is off.
///
/// # Errors
/// A part that is no option.
pub fn options(value: &str) -> Result<Option<Vec<(String, String)>>, NotUnderstood> {
    match value.trim() {
        "" | "0" | "off" => return Ok(None),
        "1" | "on" => return Ok(Some(Vec::new())),
        _ => {}
    }
    let pair = |part: &str| match part.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() && !part.contains('\0') => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(NotUnderstood { part: part.to_owned() }),
    };
    value.split(',').map(pair).collect::<Result<_, _>>().map(Some)
}

impl Settings {
    /// The settings of this process; `None` where nothing is to be changed.
    ///
    /// # Errors
    /// [`options`].
    pub fn read() -> Result<Option<Self>, NotUnderstood> {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let options = options(&std::env::var_os(SWITCH).unwrap_or_default().to_string_lossy())?;
        Ok(options.map(|options| Self { options, library: path(LIBRARY), counters: path(COUNTERS) }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_turn_it_on_and_off() {
        for off in ["", " ", "0", "off"] {
            assert_eq!(options(off), Ok(None), "{off}");
        }
        for on in ["1", "on", " 1 "] {
            assert_eq!(options(on), Ok(Some(vec![])), "{on}");
        }
        for wrong in ["yes", "device", "=host", "device=host,", "device=host,,precision=f32"] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn options_come_back(pairs in proptest::collection::vec(("[a-z_]{1,8}", "[a-z0-9/._=]{0,8}"), 1..4)) {
            let written: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
            prop_assert_eq!(options(&written.join(" , ")), Ok(Some(pairs)));
        }
    }
}
