//! What windows are told and which of them there are: prompts, clips, languages.

use super::*;
use crate::options::Clip;
use crate::prompt::Prompt;

/// Before what was said earlier.
const PREVIOUS: u32 = 50361;
const NAMES: u32 = 1000;

/// The prompts of a recording of `length` seconds of which each window says " Hello".
fn prompts(length: f64, prompt: PromptOptions) -> Vec<Vec<u32>> {
    let (mut transcriber, log) = transcriber(Script::new(&[&[T0, HELLO, T0 + 100][..]; 4]));
    transcriber.transcribe(&seconds(length), &TranscribeOptions { prompt, ..german() }, &mut ()).unwrap();
    std::mem::take(&mut log.lock().unwrap().prompts)
}

#[test]
fn an_initial_prompt_is_of_the_first_window_unless_it_is_carried() {
    let initial_prompt = Some(Prompt::Tokens(vec![NAMES]));
    let once = prompts(70.0, PromptOptions { initial_prompt: initial_prompt.clone(), ..PromptOptions::default() });
    assert_eq!(once[0], [PREVIOUS, NAMES, SOT, GERMAN, 50359]);
    assert_eq!(once[1], [PREVIOUS, NAMES, T0, HELLO, T0 + 100, SOT, GERMAN, 50359], "it was said before, too");
    let unconditioned = PromptOptions { condition_on_previous_text: false, ..PromptOptions::default() };
    let options = PromptOptions { initial_prompt: initial_prompt.clone(), ..unconditioned.clone() };
    assert_eq!(prompts(70.0, options)[1], [SOT, GERMAN, 50359]);
    let carried = PromptOptions { initial_prompt, carry_initial_prompt: true, ..unconditioned };
    assert_eq!(prompts(70.0, carried)[2], [PREVIOUS, NAMES, SOT, GERMAN, 50359]);
}

#[test]
fn what_is_carried_leaves_less_room_for_the_text_before() {
    let many: Vec<u32> = [T0].into_iter().chain(std::iter::repeat_n(HELLO, 198)).chain([T0 + 1400]).collect();
    let options = |prompt| TranscribeOptions { compression_ratio_threshold: None, prompt, ..german() };
    let third = |prompt: PromptOptions| {
        let (mut transcriber, log) = transcriber(Script::new(&[&many, &many, &many]));
        transcriber.transcribe(&seconds(90.0), &options(prompt), &mut ()).unwrap();
        let mut log = log.lock().unwrap();
        log.prompts.remove(2)
    };
    for length in [1, 100, 223] {
        let initial_prompt = Some(Prompt::Tokens(vec![NAMES; length]));
        let carried = third(PromptOptions { initial_prompt, carry_initial_prompt: true, ..PromptOptions::default() });
        assert_eq!(carried.len(), 1 + 223 + 3, "{length}");
        assert_eq!(carried.iter().filter(|&&token| token == NAMES).count(), length);
        assert_eq!(carried[1..=length], vec![NAMES; length]);
    }
    // Of a longer one the end stays.
    let initial_prompt = Some(Prompt::Tokens([vec![WORLD; 50], vec![NAMES; 223]].concat()));
    let carried = third(PromptOptions { initial_prompt, carry_initial_prompt: true, ..PromptOptions::default() });
    assert_eq!(carried[..224], [vec![PREVIOUS], vec![NAMES; 223]].concat());
    let hotwords = Some(Prompt::Tokens(vec![NAMES; 20]));
    let hot = third(PromptOptions { hotwords, ..PromptOptions::default() });
    assert_eq!((hot.len(), hot.iter().filter(|&&token| token == NAMES).count()), (1 + 223 + 3, 20));
}

#[test]
fn a_prefix_begins_the_first_window_and_takes_the_place_of_hotwords() {
    let prompt = PromptOptions {
        prefix: Some(" Hello ".into()),
        hotwords: Some("world".into()),
        condition_on_previous_text: false,
        ..PromptOptions::default()
    };
    // What the script says after the prefix.
    let texts: [&[u32]; 2] = [&[T0, HELLO, WORLD, T0 + 100], &[T0, WORLD, T0 + 100]];
    let (mut timed, log) = transcriber(Script::new(&texts));
    let options = TranscribeOptions { prompt, ..german() };
    let result = timed.transcribe(&seconds(45.0), &options, &mut ()).unwrap();
    // No timestamp is forced after the prefix, which begins at 0.00.
    assert_eq!(times(&result), [(0.0, 2.0, " world"), (30.0, 32.0, " world")]);
    assert_eq!(log.lock().unwrap().prompts[0], [SOT, GERMAN, 50359, T0, HELLO]);
    assert_eq!(log.lock().unwrap().prompts[1], [PREVIOUS, WORLD, SOT, GERMAN, 50359]);
    let (mut untimed, log) = transcriber(Script::new(&[&[HELLO, WORLD], &[WORLD]]));
    let options = TranscribeOptions { without_timestamps: true, ..options };
    assert_eq!(untimed.transcribe(&seconds(45.0), &options, &mut ()).unwrap().text, " world world");
    assert_eq!(log.lock().unwrap().prompts[0], [SOT, GERMAN, 50359, 50363, HELLO]);
}

#[test]
fn prompts_that_cannot_be_followed() {
    let (transcriber, _) = transcriber(Script::new(&[]));
    let of = |prompt: PromptOptions| {
        transcriber.check(&TranscribeOptions { prompt, ..german() }).map_err(|error| error.to_string())
    };
    let names = |count| Some(Prompt::Tokens(vec![NAMES; count]));
    assert_eq!(of(PromptOptions { hotwords: names(223), prefix: names(223), ..PromptOptions::default() }), Ok(()));
    assert_eq!(of(PromptOptions { initial_prompt: names(9000), ..PromptOptions::default() }), Ok(()));
    assert_eq!(of(PromptOptions { initial_prompt: Some("  ".into()), ..PromptOptions::default() }), Ok(()));
    let too_long = "is 224 tokens long, and there is room for 223: use fewer words";
    let hot = of(PromptOptions { hotwords: names(224), ..PromptOptions::default() });
    assert_eq!(hot, Err(format!("the option hotwords {too_long}")));
    let prefix = of(PromptOptions { prefix: names(224), ..PromptOptions::default() });
    assert_eq!(prefix, Err(format!("the option prefix {too_long}")));
    let unknown = of(PromptOptions { initial_prompt: Some(vec![51865].into()), ..PromptOptions::default() });
    assert_eq!(
        unknown,
        Err("the option initial_prompt holds token 51865, and the model has 51865: use its own".to_owned())
    );
}

fn clip(start: f64, end: Option<f64>) -> Clip {
    Clip { start, end }
}

#[test]
fn clips_alone_are_transcribed_each_with_the_text_of_those_before() {
    let script = Script::new(&[&[T0, HELLO, T0 + 100], &[T0, WORLD, T0 + 1000], &[T0, HELLO, T0 + 50]]);
    let (mut transcriber, log) = transcriber(script);
    let clips = vec![clip(5.0, Some(10.0)), clip(12.0, Some(15.5)), clip(20.0, None)];
    let mut progress = Vec::new();
    let options = TranscribeOptions { clips, ..german() };
    let watch = &mut OnProgress(|p: Progress| progress.push(p.done_seconds));
    let result = transcriber.transcribe(&seconds(25.0), &options, watch).unwrap();
    // The second says more than its clip lasts.
    assert_eq!(times(&result), [(5.0, 7.0, " Hello"), (12.0, 15.5, " world"), (20.0, 21.0, " Hello")]);
    assert_eq!(log.lock().unwrap().prompts[1], [PREVIOUS, T0, HELLO, T0 + 100, SOT, GERMAN, 50359]);
    assert_eq!(log.lock().unwrap().windows, 3);
    assert_eq!(progress, [5.0, 8.5, 25.0]);
}

#[test]
fn clips_are_cut_at_pauses_like_whole_recordings() {
    let (mut transcriber, log) = transcriber(Script::new(&[&[T0, HELLO, T0 + 20][..]; 9]));
    let clips = vec![clip(3.0, Some(40.0)), clip(50.0, Some(60.0))];
    let options = TranscribeOptions { clips, cut_at_pauses: true, ..german() };
    let result = transcriber.transcribe(&seconds(80.0), &options, &mut ()).unwrap();
    let inside = |time: f64| (3.0..=40.0).contains(&time) || (50.0..=60.0).contains(&time);
    assert!(result.segments.len() >= 3 && result.segments.iter().all(|s| inside(s.start) && inside(s.end)));
    assert!(log.lock().unwrap().batches[0] >= 3, "they go together");
}

/// Who names a clip asks for it, as who names a recording does. A rest that short is left alone in either.
#[test]
fn a_clip_is_decoded_however_short_it_is() {
    let windows = |length: f64, clips: Vec<Clip>| {
        let (mut transcriber, log) = transcriber(Script::new(&[&[T0, HELLO, T0 + 1500][..]; 9]));
        let options = TranscribeOptions { clips, ..german() };
        transcriber.transcribe(&seconds(length), &options, &mut ()).unwrap();
        let windows = log.lock().unwrap().windows;
        windows
    };
    assert_eq!(windows(0.1, vec![]), 1);
    assert_eq!(windows(10.0, vec![clip(1.0, Some(1.1))]), 1);
    assert_eq!(windows(30.5, vec![]), 1);
    assert_eq!(windows(40.0, vec![clip(1.0, Some(31.5))]), 1);
}

#[test]
fn clips_that_cannot_be_followed() {
    let (mut transcriber, log) = transcriber(Script::new(&[]));
    let mut of = |clips: Vec<Clip>| {
        let options = TranscribeOptions { clips, ..german() };
        transcriber.transcribe(&seconds(8.0), &options, &mut ()).map(drop).map_err(|error| error.to_string())
    };
    for (clips, problem) in [
        (vec![clip(-1.0, None)], "has -1 s: use times from 0 on"),
        (vec![clip(f64::NAN, None)], "has NaN s after 0 s: use times that rise"),
        (vec![clip(2.0, Some(2.0))], "has a clip from 2 s to 2 s: use times that rise"),
        (vec![clip(2.0, Some(f64::INFINITY))], "has a clip from 2 s to inf s: use times that rise"),
        (vec![clip(2.0, Some(4.0)), clip(3.0, None)], "has 3 s after 4 s: use times that rise"),
        (vec![clip(2.0, None), clip(3.0, None)], "has a clip from 2 s without an end: use one for all but the last"),
        (vec![clip(2.0, Some(9.0))], "has 9 s, and the recording ends at 8.00 s: use times within it"),
        (vec![clip(8.2, None)], "has 8.2 s, and the recording ends at 8.00 s: use times within it"),
    ] {
        assert_eq!(of(clips), Err(format!("the option clip_timestamps {problem}")));
    }
    assert_eq!(of(vec![clip(0.0, Some(8.05))]), Ok(()));
    assert_eq!(log.lock().unwrap().windows, 1);
}

#[test]
fn a_language_is_heard_in_several_windows_until_one_is_sure() {
    let heard = |languages: &[(u32, f32)], segments| {
        let texts = vec![&[T0, HELLO, T0 + 100][..]; 9];
        let languages = languages.to_vec();
        let (mut transcriber, log) = transcriber(Script { languages, ..Script::new(&texts) });
        let options = TranscribeOptions { language_detection_segments: segments, ..TranscribeOptions::default() };
        let result = transcriber.transcribe(&seconds(80.0), &options, &mut ()).unwrap();
        let probabilities: f64 = result.language_probabilities.values().sum();
        assert!((probabilities - 1.0).abs() < 1e-6, "{probabilities}");
        let windows = log.lock().unwrap().windows;
        (result.language, result.language_probability.unwrap() > 0.5, windows)
    };
    let (unsure_english, unsure_german, sure) = ((ENGLISH, 3.0), (GERMAN, 3.0), (GERMAN, 20.0));
    let (en, de) = ("en".to_owned(), "de".to_owned());
    // Three windows are decoded.
    assert_eq!(heard(&[unsure_english, sure], 1), (en.clone(), false, 3));
    assert_eq!(heard(&[unsure_english, sure, unsure_english], 3), (de.clone(), true, 3 + 2));
    assert_eq!(heard(&[sure, unsure_english], 3), (de, true, 3 + 1));
    assert_eq!(heard(&[unsure_english, unsure_german, unsure_english], 9), (en, false, 3 + 3));
}

#[test]
fn each_window_of_a_multilingual_recording_has_its_own_language() {
    let languages = vec![(ENGLISH, 20.0), (GERMAN, 20.0), (ENGLISH, 20.0)];
    let script = Script { languages, ..Script::new(&[&[T0, HELLO, T0 + 100][..]; 3]) };
    let (mut transcriber, log) = transcriber(script);
    let prompt = PromptOptions { condition_on_previous_text: false, ..PromptOptions::default() };
    let options = TranscribeOptions { multilingual: true, prompt, ..TranscribeOptions::default() };
    let result = transcriber.transcribe(&seconds(80.0), &options, &mut ()).unwrap();
    assert_eq!(result.language, "en", "the first window's");
    let of_segments: Vec<_> = result.segments.iter().map(|segment| segment.language.as_deref()).collect();
    assert_eq!(of_segments, [Some("en"), Some("de"), Some("en")]);
    let languages: Vec<u32> = log.lock().unwrap().prompts.iter().map(|prompt| prompt[1]).collect();
    assert_eq!(languages, [ENGLISH, GERMAN, ENGLISH]);
}

/// The prompts of two recordings' windows are not of one length, depending on what is heard: each runs by itself.
#[test]
fn text_of_another_language_is_no_prompt() {
    let languages = vec![(ENGLISH, 20.0), (ENGLISH, 20.0), (ENGLISH, 20.0), (GERMAN, 20.0), (GERMAN, 20.0)];
    let text = [T0, HELLO, T0 + 100];
    let script = Script { languages, ..Script::new(&[&text[..]; 9]) };
    let (mut transcriber, log) = transcriber(script);
    let options = TranscribeOptions { multilingual: true, ..TranscribeOptions::default() };
    let recordings = [seconds(80.0), seconds(80.0)];
    transcriber.transcribe_all(&recordings.iter().collect::<Vec<_>>(), &options, &mut ()).unwrap();
    let log = log.lock().unwrap();
    assert_eq!(log.batches, [2, 1, 1, 1, 1], "only the first windows have nothing before them");
    // Detection starts each sequence, and a window with text before it starts anew.
    let whole: Vec<&[u32]> = log.prompts.iter().map(Vec::as_slice).filter(|prompt| prompt.len() > 1).collect();
    let after = |text: &[u32], language| [text, &[SOT, language, 50359]].concat();
    let before = [&[PREVIOUS][..], &text].concat();
    let first = [after(&[], ENGLISH), after(&[], ENGLISH), after(&before, ENGLISH), after(&[], GERMAN)];
    let second = [after(&[], GERMAN), after(&before, GERMAN)];
    assert_eq!(whole, first.iter().chain(&second).collect::<Vec<_>>());
}
