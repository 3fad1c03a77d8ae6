//! A recording while it is being transcribed: its chunks, each with its own place in time and its own text so far, and
//! how decoded windows become segments. `transcribe` says which windows run together, `batch` runs them.

use crate::audio::Audio;
use crate::batch::DecodedWindow;
use crate::chunk::{AT_THE_START, Chunk, LEAST_VOICE, MISSED_NO_SPEECH, WITHIN, WORD};
use crate::cut_off::CutOff;
use crate::cuts::chunks;
use crate::fallback::{Attempt, Verdict};
use crate::features::Features;
use crate::language::Detected;
use crate::mel::{LogMel, SAMPLE_RATE, WINDOW_FRAMES};
use crate::options::{Clip, Padding, TranscribeOptions};
use crate::prompt::PromptTokens;
use crate::result::{RunReport, Segment, Warning};
use crate::settle::settle;
use crate::tokenizer::{SpecialTokens, Tokenizer, TokenizerError};
use crate::vad::detector::Detector;
use crate::vad::timeline::Timeline;
use crate::vad::{SpeechProbabilities, VoiceOptions};
use crate::voice::Voice;
use crate::writer::{Place, Writer};
use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A recording and what has been transcribed of it.
pub(crate) struct Recording<'a> {
    pub(crate) audio: Cow<'a, Audio>,
    state: State,
    /// Code and token, once known.
    pub(crate) language: Option<(String, u32)>,
    /// What was heard of languages, where one was detected.
    pub(crate) detected: Option<Detected>,
    /// Its own times and tokens.
    pub(crate) run: RunReport,
    prompts: Arc<PromptTokens>,
    /// Seconds that are speech, where the rest is left out.
    pub(crate) duration_after_vad: Option<f64>,
    /// Segments that [`Self::take_fresh`] has given.
    given: usize,
    cut_off: CutOff,
}

enum State {
    Untouched,
    /// Chunks and voice are in frames of the timeline.
    Open {
        features: Arc<Features>,
        timeline: Timeline,
        chunks: Vec<Chunk>,
        voice: Voice,
    },
    Finished {
        segments: Vec<Segment>,
        tokens: Vec<u32>,
    },
}

impl<'a> Recording<'a> {
    pub(crate) fn new(audio: Cow<'a, Audio>, language: Option<(String, u32)>, prompts: Arc<PromptTokens>) -> Self {
        let (state, run) = (State::Untouched, RunReport::default());
        let (detected, duration_after_vad, given, cut_off) = Default::default();
        Self { audio, state, language, detected, run, prompts, duration_after_vad, given, cut_off }
    }

    /// The chunks, made at the first call. Audio that is too short for a frame has one, of no frames, if its language
    /// is still wanted.
    ///
    /// # Errors
    /// Where the features cannot be read back.
    pub(crate) fn open(
        &mut self,
        mel: &LogMel,
        special: &SpecialTokens,
        options: &TranscribeOptions,
        positions: usize,
        detector: &Detector,
    ) -> io::Result<&[Chunk]> {
        if let State::Untouched = self.state {
            let features = self.audio.features(mel);
            self.run.mel_ms = features.time().as_secs_f64() * 1e3;
            let (timeline, voice) = self.look(&features, options, detector)?;
            let frames = timeline.frames();
            let clips = clips(&options.clips, frames);
            let length: usize = clips.iter().map(Range::len).sum();
            let cut = options.cut_at_pauses && length > WINDOW_FRAMES;
            // A chunk's parts are transcribed one after another, each with the text of those before it.
            let parts: Vec<Vec<Range<usize>>> = match cut {
                true => within(&chunks(&voice), &clips).into_iter().map(|part| vec![part]).collect(),
                false => vec![clips],
            };
            let shortest = (options.shortest_rest * 100.0).round() as usize;
            let whole = self.audio.duration();
            let end = |part: &Range<usize>| if part.end == features.frames() { whole } else { part.end as f64 / 100.0 };
            let chunk = |(index, parts): (usize, Vec<Range<usize>>)| {
                let mut later: Vec<_> = parts.into_iter().rev().map(|part| (part.clone(), end(&part))).collect();
                let (Range { start: from, end: to }, end) = later.pop().unwrap_or_default();
                let mut options = TranscribeOptions { cut_at_pauses: cut, ..options.clone() };
                options.prompt.condition_on_previous_text &= !cut;
                let skip_steady = options.skip_steady;
                let prompts =
                    if index == 0 { PromptTokens::clone(&self.prompts) } else { self.prompts.of_later_part() };
                let writer = Writer::new(prompts, options, positions, end, special.first_timestamp);
                let mut chunk = Chunk {
                    from,
                    to,
                    later,
                    before: 0,
                    seek: from,
                    shortest,
                    skip_steady,
                    cut,
                    first_round: None,
                    writer,
                };
                // Features begin and end with a jump, which is no sound.
                chunk.go_on(&voice, AT_THE_START);
                chunk
            };
            let chunks: Vec<Chunk> = parts.into_iter().enumerate().map(chunk).collect();
            let nothing = frames == 0;
            let steady = !nothing && chunks.iter().all(Chunk::finished);
            self.state = State::Open { features, timeline, chunks, voice };
            if steady || nothing && (self.language.is_some() || !special.multilingual) {
                self.finish();
            }
        }
        Ok(self.chunks())
    }

    /// Which frames are decoded at all, and where in them there is a voice.
    fn look(
        &mut self,
        features: &Features,
        options: &TranscribeOptions,
        detector: &Detector,
    ) -> io::Result<(Timeline, Voice)> {
        let VoiceOptions { vad_filter, vad } = options.voice;
        // Who names clips has said what is to be transcribed.
        let vad_filter = vad_filter && options.clips.is_empty();
        let (frames, levels, silence) = (features.frames(), features.levels()?, features.silence());
        let wanted = vad_filter || options.cut_at_pauses && frames > WINDOW_FRAMES;
        let mut speech = None;
        if wanted && !detector.is_loudness() {
            match self.audio.speech(detector) {
                Ok(found) => speech = Some(found),
                Err(reason) => {
                    let what = format!("pauses were told from speech by loudness alone: {reason}");
                    self.run.warnings.push(Warning { from: 0.0, to: self.audio.duration(), what });
                }
            }
        }
        let timeline = if vad_filter {
            let by_loudness =
                || SpeechProbabilities::of_frames(Voice::of(&levels, silence).voice(), features.samples());
            let segments =
                speech.as_ref().map_or_else(|| by_loudness().segments(&vad), |speech| speech.plain.segments(&vad));
            let samples: u64 = segments.iter().map(|segment| segment.end - segment.start).sum();
            self.duration_after_vad = Some(samples as f64 / f64::from(SAMPLE_RATE));
            Timeline::of(&segments, frames)
        } else {
            Timeline::whole(frames)
        };
        let kept = timeline.pick(&levels);
        let voice = match speech {
            Some(speech) => {
                let threshold = vad.lower_threshold() as f32;
                let (speech, faint) = speech.by_frame(frames);
                let voice = Voice::detected(&kept, silence, &timeline.pick(&speech), threshold);
                voice.with_faint(timeline.pick(&faint))
            }
            None => Voice::of(&kept, silence),
        };
        Ok((timeline, voice))
    }

    /// The chunks; none before [`Self::open`] and after the last one's end.
    pub(crate) fn chunks(&self) -> &[Chunk] {
        match &self.state {
            State::Open { chunks, .. } => chunks,
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
            State::Open { ref chunks, ref timeline, .. } => {
                timeline.frame(chunks.iter().map(Chunk::done).sum(), true) as f64 / 100.0
            }
            State::Finished { .. } => self.audio.duration(),
        }
    }

    /// Frames of a chunk's next window after which the model must not leave the rest to another window. There are such
    /// frames where this window reaches to the chunk's end, the rest would be too short for a window of its own or
    /// the chunk ends in a pause, and there is voice in the rest: as much as a word's at a recording's end, a second of
    /// it where the recording was cut. A model that is made to go on for less writes what nobody said.
    fn goes_on(&self, chunk: usize) -> Range<usize> {
        let State::Open { chunks, voice, .. } = &self.state else { return 0..0 };
        let Chunk { seek, to, shortest, cut, .. } = chunks[chunk];
        if to > seek + WINDOW_FRAMES || shortest == 0 {
            return 0..0;
        }
        let least = if cut { LEAST_VOICE } else { WORD };
        let enough = |at: &usize| voice.voiced(*at..to) >= least;
        let until = (seek..to).rev().find(enough).map_or(0, |at| at + 1 - seek);
        let from = if cut { 0 } else { (to - seek + 1).saturating_sub(shortest) };
        from..until.max(from)
    }

    /// The recording's language is this.
    pub(crate) fn set_language(&mut self, detected: Detected) {
        self.language = Some((detected.code.clone(), detected.token));
        self.detected = Some(detected);
    }

    /// The features of one of the windows that follow one another from the first chunk's on, `[bins, 3000]`; `None`
    /// where there is no such window.
    pub(crate) fn listening_window(&self, index: usize, padding: Padding) -> io::Result<Option<Vec<f32>>> {
        let State::Open { features, timeline, chunks, .. } = &self.state else { return Ok(None) };
        let from = chunks.first().map_or(0, |chunk| chunk.from) + index * WINDOW_FRAMES;
        if from >= timeline.frames() {
            return Ok(None);
        }
        features_of(features, timeline, from..timeline.frames(), padding).map(Some)
    }

    /// Where a chunk's next window is.
    pub(crate) fn place(&self, chunk: usize) -> Place {
        let goes_on = self.goes_on(chunk);
        let (seek, end) = self.chunks().get(chunk).map_or((0, 0), |chunk| (chunk.seek, chunk.to));
        Place { seek, frames: WINDOW_FRAMES.min(end - seek), end, goes_on }
    }

    /// The features of a chunk's next window, `[bins, 3000]`.
    pub(crate) fn window(&self, chunk: usize, padding: Padding) -> io::Result<Vec<f32>> {
        let State::Open { features, timeline, chunks, .. } = &self.state else { return Ok(Vec::new()) };
        let Chunk { seek, to, .. } = chunks[chunk];
        // What follows is another chunk's.
        if chunks[chunk].cut {
            return features.window_by_itself(timeline.frames_of(seek..to), padding == Padding::Silence);
        }
        features_of(features, timeline, seek..to, padding)
    }

    /// Adds the text of a chunk's window, and moves the chunk on to its next.
    pub(crate) fn add(
        &mut self,
        chunk: usize,
        mut window: DecodedWindow,
        tokenizer: &Tokenizer,
    ) -> Result<(), TokenizerError> {
        if let (None, Some(detected)) = (&self.language, &window.language) {
            self.set_language(detected.clone());
        }
        self.run.encoder_ms += window.encoder_ms;
        self.run.decoder_ms += window.decoder_ms;
        self.run.tokens += window.attempt.as_ref().map_or(0, |attempt| attempt.steps as u64);
        let place = self.place(chunk);
        let State::Open { chunks, voice, timeline, .. } = &mut self.state else { return Ok(()) };
        let chunk = &mut chunks[chunk];
        let standing = chunk.writer.segments.len();
        // What the model passed by the first time and is not sure of the second is no speech.
        let doubtful =
            |attempt: &Attempt| attempt.verdict != Verdict::Good || attempt.decoded.no_speech_prob > MISSED_NO_SPEECH;
        if chunk.first_round.is_some() {
            window.attempt = window.attempt.filter(|attempt| !doubtful(attempt));
        }
        if chunk.writer.multilingual() {
            chunk.writer.goes_on_in(window.language.as_ref().map(|detected| detected.token));
        }
        let advance = match &window.attempt {
            Some(attempt) => chunk.writer.write(tokenizer, attempt, &place, window.words)?,
            None => place.frames,
        };
        let seconds = |frame: usize, is_end| timeline.frame(frame, is_end) as f64 / 100.0;
        let from = seconds(chunk.seek, false);
        let to = seconds(chunk.seek + advance, true).min(self.audio.duration()).max(from);
        if let Some(what) = window.attempt.as_ref().and_then(doubt) {
            self.run.warnings.push(Warning { from, to, what: what.to_owned() });
        }
        let cut_off = window.attempt.as_ref().is_some_and(|attempt| attempt.decoded.cut_off);
        if cut_off && chunk.writer.segments.len() > standing {
            self.cut_off.add(from, to, advance < place.frames);
        }
        if chunk.writer.multilingual() {
            let language = window.language.map(|detected| detected.code);
            chunk.writer.segments[standing..].iter_mut().for_each(|segment| segment.language.clone_from(&language));
        }
        chunk.seek += advance;
        chunk.go_on(voice, WITHIN);
        chunk.look_again(voice);
        if chunk.finished() {
            chunk.complete(voice);
        }
        if chunks.iter().all(Chunk::finished) {
            self.finish();
        }
        Ok(())
    }

    /// The segments that are final by now and were not given before: those of each chunk before which all are finished.
    /// A chunk that is cut has to be finished itself: segments may still come between those that it has.
    pub(crate) fn take_fresh(&mut self) -> Vec<Segment> {
        let mut standing: Vec<Segment> = match &self.state {
            State::Untouched => Vec::new(),
            State::Open { chunks, timeline, voice, .. } => {
                let finished = chunks.iter().take_while(|chunk| chunk.finished()).count();
                let is_final = |(at, chunk): &(usize, &Chunk)| *at < finished || *at == finished && !chunk.cut;
                let final_ones = chunks.iter().enumerate().take_while(is_final);
                let final_ones = final_ones.flat_map(|(_, chunk)| &chunk.writer.segments).skip(self.given);
                let mut fresh: Vec<Segment> = final_ones.cloned().collect();
                fresh.iter_mut().for_each(|segment| settle(segment, timeline, voice, self.audio.duration()));
                fresh
            }
            State::Finished { segments, .. } => segments.iter().skip(self.given).cloned().collect(),
        };
        standing.iter_mut().zip(self.given..).for_each(|(segment, id)| segment.id = id);
        self.given += standing.len();
        standing
    }

    /// Puts the chunks' texts together and lets go of the features.
    pub(crate) fn finish(&mut self) {
        let State::Open { chunks, timeline, voice, .. } = &mut self.state else { return };
        let (mut segments, mut tokens): (Vec<Segment>, _) = (Vec::new(), Vec::new());
        for chunk in chunks {
            chunk.complete(voice);
            tokens.extend_from_slice(chunk.writer.text_tokens());
            segments.append(&mut chunk.writer.segments);
        }
        for (id, segment) in segments.iter_mut().enumerate() {
            segment.id = id;
            settle(segment, timeline, voice, self.audio.duration());
        }
        self.run.warnings.extend(self.cut_off.warning());
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

/// The first window `[bins, 3000]` of the timeline's frames `range`, and after them padding.
fn features_of(
    features: &Features,
    timeline: &Timeline,
    range: Range<usize>,
    padding: Padding,
) -> io::Result<Vec<f32>> {
    if padding == Padding::Silence && range.end == features.frames() {
        return features.window_with_silence(range.start);
    }
    let length = range.len();
    let mut window = features.window_of(timeline.frames_of(range))?;
    if padding == Padding::Silence && length < WINDOW_FRAMES {
        window.chunks_exact_mut(WINDOW_FRAMES).for_each(|line| line[length..].fill(features.silence()));
    }
    Ok(window)
}

/// The parts of a recording of so many frames that are transcribed.
fn clips(clips: &[Clip], frames: usize) -> Vec<Range<usize>> {
    if clips.is_empty() {
        return std::iter::once(0..frames).collect();
    }
    let frame = |seconds: f64| ((seconds * 100.0).round() as usize).min(frames);
    clips.iter().map(|clip| frame(clip.start)..clip.end.map_or(frames, frame)).collect()
}

/// Those parts of `ranges` that lie in one of `others`; both are in order.
fn within(ranges: &[Range<usize>], others: &[Range<usize>]) -> Vec<Range<usize>> {
    let both = |range: &Range<usize>, other: &Range<usize>| range.start.max(other.start)..range.end.min(other.end);
    let of = |range| others.iter().map(move |other| both(range, other)).filter(|part| !part.is_empty());
    ranges.iter().flat_map(of).collect()
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
