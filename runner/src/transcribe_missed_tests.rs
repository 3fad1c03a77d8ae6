//! Parts of a chunk that a model passes by: they are decoded again, once. With the scripted model and detector.

use super::*;
use crate::vad::faint::HeardSpeech;
use crate::vad::{PIECE, SpeechProbabilities};

/// Hears speech in these seconds.
fn detector(speech: &[std::ops::Range<f64>], seconds: f64) -> Detector {
    let samples = (seconds * 16_000.0) as usize;
    let is_speech = |piece: usize| speech.iter().any(|range| range.contains(&((piece * PIECE) as f64 / 16_000.0)));
    let values = (0..=samples / PIECE).map(|piece| f32::from(u8::from(is_speech(piece)))).collect();
    Detector::scripted(HeardSpeech {
        plain: SpeechProbabilities { values, samples: samples as u64 },
        amplified: Vec::new(),
    })
}

fn cut() -> TranscribeOptions {
    TranscribeOptions { cut_at_pauses: true, batch: 4, ..german() }
}

/// 50 s: a chunk of 25 s with speech in three places, one with speech to 40 s, and silence.
const SPEECH: [std::ops::Range<f64>; 4] = [0.5..3.0, 10.0..12.0, 18.0..24.5, 25.5..40.0];

/// What it comes to, the windows that were decoded, and the segments as they were told.
fn decoded(script: Script) -> (Transcription, usize, Vec<(usize, String)>) {
    let (mut transcriber, log) = transcriber(script);
    transcriber.detector = detector(&SPEECH, 50.0);
    let mut notes = Notes::default();
    let options = TranscribeOptions { skip_steady: false, ..cut() };
    let result = transcriber.transcribe_all(&[&seconds(50.0)], &options, &mut notes).unwrap().remove(0);
    let windows = log.lock().unwrap().windows;
    (result, windows, notes.segments)
}

/// The second place is passed by, and the second chunk is transcribed to its end.
const PASSED_BY: [&[u32]; 2] =
    [&[T0 + 25, HELLO, T0 + 150, T0 + 900, WORLD, T0 + 1225], &[T0 + 25, HELLO, HELLO, T0 + 750]];

#[test]
fn speech_that_is_passed_by_is_decoded_again() {
    let [first, second] = PASSED_BY;
    let (result, windows, told) = decoded(Script::new(&[first, second, &[T0 + 15, WORLD, WORLD, T0 + 114]]));
    let texts: Vec<&str> = result.segments.iter().map(|segment| segment.text.as_str()).collect();
    assert_eq!((texts, windows), (vec![" Hello", " world world", " world", " Hello Hello"], 3));
    assert_eq!(result.text, " Hello world world world Hello Hello");
    let again = &result.segments[1];
    assert!((9.9..10.1).contains(&again.start) && (11.9..12.1).contains(&again.end), "{again:?}");
    assert!(result.segments.iter().enumerate().all(|(at, segment)| segment.id == at));
    // They were told in order, though the chunk's other segments were there first.
    assert!(told.iter().map(|(_, text)| text).eq(result.segments.iter().map(|segment| &segment.text)));
}

#[test]
fn what_stays_without_text_is_not_decoded_a_third_time() {
    let (result, windows, _) = decoded(Script::new(&PASSED_BY));
    assert_eq!((result.text.as_str(), windows), (" Hello world Hello Hello", 3));
}

#[test]
fn doubtful_text_of_the_second_time_is_left_out() {
    let [first, second] = PASSED_BY;
    let texts: [&[u32]; 3] = [first, second, &[T0 + 15, WORLD, WORLD, T0 + 114]];
    let (result, windows, _) = decoded(Script { no_speech: 1.0, ..Script::new(&texts) });
    assert_eq!((result.text.as_str(), windows), (" Hello world Hello Hello", 3));
}

#[test]
fn short_gaps_and_covered_speech_are_decoded_once() {
    // One segment over all three places; and one that begins a second after the second place does.
    let late = [T0 + 25, HELLO, T0 + 150, T0 + 550, HELLO, T0 + 600, T0 + 900, HELLO, T0 + 1225];
    for first in [&[T0 + 25, HELLO, HELLO, HELLO, T0 + 1225][..], &late] {
        let (result, windows, _) = decoded(Script::new(&[first, PASSED_BY[1]]));
        assert_eq!((result.text.as_str(), windows), (" Hello Hello Hello Hello Hello", 2));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is written, the loop ends, and the segments are in the audio and in order, as they were told.
    #[test]
    fn any_text_ends_in_order(
        // Segments of a window, each after a gap; lengths in steps of 20 ms.
        texts in proptest::collection::vec(proptest::collection::vec((0u32..300, 1u32..200), 0..4), 0..12),
        pauses in proptest::collection::vec((0.2f64..9.0, 0.2f64..6.0), 1..9),
        length in 31.0f64..80.0,
    ) {
        let window = |segments: &Vec<(u32, u32)>| {
            let mut end = T0;
            let segment = |&(gap, length): &(u32, u32)| {
                let begin = end + gap;
                end = begin + length;
                [begin, HELLO, end]
            };
            segments.iter().flat_map(segment).collect::<Vec<u32>>()
        };
        let texts: Vec<Vec<u32>> = texts.iter().map(window).collect();
        let texts: Vec<&[u32]> = texts.iter().map(|t| &t[..]).collect();
        let (mut transcriber, _) = transcriber(Script::new(&texts));
        let mut at = 0.0;
        let speech: Vec<_> = pauses.iter().map(|(speech, pause)| {
            let range = at..at + speech;
            at += speech + pause;
            range
        }).collect();
        transcriber.detector = detector(&speech, length);
        let audio = seconds(length);
        let mut notes = Notes::default();
        let result = transcriber.transcribe_all(&[&audio], &cut(), &mut notes).unwrap().remove(0);
        prop_assert!(result.segments.iter().all(|s| s.start <= s.end && s.end <= audio.duration()));
        prop_assert!(result.segments.iter().map(|s| s.start).is_sorted(), "{:?}", times(&result));
        prop_assert!(result.segments.iter().enumerate().all(|(i, s)| s.id == i));
        prop_assert!(notes.segments.iter().map(|(_, text)| text).eq(result.segments.iter().map(|s| &s.text)));
    }
}
