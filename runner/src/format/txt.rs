//! Plain text, a line for each segment.

use std::io::{self, Write};

use super::FormatWriter;
use super::text::one_line;
use crate::result::Segment;

pub(super) struct Txt;

impl FormatWriter for Txt {
    fn segments(&mut self, segments: &[Segment], out: &mut dyn Write) -> io::Result<()> {
        segments.iter().try_for_each(|segment| writeln!(out, "{}", one_line(&segment.text)))
    }
}
