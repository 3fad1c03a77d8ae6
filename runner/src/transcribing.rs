//! Recordings while they are transcribed, as a state that goes on from one batch of windows to the next when it is
//! asked to. [`Transcriber::transcribe_all`] asks until all is done; [`Segments`](crate::Segments) asks when a segment
//! is wanted and none is there.
//!
//! Nothing of a transcriber is borrowed between two steps. So whoever owns one (a program in another language, a pool of
//! threads) keeps this beside it, and several transcriptions can take turns on one transcriber.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::audio::Audio;
use crate::cancel::Cancel;
use crate::observer::{Observer, Progress};
use crate::options::TranscribeOptions;
use crate::recording::Recording;
use crate::result::{RunReport, Segment, Transcription};
use crate::rules::Rule;
use crate::transcribe::{Start, TranscribeError, Transcriber};

/// A transcription of recordings that goes on step by step; made by [`Transcriber::begin`].
///
/// Two ways to go on: [`Self::next_segment`] gives segments one by one, [`Self::advance`] tells an observer. Both
/// compute when they are called and at no other time. All calls must be with the transcriber that began it, or one that
/// was loaded from the same model.
///
/// ```
/// # // Compiled always, run where ONNX Runtime is named; the paths are the repository's.
/// # let Some(library) = std::env::var_os("ORT_DYLIB_PATH") else { return Ok(()) };
/// # std::env::set_current_dir("..")?;
/// use undertone_runner::{EngineOptions, Model, TranscribeOptions, Transcriber, audio};
///
/// let model = Model::open("models/reference", None)?;
/// let mut transcriber = Transcriber::load(&model, &EngineOptions::new(library))?;
/// let recordings = [audio::read_file("speech/short/000-en.flac".as_ref())?];
///
/// let mut transcribing = transcriber.begin(&recordings, &TranscribeOptions::default())?;
/// while let Some(next) = transcribing.next_segment(&mut transcriber) {
///     let (recording, segment) = next?;
///     println!("{recording}: {:.2} to {:.2}:{}", segment.start, segment.end, segment.text);
/// }
/// let results = transcribing.finish(&transcriber)?;
/// assert_eq!(results[0].language, "en");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Transcribing<'a> {
    recordings: Vec<Recording<'a>>,
    options: TranscribeOptions,
    rules: Vec<Box<dyn Rule>>,
    start: Start,
    /// What is counted for all recordings together.
    session: RunReport,
    total_seconds: f64,
    results: Vec<Option<Transcription>>,
    /// Segments that [`Self::next_segment`] has not given yet, each with the place of its recording.
    ready: VecDeque<(usize, Segment)>,
    cancel: Cancel,
    /// Why nothing more comes, until [`Self::next_segment`] has said it.
    failure: Option<TranscribeError>,
    /// Whether nothing more comes: all is done, or it was ended early, or it failed.
    ended: bool,
}

/// Puts segments where [`Transcribing::next_segment`] takes them from.
struct Ready<'a> {
    segments: &'a mut VecDeque<(usize, Segment)>,
    cancel: &'a Cancel,
}

impl Observer for Ready<'_> {
    fn segments(&mut self, recording: usize, segments: &[Segment]) {
        self.segments.extend(segments.iter().map(|segment| (recording, segment.clone())));
    }

    fn stop(&mut self) -> bool {
        self.cancel.is_cancelled()
    }
}

impl<'a> Transcribing<'a> {
    pub(crate) fn new(
        audio: Vec<Cow<'a, Audio>>,
        options: TranscribeOptions,
        rules: Vec<Box<dyn Rule>>,
        start: Start,
        recording: impl Fn(Cow<'a, Audio>) -> Recording<'a>,
        fallback: Option<String>,
    ) -> Self {
        let total_seconds = audio.iter().map(|audio| audio.duration()).sum();
        let session = RunReport { recordings: audio.len() as u64, fallback, ..RunReport::default() };
        Self {
            results: audio.iter().map(|_| None).collect(),
            recordings: audio.into_iter().map(recording).collect(),
            options,
            rules,
            start,
            session,
            total_seconds,
            ready: VecDeque::new(),
            cancel: Cancel::new(),
            failure: None,
            ended: false,
        }
    }

    /// Decodes the windows that come next, at most `options.batch` of them, and tells `observer` what came of them.
    /// Returns whether there is more to do; once there is not, it never is again.
    ///
    /// # Errors
    /// [`TranscribeError`] where the model fails. Nothing more comes after that.
    pub fn advance(
        &mut self,
        transcriber: &mut Transcriber,
        observer: &mut dyn Observer,
    ) -> Result<bool, TranscribeError> {
        if !self.ended {
            // What fails is not tried again.
            self.ended = true;
            self.ended = !self.step(transcriber, observer)?;
        }
        Ok(!self.ended)
    }

    /// The next segment and the place of its recording among those that were given; decodes windows until there is one.
    /// `None` at the end, also where that is early. A recording's segments come in order; those of several recordings
    /// come as their windows are done.
    pub fn next_segment(&mut self, transcriber: &mut Transcriber) -> Option<Result<(usize, Segment), TranscribeError>> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Some(Ok(next));
            }
            if self.ended {
                return self.failure.take().map(Err);
            }
            let mut segments = std::mem::take(&mut self.ready);
            let cancel = self.cancel.clone();
            let more = self.advance(transcriber, &mut Ready { segments: &mut segments, cancel: &cancel });
            self.ready = segments;
            // Segments that came before it are given first.
            self.failure = more.err();
        }
    }

    /// Ends [`Self::next_segment`] from elsewhere, another thread for example; [`Self::advance`] is ended by its
    /// observer.
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let done_seconds = self.recordings.iter().map(Recording::done_seconds).sum();
        Progress { done_seconds, total_seconds: self.total_seconds }
    }

    /// The code of a recording's language, and its probability where it was detected; `None` before its first window is
    /// decoded, if the language was not asked for.
    pub fn language(&self, recording: usize) -> Option<(&str, Option<f64>)> {
        let recording = self.recordings.get(recording)?;
        let (code, _) = recording.language.as_ref()?;
        Some((code, recording.detected.as_ref().map(|detected| detected.probability)))
    }

    /// What the recordings came to, in the order in which they were given; where something is not done yet, the
    /// segments so far, and `run.stopped` says until where.
    ///
    /// # Errors
    /// [`TranscribeError`] where the text cannot be put together.
    pub fn finish(self, transcriber: &Transcriber) -> Result<Vec<Transcription>, TranscribeError> {
        let Self { recordings, options, start, session, results, .. } = self;
        let ended = |(mut recording, result): (Recording<'_>, Option<Transcription>)| match result {
            Some(result) => Ok(result),
            None => {
                let until = recording.done_seconds();
                recording.finish();
                let mut result = transcriber.result(&recording, &options, &start, &session)?;
                result.run.stopped = Some(until);
                Ok(result)
            }
        };
        recordings.into_iter().zip(results).map(ended).collect()
    }

    /// [`Self::advance`] without the end in mind.
    fn step(&mut self, transcriber: &mut Transcriber, observer: &mut dyn Observer) -> Result<bool, TranscribeError> {
        let observer = RefCell::new(observer);
        let stopped = Cell::new(false);
        let stop = || {
            stopped.set(observer.borrow_mut().stop());
            stopped.get()
        };
        if stop() {
            return Ok(false);
        }
        let Self { recordings, options, rules, start, session, .. } = self;
        for recording in recordings.iter_mut() {
            session.windows += transcriber.hear_language(recording, options, &stop, &mut session.fallback)?;
        }
        let chosen = transcriber.choose(recordings, options)?;
        session.batch = session.batch.max(chosen.len() as u64);
        session.windows += chosen.len() as u64;
        if !chosen.is_empty() {
            let batch = transcriber.batch(recordings, &chosen, options, rules, &stop)?;
            let decoded = transcriber.run(&batch, &mut session.fallback)?;
            if stopped.get() {
                return Ok(false); // The windows' texts are not whole.
            }
            for (&(recording, chunk), window) in chosen.iter().zip(decoded) {
                recordings[recording].add(chunk, window, transcriber.tokenizer())?;
            }
        }
        let done_seconds: f64 = recordings.iter().map(Recording::done_seconds).sum();
        let total_seconds = self.total_seconds;
        tracing::debug!("{} windows, {done_seconds:.1} s of {total_seconds:.1} s done", session.windows);
        session.realtime_factor = done_seconds / start.begun.elapsed().as_secs_f64().max(1e-9);
        for (index, (recording, result)) in recordings.iter_mut().zip(&mut self.results).enumerate() {
            if result.is_none() {
                let fresh = recording.take_fresh();
                if !fresh.is_empty() {
                    observer.borrow_mut().segments(index, &fresh);
                }
                if recording.finished() {
                    let done = transcriber.result(recording, options, start, session)?;
                    observer.borrow_mut().finished(index, result.insert(done));
                }
            }
        }
        if chosen.is_empty() {
            return Ok(false);
        }
        observer.borrow_mut().progress(Progress { done_seconds, total_seconds });
        Ok(true)
    }
}
