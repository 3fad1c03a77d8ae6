//! A recording while it is being transcribed: its stretches, each with its own place in time and its own text so far,
//! and what becomes of them. Which windows run together is `transcribe`'s, running them is `batch`'s.

use crate::audio::Audio;
use crate::batch::Heard;
use crate::cuts::chunks;
use crate::fallback::{Attempt, Verdict};
use crate::features::LongFeatures;
use crate::mel::{LogMel, WINDOW_FRAMES};
use crate::result::{RunReport, Segment, Warning};
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::transcribe::{Padding, TranscribeError, TranscribeOptions};
use crate::voice::Voice;
use crate::writer::Writer;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Frames with a voice in them for which the rest of a chunk is worth a window of its own.
const LEAST_VOICE: usize = 100;
/// Frames with a voice in them that may be a recording's last word.
const WORD: usize = 30;

/// Frames before a sound with which its window begins.
const BEFORE_SOUND: usize = 50;
/// Frames at a stretch's start, and after a window, in which sound that then does not change for long is not heard
/// either: after a window it is what is left of its last word.
const AT_THE_START: usize = 25;
const WITHIN: usize = 100;

/// A recording and what has been heard of it.
pub(crate) struct Recording<'a> {
    audio: &'a Audio,
    state: State,
    /// Code and token, once known.
    pub(crate) language: Option<(String, u32)>,
    /// Its own times and tokens.
    pub(crate) run: RunReport,
    /// Segments that [`Self::take_fresh`] has given.
    given: usize,
}

enum State {
    Untouched,
    Open { features: Arc<LongFeatures>, stretches: Vec<Stretch>, voice: Voice },
    Finished { segments: Vec<Segment>, tokens: Vec<u32> },
}

/// A part of a recording that is heard by itself, from window to window.
pub(crate) struct Stretch {
    from: usize,
    to: usize,
    /// The frame at which the next window begins.
    seek: usize,
    /// Fewer frames than these at the end are left alone.
    shortest: usize,
    /// Whether sound that does not change is left alone.
    skip_steady: bool,
    /// Whether it is one of several that the recording was cut into.
    cut: bool,
    pub(crate) writer: Writer,
}

impl Stretch {
    pub(crate) fn finished(&self) -> bool {
        self.seek >= self.to
    }

    /// Moves on to where there is something to hear, if that is not in the next window's first `within` frames.
    fn skip(&mut self, voice: &Voice, within: usize) {
        if let Some(end) = voice.steady(self.seek, within).filter(|_| self.skip_steady && !self.finished()) {
            self.seek = if end >= self.to { self.to } else { self.seek.max(end - BEFORE_SOUND) };
        }
        let begun = self.seek > self.from;
        if begun && self.to.saturating_sub(self.seek) < self.shortest {
            self.seek = self.to;
        }
        if begun && self.cut && voice.voiced(self.seek..self.to) < LEAST_VOICE {
            self.seek = self.to;
        }
    }
}

impl<'a> Recording<'a> {
    pub(crate) fn new(audio: &'a Audio, language: Option<(String, u32)>) -> Self {
        Self { audio, state: State::Untouched, language, run: RunReport::default(), given: 0 }
    }

    /// The stretches, made at the first call. Of audio that is too short for a frame there is one, of no frames, if its
    /// language is still wanted.
    pub(crate) fn open(
        &mut self,
        mel: &LogMel,
        tokenizer: &Tokenizer,
        options: &TranscribeOptions,
        positions: usize,
    ) -> Result<&[Stretch], TranscribeError> {
        if let State::Untouched = self.state {
            let features = self.audio.features(mel);
            self.run.mel_ms = features.time().as_secs_f64() * 1e3;
            let frames = features.frames();
            let cut = options.cut_at_pauses && frames > WINDOW_FRAMES;
            let voice = Voice::of_levels(&features.levels()?, features.silence());
            let parts = if cut { chunks(&voice) } else { std::iter::once(0..frames).collect() };
            let skip_steady = options.skip_steady;
            let shortest = (options.shortest_rest * 100.0).round() as usize;
            let stretch = |(index, part): (usize, &Range<usize>)| {
                let end = if part.end == frames { self.audio.duration() } else { part.end as f64 / 100.0 };
                let mut options = TranscribeOptions { cut_at_pauses: cut, ..options.clone() };
                options.condition_on_previous_text &= !cut;
                options.initial_prompt = options.initial_prompt.filter(|_| index == 0);
                let writer = Writer::new(tokenizer, options, positions, end)?;
                let mut stretch =
                    Stretch { from: part.start, to: part.end, seek: part.start, shortest, skip_steady, cut, writer };
                // Features begin and end with a jump, which is no sound.
                stretch.skip(&voice, AT_THE_START);
                Ok(stretch)
            };
            let stretches: Vec<Stretch> =
                parts.iter().enumerate().map(stretch).collect::<Result<_, TokenizerError>>()?;
            let nothing = frames == 0;
            let steady = !nothing && stretches.iter().all(Stretch::finished);
            self.state = State::Open { features, stretches, voice };
            if steady || nothing && (self.language.is_some() || !tokenizer.special.multilingual) {
                self.finish();
            }
        }
        Ok(self.stretches())
    }

    /// The stretches; none before [`Self::open`] and after the last one's end.
    pub(crate) fn stretches(&self) -> &[Stretch] {
        match &self.state {
            State::Open { stretches, .. } => stretches,
            _ => &[],
        }
    }

    pub(crate) fn finished(&self) -> bool {
        matches!(self.state, State::Finished { .. })
    }

    /// Seconds of audio that are done.
    pub(crate) fn done_seconds(&self) -> f64 {
        match self.state {
            State::Untouched => 0.0,
            State::Open { ref stretches, .. } => {
                stretches.iter().map(|s| s.seek.min(s.to) - s.from).sum::<usize>() as f64 / 100.0
            }
            State::Finished { .. } => self.audio.duration(),
        }
    }

    /// The frame at which a stretch's next window begins.
    pub(crate) fn next_frame(&self, stretch: usize) -> usize {
        self.stretches().get(stretch).map_or(0, |stretch| stretch.seek)
    }

    /// Frames of a stretch's next window after which the model must not leave the rest to another: all of the stretch
    /// is in this one, what is left then is too short for one of its own, or it ends in a pause, and there is voice in
    /// it. At a recording's end that is a word's; where a recording was cut, a second's: a model that is made to go on
    /// for less writes what nobody said.
    pub(crate) fn goes_on(&self, stretch: usize) -> Range<usize> {
        let State::Open { stretches, voice, .. } = &self.state else { return 0..0 };
        let Stretch { seek, to, shortest, cut, .. } = stretches[stretch];
        if to > seek + WINDOW_FRAMES || shortest == 0 {
            return 0..0;
        }
        let least = if cut { LEAST_VOICE } else { WORD };
        let enough = |at: &usize| voice.voiced(*at..to) >= least;
        let until = (seek..to).rev().find(enough).map_or(0, |at| at + 1 - seek);
        let from = if cut { 0 } else { (to - seek + 1).saturating_sub(shortest) };
        from..until.max(from)
    }

    /// The features of a stretch's next window, `[bins, 3000]`.
    pub(crate) fn window(&self, stretch: usize, padding: Padding) -> io::Result<Vec<f32>> {
        let State::Open { features, stretches, .. } = &self.state else { return Ok(Vec::new()) };
        let Stretch { seek, to, .. } = stretches[stretch];
        let mut window = match padding {
            Padding::Zero => features.window(seek)?,
            Padding::Silence => features.window_with_silence(seek)?,
        };
        // What follows in the recording is another stretch's.
        if to < features.frames() && to - seek < WINDOW_FRAMES {
            let nothing = if padding == Padding::Zero { 0.0 } else { features.silence() };
            window.chunks_exact_mut(WINDOW_FRAMES).for_each(|line| line[to - seek..].fill(nothing));
        }
        Ok(window)
    }

    /// Takes in what was heard in a stretch's window.
    pub(crate) fn hear(&mut self, stretch: usize, heard: Heard, tokenizer: &Tokenizer) -> Result<(), TokenizerError> {
        if self.language.is_none() {
            self.language = heard.language;
        }
        self.run.encoder_ms += heard.encoder_ms;
        self.run.decoder_ms += heard.decoder_ms;
        self.run.tokens += heard.attempt.as_ref().map_or(0, |attempt| attempt.steps as u64);
        let goes_on = self.goes_on(stretch);
        let State::Open { stretches, voice, .. } = &mut self.state else { return Ok(()) };
        let part = &mut stretches[stretch];
        let frames = WINDOW_FRAMES.min(part.to - part.seek);
        let advance = match &heard.attempt {
            Some(attempt) => part.writer.write(tokenizer, attempt, part.seek, frames, &goes_on)?,
            None => frames,
        };
        if let Some(what) = heard.attempt.as_ref().and_then(doubt) {
            let seconds = |frame: usize| frame as f64 / 100.0;
            let (from, to) = (seconds(part.seek), seconds(part.seek + advance));
            self.run.warnings.push(Warning { from, to, what: what.to_owned() });
        }
        part.seek += advance;
        part.skip(voice, WITHIN);
        if stretches.iter().all(Stretch::finished) {
            self.finish();
        }
        Ok(())
    }

    /// The segments that stand by now and were not given before: those of each stretch before which all are finished.
    pub(crate) fn take_fresh(&mut self) -> Vec<Segment> {
        let mut standing: Vec<Segment> = match &self.state {
            State::Untouched => Vec::new(),
            State::Open { stretches, .. } => {
                let finished = stretches.iter().take_while(|stretch| stretch.finished()).count();
                stretches.iter().take(finished + 1).flat_map(|s| &s.writer.segments).skip(self.given).cloned().collect()
            }
            State::Finished { segments, .. } => segments.iter().skip(self.given).cloned().collect(),
        };
        standing.iter_mut().zip(self.given..).for_each(|(segment, id)| segment.id = id);
        self.given += standing.len();
        standing
    }

    /// Puts the stretches' texts together and lets go of the features.
    pub(crate) fn finish(&mut self) {
        let State::Open { stretches, .. } = &mut self.state else { return };
        let (mut segments, mut tokens) = (Vec::new(), Vec::new());
        for stretch in stretches {
            tokens.extend_from_slice(stretch.writer.text_tokens());
            segments.append(&mut stretch.writer.segments);
        }
        segments.iter_mut().enumerate().for_each(|(id, segment): (usize, &mut Segment)| segment.id = id);
        self.state = State::Finished { segments, tokens };
    }

    /// Segments, and the tokens of the whole text; nothing before [`Self::finish`].
    pub(crate) fn text(&self) -> (&[Segment], &[u32]) {
        match &self.state {
            State::Finished { segments, tokens } => (segments, tokens),
            _ => Default::default(),
        }
    }
}

/// What is to be said of a window's text.
fn doubt(attempt: &Attempt) -> Option<&'static str> {
    match attempt.verdict {
        Verdict::Spoken => Some("the text repeats itself, and so does the speaker, as it seems"),
        Verdict::Repeats if attempt.exhausted => Some("the model only repeats itself; nothing of it is kept"),
        Verdict::Unsure if attempt.exhausted => Some("the model is not sure of the words"),
        _ => None,
    }
}
