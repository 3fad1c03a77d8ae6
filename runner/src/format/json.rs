//! A whole result as one JSON object.

use std::io::{self, Write};

use serde::Serialize;

use super::FormatWriter;
use crate::result::{Segment, Transcription};

pub(super) struct Json;

impl FormatWriter for Json {
    fn segments(&mut self, _: &[Segment], _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, result: &Transcription, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, result)?;
        writeln!(out)
    }
}

/// A transcription and the recording that it is of, as one JSON object: what [`Format::Json`](super::Format::Json)
/// writes, with `file` before it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct OfFile<'a> {
    /// The recording, as it was named.
    pub file: &'a str,
    /// What it came to.
    #[serde(flatten)]
    pub transcription: &'a Transcription,
}

impl OfFile<'_> {
    /// Indented, for one recording.
    ///
    /// # Errors
    /// None that a transcription gives rise to.
    pub fn indented(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// In one line, for several recordings one after another (JSON Lines).
    ///
    /// # Errors
    /// None that a transcription gives rise to.
    pub fn line(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}
