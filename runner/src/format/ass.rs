//! Advanced SubStation subtitles (`[V4+ Styles]`), white with a dark edge at the lower border of a picture of 1080
//! lines, which players scale.

use std::io::{self, Write};

use super::FormatWriter;
use super::subtitles::{Cue, Layout, SubtitleOptions};
use crate::result::{Segment, Transcription};
use crate::time::{TimeStyle, format_time};

const HEAD: &str = "\
[Script Info]
ScriptType: v4.00+
PlayResX: 1920
PlayResY: 1080
WrapStyle: 0
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,60,&H00FFFFFF,&H00FFFFFF,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,3,1,2,60,60,50,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
";

pub(super) struct Ass {
    layout: Layout,
}

impl Ass {
    pub(super) fn new(options: &SubtitleOptions) -> Self {
        Self { layout: Layout::new(options) }
    }
}

/// Braces hold commands, and a backslash begins one: a word joiner (U+2060), which is not seen, takes its force.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\u{2060}").replace('{', "\\{").replace('}', "\\}").replace('\n', "\\N")
}

fn write(cues: &[Cue], out: &mut dyn Write) -> io::Result<()> {
    cues.iter().try_for_each(|cue| {
        let (start, end) = (format_time(cue.start, TimeStyle::Ass), format_time(cue.end, TimeStyle::Ass));
        let text = cue.marked(escape, (r"{\u1}", r"{\u0}"));
        writeln!(out, "Dialogue: 0,{start},{end},Default,,0,0,0,,{text}")
    })
}

impl FormatWriter for Ass {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(HEAD.as_bytes())
    }

    fn segments(&mut self, segments: &[Segment], out: &mut dyn Write) -> io::Result<()> {
        write(&self.layout.push(segments), out)
    }

    fn end(&mut self, _: &Transcription, out: &mut dyn Write) -> io::Result<()> {
        write(&self.layout.finish(), out)
    }
}
