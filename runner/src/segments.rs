//! A recording's segments as an iterator.

use std::iter::FusedIterator;

use crate::cancel::Cancel;
use crate::observer::Progress;
use crate::result::{Segment, Transcription};
use crate::transcribe::{TranscribeError, Transcriber};
use crate::transcribing::Transcribing;

/// The segments of a recording, each computed when it is asked for, a window at a time; made by
/// [`Transcriber::segments`]. After the last of them, or after any of them, [`Self::finish`] gives the whole result.
///
/// An error is the last item.
pub struct Segments<'a> {
    transcriber: &'a mut Transcriber,
    transcribing: Transcribing<'a>,
}

impl<'a> Segments<'a> {
    pub(crate) fn new(transcriber: &'a mut Transcriber, transcribing: Transcribing<'a>) -> Self {
        Self { transcriber, transcribing }
    }

    /// Ends the iterator from elsewhere, another thread for example: the window in work ends at the decoder's next step
    /// and is left out; segments of windows before it still come.
    pub fn cancel(&self) -> Cancel {
        self.transcribing.cancel()
    }

    /// How far the recording is transcribed.
    pub fn progress(&self) -> Progress {
        self.transcribing.progress()
    }

    /// The language's code, and its probability where it was detected; `None` before the first window is decoded, if
    /// the language was not asked for.
    pub fn language(&self) -> Option<(&str, Option<f64>)> {
        self.transcribing.language(0)
    }

    /// What the recording came to. Where segments are left that were not asked for, nothing more is computed, and
    /// `run.stopped` says until where the recording was transcribed.
    ///
    /// # Errors
    /// [`TranscribeError`] where the text cannot be put together.
    pub fn finish(self) -> Result<Transcription, TranscribeError> {
        // There is one for each recording.
        self.transcribing.finish(self.transcriber).map(|mut all| all.remove(0))
    }
}

impl Iterator for Segments<'_> {
    type Item = Result<Segment, TranscribeError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.transcribing.next_segment(self.transcriber)?.map(|(_, segment)| segment))
    }
}

impl FusedIterator for Segments<'_> {}
