//! A report as text: tables in Markdown, which are also readable as they stand, and the worst recordings.

use std::fmt::Write as _;

use super::marks;
use super::score::{Count, Group, Measure, Recording, Report};

/// What of a report is shown beside its tables.
pub struct Shown {
    /// A line for each recording.
    pub each: bool,
    /// So many recordings that went worst, of each way.
    pub worst: usize,
}

/// The report as text.
pub fn text(report: &Report, shown: &Shown) -> String {
    let count = report.recordings.len();
    let mut text = format!("Word error rate in percent, {count} recording{}\n\n", if count == 1 { "" } else { "s" });
    text += &rates(report, |group| &group.words, true);
    text += "\nCharacter error rate in percent\n\n";
    text += &rates(report, |group| &group.characters, false);
    if shown.each {
        text += "\nWrong words and characters of each recording\n\n";
        text += &each(report);
    }
    // The first way is only compared with, if there are others.
    let first = usize::from(report.ways.len() > 1);
    for way in first..report.ways.len() {
        text += &worst(report, way, shown.worst);
    }
    text
}

fn rates(report: &Report, of: fn(&Group) -> &[Measure], is_first: bool) -> String {
    let names = report.ways.iter().map(|way| way.name.clone());
    let unit = if is_first { "words" } else { "characters" };
    let mut rows = vec![[String::new(), unit.to_owned()].into_iter().chain(names).collect::<Vec<_>>()];
    let mut row = |title: String, total: String, cells: &mut dyn Iterator<Item = String>| {
        rows.push([title, total].into_iter().chain(cells).collect());
    };
    for group in report.languages.iter().chain([&report.all]) {
        let measures = of(group);
        let name = group.language.as_deref().unwrap_or("all");
        let title = if group.by_letter && is_first { format!("{name}, by letter") } else { name.to_owned() };
        let total = measures.first().map_or(0, |measure| measure.count.total).to_string();
        row(title, total, &mut measures.iter().map(|measure| percent(measure.count)));
    }
    let all = of(&report.all);
    let none = || "-".to_owned();
    let interval =
        |measure: &Measure| measure.interval.map_or_else(none, |[low, high]| format!("{low:.1} to {high:.1}"));
    row("95 % interval".to_owned(), String::new(), &mut all.iter().map(interval));
    if report.ways.len() > 1 {
        let first = &report.ways[0].name;
        let signed = |measure: &Measure| {
            measure.difference_interval.map_or_else(none, |[low, high]| format!("{low:+.1} to {high:+.1}"))
        };
        let title = format!("difference to {first} (95 % interval)");
        row(title, String::new(), &mut all.iter().map(signed));
        if is_first {
            let title = format!("transcripts that differ from {first}");
            row(title, String::new(), &mut report.ways.iter().map(|way| way.other_texts.to_string()));
        }
    }
    if is_first {
        let speed = |speed: Option<f64>| speed.map_or_else(|| "-".to_owned(), |speed| format!("{speed:.0}"));
        row("times real time".to_owned(), String::new(), &mut report.ways.iter().map(|way| speed(way.times_real_time)));
    }
    table(&rows)
}

fn percent(count: Count) -> String {
    count.rate().map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))
}

fn each(report: &Report) -> String {
    let names = report.ways.iter().map(|way| way.name.clone());
    let mut rows =
        vec![["", "language", "words", "characters"].map(str::to_owned).into_iter().chain(names).collect::<Vec<_>>()];
    for recording in &report.recordings {
        let total = |of: fn(&Recording) -> Option<Count>| of(recording).unwrap_or_default().total.to_string();
        let errors =
            |version: &super::score::Version| format!("{}, {}", version.words.errors, version.characters.errors);
        let words = total(|recording| recording.versions.first().map(|version| version.words));
        let characters = total(|recording| recording.versions.first().map(|version| version.characters));
        let head = [recording.file.clone(), language(recording).to_owned(), words, characters];
        rows.push(head.into_iter().chain(recording.versions.iter().map(errors)).collect());
    }
    table(&rows)
}

fn language(recording: &Recording) -> &str {
    recording.language.as_deref().unwrap_or("?")
}

fn worst(report: &Report, way: usize, most: usize) -> String {
    let all = report.worst(way);
    let mut text = String::new();
    if all.is_empty() || most == 0 {
        return text;
    }
    let (name, first) = (&report.ways[way].name, &report.ways[0].name);
    // Writing to a string does not fail.
    let _ = match way {
        0 => writeln!(text, "\nMost wrong words, [-said-] and {{+heard+}}"),
        _ => writeln!(text, "\nMore wrong words with {name} than with {first}, [-said-] and {{+heard+}}"),
    };
    let width = if way == 0 { 0 } else { name.chars().count().max(first.chars().count()) + 2 };
    for recording in all.iter().take(most) {
        let own = &recording.versions[way];
        let wrong = |way: usize| recording.versions[way].words.errors;
        let beside = if way == 0 { String::new() } else { format!(", {} with {first}", wrong(0)) };
        let _ = writeln!(
            text,
            "\n{} ({}): {} wrong of {}{beside}",
            recording.file,
            language(recording),
            wrong(way),
            own.words.total
        );
        let shown: &[usize] = if way == 0 { &[0] } else { &[0, way] };
        for &shown in shown {
            let name = if way == 0 { "" } else { &report.ways[shown].name };
            let _ = writeln!(text, "  {name:<width$}{}", marks::line(recording, &recording.versions[shown]));
        }
    }
    if all.len() > most {
        let _ = writeln!(text, "\n… and {} more", all.len() - most);
    }
    text
}

fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
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

#[cfg(test)]
mod tests {
    use super::super::score::tests::{column, entry, normalisers};
    use super::*;

    const SHOWN: Shown = Shown { each: false, worst: 3 };

    fn report(columns: usize) -> Report {
        let entries = [entry("de", "eins zwei drei vier"), entry("en", "one two"), entry("ja", "今日")];
        let columns: Vec<_> = [
            column("cpu", &["Eins, zwei, drei, vier.", "one two", "今日"]),
            column("host int8", &["eins zwei vier", "one two", "今"]),
        ]
        .into_iter()
        .take(columns)
        .collect();
        Report::new(&entries, &columns, &normalisers())
    }

    #[test]
    fn tables_have_a_row_for_each_language_and_the_ways_side_by_side() {
        let text = text(&report(2), &SHOWN);
        for row in [
            "Word error rate in percent, 3 recordings",
            "| de                                | 4     | 0.0",
            "| ja, by letter ",
            "| ja  ",
            "| difference to cpu (95 % interval) ",
            "| transcripts that differ from cpu ",
            "Character error rate in percent",
            "More wrong words with host int8 than with cpu, [-said-] and {+heard+}",
            "eins zwei drei vier.flac (de): 1 wrong of 4, 0 with cpu",
            "  cpu        eins zwei drei vier",
            "  host int8  eins zwei [-drei-] vier",
            "  host int8  今[-日-]",
        ] {
            assert!(text.contains(row), "{row} is not in\n{text}");
        }
        for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
            let mut widths = table.lines().map(|line| line.chars().count());
            let first = widths.next();
            assert!(widths.all(|width| Some(width) == first), "{table}");
        }
    }

    #[test]
    fn one_way_differs_from_none() {
        let text = text(&report(1), &Shown { each: true, worst: 1 });
        assert!(
            !text.contains("differ") && text.contains("| 95 % interval ") && !text.contains("Most wrong"),
            "{text}"
        );
        assert!(text.contains("| one two.flac"), "{text}");
    }

    #[test]
    fn only_so_many_of_the_worst_are_shown() {
        let count = |worst: usize| text(&report(2), &Shown { each: false, worst }).matches("[-said-]").count();
        assert_eq!((count(0), count(1)), (0, 1));
        assert!(text(&report(2), &Shown { each: false, worst: 1 }).contains("… and 1 more"));
    }
}
