//! Results on their way out: each recording's files as soon as it is done, standard output in the order of the
//! recordings, or segment by segment; and, where the work is ended early, what there is.

use anyhow::Result;
use undertone_runner::format::{Format, FormatWriter, JsonLines, OfFile, SubtitleOptions};
use undertone_runner::{Observer, Progress, Segment, Transcription};

use super::Input;
use super::progress::Shown;
use crate::interrupt;
use crate::output::{self, OutputDirectory, say};

/// Where results go.
pub struct Target<'a> {
    /// A directory; without one, standard output.
    pub directory: Option<&'a OutputDirectory>,
    /// What is written.
    pub formats: &'a [Format],
    /// How words become subtitles.
    pub subtitles: &'a SubtitleOptions,
    /// More than one recording goes there.
    pub several: bool,
    /// Segments go to standard output as they come.
    pub live: bool,
}

impl Target<'_> {
    /// A result as it is written here; of several, standard output gets a line for each one's JSON.
    fn render(&self, format: Format, input: &Input<'_>, result: &Transcription) -> Result<String> {
        if format != Format::Json {
            let mut text = Vec::new();
            format.write(result, self.subtitles, &mut text)?;
            return Ok(String::from_utf8(text)?);
        }
        let json = OfFile { file: &input.file.to_string_lossy(), transcription: result };
        Ok(if self.several && self.directory.is_none() { json.line()? } else { json.indented()? })
    }

    /// What writes a recording's segments as they come.
    fn stream(&self, input: &Input<'_>) -> Box<dyn FormatWriter> {
        match self.formats.first() {
            Some(Format::Json) => Box::new(JsonLines::new(input.file.to_string_lossy())),
            format => format.copied().unwrap_or(Format::Txt).writer(self.subtitles),
        }
    }
}

/// A recording whose segments go to standard output as they come.
struct Stream {
    writer: Box<dyn FormatWriter>,
    /// Whether what a file begins with was written.
    begun: bool,
    /// Segments that stand on standard output.
    shown: usize,
    /// Segments that wait for their turn.
    unshown: Vec<Segment>,
}

impl Stream {
    /// Segments as text, and the end if `result` is given.
    fn write(&mut self, segments: &[Segment], result: Option<&Transcription>) -> Result<String> {
        let mut text = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            self.writer.begin(&mut text)?;
        }
        self.writer.segments(segments, &mut text)?;
        if let Some(result) = result {
            self.writer.end(result, &mut text)?;
        }
        self.shown += segments.len();
        Ok(String::from_utf8(text)?)
    }
}

/// What has become of the recordings of a group.
pub struct Delivery<'a> {
    target: &'a Target<'a>,
    inputs: &'a [Input<'a>],
    progress: Shown,
    /// Called with each result before it is written.
    complete: &'a mut dyn FnMut(usize, &mut Transcription),
    /// Results that are done and wait for their turn on standard output.
    waiting: Vec<Option<Transcription>>,
    streams: Vec<Stream>,
    delivered: Vec<bool>,
    /// The recording whose turn it is on standard output.
    turn: usize,
    errors: Vec<(usize, anyhow::Error)>,
}

impl<'a> Delivery<'a> {
    /// For the recordings `inputs`.
    pub fn new(
        target: &'a Target<'a>,
        inputs: &'a [Input<'a>],
        progress: Shown,
        complete: &'a mut dyn FnMut(usize, &mut Transcription),
    ) -> Self {
        let count = inputs.len();
        let stream = |input| Stream { writer: target.stream(input), begun: false, shown: 0, unshown: Vec::new() };
        Self {
            target,
            inputs,
            progress,
            complete,
            waiting: (0..count).map(|_| None).collect(),
            streams: inputs.iter().map(stream).collect(),
            delivered: vec![false; count],
            turn: 0,
            errors: Vec::new(),
        }
    }

    /// Whether a recording's result has gone where it belongs, or could not.
    pub fn delivered(&self, recording: usize) -> bool {
        self.delivered[recording]
    }

    /// Takes the result of a recording, whole or not.
    pub fn take(&mut self, recording: usize, mut result: Transcription) {
        if self.delivered[recording] || self.waiting[recording].is_some() {
            return;
        }
        (self.complete)(recording, &mut result);
        if result.run.stopped.is_some() && result.segments.is_empty() {
            // An empty file would say that nothing is spoken.
            return self.give_up(recording);
        }
        match self.target.directory {
            Some(directory) => {
                let written = self.write(directory, recording, &result);
                self.done(recording, written);
            }
            None => {
                self.waiting[recording] = Some(result);
                self.advance();
            }
        }
    }

    /// Recordings that fail let the others have their turn.
    pub fn give_up(&mut self, recording: usize) {
        self.delivered[recording] = true;
        self.advance();
    }

    /// Watches one recording that is transcribed by itself.
    pub fn alone(&mut self, recording: usize) -> Alone<'_, 'a> {
        Alone { delivery: self, recording }
    }

    /// The end: what could not be written, by recording.
    pub fn finish(self) -> Vec<(usize, anyhow::Error)> {
        self.progress.finish();
        self.errors
    }

    /// Writes a recording's files. A part of a result takes the place of no older one, which may be whole.
    fn write(&self, directory: &OutputDirectory, recording: usize, result: &Transcription) -> Result<()> {
        let input = &self.inputs[recording];
        let names = |part: &str| -> Vec<String> {
            self.target.formats.iter().map(|format| output::file_name(input.stem, part, *format)).collect()
        };
        let mut files = names("");
        if result.run.stopped.is_some() && files.iter().any(|name| directory.holds(name)) {
            let older = std::mem::replace(&mut files, names(".partial"));
            let line =
                format!("stopped: older {} left as before, the part is in {}", older.join(", "), files.join(", "));
            self.progress.suspend(|| say(&line));
        }
        let text = |format: &Format| self.target.render(*format, input, result);
        let texts = self.target.formats.iter().map(text).collect::<Result<Vec<_>>>()?;
        directory.write(&files.into_iter().zip(texts).collect())
    }

    fn done(&mut self, recording: usize, written: Result<()>) {
        self.delivered[recording] = true;
        if let Err(error) = written {
            self.errors.push((recording, error));
        }
    }

    /// Prints what has its turn.
    fn advance(&mut self) {
        while self.turn < self.inputs.len() {
            let turn = self.turn;
            if !self.delivered[turn] {
                self.show(turn);
                let Some(result) = self.waiting[turn].take() else { return };
                self.print(turn, &result);
            }
            self.turn += 1;
        }
    }

    /// Prints a result, or what is not shown of it yet.
    fn print(&mut self, recording: usize, result: &Transcription) {
        let text = if self.target.live {
            let stream = &mut self.streams[recording];
            stream.unshown.clear();
            stream.write(result.segments.get(stream.shown..).unwrap_or_default(), Some(result))
        } else {
            let render = |format: &Format| self.target.render(*format, &self.inputs[recording], result);
            self.target.formats.iter().map(render).collect()
        };
        let printed = text.and_then(|text| self.put_out(&text));
        self.done(recording, printed);
    }

    /// Writes to standard output. That it takes nothing more is said once.
    fn put_out(&mut self, text: &str) -> Result<()> {
        if output::is_lost() {
            return Ok(());
        }
        self.progress.suspend(|| output::print(text))
    }

    /// Prints the segments of a recording that came so far.
    fn show(&mut self, recording: usize) {
        let stream = &mut self.streams[recording];
        let fresh = std::mem::take(&mut stream.unshown);
        if fresh.is_empty() {
            return;
        }
        let text = stream.write(&fresh, None);
        if let Err(error) = text.and_then(|text| self.put_out(&text)) {
            self.errors.push((recording, error));
        }
    }
}

impl Observer for Delivery<'_> {
    fn progress(&mut self, progress: Progress) {
        self.progress.advance(progress);
    }

    fn segments(&mut self, recording: usize, segments: &[Segment]) {
        if self.target.live && !self.delivered[recording] {
            self.streams[recording].unshown.extend_from_slice(segments);
            self.advance();
        }
    }

    fn finished(&mut self, recording: usize, transcription: &Transcription) {
        self.take(recording, transcription.clone());
    }

    /// What nobody can be given is not computed.
    fn stop(&mut self) -> bool {
        interrupt::asked() || output::is_lost()
    }
}

/// One recording of a [`Delivery`] that is transcribed by itself, after the group failed together.
pub struct Alone<'a, 'b> {
    delivery: &'a mut Delivery<'b>,
    recording: usize,
}

impl Observer for Alone<'_, '_> {
    fn segments(&mut self, _: usize, segments: &[Segment]) {
        // What was shown before the failure comes again.
        let stream = &self.delivery.streams[self.recording];
        let known = stream.shown + stream.unshown.len();
        let first = segments.first().map_or(known, |segment| segment.id);
        if let Some(fresh) = segments.get(known.saturating_sub(first)..) {
            self.delivery.segments(self.recording, fresh);
        }
    }

    fn stop(&mut self) -> bool {
        interrupt::asked() || output::is_lost()
    }
}
