//! What a recording lacks although it could be read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::result::Warning;

/// A part of a recording that is missing, damaged or not decoded in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioWarning {
    /// Seconds from the recording's start to where it begins; `None` where that is not known.
    pub from: Option<f64>,
    /// Seconds from the recording's start to where it ends; `None` where that is not known.
    pub to: Option<f64>,
    /// What was met.
    pub kind: AudioDefect,
    /// In the decoder's or reader's words; may be empty.
    pub detail: String,
}

/// What can be wrong with audio that is read all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AudioDefect {
    /// Frames that are not there, or do not decode: silence of their length stands in their place.
    Missing,
    /// Bytes that are no sound, of unknown length in time: what follows joins what came before.
    Damaged,
    /// The data end before what the header promises, or in the middle of a frame; `to` is the promised end.
    EndsEarly,
    /// The file or stream could not be read any further.
    Unreadable,
    /// A codec's extension for the upper band was not decoded.
    HalfBandwidth,
    /// Something that ffmpeg complained about while it went on.
    Decoder,
}

impl AudioWarning {
    /// As it stands in a result about audio of `duration` seconds.
    pub(crate) fn in_result(&self, duration: f64) -> Warning {
        let from = self.from.unwrap_or(0.0);
        let to = self.to.unwrap_or(if self.from.is_some() { from } else { duration });
        Warning { from, to, what: self.what() }
    }

    /// The warning without its times.
    fn what(&self) -> String {
        let what = match self.kind {
            AudioDefect::Missing => "the sound is damaged or missing; silence stands in its place",
            AudioDefect::Damaged => "something is damaged and left out; later times may be early",
            AudioDefect::EndsEarly => "the sound is missing: the recording is cut short",
            AudioDefect::Unreadable => "the recording cannot be read any further",
            AudioDefect::HalfBandwidth => "the codec's upper band is not decoded; install ffmpeg for it",
            AudioDefect::Decoder => "the decoder found damage",
        };
        if self.detail.is_empty() { what.to_owned() } else { format!("{what} ({})", self.detail) }
    }
}

impl fmt::Display for AudioWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (Some(from), Some(to)) => write!(f, "from {from:.2} s to {to:.2} s: ")?,
            (Some(from), None) => write!(f, "at {from:.2} s: ")?,
            _ => {}
        }
        f.write_str(&self.what())
    }
}
