//! A chunk of a recording: a part that is transcribed by itself, from window to window, and what of it is skipped or
//! decoded a second time. `recording` decodes its windows, `writer` has its text.

use crate::result::Segment;
use crate::settle::part_at_pauses;
use crate::voice::Voice;
use crate::writer::Writer;
use std::ops::Range;

/// Frames with a voice in them for which the rest of a chunk is worth a window of its own.
pub(crate) const LEAST_VOICE: usize = 100;
/// Frames with a voice in them that may be a recording's last word.
pub(crate) const WORD: usize = 30;

/// Frames with a voice in them that no segment has, for which a part of a chunk is decoded a second time …
const MISSED: usize = 150;
/// … with so many frames on either side of the voice.
const AROUND_MISSED: usize = 30;
/// What is decoded a second time is kept where it is no speech by this probability at most: the model left it out once.
pub(crate) const MISSED_NO_SPEECH: f64 = 0.4;

/// Frames before a sound with which its window begins.
const BEFORE_SOUND: usize = 50;
/// Steady sound is skipped where it begins within so many frames of a chunk's start …
pub(crate) const AT_THE_START: usize = 25;
/// … or of the end of a window: the frames before it are what is left of the window's last word.
pub(crate) const WITHIN: usize = 100;

/// A part of a recording that is transcribed by itself, from window to window.
pub(crate) struct Chunk {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Parts of the recording that follow, the last one first, each with its end in seconds.
    pub(crate) later: Vec<(Range<usize>, f64)>,
    /// Frames of the parts before this one.
    pub(crate) before: usize,
    /// The frame at which the next window begins.
    pub(crate) seek: usize,
    /// Fewer frames than these at the end are left alone.
    pub(crate) shortest: usize,
    /// Whether sound that does not change is left alone.
    pub(crate) skip_steady: bool,
    /// Whether it is one of several that the recording was cut into.
    pub(crate) cut: bool,
    /// The segments that it had when parts of it without any began to be decoded again.
    pub(crate) first_round: Option<Vec<Segment>>,
    pub(crate) writer: Writer,
}

impl Chunk {
    pub(crate) fn finished(&self) -> bool {
        self.seek >= self.to && self.later.is_empty()
    }

    /// Skips what need not be decoded, within the next window's first `within` frames, and goes on with the next part
    /// where this one is done.
    pub(crate) fn go_on(&mut self, voice: &Voice, within: usize) {
        self.skip(voice, within);
        while self.seek >= self.to
            && let Some((part, end)) = self.later.pop()
        {
            if self.first_round.is_none() {
                self.before += self.to - self.from;
            }
            (self.from, self.to, self.seek) = (part.start, part.end, part.start);
            self.writer.end = end;
            self.skip(voice, AT_THE_START);
        }
    }

    /// Frames that are done; those that are decoded a second time are.
    pub(crate) fn done(&self) -> usize {
        match self.first_round {
            None => self.before + self.seek.min(self.to) - self.from,
            Some(_) => self.before,
        }
    }

    /// Where a cut chunk is done to its end, goes on with the parts of it in which there is a voice and no segment, once.
    pub(crate) fn look_again(&mut self, voice: &Voice) {
        if !self.cut || !voice.is_detected() || self.first_round.is_some() || !self.finished() {
            return;
        }
        part_at_pauses(&mut self.writer.segments, voice);
        let missed = missed(&self.writer.segments, self.from..self.to, voice);
        self.before += self.to - self.from;
        self.later = missed.into_iter().rev().map(|part| (part.clone(), part.end as f64 / 100.0)).collect();
        self.first_round = Some(self.writer.begin_again());
        self.go_on(voice, AT_THE_START);
    }

    /// Puts the segments of both rounds together.
    pub(crate) fn complete(&mut self, voice: &Voice) {
        if let Some(segments) = &mut self.first_round {
            self.writer.put_in_order(std::mem::take(segments));
            part_at_pauses(&mut self.writer.segments, voice);
        }
    }

    /// Skips steady sound that begins within the next window's first `within` frames, and a rest too short to decode.
    fn skip(&mut self, voice: &Voice, within: usize) {
        if let Some(end) = voice.steady(self.seek, within).filter(|_| self.skip_steady && self.seek < self.to) {
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

/// The parts of a chunk in which there is a voice and none of its segments, which are in order.
fn missed(segments: &[Segment], chunk: Range<usize>, voice: &Voice) -> Vec<Range<usize>> {
    let frame = |seconds: f64| ((seconds * 100.0).round() as usize).clamp(chunk.start, chunk.end);
    let ends = std::iter::once(chunk.start).chain(segments.iter().map(|segment| frame(segment.end)));
    let begins = segments.iter().map(|segment| frame(segment.start)).chain(std::iter::once(chunk.end));
    let without = ends.zip(begins).map(|(end, begin)| end..begin).filter(|part| voice.voiced(part.clone()) >= MISSED);
    let around = |part: Range<usize>| {
        // What is left of the words of the segments beside it is not meant.
        let pauses = voice.voiceless(part.clone()).into_iter().filter(|pause| pause.len() >= AROUND_MISSED);
        let edges = pauses.flat_map(|pause| [pause.start, pause.end]);
        let edges: Vec<usize> = std::iter::once(part.start).chain(edges).chain(std::iter::once(part.end)).collect();
        let mut runs = edges.chunks_exact(2).filter(|run| voice.voiced(run[0]..run[1]) >= WORD);
        let (from, first_end) = runs.next().map(|run| (run[0], run[1]))?;
        let to = runs.next_back().map_or(first_end, |run| run[1]);
        Some(from.saturating_sub(AROUND_MISSED).max(part.start)..(to + AROUND_MISSED).min(part.end))
    };
    without.filter_map(around).filter(|part| voice.voiced(part.clone()) >= MISSED).collect()
}
