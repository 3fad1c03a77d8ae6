//! Where the next window begins when words have times, and what is left out as hallucinated beside silence.
//!
//! Source: openai/whisper, `whisper/transcribe.py` (from `if word_timestamps` on).

use super::options::WordOptions;
use crate::mel::WINDOW_FRAMES;
use crate::result::{Segment, Word};

/// A word is improbable below this.
const IMPROBABLE: f32 = 0.15;
/// … too short below so many seconds, each second missing counting so many times …
const SHORT: (f64, f64) = (0.133, 15.0);
/// … and too long above so many.
const LONG: f64 = 2.0;
/// As many of a segment's first words are looked at …
const FIRST_WORDS: usize = 8;
/// … and it is hallucinated where their scores come to this, or to as much as there are words.
const ODD: f64 = 3.0;
/// So many seconds from a window's ends count as silence.
const AT_THE_ENDS: f64 = 2.0;

/// A window that was decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Its first frame.
    pub(crate) seek: usize,
    /// Frames of audio that it has.
    pub(crate) frames: usize,
    /// The frame at which the audio ends.
    pub(crate) end: usize,
    /// The next window begins at this one's end, not where its text ended: the text ends in a single timestamp, or the
    /// audio in a pause.
    pub(crate) whole: bool,
    /// Frames to the next window by the timestamps.
    pub(crate) advance: usize,
}

/// What becomes of a window.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// The next one begins so many frames further; the segments that are left are the window's.
    After(usize),
    /// It is decoded again so many frames further: the words before were hallucinated in silence.
    Again(usize),
}

/// Where the window after `window` begins by the words of `segments`. With a `threshold`, segments that are
/// hallucinated beside that many seconds of silence are taken away. `last_speech`: until when something was said
/// before, in seconds.
pub(crate) fn next_window(
    segments: &mut Vec<Segment>,
    window: Window,
    threshold: Option<f64>,
    last_speech: f64,
) -> Next {
    let Window { seek, frames, end, whole, advance } = window;
    let seconds = |frames: usize| frames as f64 * 160.0 / 16_000.0;
    let frame = |seconds: f64| (seconds * 100.0).round_ties_even() as usize;
    let after = |frame: usize| frame.saturating_sub(seek).max(1);
    let offset = seconds(seek);
    let window_end = seconds(seek + WINDOW_FRAMES);
    let mut advance = advance;
    let last_word = last_end(segments).filter(|last| *last > offset && !whole);
    if let Some(last) = last_word {
        advance = after(frame(last));
    }
    let Some(threshold) = threshold else { return Next::After(advance) };
    if let Some(last) = last_word
        && window_end - last <= threshold
    {
        advance = frames;
    }
    let first = segments.iter().find(|segment| !segment.words.is_empty());
    if let Some(first) = first.filter(|first| is_odd(first)) {
        let gap = first.start - offset;
        if gap > threshold {
            return Next::Again(frame(gap).max(1));
        }
    }
    let mut heard_until = last_speech;
    for at in 0..segments.len() {
        let segment = &segments[at];
        if segment.words.is_empty() {
            continue;
        }
        if is_odd(segment) {
            let next = segments[at + 1..].iter().find(|next| !next.words.is_empty());
            let next_start = next.and_then(|next| next.words.first()).map_or(offset + seconds(frames), |w| w.start);
            let silence_before = segment.start - heard_until > threshold
                || segment.start < threshold
                || segment.start - offset < AT_THE_ENDS;
            let silence_after = next_start - segment.end > threshold
                || next.is_some_and(is_odd)
                || window_end - segment.end < AT_THE_ENDS;
            if silence_before && silence_after {
                let until = segment.end;
                advance = after(frame((offset + 1.0).max(segment.start)));
                if seconds(end) - until < threshold {
                    advance = after(end);
                }
                segments.truncate(at);
                break;
            }
        }
        heard_until = segments[at].end;
    }
    Next::After(advance)
}

/// Until when something is said: the last word's end, or the last segment's where there are no words.
pub(crate) fn last_end(segments: &[Segment]) -> Option<f64> {
    let word = segments.iter().rev().find_map(|segment| segment.words.last()).map(|word| word.end);
    word.or_else(|| segments.last().map(|segment| segment.end))
}

/// How far a word is from what people say.
fn oddness(word: &Word) -> f64 {
    let duration = word.end - word.start;
    f64::from(u8::from(word.probability < IMPROBABLE))
        + (SHORT.0 - duration).max(0.0) * SHORT.1
        + (duration - LONG).max(0.0)
}

fn is_odd(segment: &Segment) -> bool {
    let words = segment.words.iter().filter(|word| !WordOptions::is_mark(&word.word)).take(FIRST_WORDS);
    let (count, score) = words.fold((0, 0.0), |(count, score), word| (count + 1, score + oddness(word)));
    !segment.words.is_empty() && (score >= ODD || score + 0.01 >= f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(words: &[(f64, f64, f32)]) -> Segment {
        let of = |&(start, end, probability): &(f64, f64, f32)| Word { word: " a".to_owned(), start, end, probability };
        let words: Vec<Word> = words.iter().map(of).collect();
        let (start, end) = (words.first().map_or(0.0, |w| w.start), words.last().map_or(0.0, |w| w.end));
        Segment { start, end, words, ..Segment::default() }
    }

    fn said(from: f64) -> Segment {
        segment(&[(from, from + 0.3, 0.9), (from + 0.3, from + 0.7, 0.9), (from + 0.7, from + 1.0, 0.9)])
    }

    fn hallucinated(from: f64) -> Segment {
        segment(&[(from, from + 0.02, 0.1), (from + 0.02, from + 0.04, 0.1)])
    }

    const WINDOW: Window = Window { seek: 1000, frames: 3000, end: 10_000, whole: false, advance: 2500 };

    fn next(mut segments: Vec<Segment>, window: Window, threshold: Option<f64>) -> (Next, usize) {
        let next = next_window(&mut segments, window, threshold, 10.0);
        (next, segments.len())
    }

    #[test]
    fn the_next_window_begins_where_the_last_word_ended() {
        assert_eq!(next(vec![said(11.0), said(20.5)], WINDOW, None), (Next::After(1150), 2));
        assert_eq!(next(vec![said(11.0)], Window { whole: true, ..WINDOW }, None), (Next::After(2500), 1));
        assert_eq!(next(vec![], WINDOW, None), (Next::After(2500), 0));
        // Words that end before the window, or at its start, do not hold the loop.
        assert_eq!(next(vec![said(5.0)], WINDOW, None), (Next::After(2500), 1));
        assert_eq!(next(vec![segment(&[(10.0, 10.004, 0.9)])], WINDOW, None), (Next::After(1), 1));
        // With a threshold: at the window's end, unless there is silence.
        assert_eq!(next(vec![said(38.5)], WINDOW, Some(2.0)), (Next::After(3000), 1));
        assert_eq!(next(vec![said(30.0)], WINDOW, Some(2.0)), (Next::After(2100), 1));
    }

    #[test]
    fn what_is_hallucinated_beside_silence_is_left_out() {
        // At the window's start: the window is decoded again after the silence.
        assert_eq!(next(vec![hallucinated(14.0), said(20.0)], WINDOW, Some(2.0)), (Next::Again(400), 2));
        // Between pauses: the rest is decoded again from there.
        let between = || vec![said(11.0), hallucinated(16.0), said(20.0)];
        assert_eq!(next(between(), WINDOW, Some(2.0)), (Next::After(600), 1));
        assert_eq!(next(between(), WINDOW, None), (Next::After(1100), 3));
        // Beside speech it stays.
        assert_eq!(next(vec![said(11.0), hallucinated(12.1), said(13.0)], WINDOW, Some(2.0)), (Next::After(400), 3));
        // At the audio's end there is no more.
        let end = Window { end: 1900, frames: 900, ..WINDOW };
        let twice = vec![said(11.0), hallucinated(18.0), hallucinated(18.5)];
        assert_eq!(next(twice, end, Some(2.0)), (Next::After(900), 1));
    }

    #[test]
    fn words_are_odd_by_length_and_probability() {
        assert!(!is_odd(&said(1.0)) && is_odd(&hallucinated(1.0)));
        assert!(is_odd(&segment(&[(0.0, 5.1, 0.9), (5.1, 5.5, 0.9)])), "three seconds too long");
        assert!(!is_odd(&segment(&[])));
        assert_eq!(oddness(&Word { start: 1.0, end: 4.0, probability: 0.1, word: String::new() }), 2.0);
        assert!(WordOptions::is_mark(".") && WordOptions::is_mark("") && !WordOptions::is_mark(" a"));
    }
}
