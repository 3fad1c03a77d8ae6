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
        for stretch in speech.iter().filter(|stretch| !stretch.is_empty()) {
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
    pub(crate) fn pick<T: Copy>(&self, values: &[T]) -> Vec<T> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Word;
    use proptest::prelude::*;

    /// 1 to 3 s and 5 to 6 s of ten seconds.
    fn two_parts() -> Timeline {
        Timeline::of(&[16_000..48_000, 80_000..96_000], 1000)
    }

    fn segment(start: f64, end: f64) -> Segment {
        Segment { start, end, ..Segment::default() }
    }

    fn restored(timeline: &Timeline, mut segment: Segment) -> Segment {
        timeline.restore(&mut segment, 10.0);
        segment
    }

    #[test]
    fn times_are_those_of_the_recording() {
        let timeline = two_parts();
        assert_eq!(timeline.frames(), 300);
        let times = |start, end| {
            let segment = restored(&timeline, segment(start, end));
            (segment.start, segment.end)
        };
        assert_eq!(times(0.0, 1.5), (1.0, 2.5));
        // Where the parts meet, what ends does so in the first, and what begins does so in the second.
        assert_eq!((times(0.5, 2.0), times(2.0, 2.5)), ((1.5, 3.0), (5.0, 5.5)));
        assert_eq!(times(1.8, 2.2), (2.8, 5.2));
        assert_eq!(times(2.9, 4.0), (5.9, 7.0));
        let mut late = segment(2.9, 9.0);
        timeline.restore(&mut late, 6.0);
        assert_eq!(late.end, 6.0);
    }

    #[test]
    fn a_word_is_in_one_part() {
        let timeline = two_parts();
        let word = |start, end| Word { start, end, ..Word::default() };
        let mut segment = segment(0.0, 3.0);
        segment.words = vec![word(0.5, 1.0), word(1.9, 2.3), word(2.3, 2.9)];
        let segment = restored(&timeline, segment);
        let times: Vec<_> = segment.words.iter().map(|word| (word.start, word.end)).collect();
        // The middle of the second word is in the second part: its begin is told from there.
        assert_eq!(times, [(1.5, 2.0), (4.9, 5.3), (5.3, 5.9)]);
        assert_eq!((segment.start, segment.end), (1.5, 5.9));
    }

    #[test]
    fn a_whole_recording_keeps_its_times() {
        let whole = Timeline::whole(1000);
        assert_eq!(restored(&whole, segment(0.123_456, 9.9)), segment(0.123_456, 9.9));
        assert!(whole.frames_of(0..3000).eq(std::iter::once(0..1000)));
        assert_eq!((whole.frame(700, true), whole.frame(1000, true)), (700, 1000));
    }

    #[test]
    fn of_nothing_nothing_is_left() {
        // No samples, and samples behind the end.
        for speech in [None, Some(5..5), Some(170_000..190_000)] {
            let timeline = Timeline::of(speech.as_slice(), 1000);
            assert_eq!((timeline.frames(), timeline.frames_of(0..3000).count()), (0, 0), "{speech:?}");
            assert_eq!(restored(&timeline, segment(0.0, 1.0)), segment(0.0, 1.0));
        }
    }

    proptest! {
        #[test]
        fn frames_are_kept_in_order_and_times_never_go_back(
            lengths in prop::collection::vec((0u64..50_000, 1u64..50_000), 0..8),
            rest in 0usize..300,
            times in prop::collection::vec(0.0f64..30.0, 2..20),
        ) {
            let mut at = 0;
            let mut speech = Vec::new();
            for (silence, length) in lengths {
                speech.push(at + silence..at + silence + length);
                at += silence + length;
            }
            let frames = at as usize / 160 + rest;
            let timeline = Timeline::of(&speech, frames);
            let kept: Vec<usize> = timeline.frames_of(0..frames).flatten().collect();
            prop_assert_eq!(kept.len(), timeline.frames());
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
            // A sample of speech is in a frame that is kept, and a frame without any is not.
            let holds = |frame: usize| {
                let samples = frame as u64 * 160..(frame as u64 + 1) * 160;
                speech.iter().any(|s| s.start < samples.end && samples.start < s.end)
            };
            prop_assert!((0..frames).filter(|&frame| holds(frame)).eq(kept.iter().copied()));
            prop_assert!(kept.iter().enumerate().all(|(frame, own)| timeline.frame(frame, false) == *own));
            let values: Vec<f32> = (0..frames).map(|frame| frame as f32).collect();
            prop_assert!(timeline.pick(&values).iter().map(|value| *value as usize).eq(kept));
            // Segments in order stay in order.
            let end = timeline.frames() as f64 / 100.0;
            let mut times: Vec<f64> = times.into_iter().map(|time| (time * 50.0).round() / 50.0).filter(|time| *time <= end).collect();
            times.sort_by(f64::total_cmp);
            let duration = frames as f64 / 100.0;
            let mut before = 0.0;
            for pair in times.chunks_exact(2) {
                let mut segment = segment(pair[0], pair[1]);
                timeline.restore(&mut segment, duration);
                prop_assert!(before <= segment.start && segment.start <= segment.end && segment.end <= duration);
                before = segment.end;
            }
        }
    }
}
