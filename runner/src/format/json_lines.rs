//! A result as JSON Lines while it comes: an object for each segment, then one for the whole.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::FormatWriter;
use crate::result::{RunReport, Segment, Transcription, likely_languages};

/// Writes an object in one line for each segment, with the recording's name as `file` and the fields of [`Segment`];
/// at the end one with `file` and the fields of [`Transcription`] but the segments. Only the last has `run`.
///
/// ```
/// use undertone_runner::format::{FormatWriter as _, JsonLines};
/// use undertone_runner::{Segment, Transcription};
///
/// let mut out = Vec::new();
/// let mut writer = JsonLines::new("talk.mp3");
/// writer.begin(&mut out)?;
/// let text = " Hello.".to_owned();
/// writer.segments(&[Segment { end: 1.5, text, ..Segment::default() }], &mut out)?;
/// writer.end(&Transcription { duration: 1.5, ..Transcription::default() }, &mut out)?;
/// let text = String::from_utf8(out)?;
/// let lines: Vec<&str> = text.lines().collect();
/// assert!(lines[0].starts_with(r#"{"file":"talk.mp3","id":0,"seek":0,"start":0.0,"end":1.5,"text":" Hello."#));
/// assert!(lines[1].starts_with(r#"{"file":"talk.mp3","task":"","language":"","duration":1.5"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JsonLines {
    file: String,
}

impl JsonLines {
    /// For the recording that is called `file`.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into() }
    }
}

#[derive(Serialize)]
struct SegmentLine<'a> {
    file: &'a str,
    #[serde(flatten)]
    segment: &'a Segment,
}

#[derive(Serialize)]
struct LastLine<'a> {
    file: &'a str,
    task: &'a str,
    language: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    language_probability: Option<f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "likely_languages")]
    language_probabilities: &'a BTreeMap<String, f64>,
    duration: f64,
    text: &'a str,
    run: &'a RunReport,
}

fn line(object: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    writeln!(out)
}

impl FormatWriter for JsonLines {
    fn segments(&mut self, segments: &[Segment], out: &mut dyn Write) -> io::Result<()> {
        segments.iter().try_for_each(|segment| line(&SegmentLine { file: &self.file, segment }, out))
    }

    fn end(&mut self, result: &Transcription, out: &mut dyn Write) -> io::Result<()> {
        let last = LastLine {
            file: &self.file,
            task: &result.task,
            language: &result.language,
            language_probability: result.language_probability,
            language_probabilities: &result.language_probabilities,
            duration: result.duration,
            text: &result.text,
            run: &result.run,
        };
        line(&last, out)
    }
}
