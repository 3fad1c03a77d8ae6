//! What transcripts are worth: word error rates by language, how sure they are, and how the ways of transcribing
//! differ.
//!
//! A word error rate is the sum of the errors over the sum of the words, after Whisper's basic normalisation. Intervals
//! come from the bootstrap: recordings are drawn with replacement, the same ones for all ways, so that differences have
//! intervals of their own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;
use undertone_runner::normalise::{basic, word_errors};

use super::Entry;

/// Draws of the bootstrap.
const DRAWS: usize = 2000;

/// The texts of all recordings in one way.
pub struct Column {
    /// The device and its arithmetic, or another program.
    pub name: String,
    /// In the order of the recordings.
    pub texts: Vec<String>,
    /// Seconds of audio per second, if it ran here.
    pub speed: Option<f64>,
}

/// Wrong words and all words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Count {
    errors: usize,
    words: usize,
}

impl Count {
    /// In percent.
    fn rate(self) -> f64 {
        100.0 * self.errors as f64 / self.words.max(1) as f64
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.errors += other.errors;
        self.words += other.words;
    }
}

/// One way's account.
#[derive(Debug, Serialize)]
struct Account {
    name: String,
    by_language: BTreeMap<String, Count>,
    all: Count,
    /// Bounds of the word error rate, 95 %, in percent.
    interval: [f64; 2],
    /// Bounds of its difference from the first way's, 95 %, in points.
    difference: [f64; 2],
    /// Recordings whose text is not the first way's.
    other_texts: usize,
    realtime_factor: Option<f64>,
}

/// The accounts of all ways.
#[derive(Debug, Serialize)]
pub struct Report {
    recordings: usize,
    ways: Vec<Account>,
}

impl Report {
    /// Counts; there is at least one column, and each has a text for each entry.
    pub fn new(entries: &[Entry], columns: &[Column]) -> Self {
        let count = |(entry, text): (&Entry, &String)| {
            let (errors, words) = word_errors(&basic(&entry.text), &basic(text));
            Count { errors, words }
        };
        let counts: Vec<Vec<Count>> =
            columns.iter().map(|column| entries.iter().zip(&column.texts).map(count).collect()).collect();
        let draws = draws(entries.len());
        let rates: Vec<Vec<f64>> = counts.iter().map(|counts| drawn_rates(counts, &draws)).collect();
        let ways = columns.iter().enumerate().map(|(index, column)| {
            let mut by_language: BTreeMap<String, Count> = BTreeMap::new();
            let mut all = Count::default();
            for (entry, &count) in entries.iter().zip(&counts[index]) {
                *by_language.entry(entry.language.clone().unwrap_or_else(|| "?".to_owned())).or_default() += count;
                all += count;
            }
            Account {
                name: column.name.clone(),
                by_language,
                all,
                interval: middle(rates[index].clone()),
                difference: middle(rates[index].iter().zip(&rates[0]).map(|(own, first)| own - first).collect()),
                other_texts: column.texts.iter().zip(&columns[0].texts).filter(|(a, b)| a.trim() != b.trim()).count(),
                realtime_factor: column.speed,
            }
        });
        Self { recordings: entries.len(), ways: ways.collect() }
    }

    /// A table in Markdown, which is also readable as it stands.
    pub fn text(&self) -> String {
        let mut rows = vec![std::iter::once(String::new()).chain(["words".to_owned()]).collect::<Vec<_>>()];
        rows[0].extend(self.ways.iter().map(|way| way.name.clone()));
        let line = |title: String, words: String, cell: &dyn Fn(&Account) -> String| -> Vec<String> {
            [title, words].into_iter().chain(self.ways.iter().map(cell)).collect()
        };
        let rate = |count: Count| format!("{:.1}", count.rate());
        if let Some(first) = self.ways.first() {
            for (language, count) in &first.by_language {
                let cell = |way: &Account| rate(way.by_language.get(language).copied().unwrap_or_default());
                rows.push(line(language.clone(), count.words.to_string(), &cell));
            }
            rows.push(line("all".to_owned(), first.all.words.to_string(), &|way| rate(way.all)));
            let interval = |[low, high]: [f64; 2]| format!("{low:.1} to {high:.1}");
            rows.push(line("95 % interval".to_owned(), String::new(), &|way| interval(way.interval)));
            if self.ways.len() > 1 {
                let signed = |[low, high]: [f64; 2]| format!("{low:+.1} to {high:+.1}");
                let difference = format!("difference to {} (95 % interval)", first.name);
                rows.push(line(difference, String::new(), &|way| signed(way.difference)));
                let others = format!("transcripts that differ from {}", first.name);
                rows.push(line(others, String::new(), &|way| way.other_texts.to_string()));
            }
            let speed = |way: &Account| way.realtime_factor.map_or_else(|| "-".to_owned(), |x| format!("{x:.0}"));
            rows.push(line("times real time".to_owned(), String::new(), &speed));
        }
        format!("Word error rate in percent, {} recordings\n\n{}", self.recordings, table(&rows))
    }

    /// Everything, with the texts.
    pub fn json(&self, entries: &[Entry], columns: &[Column]) -> String {
        let texts = |index: usize| -> BTreeMap<&str, &str> {
            columns.iter().map(|column| (column.name.as_str(), column.texts[index].as_str())).collect()
        };
        let recordings: Vec<_> = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| json!({ "file": entry.file, "words": entry.text, "texts": texts(index) }))
            .collect();
        format!("{:#}\n", json!({ "report": self, "results": recordings }))
    }
}

fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string does not fail.
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if index == 0 {
            widths.iter().for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    text
}

/// For each draw the recordings that it holds; always the same ones for the same count.
fn draws(recordings: usize) -> Vec<Vec<usize>> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..DRAWS).map(|_| (0..recordings).map(|_| random.usize(..recordings)).collect()).collect()
}

fn drawn_rates(counts: &[Count], draws: &[Vec<usize>]) -> Vec<f64> {
    let rate = |draw: &Vec<usize>| {
        let mut sum = Count::default();
        draw.iter().for_each(|&index| sum += counts[index]);
        sum.rate()
    };
    draws.iter().map(rate).collect()
}

/// The bounds of the middle 95 % of values.
fn middle(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get((values.len() as f64 * share) as usize).copied().unwrap_or_default();
    [at(0.025), at(0.975)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(language: &str, text: &str) -> Entry {
        Entry { file: format!("{text}.flac"), text: text.to_owned(), language: Some(language.to_owned()), line: 1 }
    }

    fn column(name: &str, texts: &[&str]) -> Column {
        Column { name: name.to_owned(), texts: texts.iter().map(|&text| text.to_owned()).collect(), speed: None }
    }

    #[test]
    fn errors_are_summed_by_language_and_over_all() {
        let entries = [entry("de", "eins zwei drei vier"), entry("en", "one two"), entry("en", "three four")];
        let columns = [
            column("a", &["Eins, zwei, drei, vier.", " One two.", "Three four"]),
            column("b", &["eins zwei vier", "One two", "three"]),
        ];
        let report = Report::new(&entries, &columns);
        assert_eq!(report.ways[0].all, Count { errors: 0, words: 8 });
        assert_eq!(report.ways[1].by_language["de"], Count { errors: 1, words: 4 });
        assert_eq!(report.ways[1].by_language["en"], Count { errors: 1, words: 4 });
        assert_eq!((report.ways[1].all.rate(), report.ways[1].other_texts), (25.0, 3));
        let text = report.text();
        assert!(text.contains("| de ") && text.contains("| 25.0 "), "{text}");
        for row in ["| difference to a (95 % interval) ", "| transcripts that differ from a "] {
            assert!(text.contains(row), "{text}");
        }
        let alone = Report::new(&entries, &columns[..1]).text();
        assert!(!alone.contains("differ") && alone.contains("| 95 % interval "), "{alone}");
        assert!(text.lines().skip(2).all(|line| line.chars().count() == text.lines().nth(2).unwrap().chars().count()));
    }

    #[test]
    fn intervals_hold_the_rate_and_shrink_with_the_count() {
        let of = |count: usize| {
            let entries: Vec<Entry> = (0..count).map(|_| entry("en", "one two three four")).collect();
            let texts: Vec<&str> =
                (0..count).map(|i| if i % 2 == 0 { "one two three" } else { "one two three four" }).collect();
            let report = Report::new(&entries, &[column("a", &texts)]);
            (report.ways[0].interval, report.ways[0].all.rate())
        };
        let ((few, rate), (many, _)) = (of(10), of(400));
        assert!(few[0] <= rate && rate <= few[1] && many[0] <= rate && rate <= many[1], "{few:?} {many:?}");
        assert!(many[1] - many[0] < (few[1] - few[0]) / 3.0, "{few:?} {many:?}");
        assert_eq!(Report::new(&[entry("en", "one")], &[column("a", &["one"])]).ways[0].difference, [0.0, 0.0]);
    }
}
