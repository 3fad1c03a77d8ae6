//! A recording without its silence: what is left of it, put together, and which time of the recording each of its
//! times is. faster-whisper's `collect_chunks` and `SpeechTimestampsMap`, in frames of 10 ms.

use crate::result::Segment;
use std::ops::Range;

/// The parts of a recording that are decoded, one after another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timeline {
    /// In frames of the recording: in order, not overlapping, none empty unless it is the only one.
    parts: Vec<Range<usize>>,
    /// Where each of them ends in what is put together.
    ends: Vec<usize>,
}

impl Timeline {
    /// All of a recording of so many frames.
    pub(crate) fn whole(frames: usize) -> Self {
        Self { parts: std::iter::once(0..frames).collect(), ends: vec![frames] }
    }

    /// The stretches `speech`, in samples and in order, of a recording of so many frames. A frame that holds some of a
    /// stretch belongs to it.
    pub(crate) fn of(speech: &[Range<u64>], frames: usize) -> Self {
        const HOP: u64 = crate::mel::HOP as u64;
        let (mut parts, mut ends): (Vec<Range<usize>>, _) = (Vec::new(), Vec::new());
        let mut length = 0;
        for stretch in speech {
            let before = parts.last().map_or(0, |part| part.end);
            let start = ((stretch.start / HOP) as usize).max(before);
            let end = (stretch.end.div_ceil(HOP) as usize).min(frames);
            if start < end {
                length += end - start;
                parts.push(start..end);
                ends.push(length);
            }
        }
        Self { parts, ends }
    }

    /// Frames that are left.
    pub(crate) fn frames(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The frames of the recording that the frames `range` are, in order.
    pub(crate) fn frames_of(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let begins = self.ends.iter().zip(&self.parts).map(|(end, part)| end - part.len());
        begins.zip(&self.parts).filter_map(move |(begin, part)| {
            let from = range.start.clamp(begin, begin + part.len());
            let to = range.end.clamp(from, begin + part.len());
            (from < to).then(|| part.start + (from - begin)..part.start + (to - begin))
        })
    }

    /// One value for each frame that is left, of one for each frame of the recording.
    pub(crate) fn pick(&self, values: &[f32]) -> Vec<f32> {
        self.parts.iter().flat_map(|part| &values[part.clone()]).copied().collect()
    }

    /// The recording's frame that `frame` is. Where two parts meet it is the later one's first, or with `is_end` the
    /// frame at which the earlier one ends.
    pub(crate) fn frame(&self, frame: usize, is_end: bool) -> usize {
        self.parts.get(self.part(frame as f64, is_end)).map_or(frame, |part| {
            let index = self.part(frame as f64, is_end);
            (frame + part.end).saturating_sub(self.ends[index])
        })
    }

    /// The same of a time in seconds.
    fn time(&self, seconds: f64, part: usize) -> f64 {
        match (self.parts.get(part), self.ends.get(part)) {
            // Times are hundredths.
            (Some(part), Some(end)) => ((seconds * 100.0 + part.end as f64 - *end as f64) * 1e3).round() / 1e5,
            _ => seconds,
        }
    }

    /// Which part a place in frames is in.
    fn part(&self, frame: f64, is_end: bool) -> usize {
        // A time is no whole number of frames, but as near to one as numbers are.
        let frame = frame + if is_end { -1e-6 } else { 1e-6 };
        self.ends.partition_point(|end| *end as f64 <= frame).min(self.ends.len().saturating_sub(1))
    }

    /// Gives a segment, whose times are of what is left, the recording's times. A word lies in one part: that of its
    /// middle. Nothing ends after `duration`.
    pub(crate) fn restore(&self, segment: &mut Segment, duration: f64) {
        if self.parts.len() == 1 && self.parts[0].start == 0 {
            return;
        }
        let part = |seconds: f64, is_end| self.part(seconds * 100.0, is_end);
        for word in &mut segment.words {
            let part = part((word.start + word.end) / 2.0, false);
            word.start = self.time(word.start, part).min(duration);
            word.end = self.time(word.end, part).min(duration);
        }
        segment.seek = self.frame(segment.seek, false);
        let (start, end) = (segment.start, segment.end);
        segment.start = self.time(start, part(start, false)).min(duration);
        segment.end = self.time(end, part(end, end > start)).min(duration).max(segment.start);
        if let (Some(first), Some(last)) = (segment.words.first(), segment.words.last()) {
            (segment.start, segment.end) = (first.start, last.end);
        }
    }
}
