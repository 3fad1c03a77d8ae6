//! A table with tabs between its columns, as openai/whisper writes it.

use std::io::{self, Write};

use super::FormatWriter;
use super::text::{milliseconds, one_line};
use crate::result::Segment;

pub(super) struct Tsv;

impl FormatWriter for Tsv {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "start\tend\ttext")
    }

    fn segments(&mut self, segments: &[Segment], out: &mut dyn Write) -> io::Result<()> {
        segments.iter().try_for_each(|segment| {
            let (start, end) = (milliseconds(segment.start), milliseconds(segment.end));
            writeln!(out, "{start}\t{end}\t{}", one_line(&segment.text).replace('\t', " "))
        })
    }
}
