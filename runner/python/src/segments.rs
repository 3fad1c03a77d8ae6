//! A transcription while it is consumed: an iterator over segments. A thread transcribes from the first one on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use undertone_runner::{Audio, Observer, Progress, RunReport, Segment, TranscribeOptions, Transcription, Word};

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
    work: Work,
    stop: Arc<AtomicBool>,
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

enum Event {
    Segments(usize, Vec<Segment>),
    Finished(usize),
    Progress(f64),
    Done(PyResult<Vec<RunReport>>),
}

enum Work {
    Waiting(Vec<Audio>, Box<TranscribeOptions>),
    Running(Receiver<Event>),
    Ended,
}

struct Watch<'a> {
    sender: &'a Sender<Event>,
    stop: &'a AtomicBool,
}

impl Observer for Watch<'_> {
    fn progress(&mut self, progress: Progress) {
        drop(self.sender.send(Event::Progress(progress.done_seconds)));
    }

    fn segments(&mut self, recording: usize, segments: &[Segment]) {
        drop(self.sender.send(Event::Segments(recording, segments.to_vec())));
    }

    fn finished(&mut self, recording: usize, _transcription: &Transcription) {
        drop(self.sender.send(Event::Finished(recording)));
    }

    fn stop(&mut self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Segments {
    /// Of `audio`, by the transcribers of `pool`. Options that the model cannot follow are an error now.
    pub fn new(pool: Arc<Pool>, audio: Vec<Audio>, options: &TranscribeOptions) -> PyResult<Self> {
        let (pieces, words) = (audio.len(), options.words.word_timestamps);
        let mut signals = Signals::new();
        let taken = pool.take(&mut || signals.stop());
        signals.raised()?;
        if let Some(transcriber) = taken.as_ref().and_then(|taken| taken.get()) {
            transcriber.check(options).map_err(|error| of_transcribing(&error))?;
        }
        drop(taken);
        let work = Work::Waiting(audio, Box::new(options.clone()));
        let heard = Heard { pieces: (0..pieces).map(|_| Default::default()).collect(), turn: 0 };
        let stop = Arc::default();
        Ok(Self(Mutex::new(State { pool, work, stop, words, heard, done_seconds: 0.0, runs: Vec::new() })))
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
            match std::mem::replace(&mut self.work, Work::Ended) {
                Work::Ended => return Ok(None),
                Work::Waiting(audio, options) => {
                    let (sender, receiver) = mpsc::channel();
                    let (pool, stop) = (self.pool.clone(), self.stop.clone());
                    thread::spawn(move || {
                        let done = work(&pool, &audio, &options, &sender, &stop);
                        drop(sender.send(Event::Done(done)));
                    });
                    self.work = Work::Running(receiver);
                }
                Work::Running(receiver) => {
                    match receiver.recv_timeout(Duration::from_millis(50)) {
                        Ok(Event::Segments(piece, segments)) => self.heard.pieces[piece].0.extend(segments),
                        Ok(Event::Finished(piece)) => self.heard.pieces[piece].1 = true,
                        Ok(Event::Progress(seconds)) => self.done_seconds = seconds,
                        Ok(Event::Done(runs)) => {
                            self.runs = runs?;
                            self.heard.pieces.iter_mut().for_each(|(_, finished)| *finished = true);
                            continue;
                        }
                        Err(RecvTimeoutError::Timeout) => {
                            let signal = Python::attach(|py| py.check_signals());
                            if signal.is_err() {
                                self.stop.store(true, Ordering::Relaxed);
                            }
                            signal?;
                        }
                        Err(RecvTimeoutError::Disconnected) => continue,
                    }
                    self.work = Work::Running(receiver);
                }
            }
        }
    }
}

fn work(
    pool: &Pool,
    audio: &[Audio],
    options: &TranscribeOptions,
    sender: &Sender<Event>,
    stop: &AtomicBool,
) -> PyResult<Vec<RunReport>> {
    let Some(mut taken) = pool.take(&mut || stop.load(Ordering::Relaxed)) else { return Ok(Vec::new()) };
    let Some(transcriber) = taken.get_mut() else { return Ok(Vec::new()) };
    let all: Vec<&Audio> = audio.iter().collect();
    let done = transcriber.transcribe_all(&all, options, &mut Watch { sender, stop });
    let done = done.map_err(|error| of_transcribing(&error))?;
    Ok(done.into_iter().map(|transcription| transcription.run).collect())
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
