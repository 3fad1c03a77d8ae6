//! What a person chooses of the search, and of what may be written.

use super::*;
use crate::options::{SearchOptions, TokenOptions};

/// What a script comes to with these options for tokens.
fn written(text: &[u32], tokens: TokenOptions, without_timestamps: bool) -> Vec<u32> {
    let options = TranscribeOptions {
        tokens,
        without_timestamps,
        language: Some("de".to_owned()),
        ..TranscribeOptions::greedy()
    };
    let result = transcriber(Script::new(&[text])).0.transcribe(&seconds(10.0), &options, &mut ()).unwrap();
    result.segments.into_iter().flat_map(|segment| segment.tokens).collect()
}

#[test]
fn beams_at_temperature_0_and_chance_above() {
    let circles: Vec<u32> = [T0].into_iter().chain(std::iter::repeat_n(HELLO, 60)).chain([T0 + 100]).collect();
    let again = vec![circles.clone(), vec![T0, WORLD, HELLO, T0 + 60]];
    let search = SearchOptions { beam_size: Some(3), ..SearchOptions::default() };
    let options = TranscribeOptions { search, ..german() };
    let texts: [&[u32]; 2] = [&[T0, HELLO, T0 + 50], &circles];
    let (mut transcriber, log) = transcriber(Script { again, ..Script::new(&texts) });
    let recordings = [seconds(10.0), seconds(10.0)];
    let results = transcriber.transcribe_all(&recordings.iter().collect::<Vec<_>>(), &options, &mut ()).unwrap();
    let found: Vec<_> = results.iter().map(|r| (r.text.as_str(), r.segments[0].temperature)).collect();
    assert_eq!(found, [(" Hello", 0.0), (" world Hello", 0.4)]);
    assert_eq!(log.lock().unwrap().again, [vec![1], vec![1]]);
}

#[test]
fn options_without_a_meaning_are_errors_before_anything_is_computed() {
    let (mut transcriber, log) = transcriber(Script::new(&[&[T0, HELLO]]));
    let none = SearchOptions { beam_size: Some(0), ..SearchOptions::default() };
    let without = |token| TranscribeOptions {
        tokens: TokenOptions { suppress_tokens: vec![token], ..TokenOptions::default() },
        ..german()
    };
    for options in [
        // The end of text, and no token.
        without(transcriber.tokenizer.special.eot.into()),
        without(u32::MAX.into()),
        TranscribeOptions { search: none, ..german() },
        TranscribeOptions { temperatures: vec![-1.0], ..german() },
        TranscribeOptions { best_of: 0, ..german() },
    ] {
        let error = transcriber.check(&options).unwrap_err();
        assert!(matches!(error, TranscribeError::Option(_)), "{error}");
        assert!(error.to_string().starts_with("the option "), "{error}");
        assert!(transcriber.transcribe(&seconds(10.0), &options, &mut ()).is_err());
    }
    assert_eq!(log.lock().unwrap().windows, 0);
}

#[test]
fn marks_are_not_written_unless_they_are_wanted() {
    const QUOTE: u32 = 1; // '"'
    let text = [T0, QUOTE, HELLO, T0 + 50];
    let tokens =
        |suppress_tokens: &[i64]| TokenOptions { suppress_tokens: suppress_tokens.to_vec(), ..Default::default() };
    let count = |tokens: TokenOptions, token: u32| {
        written(&text, tokens, false).iter().filter(|&&written| written == token).count()
    };
    assert_eq!((count(tokens(&[-1]), QUOTE), count(tokens(&[-1]), HELLO)), (0, 1));
    assert_eq!((count(tokens(&[]), QUOTE), count(tokens(&[]), HELLO)), (1, 1));
    let hello = i64::from(HELLO);
    assert_eq!((count(tokens(&[hello]), QUOTE), count(tokens(&[hello]), HELLO)), (1, 0));
    assert_eq!((count(tokens(&[-1, hello]), QUOTE), count(tokens(&[-1, hello]), HELLO)), (0, 0));
    // Control tokens never are.
    assert!(!written(&[T0, SOT, HELLO, T0 + 50], tokens(&[]), false).contains(&SOT));
}

#[test]
fn a_window_may_end_at_once_where_blanks_are_allowed() {
    for (suppress_blank, writes) in [(true, true), (false, false)] {
        let found = written(&[], TokenOptions { suppress_blank, ..Default::default() }, true);
        assert_eq!(!found.is_empty(), writes, "{suppress_blank}: {found:?}");
    }
}

#[test]
fn the_first_timestamp_is_as_late_as_is_allowed() {
    for (latest, begins) in
        [(None, false), (Some(3.98), false), (Some(4.0), true), (Some(0.0), true), (Some(1e300), true)]
    {
        let tokens = TokenOptions { max_initial_timestamp: latest, ..Default::default() };
        let found = written(&[T0 + 200, HELLO, T0 + 300], tokens, false);
        assert_eq!(found.first() == Some(&(T0 + 200)), begins, "{latest:?}: {found:?}");
    }
}

#[test]
fn a_window_has_no_more_tokens_than_are_wanted() {
    let text: Vec<u32> = std::iter::repeat_n(HELLO, 50).collect();
    for most in [1, 7] {
        let tokens = TokenOptions { max_new_tokens: Some(most), ..Default::default() };
        assert_eq!(written(&text, tokens, true), vec![HELLO; most]);
    }
}

#[test]
fn nothing_is_said_a_second_time_where_that_is_forbidden() {
    let text = [HELLO, WORLD, HELLO, WORLD, HELLO];
    let found = |size| written(&text, TokenOptions { no_repeat_ngram_size: size, ..Default::default() }, true);
    assert_eq!(found(0), text);
    assert_eq!(found(4), text);
    assert_eq!(found(2)[..3], text[..3]);
    assert_ne!(found(2)[3], WORLD);
    assert_ne!(found(3)[4], HELLO);
}

#[test]
fn a_penalty_makes_repetition_less_likely() {
    // The text's logits are 30, all others 0.
    let probability = |penalty| {
        let tokens = TokenOptions { repetition_penalty: penalty, ..Default::default() };
        let options = TranscribeOptions {
            tokens,
            without_timestamps: true,
            language: Some("de".into()),
            ..TranscribeOptions::greedy()
        };
        let script = Script::new(&[&[HELLO, HELLO, HELLO]]);
        let result = transcriber(script).0.transcribe(&seconds(10.0), &options, &mut ()).unwrap();
        (result.segments[0].tokens.clone(), result.segments[0].avg_logprob)
    };
    let ((tokens, sure), (penalised, less_sure)) = (probability(1.0), probability(3.0));
    assert_eq!((tokens.len(), penalised.len()), (3, 3));
    assert!(sure > -0.01 && less_sure < -0.2, "{sure} {less_sure}");
}

/// A model that goes on without a mark of time is cut off with one; the next window begins there.
#[test]
fn what_is_cut_off_goes_on_in_the_next_window_and_is_told() {
    let endless: Vec<u32> = [T0].into_iter().chain(std::iter::repeat_n(HELLO, 50)).collect();
    let tokens = TokenOptions { max_new_tokens: Some(5), ..Default::default() };
    for cut_at_pauses in [false, true] {
        let language = Some("de".to_owned());
        let tokens = tokens.clone();
        let options = TranscribeOptions { tokens, cut_at_pauses, language, ..TranscribeOptions::greedy() };
        let (mut transcriber, log) = transcriber(Script::new(&[&endless, &[T0, WORLD, T0 + 50]]));
        let result = transcriber.transcribe(&seconds(40.0), &options, &mut ()).unwrap();
        // All timestamps are as likely: the first that may come does.
        let first = &result.segments[0];
        assert_eq!((first.tokens.len(), first.tokens[4]), (5, T0 + 1), "{cut_at_pauses}: {:?}", first.tokens);
        let second = &result.segments[1];
        assert!(second.start < 30.0 && second.text == " world", "{cut_at_pauses}: {second:?}");
        assert!(log.lock().unwrap().windows >= 2);
        let warnings: Vec<&str> = result.run.warnings.iter().map(|warning| warning.what.as_str()).collect();
        assert_eq!(
            warnings,
            ["by the limit of tokens (max_new_tokens) 1 window was cut off, at 0.0 s, where words may be parted"],
            "{cut_at_pauses}"
        );
    }
    // Without times nobody knows where to go on.
    let options = TranscribeOptions { tokens, without_timestamps: true, ..german() };
    let result = transcriber(Script::new(&[&[HELLO; 50]])).0.transcribe(&seconds(10.0), &options, &mut ()).unwrap();
    assert_eq!(result.segments[0].tokens, [HELLO; 5]);
    assert!(result.run.warnings[0].what.ends_with("from 0.0 s on, and the rest of what is said there is missing"));
}
