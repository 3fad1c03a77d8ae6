//! Words given to the segments of their window, in the recording's time.

use super::align::Aligned;
use super::options::WordOptions;
use super::punctuation;
use crate::result::{Segment, Word};

/// Marks that end a sentence.
const SENTENCE_ENDS: &str = ".。!！?？";
/// No word is taken to last longer than this on the average, in seconds.
const LONGEST_MEDIAN: f64 = 0.7;
/// A segment's own times are believed where its first or last word reaches so many seconds beyond them.
const BEYOND: f64 = 0.5;

/// Gives `segments` of the window that begins at frame `seek` their words, the first `counts[0]` tokens' to the first
/// and so on, and moves the segments' starts and ends to their words. Words that last much longer than others, beside
/// the end of a sentence or after a pause since `last_speech` (seconds), are cut short.
///
/// Source: openai/whisper, `whisper/timing.py` (`add_word_timestamps`).
pub(crate) fn add_words(
    segments: &mut [Segment],
    counts: &[usize],
    mut aligned: Vec<Aligned>,
    seek: usize,
    options: &WordOptions,
    mut last_speech: f64,
) {
    let median = median_duration(&aligned);
    let longest = median.map_or(0.0, |median| 2.0 * median);
    if median.is_some() {
        shorten_at_sentences(&mut aligned, longest);
    }
    let median = median.unwrap_or(0.0);
    punctuation::merge(&mut aligned, &options.prepend_punctuations, &options.append_punctuations);
    let offset = seek as f64 * 160.0 / 16_000.0;
    let mut aligned = aligned.into_iter();
    for (segment, count) in segments.iter_mut().zip(counts) {
        let mut taken = 0;
        let mut words: Vec<Word> = Vec::new();
        while taken < *count {
            let Some(Aligned { word, tokens, start, end, probability }) = aligned.next() else { break };
            taken += tokens;
            if !word.is_empty() {
                let (start, end) = (hundredths(offset + start), hundredths(offset + end));
                words.push(Word { word, start, end, probability: probability as f32 });
            }
        }
        if !words.is_empty() {
            shorten_after_pause(&mut words, last_speech, median, longest);
            agree(segment, &mut words, median);
            last_speech = segment.end;
        }
        segment.words = words;
    }
}

/// The usual length of a word; `None` where none has a length.
fn median_duration(words: &[Aligned]) -> Option<f64> {
    let mut durations: Vec<f64> = words.iter().map(|word| word.end - word.start).filter(|d| *d != 0.0).collect();
    durations.sort_by(f64::total_cmp);
    let (low, high) = (durations.get(durations.len().checked_sub(1)? / 2)?, durations.get(durations.len() / 2)?);
    Some(((low + high) / 2.0).min(LONGEST_MEDIAN))
}

/// The end of a sentence, and the word after it, often take in the pause.
fn shorten_at_sentences(words: &mut [Aligned], longest: f64) {
    for at in 1..words.len() {
        let ends = |word: &Aligned| SENTENCE_ENDS.contains(word.word.as_str());
        let ([.., previous], [word, ..]) = words.split_at_mut(at) else { continue };
        if word.end - word.start > longest {
            if ends(word) {
                word.end = word.start + longest;
            } else if ends(previous) {
                word.start = word.end - longest;
            }
        }
    }
}

/// The first two words after a pause often take it in.
fn shorten_after_pause(words: &mut [Word], last_speech: f64, median: f64, longest: f64) {
    let second = words.get(1).map(|word| (word.start, word.end));
    let [first, rest @ ..] = words else { return };
    let long = first.end - first.start > longest || second.is_some_and(|(_, end)| end - first.start > 2.0 * longest);
    if first.end - last_speech <= 4.0 * median || !long {
        return;
    }
    if let Some((start, end)) = second.filter(|(start, end)| end - start > longest) {
        debug_assert!(start <= end);
        let boundary = (end / 2.0).max(end - longest);
        first.end = boundary;
        rest[0].start = boundary;
    }
    first.start = (first.end - longest).max(0.0);
}

/// A segment begins and ends with its words, unless these reach too far: then they with it.
fn agree(segment: &mut Segment, words: &mut [Word], median: f64) {
    if let Some(first) = words.first_mut() {
        if segment.start < first.end && segment.start - BEYOND > first.start {
            first.start = (first.end - median).min(segment.start).max(0.0);
        } else {
            segment.start = first.start;
        }
    }
    if let Some(last) = words.last_mut() {
        if segment.end > last.start && segment.end + BEYOND < last.end {
            last.end = (last.start + median).max(segment.end);
        } else {
            segment.end = last.end;
        }
    }
}

/// Puts a segment and its words in order, behind `from` and before `to` (seconds), each word inside the segment: what
/// the reference does not promise.
pub(crate) fn nest(segment: &mut Segment, from: f64, to: f64) {
    let inside = |time: f64, least: f64| hundredths(time).max(least).min(to.max(least));
    let first = segment.words.first().map_or(segment.start, |word| word.start.min(segment.start));
    segment.start = inside(first, from);
    let mut last = segment.start;
    for word in &mut segment.words {
        word.start = inside(word.start, last);
        word.end = inside(word.end, word.start);
        last = word.end;
    }
    segment.end = inside(segment.end, last);
}

/// The nearest hundredth of a second.
fn hundredths(seconds: f64) -> f64 {
    // By way of decimals, which is how Python rounds: no other number is as near.
    format!("{seconds:.2}").parse().unwrap_or(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned(words: &[(&str, f64, f64)]) -> Vec<Aligned> {
        let of = |(word, start, end): &(&str, f64, f64)| Aligned {
            word: (*word).to_owned(),
            tokens: 1,
            start: *start,
            end: *end,
            probability: 0.5,
        };
        words.iter().map(of).collect()
    }

    fn added(segments: &[(f64, f64, usize)], words: &[(&str, f64, f64)], seek: usize, last: f64) -> Vec<Segment> {
        let of = |(start, end, _): &(f64, f64, usize)| Segment { start: *start, end: *end, ..Segment::default() };
        let mut all: Vec<Segment> = segments.iter().map(of).collect();
        let counts: Vec<usize> = segments.iter().map(|segment| segment.2).collect();
        add_words(&mut all, &counts, aligned(words), seek, &WordOptions::default(), last);
        all
    }

    fn times(segment: &Segment) -> Vec<(&str, f64, f64)> {
        segment.words.iter().map(|word| (word.word.as_str(), word.start, word.end)).collect()
    }

    #[test]
    fn segments_take_the_times_of_their_words() {
        let words = [(" a", 0.1, 0.3), (" b", 0.3, 0.5), (".", 0.5, 0.6), (" c", 1.0, 1.2)];
        let got = added(&[(10.0, 10.8, 3), (10.8, 11.4, 1)], &words, 1000, 10.0);
        assert_eq!(times(&got[0]), [(" a", 10.1, 10.3), (" b.", 10.3, 10.5)]);
        assert_eq!(times(&got[1]), [(" c", 11.0, 11.2)]);
        assert_eq!([(got[0].start, got[0].end), (got[1].start, got[1].end)], [(10.1, 10.5), (11.0, 11.2)]);
    }

    #[test]
    fn a_segment_without_words_keeps_its_times() {
        let got = added(&[(0.0, 1.0, 0), (1.0, 2.0, 1)], &[(" a", 1.2, 1.4)], 0, 0.0);
        assert_eq!((got[0].start, got[0].end, got[0].words.len()), (0.0, 1.0, 0));
        assert_eq!(times(&got[1]), [(" a", 1.2, 1.4)]);
        assert!(added(&[], &[], 0, 0.0).is_empty());
    }

    #[test]
    fn long_words_are_cut_at_the_end_of_a_sentence_and_after_it() {
        // The median is 0.2 s: nothing at a sentence's end may be longer than 0.4 s.
        let words = [(" a", 0.0, 0.2), (" b", 0.2, 0.4), (".", 0.4, 2.0), (" c", 2.0, 4.0), (" d", 4.0, 4.2)];
        let got = added(&[(0.0, 4.2, 5)], &words, 0, 0.0);
        assert_eq!(times(&got[0])[1..], [(" b.", 0.2, 0.4), (" c", 3.6, 4.0), (" d", 4.0, 4.2)]);
        // A mark by itself keeps its end.
        let mut alone = aligned(&words);
        shorten_at_sentences(&mut alone, 0.4);
        assert_eq!((alone[2].start, alone[2].end, alone[3].start), (0.4, 0.8, 3.6));
    }

    #[test]
    fn the_first_words_after_a_pause_are_cut_short() {
        let words = [(" a", 0.0, 5.0), (" b", 5.0, 5.2), (" c", 5.2, 5.4), (" d", 5.4, 5.6)];
        // Median 0.2 s, so twice that from the end of the first word on.
        let got = added(&[(0.0, 5.6, 4)], &words, 0, 0.0);
        assert_eq!(times(&got[0])[0], (" a", 4.6, 5.0));
        assert_eq!(got[0].start, 4.6);
        // The pause in the second word: it is cut too, and the first ends where it begins.
        let words = [(" a", 0.0, 2.0), (" b", 2.0, 5.0), (" c", 5.0, 5.2), (" d", 5.2, 5.4), (" e", 5.4, 5.6)];
        let got = added(&[(4.0, 5.6, 5)], &words, 0, 0.0);
        let [(_, start, end), b] = times(&got[0])[..2] else { unreachable!() };
        assert!((start - 4.2).abs() < 1e-9 && end == 4.6 && b == (" b", 4.6, 5.0));
        // No pause: the same words follow speech.
        let got = added(&[(0.0, 5.6, 5)], &words, 0, 1.9);
        assert_eq!(times(&got[0])[..2], [(" a", 0.0, 2.0), (" b", 2.0, 5.0)]);
    }

    #[test]
    fn the_segment_s_own_times_hold_where_a_word_reaches_far_beyond() {
        let words = [(" a", 0.0, 1.1), (" b", 1.1, 1.3), (" c", 1.3, 3.0)];
        let got = added(&[(0.9, 1.5, 3)], &words, 0, 0.9);
        // Median 0.7 at most.
        assert_eq!((got[0].start, got[0].end), (0.9, 1.5));
        assert!((got[0].words[0].start - 0.4).abs() < 1e-9 && (got[0].words[2].end - 2.0).abs() < 1e-9);
    }

    #[test]
    fn words_are_nested_in_their_segment_and_the_audio() {
        let word = |start, end| Word { start, end, ..Word::default() };
        let words = vec![word(0.4, 1.1), word(1.05, 1.3), word(1.3, 9.0)];
        let mut segment = Segment { start: 0.9, end: 1.5, words, ..Segment::default() };
        nest(&mut segment, 0.5, 4.005);
        let times: Vec<(f64, f64)> = segment.words.iter().map(|word| (word.start, word.end)).collect();
        assert_eq!((segment.start, segment.end), (0.5, 4.005));
        assert_eq!(times, [(0.5, 1.1), (1.1, 1.3), (1.3, 4.005)]);
        let mut empty = Segment { start: 3.0, end: 2.0, ..Segment::default() };
        nest(&mut empty, 5.0, 4.0);
        assert_eq!((empty.start, empty.end), (5.0, 5.0));
    }

    #[test]
    fn the_median_leaves_out_words_without_length() {
        assert_eq!(median_duration(&aligned(&[("a", 0.0, 0.0)])), None);
        assert_eq!(median_duration(&[]), None);
        let median = median_duration(&aligned(&[("a", 0.0, 0.0), ("b", 0.0, 0.2), ("c", 1.0, 1.4)])).unwrap();
        assert!((median - 0.3).abs() < 1e-9);
        assert_eq!(median_duration(&aligned(&[("a", 0.0, 9.0)])), Some(0.7));
    }
}
