//! The options that say what is written, and how: formats, streaming, and how words become subtitles. The names are
//! openai/whisper's where it has them; what the formats are is the runner's ([`undertone_runner::format`]).

use std::str::FromStr;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use undertone_runner::format::{Format, SubtitleOptions};

use crate::output::say;
use crate::spelling::switch;

/// The heading of these options in the help; said of each of them, since clap's `next_help_heading` would also take
/// what follows.
const HEADING: &str = "Subtitles";

/// What is written.
#[derive(Args)]
pub struct FormatChoice {
    /// What to write; several with commas between them. Standard output takes one format, and of several recordings
    /// only txt, and json with one object a line: for more, name an --output-dir
    #[arg(short = 'f', long, value_enum, value_name = "FORMAT", value_delimiter = ',', default_value = "txt")]
    output_format: Vec<FormatWord>,
    /// Write each segment to standard output as soon as it is final. json is then one object a line: one for each
    /// segment, and at the end one for the recording [default: True for txt on a terminal]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = switch())]
    stream: Option<bool>,
    #[command(flatten)]
    subtitles: SubtitleChoice,
}

/// How words become the subtitles of srt, vtt and ass.
#[derive(Args)]
struct SubtitleChoice {
    /// Columns of a subtitle's line, at most; a Chinese or Japanese character takes two. Without --word-timestamps a
    /// segment stays one subtitle, in lines of about one length
    #[arg(long, help_heading = HEADING, value_name = "COLUMNS", default_value = "none", hide_default_value = true)]
    max_line_width: Limit,
    /// Lines of a subtitle, at most; needs --max-line-width and --word-timestamps
    #[arg(long, help_heading = HEADING, value_name = "LINES", default_value = "none", hide_default_value = true)]
    max_line_count: Limit,
    /// Words of a subtitle, at most; needs --word-timestamps
    #[arg(long, help_heading = HEADING, value_name = "WORDS", default_value = "none", hide_default_value = true)]
    max_words_per_line: Limit,
    /// Underline each word while it is spoken; needs --word-timestamps
    #[arg(long, help_heading = HEADING, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = false, value_name = "BOOL", value_parser = switch(), hide_default_value = true)]
    highlight_words: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum FormatWord {
    /// A line for each segment
    Txt,
    /// SubRip subtitles
    Srt,
    /// WebVTT subtitles
    Vtt,
    /// Everything: segments, tokens, scores, and what ran where
    Json,
    /// A table: start and end in milliseconds, text, with tabs between them
    Tsv,
    /// The same table with commas
    Csv,
    /// Lyrics: lines with the times at which they begin
    Lrc,
    /// Advanced SubStation subtitles
    Ass,
    /// txt, srt, vtt, tsv and json, as openai/whisper means it
    All,
}

impl FormatWord {
    fn formats(self) -> &'static [Format] {
        match self {
            Self::Txt => &[Format::Txt],
            Self::Srt => &[Format::Srt],
            Self::Vtt => &[Format::Vtt],
            Self::Json => &[Format::Json],
            Self::Tsv => &[Format::Tsv],
            Self::Csv => &[Format::Csv],
            Self::Lrc => &[Format::Lrc],
            Self::Ass => &[Format::Ass],
            Self::All => &Format::USUAL,
        }
    }
}

/// A number above 0, or `none`.
#[derive(Clone, Copy, PartialEq)]
struct Limit(Option<usize>);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self(None));
        }
        let number = text.parse().ok().filter(|number| *number > 0);
        number.map(|number| Self(Some(number))).ok_or_else(|| "neither a number from 1 on nor `none`".to_owned())
    }
}

impl FormatChoice {
    /// The formats, each once.
    pub fn formats(&self) -> Vec<Format> {
        let mut formats: Vec<Format> = self.output_format.iter().flat_map(|word| word.formats()).copied().collect();
        formats.sort_unstable();
        formats.dedup();
        formats
    }

    /// Whether segments go to standard output as they come, if somebody looks at it as it comes (`terminal`).
    pub fn live(&self, terminal: bool) -> bool {
        self.stream.unwrap_or(terminal && self.formats() == [Format::Txt])
    }

    /// How words become subtitles.
    pub fn subtitles(&self) -> SubtitleOptions {
        let SubtitleChoice { max_line_width, max_line_count, max_words_per_line, highlight_words } = self.subtitles;
        SubtitleOptions {
            max_line_width: max_line_width.0,
            max_line_count: max_line_count.0,
            max_words_per_line: max_words_per_line.0,
            highlight_words,
        }
    }

    /// Refuses what does not go together, and warns of what has no effect. `recordings` go to standard output, unless
    /// there is a `directory`; `words`: there will be word times.
    ///
    /// # Errors
    /// What it is and what to do.
    pub fn check(&self, recordings: usize, directory: bool, words: bool) -> Result<()> {
        let formats = self.formats();
        if directory && self.stream == Some(true) {
            bail!(
                "--stream writes to standard output, files appear when they are whole: leave out --output-dir or \
                 --stream"
            );
        }
        if let ([first, _, ..], false) = (&formats[..], directory) {
            bail!(
                "{} formats ({first} and others) do not go to standard output together: name a directory with \
                 --output-dir",
                formats.len()
            );
        }
        if !directory && recordings > 1 && formats.iter().any(|f| !matches!(f, Format::Txt | Format::Json)) {
            bail!(
                "{} of {recordings} recordings does not go to standard output, where the times of each would begin anew \
                 after the one before: name a directory with --output-dir",
                formats[0]
            );
        }
        self.subtitles.check(&formats, words)
    }
}

impl SubtitleChoice {
    fn check(&self, formats: &[Format], words: bool) -> Result<()> {
        let needs_words = [
            ("--highlight-words", self.highlight_words),
            ("--max-line-count", self.max_line_count.0.is_some()),
            ("--max-words-per-line", self.max_words_per_line.0.is_some()),
        ];
        if let Some((option, _)) = needs_words.iter().find(|(_, given)| *given && !words) {
            bail!("{option} needs to know when each word is spoken: add --word-timestamps");
        }
        let width = self.max_line_width.0.is_some();
        let given: Vec<&str> = std::iter::once(("--max-line-width", width))
            .chain(needs_words)
            .filter_map(|(option, given)| given.then_some(option))
            .collect();
        if let Some(option) = given.first()
            && !formats.iter().any(|format| matches!(format, Format::Srt | Format::Vtt | Format::Ass))
        {
            say(&format!("warning: {option} has no effect: it is for the subtitles of srt, vtt and ass"));
            return Ok(());
        }
        if self.max_line_count.0.is_some() && !width {
            say("warning: --max-line-count has no effect without --max-line-width");
        }
        if self.max_words_per_line.0.is_some() && self.max_line_count.0.is_some() && width {
            say("warning: --max-words-per-line has no effect with --max-line-width and --max-line-count");
        }
        Ok(())
    }
}
