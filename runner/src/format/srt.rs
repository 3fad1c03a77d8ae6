//! SubRip subtitles.

use std::io::{self, Write};

use super::FormatWriter;
use super::subtitles::{Cue, Layout, SubtitleOptions};
use super::text::without_arrow;
use crate::result::{Segment, Transcription};
use crate::time::{TimeStyle, format_time};

pub(super) struct Srt {
    layout: Layout,
    /// Cues that were written.
    count: usize,
}

impl Srt {
    pub(super) fn new(options: &SubtitleOptions) -> Self {
        Self { layout: Layout::new(options), count: 0 }
    }

    fn write(&mut self, cues: Vec<Cue>, out: &mut dyn Write) -> io::Result<()> {
        cues.iter().try_for_each(|cue| {
            self.count += 1;
            let (start, end) = (format_time(cue.start, TimeStyle::Srt), format_time(cue.end, TimeStyle::Srt));
            let text = cue.marked(str::to_owned, ("<u>", "</u>"));
            writeln!(out, "{}\n{start} --> {end}\n{}\n", self.count, without_arrow(&text))
        })
    }
}

impl FormatWriter for Srt {
    fn segments(&mut self, segments: &[Segment], out: &mut dyn Write) -> io::Result<()> {
        let cues = self.layout.push(segments);
        self.write(cues, out)
    }

    fn end(&mut self, _: &Transcription, out: &mut dyn Write) -> io::Result<()> {
        let cues = self.layout.finish();
        self.write(cues, out)
    }
}
