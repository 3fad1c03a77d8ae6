//! A transcription as text, subtitles, tables or JSON, as openai/whisper's writers write it (`txt`, `srt`, `vtt`,
//! `tsv`, `json`) and whisper.cpp's (`csv`, `lrc`); `ass` is for players that show styled subtitles.
//!
//! ```
//! use undertone_runner::format::{Format, SubtitleOptions};
//! use undertone_runner::{Segment, Transcription};
//!
//! let text = " Ever tried. Ever failed. No matter. Try again. Fail again. Fail better.".to_owned();
//! let segment = Segment { start: 0.0, end: 7.5, text, ..Segment::default() };
//! let result = Transcription { segments: vec![segment], ..Transcription::default() };
//!
//! let mut srt = Vec::new();
//! let options = SubtitleOptions { max_line_width: Some(42), ..SubtitleOptions::default() };
//! Format::Srt.write(&result, &options, &mut srt)?;
//! let cue = "1\n00:00:00,000 --> 00:00:07,500\n\
//!            Ever tried. Ever failed. No matter.\nTry again. Fail again. Fail better.\n\n";
//! assert_eq!(String::from_utf8_lossy(&srt), cue);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A format is one file of this folder that implements [`FormatWriter`]: segments go in as they come, so that a result
//! streams in the same code that writes it as a whole. `subtitles` says which words stand together in a subtitle,
//! `lines` where a line may end.
//!
//! Where the models' writers would break what reads their files, these differ: line breaks inside a segment become
//! blanks, `<` and `&` are escaped in VTT and braces in ASS, whose texts are markup; and the texts of `csv` and `lrc`
//! do not begin with a blank.

mod ass;
mod csv;
mod json;
mod json_lines;
mod lines;
mod lrc;
mod srt;
mod subtitles;
mod text;
mod tsv;
mod txt;
mod vtt;

use std::io::{self, Write};

use undertone_boundary::words;

use crate::result::{Segment, Transcription};
pub use json::OfFile;
pub use json_lines::JsonLines;
pub use subtitles::{Cue, Span, SubtitleOptions, subtitles};

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
        /// A table with tabs between its columns: start and end in milliseconds, text.
        Tsv = "tsv",
        /// A table with commas between its columns: start and end in milliseconds, text in quotes.
        Csv = "csv",
        /// Lyrics: each line with the time at which it begins.
        Lrc = "lrc",
        /// Advanced SubStation subtitles.
        Ass = "ass",
    }
);

/// What writes a format: a file's beginning, then segments as they come, then its end.
pub trait FormatWriter: Send {
    /// What a file begins with.
    ///
    /// # Errors
    /// Those of `out`, here and below.
    fn begin(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// The segments that come next. A writer may hold back words that may stand in one subtitle with those that
    /// follow.
    fn segments(&mut self, segments: &[Segment], out: &mut dyn Write) -> io::Result<()>;

    /// What was held back, and what a file ends with. `result` has all segments.
    fn end(&mut self, _result: &Transcription, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

impl Format {
    /// The formats that openai/whisper means by `all`.
    pub const USUAL: [Self; 5] = [Self::Txt, Self::Srt, Self::Vtt, Self::Tsv, Self::Json];

    /// A writer for one result, in UTF-8, lines ended by `\n`.
    pub fn writer(self, options: &SubtitleOptions) -> Box<dyn FormatWriter> {
        match self {
            Self::Txt => Box::new(txt::Txt),
            Self::Srt => Box::new(srt::Srt::new(options)),
            Self::Vtt => Box::new(vtt::Vtt::new(options)),
            Self::Json => Box::new(json::Json),
            Self::Tsv => Box::new(tsv::Tsv),
            Self::Csv => Box::new(csv::Csv),
            Self::Lrc => Box::new(lrc::Lrc),
            Self::Ass => Box::new(ass::Ass::new(options)),
        }
    }

    /// Writes a whole result.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(self, result: &Transcription, options: &SubtitleOptions, out: &mut dyn Write) -> io::Result<()> {
        let mut writer = self.writer(options);
        writer.begin(out)?;
        writer.segments(&result.segments, out)?;
        writer.end(result, out)
    }

    /// A whole result as a string, with the default options.
    pub fn render(self, result: &Transcription) -> String {
        let mut bytes = Vec::new();
        // A vector takes everything, and the writers write UTF-8 only.
        let written = self.write(result, &SubtitleOptions::default(), &mut bytes);
        debug_assert!(written.is_ok());
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
