//! Subtitles: openai/whisper's own on the same words, and what holds for any words.

mod common;

use common::{json, root};
use proptest::prelude::*;
use serde_json::Value;
use undertone_runner::format::{Cue, Format, SubtitleOptions, subtitles};
use undertone_runner::{Segment, Transcription, Word};
use unicode_width::UnicodeWidthStr as _;

fn render(format: Format, result: &Transcription, options: &SubtitleOptions) -> String {
    let mut bytes = Vec::new();
    format.write(result, options, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn of(segments: Vec<Segment>) -> Transcription {
    Transcription { segments, ..Transcription::default() }
}

/// A segment with words that follow each other, each half a second long; each begins with a blank if it is to.
fn spoken(words: &[&str]) -> Segment {
    let word = |(at, word): (usize, &&str)| Word {
        word: (*word).to_owned(),
        start: at as f64 * 0.5,
        end: at as f64 * 0.5 + 0.5,
        probability: 1.0,
    };
    let words: Vec<Word> = words.iter().enumerate().map(word).collect();
    let (start, end) = (0.0, words.last().map_or(0.0, |word| word.end));
    Segment { start, end, text: words.iter().map(|word| word.word.as_str()).collect(), words, ..Segment::default() }
}

fn texts(cues: &[Cue]) -> Vec<String> {
    cues.iter().map(Cue::plain).collect()
}

fn number(options: &Value, key: &str) -> Option<usize> {
    options[key].as_u64().map(|number| number as usize)
}

/// Words that begin and end at once: alone and in a row, between others and at a segment's end.
#[test]
fn each_word_is_seen() {
    let word = |(word, start, end): (&str, f64, f64)| Word { word: word.to_owned(), start, end, probability: 1.0 };
    let words =
        [(" a", 1.0, 1.0), (" b", 1.0, 1.5), (" c", 2.0, 2.0), (" d", 2.0, 2.0), (" e", 2.0, 2.05), (" f", 2.4, 2.4)];
    let result = of(vec![Segment { start: 1.0, end: 2.4, words: words.map(word).into(), ..Segment::default() }]);
    let alone = SubtitleOptions { max_words_per_line: Some(1), ..SubtitleOptions::default() };
    let highlighted = SubtitleOptions { highlight_words: true, ..SubtitleOptions::default() };
    for (options, count) in [(alone, 6), (highlighted, 8)] {
        let cues = subtitles(&result, &options);
        let milliseconds = |seconds: f64| (seconds * 1000.0).round() as i64;
        let times: Vec<[i64; 2]> = cues.iter().map(|cue| [cue.start, cue.end].map(milliseconds)).collect();
        assert_eq!(times.len(), count, "{times:?}");
        assert!(times.iter().all(|[start, end]| start < end), "{times:?}");
        assert!(times.windows(2).all(|pair| pair[0][1] <= pair[1][0]), "{times:?}");
        // The word after one without length begins later and ends as it did.
        assert!(times.contains(&[1100, 1500]) && times.contains(&[2000, 2100]), "{times:?}");
    }
}

#[test]
fn the_reference_s_subtitles_of_the_same_words() {
    let vectors = json(&root().join("tests/vectors/subtitles.json"));
    let recording = |segments: &Value| {
        let segment = |segment: &Value| {
            let word = |word: &Value| Word {
                word: word["word"].as_str().unwrap().to_owned(),
                start: word["start"].as_f64().unwrap(),
                end: word["end"].as_f64().unwrap(),
                probability: 1.0,
            };
            let (start, end) = (segment["start"].as_f64().unwrap(), segment["end"].as_f64().unwrap());
            let text = segment["text"].as_str().unwrap().to_owned();
            let words = segment["words"].as_array().unwrap().iter().map(word).collect();
            Segment { start, end, text, words, ..Segment::default() }
        };
        of(segments.as_array().unwrap().iter().map(segment).collect())
    };
    let recordings: Vec<Transcription> = vectors["recordings"].as_array().unwrap().iter().map(recording).collect();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(recordings.len() == 4 && cases.len() > 40);
    for case in cases {
        let options = SubtitleOptions {
            max_line_width: number(&case["options"], "max_line_width"),
            max_line_count: number(&case["options"], "max_line_count"),
            max_words_per_line: number(&case["options"], "max_words_per_line"),
            highlight_words: case["options"]["highlight_words"] == true,
        };
        let result = &recordings[number(case, "recording").unwrap()];
        for format in [Format::Srt, Format::Vtt] {
            if let Some(expected) = case[format.word()].as_str() {
                assert_eq!(render(format, result, &options), visible(expected, options.highlight_words), "{options:?}");
            }
        }
    }
}

/// The reference's file with what differs on purpose: it shows words that begin and end at once for no time. Here they
/// are shown for a tenth of a second; a subtitle that is to begin meanwhile begins later, and the text without a spoken
/// word between two words does not come if it is to end meanwhile.
fn visible(theirs: &str, highlight: bool) -> String {
    let (mut until, mut number) = (0, 0);
    let block = |block: &str| {
        let Some(times) = block.lines().find(|line| line.contains(" --> ")) else { return Some(block.to_owned()) };
        let (from, to) = times.split_once(" --> ").unwrap();
        let (start, mut end) = (milliseconds(from).max(until), milliseconds(to));
        if end <= start && highlight && !block.contains("<u>") {
            return None;
        }
        if end <= start {
            end = start + 100;
        }
        (until, number) = (end, number + 1);
        let shown = format!("{} --> {}", shown(start, from), shown(end, to));
        let text = block.split_once(times).unwrap().1;
        Some(if block.starts_with(times) { shown + text } else { format!("{number}\n{shown}{text}") })
    };
    theirs.split("\n\n").filter_map(block).collect::<Vec<_>>().join("\n\n")
}

/// Milliseconds, written as `like` is.
fn shown(time: u64, like: &str) -> String {
    let (seconds, rest) = (time / 1000, time % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let hours = if like.matches(':').count() == 2 { format!("{hours:02}:") } else { String::new() };
    let mark = if like.contains(',') { ',' } else { '.' };
    format!("{hours}{minutes:02}:{seconds:02}{mark}{rest:03}")
}

/// Of `00:01:02,345` or `01:02.345`.
fn milliseconds(time: &str) -> u64 {
    let parts = time.split([':', ',', '.']).map(|part| part.parse::<u64>().unwrap());
    let parts: Vec<u64> = parts.collect();
    let (rest, clock) = parts.split_last().unwrap();
    clock.iter().fold(0, |seconds, part| seconds * 60 + part) * 1000 + rest
}

#[test]
fn a_subtitle_begins_where_a_word_begins_late() {
    let mut segment = spoken(&[" one", " two", " three"]);
    segment.words[1].start = 3.0; // Three seconds after the first one began: not yet.
    segment.words[2].start = 6.01;
    segment.words[2].end = 6.5;
    let mut options = SubtitleOptions { max_line_width: Some(40), max_line_count: Some(2), ..Default::default() };
    assert_eq!(texts(&subtitles(&of(vec![segment.clone()]), &options)), ["one two", "three"]);
    // Segments that are kept whole are not parted for that.
    options.max_line_count = None;
    assert_eq!(texts(&subtitles(&of(vec![segment]), &options)), ["one two three"]);
}

#[test]
fn languages_without_blanks_end_lines_at_sensible_places() {
    let cut = |words: &[&str], width: usize| {
        let options = SubtitleOptions { max_line_width: Some(width), ..Default::default() };
        texts(&subtitles(&of(vec![spoken(words)]), &options)).concat()
    };
    // Nothing is put between words, nor before the first.
    let japanese = ["今日", "は", "天気", "が", "いい", "です", "ね", "。", "散歩", "に", "行き", "ま", "しょう"];
    assert_eq!(cut(&japanese, 60), japanese.concat());
    // What closes does not begin a line, even where that makes the line too long by it.
    assert_eq!(cut(&["天気", "です", "ね", "。", "散歩", "に"], 10), "天気です\nね。散歩に");
    assert_eq!(cut(&["待", "っ", "て", "ち", "ょ", "っ", "と"], 6), "待って\nちょっ\nと");
    // A line ends after punctuation if half of it is before that, else where it is full.
    assert_eq!(cut(&japanese, 22), "今日は天気がいいです\nね。散歩に行きましょう");
    assert_eq!(cut(&["天気", "が", "いい", "です", "、", "散歩", "に", "行き"], 20), "天気がいいです、\n散歩に行き");
    assert_eq!(cut(&["天", "、", "気", "が", "い", "い", "で", "す"], 10), "天、気がい\nいです");
    // Nor where it begins the next segment.
    let two = of(vec![spoken(&["天気", "です"]), spoken(&["。", "散歩"])]);
    let options = SubtitleOptions { max_line_width: Some(8), max_line_count: Some(2), ..Default::default() };
    assert_eq!(texts(&subtitles(&two, &options)), ["天気です。\n散歩"]);
    // Among words with blanks nothing changes.
    assert_eq!(cut(&[" one,", " two", " three", " four"], 14), "one, two three\nfour");
}

#[test]
fn segments_without_words_are_wrapped_and_keep_their_times() {
    let text = " It was the best of times, it was the worst of times".to_owned();
    let plain = Segment { start: 1.0, end: 5.0, text, ..Segment::default() };
    let options = SubtitleOptions { max_line_width: Some(30), max_line_count: Some(1), ..Default::default() };
    let cues = subtitles(&of(vec![plain.clone()]), &options);
    assert_eq!(texts(&cues), ["It was the best of times,\nit was the worst of times"]);
    assert_eq!((cues[0].start, cues[0].end), (1.0, 5.0));
    // Among segments with words, too.
    let mixed = of(vec![spoken(&[" Well", " then"]), plain]);
    assert_eq!(texts(&subtitles(&mixed, &options))[0], "Well then");
    assert_eq!(subtitles(&mixed, &options).len(), 2);
}

#[test]
fn words_are_escaped_and_the_spoken_one_is_underlined() {
    let result = of(vec![spoken(&[" R&D", " <b>", " {x}", " --", ">"])]);
    let options = SubtitleOptions { highlight_words: true, ..Default::default() };
    let vtt = render(Format::Vtt, &result, &options);
    assert!(vtt.contains("00:00.500 --> 00:01.000\nR&amp;D <u>&lt;b></u> {x} ->\n"), "{vtt}");
    assert_eq!(vtt.matches("-->").count(), 5, "{vtt}");
    let ass = render(Format::Ass, &result, &options);
    assert!(ass.contains(r"Dialogue: 0,0:00:01.00,0:00:01.50,Default,,0,0,0,,R&D <b> {\u1}\{x\}{\u0} -->"), "{ass}");
}

/// A subtitle as a reader of SRT files sees it: times in milliseconds, text.
type Read = (u64, u64, String);

/// Reads SRT as the players do: blocks with an empty line between them, of a number, times, and lines of text.
fn parse_srt(text: &str) -> Vec<Read> {
    let time = |time: &str| {
        let parts: Vec<u64> = time.split([':', ',']).map(|part| part.parse().unwrap()).collect();
        let [hours, minutes, seconds, milliseconds] = parts[..] else { panic!("{time}") };
        assert!(minutes < 60 && seconds < 60 && milliseconds < 1000, "{time}");
        ((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds
    };
    let block = |(number, block): (usize, &str)| {
        let mut lines = block.split('\n');
        assert_eq!(lines.next().unwrap(), (number + 1).to_string());
        let (start, end) = lines.next().unwrap().split_once(" --> ").unwrap();
        (time(start), time(end), lines.collect::<Vec<_>>().join("\n"))
    };
    let blocks = text.strip_suffix("\n\n").into_iter().flat_map(|text| text.split("\n\n"));
    blocks.enumerate().map(block).collect()
}

prop_compose! {
    /// Segments of words in order of time: with and without blanks between them, with pauses and without; now and then
    /// a word begins before the one before it ends.
    fn segments()(
        words in prop::collection::vec(
            prop::collection::vec(
                ("( [a-zé]{1,9}[,.]?|[今日本語は][っー]{0,2}[。、]?|。| -->|<i>|\u{e01}\u{e35}\u{e48})", 0u32..60, 0u32..150),
                1..14,
            ),
            0..6,
        ),
    ) -> Vec<Segment> {
        let mut now = 0;
        let seconds = |hundredths: u32| f64::from(hundredths) / 100.0;
        words.into_iter().map(|words| {
            let words: Vec<Word> = words.into_iter().map(|(word, pause, length)| {
                // Now and then a pause is long.
                now += if pause > 50 { pause * 8 } else { pause / 2 };
                let start = if pause == 1 { now.saturating_sub(20) } else { now };
                now = now.max(start + length);
                Word { word, start: seconds(start), end: seconds(start + length), probability: 0.5 }
            }).collect();
            let text = words.iter().map(|word| word.word.as_str()).collect();
            let (start, end) = (words[0].start, words[words.len() - 1].end);
            Segment { start, end, text, words, ..Segment::default() }
        }).collect()
    }
}

prop_compose! {
    fn options()(
        max_line_width in prop::option::of(8usize..40),
        max_line_count in prop::option::of(1usize..4),
        max_words_per_line in prop::option::of(1usize..7),
    ) -> SubtitleOptions {
        SubtitleOptions { max_line_width, max_line_count, max_words_per_line, highlight_words: false }
    }
}

fn bare(text: &str) -> String {
    text.split_whitespace().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    /// Subtitles are in order and do not overlap, none is empty, and every word comes once, in order; with the lines
    /// and the columns that were asked for.
    #[test]
    fn any_words(segments in segments(), options in options()) {
        let cues = subtitles(&of(segments.clone()), &options);
        let mut until = 0.0;
        for cue in &cues {
            prop_assert!(until <= cue.start && cue.start <= cue.end, "{:?}", cues);
            until = cue.end;
            let text = cue.plain();
            let lines: Vec<&str> = text.split('\n').collect();
            prop_assert!(lines.iter().all(|line| !line.trim().is_empty()), "{:?}", text);
            prop_assert!(!lines[0].starts_with(' '));
            if let (Some(most), Some(_)) = (options.max_line_count, options.max_line_width) {
                prop_assert!(lines.len() <= most, "{:?}", text);
            }
            let width = options.max_line_width.unwrap_or(1000);
            // Words here have at most ten columns, and what closes stands behind them.
            let most = |line: &str| width.max(10) + 2 * line.matches('。').count();
            prop_assert!(lines.iter().all(|line| line.width() <= most(line)), "{:?}", text);
            prop_assert!(lines[1..].iter().all(|line| !line.starts_with(['。', '、', 'っ', 'ー'])), "{:?}", text);
        }
        let said: String = segments.iter().map(|segment| bare(&segment.text)).collect();
        prop_assert_eq!(texts(&cues).iter().map(|text| bare(text)).collect::<String>(), said);
    }

    /// A line is as wide as was asked for at most, where no word is wider.
    #[test]
    fn lines_are_as_wide_as_was_asked_for(
        words in prop::collection::vec(" [a-z]{1,8}|[今日本語]{1,4}", 1..40),
        width in 8usize..40,
        lines in prop::option::of(1usize..3),
    ) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let options = SubtitleOptions { max_line_width: Some(width), max_line_count: lines, ..Default::default() };
        for cue in subtitles(&of(vec![spoken(&words)]), &options) {
            prop_assert!(cue.plain().split('\n').all(|line| line.width() <= width), "{:?}", cue.plain());
        }
    }

    /// What is highlighted comes in order, each word once, and the text stays the same throughout a subtitle.
    #[test]
    fn any_words_highlighted(segments in segments(), options in options()) {
        let plain = subtitles(&of(segments.clone()), &options);
        let highlighted = subtitles(&of(segments.clone()), &SubtitleOptions { highlight_words: true, ..options });
        let underlined = highlighted.iter().flat_map(|cue| &cue.text).filter(|span| span.underlined);
        let said: String = segments.iter().map(|segment| bare(&segment.text)).collect();
        prop_assert_eq!(underlined.map(|span| bare(&span.text)).collect::<String>(), said);
        let mut shown = texts(&highlighted);
        shown.dedup();
        let mut expected = texts(&plain);
        expected.dedup();
        prop_assert_eq!(shown, expected);
        prop_assert!(highlighted.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }

    /// An SRT file reads back as what it was made of, whatever is said in it.
    #[test]
    fn srt_reads_back(segments in segments(), options in options()) {
        let result = of(segments);
        let cues = subtitles(&result, &options);
        let read = parse_srt(&render(Format::Srt, &result, &options));
        let milliseconds = |seconds: f64| (seconds * 1000.0).round() as u64;
        prop_assert_eq!(read.len(), cues.len());
        for ((start, end, text), cue) in read.iter().zip(&cues) {
            prop_assert_eq!((*start, *end), (milliseconds(cue.start), milliseconds(cue.end)));
            prop_assert_eq!(text.clone(), cue.plain().replace("-->", "->"));
        }
    }

    /// A result that is written while it comes is what is written in the end.
    #[test]
    fn in_pieces_or_as_a_whole(segments in segments(), options in options(), piece in 1usize..4, highlight in any::<bool>()) {
        let options = SubtitleOptions { highlight_words: highlight, ..options };
        let result = of(segments);
        for format in Format::ALL {
            let mut out = Vec::new();
            let mut writer = format.writer(&options);
            writer.begin(&mut out).unwrap();
            result.segments.chunks(piece).for_each(|segments| writer.segments(segments, &mut out).unwrap());
            writer.end(&result, &mut out).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), render(format, &result, &options));
        }
    }
}
