//! Languages that put no blanks between words: whatever their text goes through, none comes in between.

mod common;

use common::root;
use proptest::prelude::*;
use undertone_runner::format::{Format, SubtitleOptions};
use undertone_runner::tokenizer::Tokenizer;
use undertone_runner::{Segment, Transcription, Word};

/// Letters of Chinese and Japanese, and their marks.
fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{3001}'..='\u{30FF}' | '\u{4E00}'..='\u{9FFF}' | '\u{FF01}'..='\u{FF60}')
}

/// Segments of these words, each with a time.
fn transcription(segments: &[Vec<String>]) -> Transcription {
    let segment = |(id, words): (usize, &Vec<String>)| {
        let start = id as f64 * 5.0;
        let word = |(at, word): (usize, &String)| {
            let start = start + at as f64 * 0.25;
            Word { word: word.clone(), start, end: start + 0.25, probability: 0.9 }
        };
        Segment {
            id,
            start,
            end: start + words.len() as f64 * 0.25,
            text: words.concat(),
            words: words.iter().enumerate().map(word).collect(),
            ..Segment::default()
        }
    };
    let segments: Vec<Segment> = segments.iter().enumerate().map(segment).collect();
    let text = segments.iter().map(|segment| segment.text.as_str()).collect();
    Transcription { language: "zh".to_owned(), text, segments, ..Transcription::default() }
}

fn written(format: Format, result: &Transcription, options: &SubtitleOptions) -> String {
    let mut bytes = Vec::new();
    format.write(result, options, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_format_puts_a_blank_between_letters(
        segments in prop::collection::vec(prop::collection::vec("[你好世界今天天气很好日本語カナひら。、？]{1,3}", 1..12), 1..4),
        width in prop::option::of(4usize..20),
    ) {
        let result = transcription(&segments);
        let options = SubtitleOptions { max_line_width: width, ..SubtitleOptions::default() };
        for format in Format::ALL {
            let text = written(format, &result, &options);
            let letters: Vec<char> = text.chars().collect();
            for window in letters.windows(3) {
                let between = is_unspaced(window[0]) && window[1] == ' ' && is_unspaced(window[2]);
                prop_assert!(!between, "{:?} in {}:\n{}", window, format.word(), text);
            }
            // All letters are there, in order; JSON has them several times.
            if format != Format::Json {
                let all: String = letters.into_iter().filter(|letter| is_unspaced(*letter)).collect();
                prop_assert_eq!(all, segments.concat().concat(), "{}", format.word());
            }
        }
    }
}

#[test]
fn tokens_of_unspaced_text_have_no_blanks() {
    let tokenizer = Tokenizer::load(&root().join("models/reference")).unwrap();
    for text in ["今天天气很好，我们去公园吧。", "吾輩は猫である。名前はまだ無い。", "สวัสดีครับ", "မင်္ဂလာပါ", "ສະບາຍດີ"]
    {
        let tokens = tokenizer.encode(text).unwrap();
        // Each part by itself, as segments and words are.
        for at in 0..=tokens.len() {
            let parts = [&tokens[..at], &tokens[at..]].map(|part| tokenizer.decode(part).unwrap());
            assert!(parts.iter().all(|part| !part.contains([' ', '\u{FFFD}'])), "{parts:?}");
        }
        assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
    }
}
