//! What is not to be believed, and what becomes of it: silence, repetition, unlikely text, rests too short for a window
//! of their own.

use super::*;

#[test]
fn silence_is_skipped_only_when_the_text_is_doubtful_too() {
    let run = |no_speech, options: &TranscribeOptions| {
        let script = Script { no_speech, ..Script::new(&[&[T0, HELLO, T0 + 100]]) };
        transcriber(script).0.transcribe(&seconds(10.0), options, &mut ()).unwrap().segments.len()
    };
    let never_sure = TranscribeOptions { logprob_threshold: None, ..german() };
    let never_silent = TranscribeOptions { no_speech_threshold: None, ..never_sure.clone() };
    assert_eq!(run(0.9, &german()), 1, "the script is sure of its text");
    assert_eq!(run(0.9, &never_sure), 0);
    assert_eq!(run(0.0, &never_sure), 1);
    assert_eq!(run(0.9, &never_silent), 1);
}

/// A text that repeats itself.
fn circles() -> Vec<u32> {
    [T0].into_iter().chain(std::iter::repeat_n(HELLO, 60)).chain([T0 + 100]).collect()
}

#[test]
fn a_text_that_repeats_itself_is_decoded_again_and_no_other() {
    let circles = circles();
    let texts: [&[u32]; 3] = [&[T0, HELLO, T0 + 50], &circles, &[T0, WORLD, T0 + 70]];
    let again = vec![circles.clone(), vec![T0, WORLD, HELLO, T0 + 60]];
    let (mut transcriber, log) = transcriber(Script { again, ..Script::new(&texts) });
    let recordings = [seconds(10.0), seconds(10.0), seconds(10.0)];
    let recordings: Vec<&Audio> = recordings.iter().collect();
    let results = transcriber.transcribe_all(&recordings, &german(), &mut ()).unwrap();
    let found: Vec<_> = results.iter().map(|r| (r.text.as_str(), r.segments[0].temperature)).collect();
    assert_eq!(found, [(" Hello", 0.0), (" world Hello", 0.4), (" world", 0.0)]);
    assert!(results.iter().all(|r| r.run.warnings.is_empty()));
    let log = log.lock().unwrap();
    assert_eq!((&log.batches[..], &log.again[..]), (&[3][..], &[vec![1], vec![1]][..]), "encoded once");
}

#[test]
fn text_that_repeats_itself_at_every_temperature_is_left_out_with_a_warning() {
    let circles = circles();
    let texts: [&[u32]; 3] = [&[T0, HELLO, T0 + 50], &circles, &[T0, WORLD, T0 + 70]];
    let run = |options: &TranscribeOptions| {
        let script = Script { again: vec![circles.clone(); 5], ..Script::new(&texts) };
        let (mut transcriber, log) = transcriber(script);
        let result = transcriber.transcribe(&seconds(90.0), options, &mut ()).unwrap();
        (result, std::mem::take(&mut *log.lock().unwrap()))
    };
    let (result, log) = run(&german());
    assert_eq!(times(&result), [(0.0, 1.0, " Hello"), (60.0, 61.4, " world")]);
    assert_eq!(log.again, vec![vec![0]; 5]);
    let [Warning { from, to, what }] = &result.run.warnings[..] else { panic!("{:?}", result.run.warnings) };
    assert!((*from, *to) == (30.0, 60.0) && what.contains("repeats itself"), "{what}");
    assert_eq!(log.prompts.last().unwrap().len(), 3, "what went wrong is no prompt");
    // One temperature, as openai/whisper has it: everything is kept.
    let (result, log) = run(&TranscribeOptions { temperatures: vec![0.0], ..german() });
    assert!(result.segments.len() == 3 && log.again.is_empty() && result.run.warnings.is_empty());
}

#[test]
fn a_speaker_who_repeats_a_sentence_is_believed() {
    // " Hello world", twenty bytes and more in two seconds each: a sentence; the same in a tenth of the time is none.
    let text = |step: u32| -> Vec<u32> {
        (0..6).flat_map(|i| [T0 + i * step, HELLO, WORLD, HELLO, WORLD, T0 + (i + 1) * step]).collect()
    };
    for (step, no_speech, segments) in [(100, 0.0, 6), (10, 0.0, 0), (100, 0.9, 0)] {
        let again = vec![text(step); 5];
        let (mut transcriber, _) = transcriber(Script { again, no_speech, ..Script::new(&[&text(step)]) });
        let result = transcriber.transcribe(&seconds(12.0), &german(), &mut ()).unwrap();
        assert_eq!(result.segments.len(), segments, "{:?}", result.segments);
        assert!(result.run.warnings[0].what.contains("repeats itself"), "{:?}", result.run.warnings);
    }
}

#[test]
fn of_text_that_is_never_sure_the_likeliest_is_kept_with_a_warning() {
    let text: &[u32] = &[T0, HELLO, WORLD, HELLO, WORLD, T0 + 50];
    let again = vec![vec![T0, WORLD, T0 + 50]; 5];
    // So weak a logit that chance makes gibberish of it, which is less likely still.
    let (mut transcriber, log) = transcriber(Script { again, sure: [9.0, 5.0], ..Script::new(&[text]) });
    let result = transcriber.transcribe(&seconds(10.0), &german(), &mut ()).unwrap();
    assert_eq!(times(&result), [(0.0, 1.0, " Hello world Hello world")]);
    assert!(result.run.warnings[0].what.contains("not sure"), "{:?}", result.run.warnings);
    assert_eq!(log.lock().unwrap().again.len(), 5);
}

#[test]
fn chance_is_repeatable_whatever_else_is_decoded() {
    let script = || Script { sure: [12.0; 2], ..Script::new(&[&[T0, HELLO, WORLD, HELLO, T0 + 50][..]; 3]) };
    let options = TranscribeOptions { temperatures: vec![1.0], best_of: 3, logprob_threshold: None, ..german() };
    let alone = transcriber(script()).0.transcribe(&seconds(10.0), &options, &mut ()).unwrap();
    let recordings = [seconds(10.0), seconds(10.0), seconds(5.0)];
    let together =
        transcriber(script()).0.transcribe_all(&recordings.iter().collect::<Vec<_>>(), &options, &mut ()).unwrap();
    assert!(!alone.segments.is_empty());
    assert_eq!(alone.segments, together[0].segments);
    assert_eq!(alone.segments, together[1].segments);
}

#[test]
fn the_same_words_in_segment_after_segment_are_a_repetition() {
    let segment = |i: u32| [T0 + 50 * i, HELLO, T0 + 50 * i + 50];
    let circles: Vec<u32> = (0..4).flat_map(segment).collect();
    let again = vec![vec![T0, WORLD, T0 + 60]];
    let script = |text: &[u32]| Script { again: again.clone(), ..Script::new(&[text]) };
    let transcribed =
        |text: &[u32]| transcriber(script(text)).0.transcribe(&seconds(10.0), &german(), &mut ()).unwrap().text;
    assert_eq!(transcribed(&circles), " world");
    assert_eq!(transcribed(&circles[..9]), " Hello Hello Hello", "people say a thing three times");
    let without_speech = Script { no_speech: 0.9, ..script(&circles[..6]) };
    let result = transcriber(without_speech).0.transcribe(&seconds(10.0), &german(), &mut ()).unwrap();
    assert_eq!(result.text, " world", "music does not say it twice");
}

#[test]
fn sound_that_does_not_change_is_not_decoded() {
    let texts: [&[u32]; 2] = [&[T0, HELLO, T0 + 50], &[T0, WORLD, T0 + 50]];
    let run = |samples: &[f32], options: &TranscribeOptions| {
        let (mut transcriber, log) = transcriber(Script::new(&texts));
        let audio = Audio::from_samples(samples.to_vec());
        let result = transcriber.transcribe(&audio, options, &mut ()).unwrap();
        (result, log.lock().unwrap().windows)
    };
    let hum = |seconds: usize, loudness: f32| {
        (0..seconds * 16_000).map(move |i| loudness * (i as f32 * 50.0 / 16_000.0 * std::f32::consts::TAU).sin())
    };
    let mut noise = fastrand::Rng::with_seed(2);
    let hiss: Vec<f32> = (0..40 * 16_000).map(|_| 0.003 * (noise.f32() - 0.5)).collect();
    for steady in [vec![0.0; 40 * 16_000], hum(40, 0.01).collect(), hum(40, 0.5).collect(), hiss] {
        let (result, windows) = run(&steady, &TranscribeOptions::default());
        assert!(result.segments.is_empty() && windows == 0, "{windows}");
        assert_eq!(result.run.device, "none");
        let all = TranscribeOptions { skip_steady: false, ..TranscribeOptions::default() };
        assert_eq!(run(&steady, &all).1, 2);
    }
    // 35 s of hum before something, and a second of it: the first window begins shortly before that.
    let late: Vec<f32> = hum(35, 0.01).chain(seconds(4.0).samples).collect();
    let (result, windows) = run(&late, &german());
    assert_eq!((windows, result.text.as_str()), (1, " Hello"));
    assert!((34.0..35.0).contains(&result.segments[0].start), "{:?}", result.segments);
    assert_eq!(run(&hum(1, 0.01).collect::<Vec<_>>(), &german()).1, 1, "too short to tell");
}

#[test]
fn what_is_left_of_less_than_a_second_is_not_decoded() {
    let run = |length: f64, end: u32, options: &TranscribeOptions| {
        let texts: [&[u32]; 2] = [&[T0, HELLO, T0 + end, T0 + end, WORLD], &[T0, WORLD, T0 + 9]];
        let (mut transcriber, log) = transcriber(Script::new(&texts));
        transcriber.transcribe(&seconds(length), options, &mut ()).unwrap();
        log.lock().unwrap().windows
    };
    let all = TranscribeOptions { shortest_rest: 0.0, ..german() };
    assert_eq!((run(10.0, 455, &german()), run(10.0, 445, &german()), run(10.0, 455, &all)), (1, 2, 2));
    assert_eq!((run(30.9, 0, &german()), run(30.9, 0, &all)), (1, 2), "after a whole window");
    assert_eq!(run(0.5, 0, &german()), 1, "a recording that is shorter is decoded");
}

#[test]
fn a_last_word_too_short_for_a_window_is_written_in_the_one_before() {
    // It is loud until half a second before the end, and the model would leave the last 0.94 s to another window.
    let texts: [&[u32]; 1] = [&[T0, HELLO, T0 + 453, T0 + 453]];
    for (least, after) in [(1.0, 1), (0.5, 0)] {
        let (mut transcriber, log) = transcriber(Script::new(&texts));
        let options = TranscribeOptions { shortest_rest: least, ..german() };
        let result = transcriber.transcribe(&seconds(10.0), &options, &mut ()).unwrap();
        assert_eq!(result.segments.iter().filter(|s| s.start > 9.0).count(), after, "{:?}", result.segments);
        assert_eq!(log.lock().unwrap().windows, 2 - after);
    }
}
