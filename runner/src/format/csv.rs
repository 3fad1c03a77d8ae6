//! A table with commas between its columns, as whisper.cpp writes it: every text is in quotes, and quotes in it are
//! doubled.

use std::io::{self, Write};

use super::FormatWriter;
use super::text::{milliseconds, one_line};
use crate::result::Segment;

pub(super) struct Csv;

impl FormatWriter for Csv {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "start,end,text")
    }

    fn segments(&mut self, segments: &[Segment], out: &mut dyn Write) -> io::Result<()> {
        segments.iter().try_for_each(|segment| {
            let (start, end) = (milliseconds(segment.start), milliseconds(segment.end));
            writeln!(out, "{start},{end},\"{}\"", one_line(&segment.text).replace('"', "\"\""))
        })
    }
}
