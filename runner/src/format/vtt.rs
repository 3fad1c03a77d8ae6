//! WebVTT subtitles.

use std::io::{self, Write};

use super::FormatWriter;
use super::subtitles::{Cue, Layout, SubtitleOptions};
use super::text::without_arrow;
use crate::result::{Segment, Transcription};
use crate::time::{TimeStyle, format_time};

pub(super) struct Vtt {
    layout: Layout,
}

impl Vtt {
    pub(super) fn new(options: &SubtitleOptions) -> Self {
        Self { layout: Layout::new(options) }
    }
}

fn write(cues: &[Cue], out: &mut dyn Write) -> io::Result<()> {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    cues.iter().try_for_each(|cue| {
        let (start, end) = (format_time(cue.start, TimeStyle::Vtt), format_time(cue.end, TimeStyle::Vtt));
        writeln!(out, "{start} --> {end}\n{}\n", without_arrow(&cue.marked(escape, ("<u>", "</u>"))))
    })
}

impl FormatWriter for Vtt {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "WEBVTT\n")
    }

    fn segments(&mut self, segments: &[Segment], out: &mut dyn Write) -> io::Result<()> {
        write(&self.layout.push(segments), out)
    }

    fn end(&mut self, _: &Transcription, out: &mut dyn Write) -> io::Result<()> {
        write(&self.layout.finish(), out)
    }
}
