//! Where a line of text may end, how wide it is, and a text in lines of about one length.
//!
//! Most languages end lines at blanks. Chinese, Japanese, Thai, Lao, Burmese, Khmer and Tibetan write none between
//! words: there a line ends after punctuation if it can, else between any two characters that may be parted. Thai, Lao,
//! Burmese and Khmer would be parted between words by a dictionary, which is not here.
//!
//! Source: Unicode Standard Annex 14 (line breaking), for what may not begin or end a line.

use unicode_normalization::char::is_combining_mark;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns of `text` in a font of fixed width: a Chinese or Japanese character takes two, a combining mark none.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Whether `c` belongs to a script that writes no blanks between words.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0E00}'..='\u{0EFF}'      // Thai, Lao
        | '\u{0F00}'..='\u{0FFF}'    // Tibetan
        | '\u{1000}'..='\u{109F}'    // Burmese
        | '\u{1780}'..='\u{17FF}'    // Khmer
        | '\u{2E80}'..='\u{30FF}'    // radicals, CJK punctuation, kana
        | '\u{3100}'..='\u{312F}'    // Bopomofo
        | '\u{31A0}'..='\u{4DBF}'    // Bopomofo, strokes, small kana, enclosed and Han characters
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{AA60}'..='\u{AA7F}'    // Burmese
        | '\u{F900}'..='\u{FAFF}'
        | '\u{FE30}'..='\u{FE4F}'
        | '\u{FF00}'..='\u{FFEF}'    // full and half width
        | '\u{20000}'..='\u{3FFFF}')
}

fn is_tibetan(c: char) -> bool {
    matches!(c, '\u{0F00}'..='\u{0FFF}')
}

/// Whether text goes on in the next breath after `c`.
pub(super) fn is_pause(c: char) -> bool {
    matches!(
        c,
        '.' | ','
            | '!'
            | '?'
            | ';'
            | ':'
            | '…'
            | '。'
            | '、'
            | '，'
            | '．'
            | '！'
            | '？'
            | '；'
            | '：'
            | '｡'
            | '､'
            | '၊'
            | '။'
            | '។'
            | '៕'
            | '།'
    )
}

/// Whether no line may begin with `c`: closing punctuation, small kana, marks of repetition and length, vowels that
/// belong to the consonant before them.
pub(super) fn cannot_begin(c: char) -> bool {
    is_pause(c)
        || is_combining_mark(c)
        || c.width() == Some(0)
        || matches!(c, ')' | ']' | '}' | '"' | '\'' | '’' | '”' | '»' | '›' | '%' | '‰' | '℃' | '‥' | '〜' | '～')
        || matches!(c, '）' | '］' | '｝' | '〉' | '》' | '」' | '』' | '】' | '〕' | '〗' | '〙' | '〛' | '｣' | '％')
        || matches!(c, 'ー' | 'ｰ' | '・' | '･' | '々' | '〻' | 'ゝ' | 'ゞ' | 'ヽ' | 'ヾ' | 'ﾞ' | 'ﾟ')
        || matches!(c, 'ぁ' | 'ぃ' | 'ぅ' | 'ぇ' | 'ぉ' | 'っ' | 'ゃ' | 'ゅ' | 'ょ' | 'ゎ' | 'ゕ' | 'ゖ')
        || matches!(c, 'ァ' | 'ィ' | 'ゥ' | 'ェ' | 'ォ' | 'ッ' | 'ャ' | 'ュ' | 'ョ' | 'ヮ' | 'ヵ' | 'ヶ')
        || matches!(c, '\u{31F0}'..='\u{31FF}' | 'ｧ'..='ｯ')
        || matches!(c, 'ะ' | 'า' | 'ำ' | 'ๅ' | 'ๆ' | 'ฯ' | 'ະ' | 'າ' | 'ຳ' | 'ຽ' | 'ໆ' | 'ຯ' | '៖' | 'ៗ')
}

/// Whether no line may end with `c`: opening punctuation, and what belongs to the character after it.
pub(super) fn cannot_end(c: char) -> bool {
    matches!(c, '(' | '[' | '{' | '"' | '\'' | '‘' | '“' | '«' | '‹' | '（' | '［' | '｛' | '〈' | '《' | '「' | '『')
        || matches!(c, '【' | '〔' | '〖' | '〘' | '〚' | '｢' | '$' | '£' | '¥' | '€' | '￥' | '＄')
        || matches!(c, 'เ'..='ไ' | 'ເ'..='ໄ')
        // Signs that join the consonants around them.
        || matches!(c, '\u{1039}' | '\u{17D2}' | '\u{200D}' | '\u{2060}')
}

/// Whether a line may end between two characters without a blank between them.
pub(super) fn may_part(before: char, after: char) -> bool {
    let tibetan = is_tibetan(before) && is_tibetan(after);
    (is_unspaced(before) || is_unspaced(after))
        && !cannot_begin(after)
        && !cannot_end(before)
        && (!tibetan || matches!(before, '་' | '།'))
}

/// A piece of text within which no line ends.
struct Atom<'a> {
    text: &'a str,
    width: usize,
    /// Whether there is a blank before it, unless it begins a line.
    blank: bool,
}

fn atoms(text: &str) -> Vec<Atom<'_>> {
    let mut atoms = Vec::new();
    for word in text.split_whitespace() {
        let mut from = 0;
        let mut before = None;
        for (at, c) in word.char_indices() {
            if before.is_some_and(|before| may_part(before, c)) {
                atoms.push(Atom { text: &word[from..at], width: width(&word[from..at]), blank: from == 0 });
                from = at;
            }
            before = Some(c);
        }
        atoms.push(Atom { text: &word[from..], width: width(&word[from..]), blank: from == 0 });
    }
    atoms
}

/// `text` in as few lines of at most `most` columns as it takes, those of about one length; of places that are about as
/// good, those after punctuation. A word that is wider has a line for itself.
///
/// Of all ways to part the text into that many lines the one with the least sum of squares is taken, each of a line's
/// distance from the mean, and of what parting costs at the line's end.
pub(super) fn wrap(text: &str, most: usize) -> String {
    let atoms = atoms(text);
    // The best ways to part what comes before each atom: lines, cost, where the last line begins.
    let best = |mean: f64| {
        let mut best: Vec<(usize, f64, usize)> = vec![(0, 0.0, 0)];
        for end in 1..=atoms.len() {
            let mut found: Option<(usize, f64, usize)> = None;
            let mut columns = 0;
            for begin in (0..end).rev() {
                let blank = begin + 1 < end && atoms[begin + 1].blank;
                columns += atoms[begin].width + usize::from(blank);
                if columns > most && begin + 1 < end {
                    break;
                }
                let parting = match atoms.get(end) {
                    None => 0.0,
                    _ if atoms[end - 1].text.ends_with(is_pause) => 0.0,
                    Some(next) if next.blank => most as f64 / 4.0,
                    Some(_) => most as f64 / 3.0,
                };
                let (lines, cost, _) = best[begin];
                let this = (lines + 1, cost + (mean - columns as f64).powi(2) + parting.powi(2), begin);
                if found.is_none_or(|found| (this.0, this.1) < (found.0, found.1)) {
                    found = Some(this);
                }
            }
            best.extend(found);
        }
        best
    };
    let least = best(0.0).last().map_or(1, |(lines, ..)| (*lines).max(1));
    let all: usize = atoms.iter().map(|atom| atom.width + usize::from(atom.blank)).sum();
    let best = best(all as f64 / least as f64);
    let mut lines = Vec::new();
    let mut end = atoms.len();
    while end > 0 {
        let begin = best[end].2;
        let line = atoms[begin..end].iter().enumerate().fold(String::new(), |line, (place, atom)| {
            let blank = if atom.blank && place > 0 { " " } else { "" };
            line + blank + atom.text
        });
        lines.push(line);
        end = begin;
    }
    lines.reverse();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_balanced_and_end_after_punctuation_where_that_is_as_good() {
        for (text, most, expected) in [
            ("Short enough.", 20, "Short enough."),
            ("", 20, ""),
            ("The quick brown fox jumps over the lazy dog", 40, "The quick brown fox\njumps over the lazy dog"),
            ("Well, we have known that for years, I think", 42, "Well, we have known\nthat for years, I think"),
            ("I came, saw what there was, and left again", 36, "I came, saw what there was,\nand left again"),
            ("an incomprehensibility in it", 10, "an\nincomprehensibility\nin it"),
            ("今日は天気がいいですね。散歩に行きましょう。", 30, "今日は天気がいいですね。\n散歩に行きましょう。"),
            ("我们明天下午三点在老地方见面好不好", 20, "我们明天下午三点在\n老地方见面好不好"),
            // What is small, closes, or repeats is not parted from what it belongs to; nor is what opens.
            ("ちょっと待って", 6, "ちょっ\nと待っ\nて"),
            ("彼は「はい」と", 8, "彼は「は\nい」と"),
            ("これは OpenAI のモデルです", 16, "これは OpenAI\nのモデルです"),
            ("สวัสดีครับ", 6, "สวัสดี\nครับ"),
        ] {
            assert_eq!(wrap(text, most), expected, "{text}");
        }
    }

    #[test]
    fn columns() {
        for (text, expected) in [("abc", 3), ("é", 1), ("e\u{301}", 1), ("漢字", 4), ("ｶﾅ", 2), ("ที่", 1), ("", 0)]
        {
            assert_eq!(width(text), expected, "{text}");
        }
    }

    #[test]
    fn tibetan_parts_after_its_syllables_alone() {
        assert!(!may_part('བ', 'ོ') && !may_part('བ', 'ད') && may_part('་', 'ད'));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// No character is lost but blanks at lines' ends, and no line is too wide but one that cannot be parted.
        #[test]
        fn any_text_in_lines(
            text in "([a-z]{1,7}[,.]?|[天地玄黄ちゃっー。、「」]{1,9}|[กาเที่]{1,5}| ){0,20}",
            most in 1usize..30,
        ) {
            let wrapped = wrap(&text, most);
            let bare = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(bare(&wrapped), bare(&text));
            for line in wrapped.split('\n') {
                prop_assert!(width(line) <= most || atoms(line).len() == 1, "{:?}", line);
                prop_assert_eq!(line.trim(), line);
            }
        }

        /// Text without blanks is parted only where it may be.
        #[test]
        fn no_line_begins_or_ends_with_what_it_may_not(
            text in "[天地玄黄ちゃっー。、「」กาเที่a-c]{1,40}",
            most in 1usize..12,
        ) {
            let wrapped = wrap(&text, most);
            let lines: Vec<&str> = wrapped.split('\n').collect();
            for pair in lines.windows(2) {
                let (before, after) = (pair[0].chars().next_back().unwrap(), pair[1].chars().next().unwrap());
                prop_assert!(may_part(before, after), "{:?}", pair);
            }
        }

        /// The fewest lines that are possible: as many as filling each one gives.
        #[test]
        fn no_line_more_than_it_takes(text in "([a-z]{1,7}[,.]? ?){0,12}", most in 7usize..30) {
            let mut lines: Vec<String> = vec![String::new()];
            for word in text.split_whitespace() {
                let line = lines.last_mut().unwrap();
                if line.is_empty() {
                    line.push_str(word);
                } else if width(line) + 1 + width(word) <= most {
                    *line += &format!(" {word}");
                } else {
                    lines.push(word.to_owned());
                }
            }
            prop_assert_eq!(wrap(&text, most).split('\n').count(), lines.len());
        }
    }
}
