//! Which words stand together in a subtitle, and where its lines end: the one place for all subtitle formats.
//!
//! With word times the layout is openai/whisper's (`whisper/utils.py`, `SubtitlesWriter`). Two things are added to it,
//! for languages that write no blanks between words: punctuation that closes and small kana never begin a line, and a
//! line ends after punctuation where that leaves it at least half full. Widths are columns ([`SubtitleOptions`]), which
//! for most scripts is the same as the reference's count of characters.

use super::lines::{self, cannot_begin, cannot_end, is_pause, is_unspaced, wrap};
use super::text::{milliseconds, one_line, without_line_breaks};
use crate::result::{Segment, Transcription, Word};

/// Seconds between the starts of two words after which a new subtitle begins.
const LONG_PAUSE: f64 = 3.0;
/// How long a subtitle of words is shown that begin and end at once, in seconds. (openai/whisper shows it for no time.)
const SHORTEST: f64 = 0.1;
/// Columns and words where nothing limits them.
const UNLIMITED: usize = 1000;

/// How segments become subtitles. All but the width needs segments with words ([`Segment::words`]); a segment without
/// them is one subtitle. A limit of 0 is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubtitleOptions {
    /// Columns of a line, at most. A Chinese or Japanese character takes two. Only a word that is wider makes a wider
    /// line. A segment without words is written in lines of about one length.
    pub max_line_width: Option<usize>,
    /// Lines of a subtitle, at most. Together with `max_line_width` it lets a subtitle go on over the end of a segment,
    /// and a new one begin where a word begins three seconds after the one before it.
    pub max_line_count: Option<usize>,
    /// Words of a subtitle, at most. Without effect where both other limits are given.
    pub max_words_per_line: Option<usize>,
    /// Each word is underlined in a subtitle of its own while it is spoken.
    pub highlight_words: bool,
}

/// A subtitle.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cue {
    /// Seconds from the start of the audio; never before the end of the subtitle before it.
    pub start: f64,
    /// Seconds from the start of the audio; never before `start`. A subtitle of words that begin and end at once is
    /// shown for a tenth of a second, and what would be shown meanwhile begins later.
    pub end: f64,
    /// Its text, with `\n` between lines.
    pub text: Vec<Span>,
}

/// A piece of a subtitle's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// The text.
    pub text: String,
    /// Whether it is the word that is spoken.
    pub underlined: bool,
}

impl Cue {
    /// The text without marks.
    pub fn plain(&self) -> String {
        self.text.iter().map(|span| span.text.as_str()).collect()
    }

    /// The text with marks around what is underlined; `escape` is called for each piece of it.
    pub(super) fn marked(&self, escape: impl Fn(&str) -> String, (open, close): (&str, &str)) -> String {
        let span = |span: &Span| match span.underlined {
            true => format!("{open}{}{close}", escape(&span.text)),
            false => escape(&span.text),
        };
        self.text.iter().map(span).collect()
    }
}

/// The subtitles of a result.
///
/// ```
/// use undertone_runner::format::{SubtitleOptions, subtitles};
/// use undertone_runner::{Segment, Transcription, Word};
///
/// let word = |word: &str, start| Word { word: word.to_owned(), start, end: start + 0.4, probability: 1.0 };
/// let words = vec![word(" Ever", 0.0), word(" tried.", 0.5), word(" Ever", 1.0), word(" failed.", 1.5)];
/// let result = Transcription { segments: vec![Segment { words, ..Segment::default() }], ..Transcription::default() };
///
/// let options = SubtitleOptions { max_words_per_line: Some(2), ..SubtitleOptions::default() };
/// let cues = subtitles(&result, &options);
/// assert_eq!((cues[0].plain().as_str(), cues[0].end), ("Ever tried.", 0.9));
/// assert_eq!((cues[1].plain().as_str(), cues[1].start), ("Ever failed.", 1.0));
/// ```
pub fn subtitles(result: &Transcription, options: &SubtitleOptions) -> Vec<Cue> {
    let mut layout = Layout::new(options);
    let mut cues = layout.push(&result.segments);
    cues.extend(layout.finish());
    cues
}

/// A word in a subtitle: a line break or blank may be in front of it.
#[derive(Debug, Clone, Default)]
struct Piece {
    text: String,
    start: f64,
    end: f64,
}

/// Segments that become subtitles as they come.
pub(super) struct Layout {
    width: usize,
    lines: Option<usize>,
    words: usize,
    highlight: bool,
    /// Whether no subtitle has words of two segments.
    whole_segments: bool,
    /// Columns of the line in work; 0 where none is.
    line: usize,
    /// Where that line begins among the pieces.
    line_from: usize,
    /// Lines of the subtitle in work.
    line_count: usize,
    /// The subtitle in work.
    pieces: Vec<Piece>,
    /// When the last word began; `None` before the first.
    last: Option<f64>,
    /// When the last subtitle ended.
    until: f64,
}

impl Layout {
    pub(super) fn new(options: &SubtitleOptions) -> Self {
        let limit = |limit: Option<usize>| limit.filter(|limit| *limit > 0);
        let (width, lines) = (limit(options.max_line_width), limit(options.max_line_count));
        Self {
            width: width.unwrap_or(UNLIMITED),
            lines,
            words: limit(options.max_words_per_line).unwrap_or(UNLIMITED),
            highlight: options.highlight_words,
            whole_segments: width.is_none() || lines.is_none(),
            line: 0,
            line_from: 0,
            line_count: 1,
            pieces: Vec::new(),
            last: None,
            until: 0.0,
        }
    }

    /// The subtitles that are whole once these segments are known.
    pub(super) fn push(&mut self, segments: &[Segment]) -> Vec<Cue> {
        let mut cues = Vec::new();
        for segment in segments {
            let units = units(&segment.words);
            if units.is_empty() {
                // Where others have words, that is what is left of a segment whose words were taken out.
                if self.last.is_some() && segment.text.trim().is_empty() {
                    continue;
                }
                cues.extend(self.finish());
                let text = match self.width {
                    UNLIMITED => one_line(&segment.text).into_owned(),
                    width => wrap(&one_line(&segment.text), width),
                };
                let text = vec![Span { text, underlined: false }];
                cues.push(self.timed(Cue { start: segment.start, end: segment.end, text }));
                continue;
            }
            for units in units.chunks(self.words) {
                for (place, unit) in units.iter().enumerate() {
                    self.add(unit, place == 0, &mut cues);
                }
            }
            if self.whole_segments {
                cues.extend(self.finish());
            }
        }
        cues
    }

    /// The subtitle that was held back for words that might have followed.
    pub(super) fn finish(&mut self) -> Vec<Cue> {
        let pieces = std::mem::take(&mut self.pieces);
        (self.line, self.line_from, self.line_count) = (0, 0, 1);
        self.cues(&pieces)
    }

    /// Adds words that stand together; `first`: of the segment, or of as many as a subtitle has at most.
    fn add(&mut self, unit: &[Piece], first: bool, cues: &mut Vec<Cue>) {
        let start = unit.first().map_or(0.0, |piece| piece.start);
        let wide: usize = unit.iter().map(|piece| lines::width(&piece.text)).sum();
        let pause = !self.whole_segments && self.last.is_some_and(|last| start - last > LONG_PAUSE);
        let new = first && self.whole_segments && !self.pieces.is_empty();
        self.last = unit.last().map(|piece| piece.start);
        // What closes a sentence may be a segment of its own.
        let closes = !self.pieces.is_empty() && unit.first().is_some_and(|piece| piece.text.starts_with(cannot_begin));
        if self.line > 0 && (self.line + wide <= self.width || closes) && !pause && !new {
            self.line += wide;
            self.pieces.extend_from_slice(unit);
            return;
        }
        let carried = if pause || new { Vec::new() } else { self.carry(unit, wide) };
        let mut line: Vec<Piece> = carried.into_iter().chain(unit.iter().cloned()).collect();
        if let Some(piece) = line.first_mut() {
            piece.text = piece.text.trim().to_owned();
        }
        self.line = line.iter().map(|piece| lines::width(&piece.text)).sum();
        let full = self.lines.is_some_and(|most| pause || self.line_count >= most);
        if !self.pieces.is_empty() && full || new {
            let pieces = std::mem::take(&mut self.pieces);
            cues.extend(self.cues(&pieces));
            self.line_count = 1;
        } else if let Some(piece) = line.first_mut().filter(|_| !self.pieces.is_empty()) {
            self.line_count += 1;
            piece.text.insert(0, '\n');
        }
        self.line_from = self.pieces.len();
        self.pieces.extend(line);
    }

    /// What is taken from the end of a full line to the next one, where words are written without blanks: what stands
    /// after the last punctuation, if at least half of the line is before that.
    fn carry(&mut self, unit: &[Piece], wide: usize) -> Vec<Piece> {
        let line = &self.pieces[self.line_from..];
        let ends = |piece: &Piece| piece.text.ends_with(is_pause);
        let unspaced = |piece: &Piece| piece.text.chars().next().is_some_and(is_unspaced);
        if !unit.first().is_some_and(unspaced) || line.last().is_none_or(ends) {
            return Vec::new();
        }
        // A line that goes on behind a blank is parted there by itself.
        let blank = |piece: &Piece| piece.text.starts_with(' ');
        let parts = |at: &usize| ends(&line[at - 1]) && !line[*at].text.starts_with(cannot_begin);
        let kept = (1..line.len()).rev().find(parts).filter(|kept| !line[*kept..].iter().any(blank));
        let Some(kept) = kept else { return Vec::new() };
        let columns = |pieces: &[Piece]| pieces.iter().map(|piece| lines::width(&piece.text)).sum::<usize>();
        if columns(&line[..kept]) * 2 < self.width || columns(&line[kept..]) + wide > self.width {
            return Vec::new();
        }
        self.pieces.split_off(self.line_from + kept)
    }

    /// The subtitles of words that stand together.
    fn cues(&mut self, pieces: &[Piece]) -> Vec<Cue> {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Vec::new() };
        let whole = |underlined: Option<usize>| {
            pieces.iter().enumerate().flat_map(move |(place, piece)| spans(&piece.text, underlined == Some(place)))
        };
        let text = |underlined| whole(underlined).collect::<Vec<Span>>();
        if !self.highlight {
            let plain =
                vec![Span { text: pieces.iter().map(|piece| piece.text.as_str()).collect(), underlined: false }];
            return vec![self.shown(Cue { start: first.start, end: last.end, text: plain })];
        }
        let mut cues = Vec::new();
        let mut spoken_until = first.start;
        for (place, piece) in pieces.iter().enumerate() {
            if milliseconds(spoken_until.max(self.until)) < milliseconds(piece.start) {
                cues.push(self.timed(Cue { start: spoken_until, end: piece.start, text: text(None) }));
            }
            cues.push(self.shown(Cue { start: piece.start, end: piece.end, text: text(Some(place)) }));
            spoken_until = piece.end;
        }
        cues
    }

    /// [`Self::timed`], and shown for a while.
    fn shown(&mut self, cue: Cue) -> Cue {
        let mut cue = self.timed(cue);
        if milliseconds(cue.start) >= milliseconds(cue.end) {
            cue.end = cue.start + SHORTEST;
            self.until = cue.end;
        }
        cue
    }

    /// A subtitle whose times do not reach into the one before it.
    fn timed(&mut self, mut cue: Cue) -> Cue {
        cue.start = cue.start.max(self.until);
        cue.end = cue.end.max(cue.start);
        self.until = cue.end;
        cue
    }
}

/// A piece of text, underlined but for the blanks before it.
fn spans(text: &str, underlined: bool) -> Vec<Span> {
    let word = text.trim_start();
    let before = text[..text.len() - word.len()].to_owned();
    let parts = [Span { text: before, underlined: false }, Span { text: word.to_owned(), underlined }];
    if underlined { parts.into() } else { vec![Span { text: text.to_owned(), underlined }] }
}

/// Words that no line parts, together: closing punctuation that stands alone goes with the word before it.
fn units(words: &[Word]) -> Vec<Vec<Piece>> {
    let mut units: Vec<Vec<Piece>> = Vec::new();
    for word in words.iter().filter(|word| !word.word.trim().is_empty()) {
        let piece = Piece { text: without_line_breaks(&word.word).into_owned(), start: word.start, end: word.end };
        let begins = piece.text.chars().next();
        let ends = units.last().and_then(|unit| unit.last()?.text.chars().next_back());
        let together = begins.is_some_and(cannot_begin) || ends.is_some_and(cannot_end);
        match units.last_mut().filter(|_| together && begins.is_some_and(|c| !c.is_whitespace())) {
            Some(unit) => unit.push(piece),
            None => units.push(vec![piece]),
        }
    }
    units
}
