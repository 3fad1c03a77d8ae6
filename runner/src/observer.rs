//! Watching a transcription: how far it is, its segments as they come, its results as they are done, and the wish to
//! end it.

use crate::result::{Segment, Transcription};

/// How far a transcription has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds of audio that are done.
    pub done_seconds: f64,
    /// Seconds of audio in all.
    pub total_seconds: f64,
}

/// Told what happens while recordings are transcribed, between windows. `()` watches nothing.
///
/// `recording` is the place among the recordings that were given.
///
/// ```
/// use undertone_runner::{Cancel, Observer, Progress, Segment};
///
/// struct Print;
///
/// impl Observer for Print {
///     fn progress(&mut self, Progress { done_seconds, total_seconds }: Progress) {
///         eprintln!("{done_seconds:.0} s of {total_seconds:.0} s");
///     }
///
///     fn segments(&mut self, recording: usize, segments: &[Segment]) {
///         segments.iter().for_each(|segment| println!("{recording}:{}", segment.text));
///     }
/// }
///
/// // With `transcriber.transcribe(&recording, &options, &mut watch)` it is told, and `cancel` ends it.
/// let cancel = Cancel::new();
/// let mut watch = (Print, cancel.clone());
/// cancel.cancel();
/// assert!(watch.stop());
/// ```
pub trait Observer {
    /// Windows are done.
    fn progress(&mut self, _progress: Progress) {}

    /// The next segments of a recording: in order of time, each once, and they will not change.
    fn segments(&mut self, _recording: usize, _segments: &[Segment]) {}

    /// A recording is done; this is what is returned for it in the end.
    fn finished(&mut self, _recording: usize, _transcription: &Transcription) {}

    /// Asked before each window and at each step within it: whether to end with what there is, without the window in
    /// work.
    fn stop(&mut self) -> bool {
        false
    }
}

impl Observer for () {}

/// Whoever only lends an observer gets it back.
impl<T: Observer + ?Sized> Observer for &mut T {
    fn progress(&mut self, progress: Progress) {
        (**self).progress(progress);
    }

    fn segments(&mut self, recording: usize, segments: &[Segment]) {
        (**self).segments(recording, segments);
    }

    fn finished(&mut self, recording: usize, transcription: &Transcription) {
        (**self).finished(recording, transcription);
    }

    fn stop(&mut self) -> bool {
        (**self).stop()
    }
}

/// Both are told everything, the first one first; either can end it.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn progress(&mut self, progress: Progress) {
        self.0.progress(progress);
        self.1.progress(progress);
    }

    fn segments(&mut self, recording: usize, segments: &[Segment]) {
        self.0.segments(recording, segments);
        self.1.segments(recording, segments);
    }

    fn finished(&mut self, recording: usize, transcription: &Transcription) {
        self.0.finished(recording, transcription);
        self.1.finished(recording, transcription);
    }

    fn stop(&mut self) -> bool {
        self.0.stop() || self.1.stop()
    }
}
