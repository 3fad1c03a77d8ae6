//! Lyrics, as whisper.cpp writes them. The format knows no end of a line; it is there until the next one comes.

use std::io::{self, Write};

use super::FormatWriter;
use super::text::one_line;
use crate::result::Segment;
use crate::time::{TimeStyle, format_time};

pub(super) struct Lrc;

impl FormatWriter for Lrc {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "[by:undertone]")
    }

    fn segments(&mut self, segments: &[Segment], out: &mut dyn Write) -> io::Result<()> {
        segments.iter().try_for_each(|segment| {
            let text = one_line(&segment.text);
            // A text in brackets right behind the time would be read as one more.
            let blank = if text.starts_with('[') { " " } else { "" };
            writeln!(out, "[{}]{blank}{text}", format_time(segment.start, TimeStyle::Lrc))
        })
    }
}
