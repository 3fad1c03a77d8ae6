//! Segments as they are asked for, cancellation, several transcriptions in turn; with the scripted model.

use super::*;
use crate::{Cancel, Transcribing};

/// Three windows of 30 s, with two segments in the second.
fn three_windows() -> Script {
    Script::new(&[
        &[T0, HELLO, T0 + 100],
        &[T0, WORLD, T0 + 50, T0 + 50, HELLO, T0 + 1500],
        &[T0, HELLO, WORLD, T0 + 9],
    ])
}

fn texts(segments: &[Segment]) -> Vec<&str> {
    segments.iter().map(|segment| segment.text.as_str()).collect()
}

/// All but how long it took.
fn timeless(mut result: Transcription) -> Transcription {
    let run = &mut result.run;
    (run.audio_ms, run.mel_ms, run.encoder_ms, run.decoder_ms, run.realtime_factor) = (0.0, 0.0, 0.0, 0.0, 0.0);
    result
}

#[test]
fn segments_are_computed_when_they_are_asked_for_and_are_those_of_the_whole() {
    let audio = seconds(90.0);
    let whole = transcriber(three_windows()).0.transcribe(&audio, &german(), &mut ()).unwrap();
    assert_eq!(texts(&whole.segments), [" Hello", " world", " Hello", " Hello world"]);
    let (mut transcriber, log) = transcriber(three_windows());
    let windows = || log.lock().unwrap().windows;
    let mut segments = transcriber.segments(&audio, &german()).unwrap();
    assert_eq!((windows(), segments.progress().done_seconds, segments.progress().total_seconds), (0, 0.0, 90.0));
    let mut seen = Vec::new();
    for expected in [1, 2, 2, 3] {
        seen.push(segments.next().unwrap().unwrap());
        assert_eq!(windows(), expected);
        assert_eq!(segments.progress().done_seconds, 30.0 * expected as f64);
    }
    assert!(segments.next().is_none() && segments.next().is_none());
    assert_eq!(seen, whole.segments);
    assert_eq!(timeless(segments.finish().unwrap()), timeless(whole));
    assert_eq!(windows(), 3);
}

#[test]
fn the_language_is_known_from_the_first_window_on() {
    let (mut detecting, _) = transcriber(three_windows());
    let mut segments = detecting.segments(seconds(40.0), &TranscribeOptions::default()).unwrap();
    assert_eq!(segments.language(), None);
    segments.next().unwrap().unwrap();
    let (code, probability) = segments.language().unwrap();
    assert_eq!(code, "de");
    assert!(probability.unwrap() > 0.99);
    let (mut asked, _) = transcriber(three_windows());
    assert_eq!(asked.segments(seconds(40.0), &german()).unwrap().language(), Some(("de", None)));
}

#[test]
fn what_is_not_asked_for_is_not_computed() {
    let (mut transcriber, log) = transcriber(three_windows());
    let audio = seconds(90.0);
    let mut segments = transcriber.segments(&audio, &german()).unwrap();
    segments.next().unwrap().unwrap();
    let result = segments.finish().unwrap();
    assert_eq!((texts(&result.segments), result.text.as_str()), (vec![" Hello"], " Hello"));
    assert_eq!((result.run.stopped, log.lock().unwrap().windows), (Some(30.0), 1));
}

#[test]
fn a_cancelled_iterator_ends_and_keeps_what_was_done() {
    let (mut transcriber, log) = transcriber(three_windows());
    let audio = seconds(90.0);
    let mut segments = transcriber.segments(&audio, &german()).unwrap();
    segments.next().unwrap().unwrap();
    segments.next().unwrap().unwrap();
    let cancel = segments.cancel();
    thread::spawn(move || cancel.cancel()).join().unwrap();
    // The second window's other segment was there already.
    assert_eq!(segments.next().unwrap().unwrap().text, " Hello");
    assert!(segments.next().is_none());
    let result = segments.finish().unwrap();
    assert_eq!(texts(&result.segments), [" Hello", " world", " Hello"]);
    assert_eq!((result.run.stopped, log.lock().unwrap().windows), (Some(60.0), 2));
}

#[test]
fn an_error_is_the_last_item() {
    let (mut transcriber, log) = transcriber(Script { fails_at_window: Some(1), ..three_windows() });
    let audio = seconds(90.0);
    let mut segments = transcriber.segments(&audio, &german()).unwrap();
    assert_eq!(segments.next().unwrap().unwrap().text, " Hello");
    assert_eq!(segments.next().unwrap().unwrap_err().to_string(), "the encoder failed: the device is gone");
    assert!(segments.next().is_none());
    assert_eq!(texts(&segments.finish().unwrap().segments), [" Hello"]);
    assert_eq!(log.lock().unwrap().windows, 1);
}

#[test]
fn options_that_do_not_fit_are_refused_before_anything_is_computed() {
    let (mut transcriber, log) = transcriber(three_windows());
    let options = TranscribeOptions { language: Some("yue".to_owned()), ..TranscribeOptions::default() };
    let error = transcriber.segments(seconds(1.0), &options).err().unwrap();
    assert!(matches!(error, TranscribeError::Language { .. }), "{error}");
    assert_eq!(log.lock().unwrap().windows, 0);
}

#[test]
fn several_recordings_come_as_their_windows_are_done() {
    let (mut transcriber, _) = transcriber(three_windows());
    let recordings = [seconds(20.0), seconds(50.0)];
    let options = TranscribeOptions { batch: 1, ..german() };
    let mut transcribing = transcriber.begin(&recordings, &options).unwrap();
    let mut seen = Vec::new();
    while let Some(next) = transcribing.next_segment(&mut transcriber) {
        let (recording, segment) = next.unwrap();
        seen.push((recording, segment.text));
    }
    let expected = [(0, " Hello"), (1, " world"), (1, " Hello"), (1, " Hello world")];
    assert!(seen.iter().map(|(recording, text)| (*recording, text.as_str())).eq(expected), "{seen:?}");
    let results = transcribing.finish(&transcriber).unwrap();
    assert_eq!((results[0].text.as_str(), results[1].text.as_str()), (" Hello", " world Hello Hello world"));
}

#[test]
fn transcriptions_take_turns_on_one_transcriber_in_two_threads() {
    /// Of what is kept beside a transcriber nothing is borrowed.
    fn travels<T: Send + 'static>(value: T) -> T {
        value
    }
    // Every window says the same, so that it does not matter which comes first.
    let same: Vec<&[u32]> = vec![&[T0, HELLO, WORLD, T0 + 70]; 6];
    let (shared, log) = transcriber(Script::new(&same));
    let shared = Arc::new(Mutex::new(travels(shared)));
    let transcribe = |shared: Arc<Mutex<Transcriber>>| {
        let mut transcribing: Transcribing<'static> =
            travels(shared.lock().unwrap().begin([seconds(90.0)], &german()).unwrap());
        let mut times = Vec::new();
        while let Some(next) = transcribing.next_segment(&mut shared.lock().unwrap()) {
            times.push(next.unwrap().1.start);
        }
        times
    };
    let threads: Vec<_> = (0..2).map(|_| shared.clone()).map(|s| thread::spawn(move || transcribe(s))).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), [0.0, 30.0, 60.0]);
    }
    assert_eq!(log.lock().unwrap().windows, 6);
}

#[test]
fn an_observer_and_a_cancellation_go_together() {
    let cancel = Cancel::new();
    let elsewhere = cancel.clone();
    let mut windows = 0;
    let watch = OnProgress(|_: Progress| {
        windows += 1;
        if windows == 2 {
            elsewhere.cancel();
        }
    });
    let (mut transcriber, log) = transcriber(three_windows());
    let result = transcriber.transcribe(&seconds(90.0), &german(), &mut (watch, cancel)).unwrap();
    assert_eq!((windows, log.lock().unwrap().windows, result.run.stopped), (2, 2, Some(60.0)));
}
