//! Transcribes the recordings of a list in one way, and keeps what is found out about them on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _};
use std::time::Instant;

use anyhow::{Result, ensure};
use indicatif::ProgressBar;
use undertone_runner::audio::{self, Audio, AudioOptions, SAMPLE_RATE};
use undertone_runner::{Observer, TranscribeOptions, Transcriber, Transcription};

use super::list::Entry;
use super::score::Column;
use crate::interrupt;
use crate::output::say;
use crate::steps;

/// Most recordings that are read and transcribed together …
const GROUP: usize = 32;
/// … and their most seconds, unless one alone is longer.
const GROUP_SECONDS: f64 = 900.0;

/// What was heard in one way.
pub struct Heard {
    /// The device and its arithmetic, or another program.
    pub name: String,
    /// In the order of the recordings; `None` of what failed, or was not begun.
    pub texts: Vec<Option<String>>,
    /// Seconds of audio per second, if it ran here.
    pub speed: Option<f64>,
}

/// What was found out about the recordings, by their places among the entries.
pub struct Findings {
    /// The list's name.
    list: String,
    /// Recordings that could not be read or transcribed: they are reported once, and no further way tries them.
    pub failed: BTreeSet<usize>,
    /// Languages that the first way detected where the list names none.
    languages: BTreeMap<usize, String>,
}

impl Findings {
    /// Nothing yet, of the list of that name.
    pub fn new(list: String) -> Self {
        Self { list, failed: BTreeSet::new(), languages: BTreeMap::new() }
    }

    /// The recordings that have a text in every way, with their languages; ways without a text are left out.
    pub fn settle(&self, entries: &[Entry], heard: Vec<Heard>) -> (Vec<Entry>, Vec<Column>) {
        let heard: Vec<Heard> = heard.into_iter().filter(|way| way.texts.iter().any(Option::is_some)).collect();
        let is_whole =
            |index: &usize| !self.failed.contains(index) && heard.iter().all(|way| way.texts[*index].is_some());
        let kept: Vec<usize> = (0..entries.len()).filter(is_whole).collect();
        let entry = |&index: &usize| Entry {
            language: entries[index].language.clone().or_else(|| self.languages.get(&index).cloned()),
            ..entries[index].clone()
        };
        let column = |mut way: Heard| Column {
            texts: kept.iter().filter_map(|&index| way.texts[index].take()).collect(),
            name: way.name,
            speed: way.speed,
        };
        (kept.iter().map(entry).collect(), heard.into_iter().map(column).collect())
    }

    fn fail(&mut self, index: usize, entry: &Entry, error: anyhow::Error) {
        crate::report_error(&error.context(format!("{}, line {} ({})", self.list, entry.line, entry.file)));
        self.failed.insert(index);
    }
}

/// A recording that was read.
struct Input {
    index: usize,
    audio: Audio,
}

/// What the recordings say in one way, as the device reports it that did the work; `name` is what was asked for.
pub fn transcribe(
    options: &TranscribeOptions,
    transcriber: &mut Transcriber,
    name: &str,
    entries: &[Entry],
    findings: &mut Findings,
) -> Heard {
    let mut done = Done { texts: vec![None; entries.len()], ..Done::default() };
    let bar = progress_bar(name, entries.len() - findings.failed.len());
    let languages: BTreeSet<Option<&str>> = entries.iter().map(|entry| entry.language.as_deref()).collect();
    for language in languages {
        let mut options = options.clone();
        if let Some(language) = language {
            options.language = Some(language.to_owned());
        }
        let mut group: Vec<Input> = Vec::new();
        let of = |index: &usize| entries[*index].language.as_deref() == language && !findings.failed.contains(index);
        let mut indices = (0..entries.len()).filter(of).collect::<Vec<_>>().into_iter().peekable();
        while let Some(index) = indices.next()
            && !interrupt::asked()
        {
            match read(&entries[index], transcriber) {
                Ok(audio) => group.push(Input { index, audio }),
                Err(error) => findings.fail(index, &entries[index], error),
            }
            let seconds: f64 = group.iter().map(|input| input.audio.duration()).sum();
            let is_full = group.len() >= GROUP || seconds >= GROUP_SECONDS;
            if is_full || (indices.peek().is_none() && !group.is_empty()) {
                let _work = interrupt::Work::begin();
                done.run(transcriber, &options, &std::mem::take(&mut group), entries, findings, &bar);
            }
        }
    }
    bar.finish_and_clear();
    let count = done.texts.iter().flatten().count();
    let ran = done.ran.into_iter().collect::<Vec<_>>().join(" and ");
    let name = if ran.is_empty() { name.to_owned() } else { ran };
    let speed = (done.wall > 0.0).then(|| done.seconds / done.wall);
    if let (1.., Some(speed)) = (count, speed) {
        let plural = if count == 1 { "" } else { "s" };
        say(&format!("{name}: {count} recording{plural}, {:.0} s of audio, {speed:.1} times real time", done.seconds));
    }
    Heard { name, texts: done.texts, speed }
}

fn read(entry: &Entry, transcriber: &Transcriber) -> Result<Audio> {
    let stream = audio::open(&entry.path, &AudioOptions::default())?;
    let Some(part) = entry.part else { return Ok(transcriber.listen(stream)?) };
    let whole = stream.read()?;
    let samples = part.of(&whole.samples, SAMPLE_RATE);
    ensure!(!samples.is_empty(), "nothing of it is at {} s: it ends at {:.1} s", part.offset, whole.duration());
    Ok(Audio::from_samples(samples.to_vec()))
}

/// A bar over the recordings; hidden where nobody looks.
fn progress_bar(name: &str, count: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count as u64);
    steps::set_style(&bar, "{prefix} {wide_bar} {pos}/{len} recordings{left}");
    bar.set_prefix(name.to_owned());
    bar
}

/// What one way has done so far.
#[derive(Default)]
struct Done {
    texts: Vec<Option<String>>,
    /// The devices that did the work.
    ran: BTreeSet<String>,
    seconds: f64,
    wall: f64,
}

impl Done {
    /// Transcribes recordings together; if that fails, those that were not done are tried alone.
    fn run(
        &mut self,
        transcriber: &mut Transcriber,
        options: &TranscribeOptions,
        group: &[Input],
        entries: &[Entry],
        findings: &mut Findings,
        bar: &ProgressBar,
    ) {
        let begun = Instant::now();
        let together: Vec<&Input> = group.iter().collect();
        if let Err(error) = self.attempt(transcriber, options, &together, findings, bar) {
            let left: Vec<&Input> = group.iter().filter(|input| self.texts[input.index].is_none()).collect();
            if let [one] = left[..] {
                findings.fail(one.index, &entries[one.index], error);
            } else {
                for input in left {
                    if let Err(error) = self.attempt(transcriber, options, &[input], findings, bar) {
                        findings.fail(input.index, &entries[input.index], error);
                    }
                }
            }
        }
        self.wall += begun.elapsed().as_secs_f64();
    }

    fn attempt(
        &mut self,
        transcriber: &mut Transcriber,
        options: &TranscribeOptions,
        group: &[&Input],
        findings: &mut Findings,
        bar: &ProgressBar,
    ) -> Result<()> {
        let recordings: Vec<&Audio> = group.iter().map(|input| &input.audio).collect();
        let mut taking = Taking { done: self, group, findings, bar };
        Ok(transcriber.transcribe_all(&recordings, options, &mut taking).map(drop)?)
    }
}

/// Takes the results as they come.
struct Taking<'a> {
    done: &'a mut Done,
    group: &'a [&'a Input],
    findings: &'a mut Findings,
    bar: &'a ProgressBar,
}

impl Observer for Taking<'_> {
    fn finished(&mut self, recording: usize, result: &Transcription) {
        let index = self.group[recording].index;
        self.done.seconds += result.duration;
        if result.run.device != "none" {
            self.done.ran.insert(format!("{} {}", result.run.device, result.run.precision));
        }
        self.done.texts[index] = Some(result.text.clone());
        self.findings.languages.entry(index).or_insert_with(|| result.language.clone());
        self.bar.inc(1);
    }

    fn stop(&mut self) -> bool {
        interrupt::asked()
    }
}

#[cfg(test)]
mod tests {
    use super::super::score::tests::entry;
    use super::*;

    #[test]
    fn only_recordings_with_a_text_in_every_way_are_compared() {
        let entries = ["a", "b", "c", "d"].map(|text| Entry { language: None, ..entry("en", text) });
        let heard = |name: &str, texts: [Option<&str>; 4]| Heard {
            name: name.to_owned(),
            texts: texts.map(|text| text.map(str::to_owned)).to_vec(),
            speed: None,
        };
        let mut findings = Findings::new("list".to_owned());
        findings.failed.insert(3);
        findings.languages.insert(0, "de".to_owned());
        let ways = vec![
            heard("one", [Some("a"), Some("b"), Some("c"), None]),
            heard("two", [Some("a2"), None, Some("c2"), None]),
            heard("not begun", [None; 4]),
        ];
        let (entries, columns) = findings.settle(&entries, ways);
        assert_eq!(entries.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(entries[0].language.as_deref(), Some("de"));
        let texts: Vec<(&str, &[String])> =
            columns.iter().map(|column| (column.name.as_str(), &column.texts[..])).collect();
        assert_eq!(
            texts,
            [("one", &["a".to_owned(), "c".to_owned()][..]), ("two", &["a2".to_owned(), "c2".to_owned()][..])]
        );
    }
}
