//! A transcription while it is consumed: an iterator over segments, a step of the model at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use undertone_runner::{Audio, Observer, RunReport, Segment, TranscribeOptions, Transcribing, Transcription, Word};

use crate::error::of_transcribing;
use crate::interrupt::Signals;
use crate::pool::Pool;

/// A word: start, end, text, probability.
type WordRow = (f64, f64, String, f32);
/// A segment: which piece of sound it is of, then its fields in the order of faster-whisper's class without the number;
/// no words where none were asked for.
type SegmentRow = (usize, usize, f64, f64, String, Vec<u32>, f32, f32, f32, Option<Vec<WordRow>>, f32);
/// Which piece of sound, from and to when in it, and what there is to say.
type WarningRow = (usize, f64, f64, String);

/// The segments of one or several pieces of sound, in their order. Nothing is computed before one is asked for.
#[pyclass(frozen, module = "undertone._native")]
pub struct Segments(Mutex<State>);

struct State {
    pool: Arc<Pool>,
    /// What is still to be done; `None` at the end, and after an error.
    open: Option<Transcribing<'static>>,
    /// Whether segments have words.
    words: bool,
    heard: Heard,
    done_seconds: f64,
    /// What the pieces came to.
    runs: Vec<RunReport>,
}

/// Segments that were not given yet, by piece. Pieces that are decoded together end in any order.
#[derive(Default)]
struct Heard {
    pieces: Vec<(VecDeque<Segment>, bool)>,
    /// The piece whose segments come next.
    turn: usize,
}

impl Heard {
    fn next(&mut self) -> Option<(usize, Segment)> {
        while let Some((segments, finished)) = self.pieces.get_mut(self.turn) {
            match segments.pop_front() {
                Some(segment) => return Some((self.turn, segment)),
                None if *finished => self.turn += 1,
                None => return None,
            }
        }
        None
    }
}

/// Notes what comes, and looks for Ctrl-C.
struct Watch<'a> {
    heard: &'a mut Heard,
    signals: &'a mut Signals,
}

impl Observer for Watch<'_> {
    fn segments(&mut self, recording: usize, segments: &[Segment]) {
        if let Some((waiting, _)) = self.heard.pieces.get_mut(recording) {
            waiting.extend(segments.iter().cloned());
        }
    }

    fn finished(&mut self, recording: usize, _transcription: &Transcription) {
        if let Some((_, finished)) = self.heard.pieces.get_mut(recording) {
            *finished = true;
        }
    }

    fn stop(&mut self) -> bool {
        self.signals.stop()
    }
}

impl Segments {
    /// Of `audio`, by the transcribers of `pool`. Options that the model cannot follow are an error now.
    pub fn new(pool: Arc<Pool>, audio: Vec<Audio>, options: &TranscribeOptions) -> PyResult<Self> {
        let (pieces, words) = (audio.len(), options.words.word_timestamps);
        let mut signals = Signals::new();
        let taken = pool.take(&mut || signals.stop());
        signals.raised()?;
        let open = match taken.as_ref().and_then(|taken| taken.get()) {
            Some(transcriber) => {
                transcriber.check(options).map_err(|error| of_transcribing(&error))?;
                Some(transcriber.begin(audio, options).map_err(|error| of_transcribing(&error))?)
            }
            None => None,
        };
        drop(taken);
        let heard = Heard { pieces: (0..pieces).map(|_| Default::default()).collect(), turn: 0 };
        Ok(Self(Mutex::new(State { pool, open, words, heard, done_seconds: 0.0, runs: Vec::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Segments {
    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<SegmentRow>> {
        py.detach(|| self.state().next())
    }

    /// Seconds of sound that are done.
    #[getter]
    fn done_seconds(&self, py: Python<'_>) -> f64 {
        py.detach(|| self.state().done_seconds)
    }

    /// Why not the device that was asked for computed, if that was so. Known at the end.
    #[getter]
    fn fallback(&self, py: Python<'_>) -> Option<String> {
        py.detach(|| self.state().runs.iter().find_map(|run| run.fallback.clone()))
    }

    /// Where the text is doubtful. Known at the end.
    #[getter]
    fn warnings(&self, py: Python<'_>) -> Vec<WarningRow> {
        py.detach(|| {
            let state = self.state();
            let of = |(piece, run): (usize, &RunReport)| {
                run.warnings.iter().map(|w| (piece, w.from, w.to, w.what.clone())).collect::<Vec<_>>()
            };
            state.runs.iter().enumerate().flat_map(of).collect()
        })
    }

    /// What computed, as the executing code counted it, and at which precision. Known at the end.
    #[getter]
    fn executed_by(&self, py: Python<'_>) -> Option<(String, String)> {
        py.detach(|| self.state().runs.last().map(|run| (run.device.clone(), run.precision.clone())))
    }
}

impl State {
    /// The next segment, computed if it is not there yet.
    fn next(&mut self) -> PyResult<Option<SegmentRow>> {
        loop {
            if let Some((piece, segment)) = self.heard.next() {
                return Ok(Some(row(piece, segment, self.words)));
            }
            // What fails is not gone on with.
            let Some(mut open) = self.open.take() else { return Ok(None) };
            let mut signals = Signals::new();
            let Some(mut taken) = self.pool.take(&mut || signals.stop()) else {
                return signals.raised().map(|()| None);
            };
            let Some(transcriber) = taken.get_mut() else { return Ok(None) };
            let more = open.advance(transcriber, &mut Watch { heard: &mut self.heard, signals: &mut signals });
            signals.raised()?;
            self.done_seconds = open.progress().done_seconds;
            if more.map_err(|error| of_transcribing(&error))? {
                self.open = Some(open);
                continue;
            }
            let done = open.finish(transcriber).map_err(|error| of_transcribing(&error))?;
            self.runs = done.into_iter().map(|transcription| transcription.run).collect();
            self.heard.pieces.iter_mut().for_each(|(_, finished)| *finished = true);
        }
    }
}

fn row(piece: usize, segment: Segment, words: bool) -> SegmentRow {
    let word = |word: Word| (word.start, word.end, word.word, word.probability);
    (
        piece,
        segment.seek,
        segment.start,
        segment.end,
        segment.text,
        segment.tokens,
        segment.avg_logprob,
        segment.compression_ratio,
        segment.no_speech_prob,
        words.then(|| segment.words.into_iter().map(word).collect()),
        segment.temperature,
    )
}
