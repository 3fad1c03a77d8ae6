//! The times of segments. A model is not exact about them: it lets a segment begin where the one before ended, and often
//! half a second too early. Where a detector of speech has told pauses from speech, segments begin and end with the
//! voice in them. Segments with words have the words' times.

use crate::result::Segment;
use crate::vad::timeline::Timeline;
use crate::voice::Voice;
use std::ops::Range;

/// Frames before a voice with which its segment may begin, and after it with which it may end: a voice begins and ends
/// more quietly than a detector can tell.
const LEAD: usize = 10;
const TRAIL: usize = 20;

/// Frames between the end of a segment within a voice and the pause that is meant.
const REACH: usize = 100;
/// Frames of a pause that may be one between two sentences.
const PAUSE: usize = LEAD + TRAIL;
/// Segments that touch are not made shorter than this.
const LEAST: usize = 20;

/// Where two segments of `segments` meet within a voice, the first one's text ends with a punctuation mark and a pause is
/// near, lets the one end and the other begin with that pause. All times are still those of the timeline, and in order.
pub(crate) fn part_at_pauses(segments: &mut [Segment], voice: &Voice) {
    for i in 1..segments.len() {
        let (before, after) = segments.split_at_mut(i);
        let (Some(left), Some(right)) = (before.last_mut(), after.first_mut()) else { continue };
        let meeting = frame(right.start);
        let timed = !left.words.is_empty() || !right.words.is_empty();
        // Where no mark ends the text, the speaker went on, and the pause is elsewhere in the sentence.
        let goes_on = left.text.trim_end().chars().next_back().is_none_or(char::is_alphanumeric);
        let in_speech = voice.is_detected() && voice.voiced(meeting..meeting + 1) > 0;
        if timed || goes_on || !in_speech || frame(left.end) != meeting {
            continue;
        }
        let within = frame(left.start) + LEAST..frame(right.end).saturating_sub(LEAST);
        if let Some(pause) = voice.pause_near(meeting, REACH, PAUSE)
            && within.start <= pause.start
            && pause.end <= within.end
        {
            left.end = (pause.start + TRAIL) as f64 / 100.0;
            right.start = (pause.end - LEAD) as f64 / 100.0;
        }
    }
}

/// Gives a segment its times in the recording; a segment without words' times begins and ends with the voice in it.
pub(crate) fn settle(segment: &mut Segment, timeline: &Timeline, voice: &Voice, duration: f64) {
    let span = voice.span(frame(segment.start)..frame(segment.end));
    timeline.restore(segment, duration);
    let Some(span) = span.filter(|_| voice.is_detected() && segment.words.is_empty()) else { return };
    let Range { start, end } = span;
    let begin = timeline.frame(start, false).saturating_sub(LEAD) as f64 / 100.0;
    let end = (timeline.frame(end, true) + TRAIL) as f64 / 100.0;
    segment.start = segment.start.max(begin);
    segment.end = segment.end.min(end).max(segment.start);
}

fn frame(seconds: f64) -> usize {
    (seconds * 100.0).round().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Word;

    /// Ten seconds with a voice from 2 to 3 and from 7 to 8 s; a second and a half around each is decoded.
    fn two_voices() -> (Timeline, Voice) {
        let timeline = Timeline::of(&[24_000..56_000, 104_000..136_000], 1000);
        let speech: Vec<f32> =
            (0..1000).map(|frame| if (200..300).contains(&(frame % 500)) { 0.9 } else { 0.1 }).collect();
        let voice = Voice::detected(&[0.0; 400], -1.0, &timeline.pick(&speech), 0.35);
        (timeline, voice)
    }

    fn settled(start: f64, end: f64, words: Vec<Word>) -> (f64, f64) {
        let (timeline, voice) = two_voices();
        let mut segment = Segment { start, end, words, ..Segment::default() };
        settle(&mut segment, &timeline, &voice, 10.0);
        (segment.start, segment.end)
    }

    /// Segments that meet at these times, in speech with pauses from 2 to 2.5, from 4 to 4.2 and from 6 to 7 s.
    fn parted_with(text: &str, times: &[f64]) -> Vec<(f64, f64)> {
        let pauses = [200..250, 400..420, 600..700];
        let speech: Vec<f32> =
            (0..1000).map(|frame| if pauses.iter().any(|p| p.contains(&frame)) { 0.0 } else { 0.9 }).collect();
        let voice = Voice::detected(&[0.0; 1000], -1.0, &speech, 0.35);
        let segment =
            |pair: &[f64]| Segment { start: pair[0], end: pair[1], text: text.to_owned(), ..Segment::default() };
        let mut segments: Vec<Segment> = times.windows(2).map(segment).collect();
        part_at_pauses(&mut segments, &voice);
        segments.iter().map(|segment| (segment.start, segment.end)).collect()
    }

    fn parted(times: &[f64]) -> Vec<(f64, f64)> {
        parted_with(" A sentence.", times)
    }

    #[test]
    fn segments_that_meet_in_speech_part_at_the_pause() {
        // Too early and too late.
        assert_eq!(parted(&[0.0, 1.5, 5.0]), [(0.0, 2.2), (2.4, 5.0)]);
        assert_eq!(parted(&[0.0, 3.4, 5.0]), [(0.0, 2.2), (2.4, 5.0)]);
        // Too far away, in a pause, and beside one that may be within a word.
        for meeting in [0.9, 3.6, 2.3, 4.1, 4.5] {
            assert_eq!(parted(&[0.0, meeting, 5.0]), [(0.0, meeting), (meeting, 5.0)]);
        }
        // The pause is not one of these two segments.
        assert_eq!(parted(&[0.0, 1.5, 2.5]), [(0.0, 1.5), (1.5, 2.5)]);
        assert_eq!(parted(&[2.1, 2.8, 5.0]), [(2.1, 2.8), (2.8, 5.0)]);
        // Within a sentence there is no pause to part at, whatever the language.
        for text in [" and so", " 也许", ""] {
            assert_eq!(parted_with(text, &[0.0, 1.5, 5.0]), [(0.0, 1.5), (1.5, 5.0)]);
        }
        for text in [" Why?", " 也许。", " \"so\" "] {
            assert_eq!(parted_with(text, &[0.0, 1.5, 5.0]), [(0.0, 2.2), (2.4, 5.0)]);
        }
        // Three of them, and two pauses.
        assert_eq!(parted(&[0.0, 1.8, 5.7, 9.0]), [(0.0, 2.2), (2.4, 6.2), (6.9, 9.0)]);
    }

    #[test]
    fn segments_apart_and_those_with_words_stay() {
        let voice = two_voices().1;
        let word = Word { start: 0.2, end: 0.8, ..Word::default() };
        let segment = |start, end| Segment { start, end, text: " So.".to_owned(), ..Segment::default() };
        let apart = vec![segment(0.6, 0.9), segment(1.0, 3.0)];
        let timed = vec![Segment { words: vec![word], ..segment(0.6, 1.4) }, segment(1.4, 3.0)];
        for segments in [apart, timed] {
            let mut parted = segments.clone();
            part_at_pauses(&mut parted, &voice);
            assert_eq!(parted, segments);
        }
        // The same two meeting are parted.
        let mut parted = vec![segment(0.6, 1.4), segment(1.4, 3.0)];
        part_at_pauses(&mut parted, &voice);
        assert_eq!((parted[0].end, parted[1].start), (1.7, 2.4));
    }

    #[test]
    fn a_segment_begins_and_ends_with_its_voice() {
        assert_eq!(settled(0.0, 2.0, Vec::new()), (1.9, 3.2));
        // The second begins before the seam, in the silence of the first part.
        assert_eq!(settled(1.6, 4.0, Vec::new()), (6.9, 8.2));
        assert_eq!(settled(0.0, 4.0, Vec::new()), (1.9, 8.2));
        // What is within a voice stays.
        assert_eq!(settled(0.7, 1.2, Vec::new()), (2.2, 2.7));
        // Text without a voice, and words with times of their own.
        assert_eq!(settled(0.0, 0.4, Vec::new()), (1.5, 1.9));
        let word = Word { start: 0.2, end: 1.8, ..Word::default() };
        assert_eq!(settled(0.0, 2.0, vec![word]), (1.7, 3.3));
    }
}
