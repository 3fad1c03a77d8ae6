//! Words with times in the loop over windows, with the scripted model, whose cross-attention follows the audio.

use super::*;

fn timed(options: TranscribeOptions) -> TranscribeOptions {
    TranscribeOptions { words: WordOptions { word_timestamps: true, ..WordOptions::default() }, ..options }
}

fn words(segment: &Segment) -> Vec<(&str, f64, f64)> {
    segment.words.iter().map(|word| (word.word.as_str(), word.start, word.end)).collect()
}

#[test]
fn words_have_the_times_of_their_attention() {
    let text = [T0, HELLO, WORLD, T0 + 100, T0 + 100, WORLD, T0 + 150];
    let options = timed(TranscribeOptions::greedy());
    let options = TranscribeOptions { language: Some("de".to_owned()), ..options };
    let (mut transcriber, log) = transcriber(Script::new(&[&text]));
    let result = transcriber.transcribe(&seconds(20.0), &options, &mut ()).unwrap();
    // Start of transcript, language, task and no timestamps come before the text: its first place is the fourth.
    let [first, second] = &result.segments[..] else { panic!("{:?}", result.segments) };
    let near = |got: Vec<(&str, f64, f64)>, expected: &[(&str, f64, f64)]| {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert_eq!(got.0, expected.0);
            assert!((got.1 - expected.1).abs() < 0.21 && (got.2 - expected.2).abs() < 0.21, "{got:?} {expected:?}");
        }
    };
    near(words(first), &[(" Hello", 0.0, 1.4), (" world", 1.4, 1.8)]);
    near(words(second), &[(" world", 1.8, 2.2)]);
    assert_eq!((first.start, first.end), (first.words[0].start, first.words[1].end));
    let probability = 12f64.exp() / (12f64.exp() + f64::from(EOT - 1));
    assert!(
        result.segments.iter().flat_map(|s| &s.words).all(|w| (f64::from(w.probability) - probability).abs() < 1e-5)
    );
    assert_eq!(log.lock().unwrap().windows, 1);
}

#[test]
fn a_window_that_was_cut_in_speech_is_followed_by_one_at_its_last_word() {
    let texts: [&[u32]; 2] = [&[T0, HELLO, T0 + 100, T0 + 100, WORLD, WORLD], &[T0, WORLD, T0 + 50]];
    let options = TranscribeOptions { language: Some("de".to_owned()), ..TranscribeOptions::greedy() };
    let seeks = |options: &TranscribeOptions| {
        let result = transcriber(Script::new(&texts)).0.transcribe(&seconds(20.0), options, &mut ()).unwrap();
        result.segments.iter().map(|segment| (segment.seek, segment.end)).collect::<Vec<_>>()
    };
    assert_eq!(seeks(&options)[1].0, 200, "the pair of timestamps says so");
    let [first, second] = seeks(&timed(options))[..] else { panic!("two windows") };
    assert_eq!(second.0, (first.1 * 100.0).round() as usize);
    assert!(second.0 < 200);
}

#[test]
fn a_model_without_scores_is_an_error_before_any_window() {
    let script = Script { attends: false, ..Script::new(&[&[T0, HELLO, T0 + 50]]) };
    let (mut transcriber, log) = transcriber(script);
    let error = transcriber.transcribe(&seconds(3.0), &timed(german()), &mut ()).unwrap_err().to_string();
    assert_eq!(error, "the option word_timestamps cannot be had of this model: decoder: its attention is fused");
    assert_eq!(transcriber.check(&timed(german())).unwrap_err().to_string(), error, "before audio is read");
    assert_eq!(log.lock().unwrap().windows, 0);
    assert!(transcriber.transcribe(&seconds(3.0), &german(), &mut ()).is_ok(), "without words all is well");
}

#[test]
fn heads_that_a_model_does_not_have_are_an_error_before_audio_is_read() {
    let (mut transcriber, log) = transcriber(Script::new(&[&[T0, HELLO, T0 + 50]]));
    let ModelConfig { decoder_layers: layers, decoder_heads: heads, .. } = transcriber.config;
    for (named, word) in [
        (vec![[0, 0], [layers, 0]], format!("head 0 of layer {layers}")),
        (vec![[0, heads]], format!("head {heads} of layer 0")),
        (vec![], "name none".to_owned()),
    ] {
        transcriber.alignment_heads = named;
        let error = transcriber.check(&timed(german())).unwrap_err().to_string();
        assert!(error.starts_with("the option word_timestamps ") && error.contains(&word), "{error}");
        assert!(error.contains("'alignment_heads' in its generation_config.json"), "{error}");
        assert!(transcriber.transcribe(&seconds(3.0), &timed(german()), &mut ()).is_err());
        assert!(transcriber.check(&german()).is_ok(), "without words all is well");
    }
    assert_eq!(log.lock().unwrap().windows, 0);
}

#[test]
fn words_of_chunks_are_in_the_recording_s_time() {
    let texts: Vec<&[u32]> = vec![&[T0, HELLO, WORLD, T0 + 100]; 9];
    let options = TranscribeOptions { cut_at_pauses: true, batch: 4, ..timed(german()) };
    let result = transcriber(Script::new(&texts)).0.transcribe(&seconds(130.0), &options, &mut ()).unwrap();
    assert!(result.segments.len() > 3);
    for segment in &result.segments {
        let from = segment.seek as f64 / 100.0;
        let [hello, world] = &segment.words[..] else { panic!("{segment:?}") };
        assert!(from <= hello.start && hello.end == world.start && world.end < from + 3.0, "{segment:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is written, the loop ends, and words are in order, in their segment, in the audio. Where words begin with
    /// a blank, they are a segment's text together; what begins without one is of the word before, in another segment
    /// too.
    #[test]
    fn any_words_are_nested(
        tokens in prop_oneof![Just(vec![HELLO, WORLD]), Just((220..EOT).collect::<Vec<u32>>())],
        texts in proptest::collection::vec(proptest::collection::vec((0u32..3, 0usize..100_000), 0..12), 0..6),
        length in 0.0f64..75.0,
        threshold in proptest::option::of(0.0f64..3.0),
        cut_at_pauses: bool,
    ) {
        let token = |&(kind, number): &(u32, usize)| match kind {
            0 => T0 + (number % 1501) as u32,
            _ => tokens[number % tokens.len()],
        };
        let texts: Vec<Vec<u32>> = texts.iter().map(|text| text.iter().map(token).collect()).collect();
        let texts: Vec<&[u32]> = texts.iter().map(|text| &text[..]).collect();
        let audio = seconds(length);
        let mut options = TranscribeOptions { cut_at_pauses, ..timed(german()) };
        options.words.hallucination_silence_threshold = threshold;
        let result = transcriber(Script::new(&texts)).0.transcribe(&audio, &options, &mut ()).unwrap();
        let mut last = 0.0;
        for segment in &result.segments {
            prop_assert!(last <= segment.start && segment.end <= audio.duration(), "{:?}", segment);
            last = segment.start;
            for word in &segment.words {
                prop_assert!(last <= word.start && word.start <= word.end && word.end <= segment.end, "{:?}", segment);
                last = word.end;
            }
            last = segment.end;
            let text: String = segment.words.iter().map(|word| word.word.as_str()).collect();
            // Where nothing that it means to say is allowed, the script says the first token, "!": of the word before,
            // also where its own segment has no length and is not kept.
            let blanks = tokens.len() == 2 && !result.text.contains('!') && !text.contains('!');
            prop_assert!(!blanks || text == segment.text, "{:?}", segment);
        }
    }
}
