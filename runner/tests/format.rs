//! The output formats, normalisation and word errors.

mod common;

use common::{json, root};
use proptest::prelude::*;
use serde_json::Value;
use undertone_runner::format::{Format, OfFile};
use undertone_runner::normalise::{basic, word_errors};
use undertone_runner::{Segment, Transcription, Word};

fn transcription(texts: &[&str]) -> Transcription {
    let segment = |(id, text): (usize, &&str)| Segment {
        id,
        start: id as f64 * 2.5,
        end: id as f64 * 2.5 + 2.0,
        text: (*text).to_owned(),
        tokens: vec![50364, 264, 50464],
        avg_logprob: -0.25,
        compression_ratio: 0.9,
        no_speech_prob: 0.01,
        ..Segment::default()
    };
    Transcription {
        task: "transcribe".to_owned(),
        language: "en".to_owned(),
        duration: 6.0,
        text: texts.concat(),
        segments: texts.iter().enumerate().map(segment).collect(),
        ..Transcription::default()
    }
}

#[test]
fn lines_as_whisper_writes_them() {
    let two = transcription(&[" The first.", " The second."]);
    assert_eq!(Format::Txt.render(&two), "The first.\nThe second.\n");
    assert_eq!(
        Format::Srt.render(&two),
        "1\n00:00:00,000 --> 00:00:02,000\nThe first.\n\n2\n00:00:02,500 --> 00:00:04,500\nThe second.\n\n"
    );
    assert_eq!(
        Format::Vtt.render(&two),
        "WEBVTT\n\n00:00.000 --> 00:02.000\nThe first.\n\n00:02.500 --> 00:04.500\nThe second.\n\n"
    );
    assert_eq!(Format::Tsv.render(&two), "start\tend\ttext\n0\t2000\tThe first.\n2500\t4500\tThe second.\n");
}

#[test]
fn lines_as_whisper_cpp_writes_them() {
    let two = transcription(&[" The \"first\", as it were.", " [Music]"]);
    let csv = "start,end,text\n0,2000,\"The \"\"first\"\", as it were.\"\n2500,4500,\"[Music]\"\n";
    assert_eq!(Format::Csv.render(&two), csv);
    let lrc = "[by:undertone]\n[00:00.00]The \"first\", as it were.\n[00:02.50] [Music]\n";
    assert_eq!(Format::Lrc.render(&two), lrc);
}

#[test]
fn ass_has_the_sections_that_players_look_for() {
    let ass = Format::Ass.render(&transcription(&[" A {brace} and a \\N.", " The second."]));
    let sections: Vec<&str> = ass.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(sections, ["[Script Info]", "[V4+ Styles]", "[Events]"]);
    let fields = |line: &str| ass.lines().find_map(|l| l.strip_prefix(line)).unwrap().split(',').count();
    assert_eq!(fields("Format: Name"), fields("Style: "));
    let lines: Vec<&str> = ass.lines().filter(|line| line.starts_with("Dialogue: ")).collect();
    let first = "Dialogue: 0,0:00:00.00,0:00:02.00,Default,,0,0,0,,A \\{brace\\} and a \\\u{2060}N.";
    assert_eq!(lines, [first, "Dialogue: 0,0:00:02.50,0:00:04.50,Default,,0,0,0,,The second."]);
    assert_eq!(fields("Format: Layer"), "0,0:00:00.00,0:00:02.00,Default,,0,0,0,,text".split(',').count());
}

#[test]
fn tables_have_a_line_for_each_segment_whatever_is_said() {
    let text = " a\tb\r\nc \"d\"";
    let two = transcription(&[text, text]);
    assert_eq!(Format::Tsv.render(&two).lines().nth(1), Some("0\t2000\ta b  c \"d\""));
    assert_eq!(Format::Csv.render(&two).lines().nth(2), Some("2500,4500,\"a\tb  c \"\"d\"\"\""));
    assert_eq!(Format::Lrc.render(&two).lines().count(), 3);
}

#[test]
fn words_are_in_the_json() {
    let mut one = transcription(&[" The first."]);
    let word = |word: &str, start| Word { word: word.to_owned(), start, end: start + 0.5, probability: 0.75 };
    one.segments[0].words = vec![word(" The", 0.0), word(" first.", 0.5)];
    let value: Value = serde_json::from_str(&Format::Json.render(&one)).unwrap();
    let expected = serde_json::json!({"word": " first.", "start": 0.5, "end": 1.0, "probability": 0.75});
    assert_eq!(value["segments"][0]["words"][1], expected);
    // Without words there is no such key.
    let value: Value = serde_json::from_str(&Format::Json.render(&transcription(&[" The first."]))).unwrap();
    assert!(value["segments"][0].get("words").is_none(), "{value}");
}

#[test]
fn nothing_said() {
    let empty = transcription(&[]);
    assert_eq!(Format::Txt.render(&empty), "");
    assert_eq!(Format::Srt.render(&empty), "");
    assert_eq!(Format::Vtt.render(&empty), "WEBVTT\n\n");
    assert_eq!(Format::Tsv.render(&empty), "start\tend\ttext\n");
}

#[test]
fn json_reads_back_and_has_the_fields_of_verbose_json() {
    let two = transcription(&[" Grüße, 你好 \"quoted\"\n", " \u{1F600}"]);
    let text = Format::Json.render(&two);
    assert_eq!(serde_json::from_str::<Transcription>(&text).unwrap(), two);
    let value: Value = serde_json::from_str(&text).unwrap();
    for field in ["task", "language", "duration", "text", "segments", "run"] {
        assert!(value.get(field).is_some(), "{field}");
    }
    let mut fields: Vec<&str> = value["segments"][0].as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let expected = "avg_logprob compression_ratio end id no_speech_prob seek start temperature text tokens";
    assert_eq!(fields.join(" "), expected);
}

#[test]
fn json_of_a_file_names_it_first() {
    let two = transcription(&[" The first.", " The second."]);
    let of_file = OfFile { file: "a \"b\".flac", transcription: &two };
    let (line, indented) = (of_file.line().unwrap(), of_file.indented().unwrap());
    assert!(line.starts_with("{\"file\":\"a \\\"b\\\".flac\",\"task\":") && line.lines().count() == 1, "{line}");
    // The rest is as without a name.
    let named = indented.strip_prefix("{\n  \"file\": \"a \\\"b\\\".flac\",\n").unwrap();
    assert_eq!(format!("{{\n{named}"), Format::Json.render(&two));
}

#[test]
fn words_of_formats() {
    for format in Format::ALL {
        assert_eq!(format.word().parse::<Format>().unwrap(), format);
    }
    let error = "docx".parse::<Format>().unwrap_err().to_string();
    assert!(error.contains("docx") && error.contains("txt, srt, vtt, json"), "{error}");
}

#[test]
fn vtt_escapes_markup() {
    let text = Format::Vtt.render(&transcription(&[" R&D <b>now</b> &lt;"]));
    assert!(text.contains("R&amp;D &lt;b>now&lt;/b> &amp;lt;"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is said, a subtitle file has as many cues as segments, and each cue is one line of times and one of
    /// text.
    #[test]
    fn subtitles_keep_their_shape(texts in prop::collection::vec("(-->|--|>|\n|\r|\\PC){0,12}", 0..4)) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let transcription = transcription(&texts);
        for (format, head, lines) in [(Format::Srt, 0, 4), (Format::Vtt, 2, 3)] {
            let text = format.render(&transcription);
            let text: Vec<&str> = text.split('\n').collect();
            prop_assert_eq!(text.len(), head + texts.len() * lines + 1);
            for cue in text[head..].chunks_exact(lines) {
                let times = cue[lines - 3];
                prop_assert!(times.contains(" --> "));
                prop_assert!(!cue[lines - 2].contains("-->"));
                prop_assert!(!cue[lines - 2].contains('\r'));
                prop_assert_eq!(cue[lines - 1], "");
            }
        }
    }

    /// The distance against the definition, written out.
    #[test]
    fn word_errors_are_the_levenshtein_distance(a in "[ab]( [abc]){0,5}", b in "([ab]( [abc]){0,5})?") {
        fn distance(a: &[&str], b: &[&str]) -> usize {
            match (a, b) {
                ([], rest) | (rest, []) => rest.len(),
                ([x, a @ ..], [y, b @ ..]) if x == y => distance(a, b),
                ([_, a_rest @ ..], [_, b_rest @ ..]) => {
                    1 + distance(a_rest, b).min(distance(a, b_rest)).min(distance(a_rest, b_rest))
                }
            }
        }
        let (x, y): (Vec<&str>, Vec<&str>) = (a.split_whitespace().collect(), b.split_whitespace().collect());
        prop_assert_eq!(word_errors(&a, &b), (distance(&x, &y), x.len()));
        prop_assert_eq!(word_errors(&b, &a).0, distance(&x, &y));
    }
}

#[test]
fn normalised_as_whisper_normalises() {
    // The right-hand sides are those of the Python definition, run with re and unicodedata.
    let cases = [
        ("[noise] Hello, (um) WORLD!", " hello world "),
        ("It's ½ \u{2014} Ünï<b>x</b> ok", "it s 1 2 ünïx ok"),
        ("()", " "),
        ("你好，世界。", "你好 世界 "),
        ("A\u{301} e\u{20dd}\u{9}B\u{a}", "á e b "),
        ("$5.00 & 10%", " 5 00 10 "),
        ("İstanbul STRAẞE", "i stanbul straße"),
    ];
    for (text, expected) in cases {
        assert_eq!(basic(text), expected, "{text:?}");
    }
}

#[test]
fn the_reference_implementations_word_error_rate() {
    // The model's README gives 7.2 % for these transcripts.
    let manifest = std::fs::read_to_string(root().join("speech/short/manifest.jsonl")).unwrap();
    let spoken: Vec<Value> = manifest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let transcripts = json(&root().join("tests/vectors/transcripts/greedy-short.json"));
    let (mut errors, mut words) = (0, 0);
    for (spoken, found) in spoken.iter().zip(transcripts["results"].as_array().unwrap()) {
        assert!(found["file"].as_str().unwrap().ends_with(spoken["file"].as_str().unwrap()));
        let counts = word_errors(&basic(spoken["text"].as_str().unwrap()), &basic(found["text"].as_str().unwrap()));
        errors += counts.0;
        words += counts.1;
    }
    let rate = 100.0 * errors as f64 / words as f64;
    assert_eq!(format!("{rate:.1}"), "7.2", "{errors} of {words}");
}
