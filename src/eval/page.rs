//! A report as one HTML page that needs nothing else: tables with intervals, and every recording with its words marked.
//! It has no script; all of it is reached with the keyboard.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::marks::{self, Run};
use super::score::{Group, Measure, Recording, Report, Version};

const STYLE: &str = include_str!("page.css");

/// The page. `model` is what the person calls it, `made` what else there is to say of how the report was made.
pub fn html(report: &Report, model: &str, made: &str) -> String {
    let title = format!("Error rates of {}", escaped(model));
    let count = report.recordings.len();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#recordings\">To the recordings</a>\n<header>\n<h1>{title}</h1>\n<p>{count} recording{}. {}</p>\n\
         </header>\n<main>\n",
        if count == 1 { "" } else { "s" },
        escaped(made)
    );
    page += &rates(report, "words", "Word errors", |group| &group.words);
    page += &rates(report, "characters", "Character errors", |group| &group.characters);
    page += &recordings(report);
    page + "</main>\n</body>\n</html>\n"
}

fn rates(report: &Report, unit: &str, title: &str, of: fn(&Group) -> &[Measure]) -> String {
    let mut text = format!(
        "<section aria-labelledby=\"{unit}\">\n<h2 id=\"{unit}\">{title}, percent</h2>\n{}<div class=\"wide\" tabindex=\"0\" \
         role=\"region\" aria-labelledby=\"{unit}\">\n<table>\n<thead><tr><th scope=\"col\">Language</th><th scope=\"col\">{}</th>",
        chart(report, of(&report.all)),
        capital(unit)
    );
    for way in &report.ways {
        // Writing to a string does not fail.
        let _ = write!(text, "<th scope=\"col\">{}</th>", escaped(&way.name));
    }
    text += "</tr></thead>\n<tbody>\n";
    for group in report.languages.iter().chain([&report.all]) {
        let measures = of(group);
        let name = group.language.as_deref().unwrap_or("all");
        let letters = if group.by_letter && unit == "words" { "<small>by letter</small>" } else { "" };
        let class = if group.language.is_none() { " class=\"all\"" } else { "" };
        let total = measures.first().map_or(0, |measure| measure.count.total);
        let _ = write!(text, "<tr{class}><th scope=\"row\">{}{letters}</th><td>{total}</td>", escaped(name));
        for (way, measure) in measures.iter().enumerate() {
            let _ = write!(text, "<td>{}</td>", cell(measure, way > 0));
        }
        text += "</tr>\n";
    }
    let note = match report.ways.first().filter(|_| report.ways.len() > 1) {
        Some(first) => format!(
            "Below each rate its 95&nbsp;% interval, and that of the difference to {}: where it holds zero, chance may have made the \
             difference.",
            escaped(&first.name)
        ),
        None => "Below each rate its 95&nbsp;% interval.".to_owned(),
    };
    text + &format!("</tbody>\n</table>\n</div>\n<p class=\"faint\">{note}</p>\n</section>\n")
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn cell(measure: &Measure, is_compared: bool) -> String {
    let (Some(rate), Some([low, high])) = (measure.count.rate(), measure.interval) else { return "–".to_owned() };
    let mut text = format!("{rate:.1} <small>{low:.1} to {high:.1}</small>");
    if let Some([low, high]) = measure.difference_interval.map(|bounds| bounds.map(signed)).filter(|_| is_compared) {
        let _ = write!(text, "<small>difference {low} to {high}</small>");
    }
    text
}

fn signed(points: f64) -> String {
    format!("{points:+.1}").replace('-', "−")
}

/// The rates of all recordings with their intervals, as a figure.
fn chart(report: &Report, measures: &[Measure]) -> String {
    const WIDTH: f64 = 720.0;
    const LEFT: f64 = 200.0;
    const RIGHT: f64 = 60.0;
    const ROW: f64 = 30.0;
    let bounds = |measure: &Measure| measure.interval.unwrap_or_default();
    let most =
        measures.iter().map(|measure| bounds(measure)[1].max(measure.rate.unwrap_or_default())).fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let at = |rate: f64| LEFT + (WIDTH - LEFT - RIGHT) * rate / most;
    let height = ROW * measures.len() as f64 + 28.0;
    let bottom = height - 24.0;
    let rates: Vec<String> = report
        .ways
        .iter()
        .zip(measures)
        .map(|(way, measure)| format!("{} {:.1}", way.name, measure.rate.unwrap_or_default()))
        .collect();
    let mut figure = format!(
        "<figure>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Rates in percent: {}\">\n\
         <line x1=\"{LEFT}\" y1=\"0\" x2=\"{LEFT}\" y2=\"{bottom}\"/>\n",
        escaped(&rates.join("; "))
    );
    let step = step(most);
    for mark in (0..).map(|mark| f64::from(mark) * step).take_while(|mark| *mark <= most) {
        let x = at(mark);
        let _ = writeln!(figure, "<line x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{bottom}\"/>");
        let _ = writeln!(
            figure,
            "<text class=\"faint\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{mark}</text>",
            height - 6.0
        );
    }
    for (row, (way, measure)) in report.ways.iter().zip(measures).enumerate() {
        let y = ROW * (row as f64 + 0.5);
        let [low, high] = bounds(measure).map(at);
        let rate = measure.rate.unwrap_or_default();
        let _ = writeln!(
            figure,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><line class=\"span\" x1=\"{low:.1}\" y1=\"{y}\" x2=\"{high:.1}\" \
             y2=\"{y}\"/><circle cx=\"{:.1}\" cy=\"{y}\" r=\"6\"/><text x=\"{:.1}\" y=\"{:.1}\">{rate:.1}</text>",
            LEFT - 12.0,
            y + 5.0,
            escaped(&shortened(&way.name)),
            at(rate),
            high.max(at(rate)) + 12.0,
            y + 5.0
        );
    }
    figure + "</svg>\n</figure>\n"
}

/// What fits beside a figure.
fn shortened(name: &str) -> String {
    const MOST: usize = 24;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}

/// A round step with at most six marks up to `most`.
fn step(most: f64) -> f64 {
    let mut step = 1.0;
    let mut factors = [2.0, 2.5, 2.0].into_iter().cycle();
    while most / step > 6.0 {
        step *= factors.next().unwrap_or(2.0);
    }
    step
}

fn recordings(report: &Report) -> String {
    let is_compared = report.ways.len() > 1;
    let errors = |recording: &Recording, way: usize| recording.versions[way].words.errors;
    let excess = |recording: &Recording| -> usize {
        (1..report.ways.len()).map(|way| errors(recording, way).saturating_sub(errors(recording, 0))).max().unwrap_or(0)
    };
    let mut order: Vec<&Recording> = report.recordings.iter().collect();
    order.sort_by_key(|recording| {
        let most = (0..report.ways.len()).map(|way| errors(recording, way)).max();
        Reverse((excess(recording), most))
    });
    let order_said = match report.ways.first().filter(|_| is_compared) {
        Some(first) => {
            format!("First those where another way has the most wrong words more than {}.", escaped(&first.name))
        }
        None => "First those with the most wrong words.".to_owned(),
    };
    let mut text = format!(
        "<section aria-labelledby=\"recordings\">\n<h2 id=\"recordings\">Recordings</h2>\n<p class=\"faint\">{order_said} \
         <del>Said</del> and not heard, <ins>heard</ins> and not said.</p>\n"
    );
    for (place, recording) in order.into_iter().enumerate() {
        // What there is to see first is open.
        let worth = if is_compared { excess(recording) } else { errors(recording, 0) };
        let open = if place < 3 && worth > 0 { " open" } else { "" };
        let wrong: Vec<String> = recording.versions.iter().map(|version| version.words.errors.to_string()).collect();
        let total = recording.versions.first().map_or(0, |version| version.words.total);
        let unit = if recording.by_letter { "letters" } else { "words" };
        let _ = write!(
            text,
            "<details{open}><summary><span class=\"file\">{}</span> <span class=\"faint\">{}, {} of {total} {unit} wrong</span></summary>\n\
             <dl>\n<dt>said</dt><dd>{}</dd>\n",
            escaped(&recording.file),
            escaped(recording.language.as_deref().unwrap_or("?")),
            wrong.join(" / "),
            escaped(&recording.text)
        );
        for (way, version) in report.ways.iter().zip(&recording.versions) {
            let _ = writeln!(
                text,
                "<dt>{}: {}</dt><dd>{}</dd>",
                escaped(&way.name),
                counts(version),
                marked(recording, version)
            );
        }
        text += "</dl></details>\n";
    }
    text + "</section>\n"
}

fn counts(version: &Version) -> String {
    let parts = [(version.substituted, "replaced"), (version.deleted, "left out"), (version.inserted, "put in")];
    let said: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if said.is_empty() { "all right".to_owned() } else { said.join(", ") }
}

fn marked(recording: &Recording, version: &Version) -> String {
    let between = marks::between(recording);
    let part = |words: &[&str], tag: &str| match words {
        [] => None,
        words => Some(format!("<{tag}>{}</{tag}>", escaped(&words.join(between)))),
    };
    let run = |run: &Run<'_>| match run {
        Run::Same(words) => escaped(&words.join(between)),
        Run::Other { said, heard } => {
            [part(said, "del"), part(heard, "ins")].into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
    };
    marks::runs(recording, version).iter().map(run).collect::<Vec<_>>().join(between)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::score::tests::{column, entry, normalisers};
    use super::*;

    #[test]
    fn the_page_has_all_of_the_report_and_nothing_from_elsewhere() {
        let entries = [entry("de", "eins & <zwei> drei"), entry("ja", "今日")];
        let columns = [column("cpu", &["eins zwei drei", "今日"]), column("host <int8>", &["eins zwo", "今"])];
        let page = html(&Report::new(&entries, &columns, &normalisers()), "my \"model\"", "Made by hand.");
        for part in [
            "<title>Error rates of my &quot;model&quot;</title>",
            "host &lt;int8&gt;",
            "eins &amp; &lt;zwei&gt; drei",
            "<dd>eins <del>drei</del> <ins>zwo</ins></dd>",
            "<dd>今<del>日</del></dd>",
            "1 replaced",
            "Made by hand.",
            "by letter",
            "href=\"#recordings\"",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert!(!page.contains("http") && !page.contains("<script") && !page.contains("src="), "{page}");
        let opened = page.matches("<details").count();
        assert_eq!((opened, page.matches("</details>").count()), (2, 2));
    }

    #[test]
    fn steps_are_round() {
        for (most, expected) in [(5.0, 1.0), (12.0, 2.0), (28.0, 5.0), (60.0, 10.0), (61.0, 20.0), (180.0, 50.0)] {
            assert_eq!(step(most), expected, "{most}");
        }
    }

    #[test]
    fn long_names_are_cut_in_the_figure_alone() {
        assert_eq!(shortened("host int8"), "host int8");
        assert_eq!(shortened(&"x".repeat(30)).chars().count(), 24);
    }
}
