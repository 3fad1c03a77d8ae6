//! A transcription as text, subtitles or JSON, line for line as openai/whisper's writers do.
//!
//! Differences from those, where theirs would break a player: line breaks inside a segment become blanks, and `<` and
//! `&` are escaped in VTT, whose cues are markup.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use undertone_boundary::words;

use crate::result::{Segment, Transcription};
use crate::time::{TimeStyle, format_time};

words!(
    /// An output format. Its word is also the file extension.
    Format, "format", {
        /// A line of text to a segment.
        Txt = "txt",
        /// SubRip subtitles.
        Srt = "srt",
        /// WebVTT subtitles.
        Vtt = "vtt",
        /// All there is: OpenAI's `verbose_json` with `run` added.
        Json = "json",
    }
);

impl Format {
    /// Writes the transcription in UTF-8, lines ended by `\n`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(self, transcription: &Transcription, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Txt => txt(transcription, out),
            Self::Srt => srt(transcription, out),
            Self::Vtt => vtt(transcription, out),
            Self::Json => json(transcription, out),
        }
    }

    /// Segments as [`Format::Txt`] writes them, for those that come one after another.
    pub fn text(segments: &[Segment]) -> String {
        segments.iter().map(|segment| format!("{}\n", one_line(&segment.text))).collect()
    }

    /// The same as a string.
    pub fn render(self, transcription: &Transcription) -> String {
        let mut bytes = Vec::new();
        // A vector takes everything, and the writers write UTF-8 only.
        let written = self.write(transcription, &mut bytes);
        debug_assert!(written.is_ok());
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A transcription and the recording that it is of, as one JSON object: what [`Format::Json`] writes, with `file`
/// before it.
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

fn txt(transcription: &Transcription, out: &mut impl Write) -> io::Result<()> {
    out.write_all(Format::text(&transcription.segments).as_bytes())
}

fn srt(transcription: &Transcription, out: &mut impl Write) -> io::Result<()> {
    for (number, segment) in (1..).zip(&transcription.segments) {
        let start = format_time(segment.start, TimeStyle::Srt);
        let end = format_time(segment.end, TimeStyle::Srt);
        writeln!(out, "{number}\n{start} --> {end}\n{}\n", without_arrow(&one_line(&segment.text)))?;
    }
    Ok(())
}

fn vtt(transcription: &Transcription, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "WEBVTT\n")?;
    for segment in &transcription.segments {
        let start = format_time(segment.start, TimeStyle::Vtt);
        let end = format_time(segment.end, TimeStyle::Vtt);
        let text = without_arrow(&one_line(&segment.text)).replace('&', "&amp;").replace('<', "&lt;");
        writeln!(out, "{start} --> {end}\n{text}\n")?;
    }
    Ok(())
}

fn json(transcription: &Transcription, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, transcription)?;
    writeln!(out)
}

/// The text without blanks around it, line breaks as blanks: an empty line would end a subtitle.
fn one_line(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if text.contains(['\n', '\r']) { Cow::Owned(text.replace(['\n', '\r'], " ")) } else { Cow::Borrowed(text) }
}

/// `-->` separates the times of a subtitle and may not stand in its text. Repeated, because `--->` holds it once more.
fn without_arrow(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains("-->") {
        text = text.replace("-->", "->");
    }
    text
}
