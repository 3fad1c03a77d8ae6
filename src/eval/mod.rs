//! `undertone eval`: word error rates over recordings whose words are known, by language, on several devices and in
//! several arithmetics, beside the transcripts of other programs. Transcribes and counts; [`score`]
//! says what the counts mean.

mod score;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Deserialize;
use undertone_runner::audio::{self, Audio};
use undertone_runner::{Device, Model, Precision, TranscribeOptions, Transcriber};

use self::score::{Column, Report};
use crate::choices::{self, Libraries, ModelChoice, NpuChoice, PackedChoice};
use crate::decoding::DecodingChoice;
use crate::given::Given;
use crate::output::{self, say};

/// Recordings that are read and transcribed together.
const GROUP: usize = 32;

/// Count the wrong words in transcripts of recordings whose words are known
#[derive(Args)]
#[command(override_usage = "undertone eval [OPTIONS] <LIST>")]
pub struct Arguments {
    /// The recordings: a line of JSON for each, with `file` (beside this list), `text`, and `language` (a code;
    /// detected where it is missing)
    #[arg(value_name = "LIST")]
    list: PathBuf,
    /// Devices to compare, separated by commas
    #[arg(long, value_parser = choices::device(), value_delimiter = ',', default_value = choices::DEVICES)]
    devices: Vec<Device>,
    /// The arithmetics of every device but cpu, separated by commas
    #[arg(short, long, value_parser = choices::precision(), value_delimiter = ',', default_values_t = [Precision::Int8])]
    precision: Vec<Precision>,
    #[command(flatten)]
    model: ModelChoice,
    #[command(flatten)]
    decoding: DecodingChoice,
    /// Transcripts of another program to show beside: JSON with `results`, each with `file` and `text`
    #[arg(long, value_name = "NAME=FILE", value_parser = reference)]
    reference: Vec<(String, PathBuf)>,
    /// Take only every Nth recording of each language
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    every: u16,
    /// Threads that compute [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = choices::threads)]
    threads: Option<usize>,
    /// Print JSON, with each recording's text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    npu: NpuChoice,
    #[command(flatten)]
    packed: PackedChoice,
    #[command(flatten)]
    libraries: Libraries,
}

fn reference(text: &str) -> Result<(String, PathBuf)> {
    let (name, file) = text.split_once('=').context("write it as NAME=FILE")?;
    Ok((name.to_owned(), file.into()))
}

/// A line of the list.
#[derive(Debug, Clone, Deserialize)]
struct Entry {
    file: String,
    text: String,
    language: Option<String>,
    /// Its line in the list, from 1.
    #[serde(skip)]
    line: usize,
}

/// Another program's transcripts.
#[derive(Deserialize)]
struct Transcripts {
    results: Vec<Transcript>,
}

#[derive(Deserialize)]
struct Transcript {
    file: String,
    text: String,
}

/// Transcribes the recordings in each way and prints how often each was wrong. A recording that fails costs the exit
/// code, not the others.
///
/// # Errors
/// If the list, a model, a device, or every recording does not work.
pub fn run(arguments: &Arguments, given: &Given<'_>) -> Result<ExitCode> {
    let list = arguments.list.display();
    let mut entries = read_list(&arguments.list)?;
    if entries.is_empty() {
        bail!("{list} is empty: it is to have a line of JSON with `file` and `text` for each recording");
    }
    output::warn_if_lost();
    choices::warn_of_options_without_effect(given, &arguments.devices, &arguments.precision);
    arguments.npu.check(&arguments.devices)?;
    arguments.decoding.options()?;
    let model = arguments.model.open(given)?;
    let mut findings = Findings::default();
    let mut columns = Vec::new();
    for (index, (device, precision)) in ways(arguments).into_iter().enumerate() {
        let mut transcriber = load(arguments, &model, device, precision)?;
        if index == 0 {
            entries = chosen(entries, &transcriber, arguments.every);
            if entries.is_empty() {
                bail!("{list} names no recording in a language that the model knows");
            }
            for (name, file) in &arguments.reference {
                columns.push(read_reference(name, file, &entries)?);
            }
        }
        columns.push(transcribe(arguments, &mut transcriber, &entries, &mut findings)?);
        if findings.failed.len() == entries.len() {
            bail!("no recording of {list} can be read");
        }
    }
    findings.settle(&mut entries, &mut columns);
    let report = Report::new(&entries, &columns);
    output::print(&if arguments.json { report.json(&entries, &columns) } else { report.text() })?;
    Ok(if findings.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was found out about the recordings, by their places among the entries.
#[derive(Default)]
struct Findings {
    /// Recordings that could not be read or transcribed: they are reported once, and no further way tries them.
    failed: BTreeSet<usize>,
    /// Languages that the first way detected where the list names none.
    languages: BTreeMap<usize, String>,
}

impl Findings {
    /// Fills in the languages and leaves out what failed.
    fn settle(&self, entries: &mut Vec<Entry>, columns: &mut [Column]) {
        for (&index, language) in &self.languages {
            entries[index].language.get_or_insert_with(|| language.clone());
        }
        // From the end, so that places stay what they are.
        for &index in self.failed.iter().rev() {
            entries.remove(index);
            columns.iter_mut().for_each(|column| drop(column.texts.remove(index)));
        }
    }
}

/// Each device in each arithmetic; the CPU provider has one only, the model's own.
fn ways(arguments: &Arguments) -> Vec<(Device, Precision)> {
    let of = |&device: &Device| {
        let count = if device == Device::Cpu { 1 } else { arguments.precision.len() };
        arguments.precision.iter().take(count).map(move |&precision| (device, precision))
    };
    arguments.devices.iter().flat_map(of).collect()
}

fn read_list(path: &Path) -> Result<Vec<Entry>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let entry = |(index, text): (usize, &str)| {
        let line = index + 1;
        let wrong = || format!("{}, line {line}: is not JSON with `file` and `text`", path.display());
        serde_json::from_str(text).map(|entry| Entry { line, ..entry }).with_context(wrong)
    };
    lines.map(entry).collect()
}

/// Every `every`th recording of each language, of those that the model knows.
fn chosen(entries: Vec<Entry>, transcriber: &Transcriber, every: u16) -> Vec<Entry> {
    let mut counts: BTreeMap<Option<String>, u16> = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    let mut chosen = Vec::new();
    for entry in entries {
        let options = TranscribeOptions { language: entry.language.clone(), ..TranscribeOptions::default() };
        if transcriber.check(&options).is_err() {
            unknown.extend(entry.language);
            continue;
        }
        let count = counts.entry(entry.language.clone()).or_default();
        if (*count).is_multiple_of(every) {
            chosen.push(entry);
        }
        *count += 1;
    }
    if !unknown.is_empty() {
        let languages: Vec<String> = unknown.into_iter().collect();
        say(&format!("left out: recordings in {}, which the model does not know", languages.join(", ")));
    }
    chosen
}

fn read_reference(name: &str, file: &Path, entries: &[Entry]) -> Result<Column> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let transcripts: Transcripts =
        serde_json::from_slice(&text).with_context(|| format!("{}: is not JSON with `results`", file.display()))?;
    let by_file: BTreeMap<&str, &str> =
        transcripts.results.iter().map(|result| (result.file.as_str(), result.text.as_str())).collect();
    let text_of = |entry: &Entry| {
        let text = by_file.get(entry.file.as_str()).map(|text| (*text).to_owned());
        text.with_context(|| format!("{}: has no text of {}", file.display(), entry.file))
    };
    Ok(Column { name: name.to_owned(), texts: entries.iter().map(text_of).collect::<Result<_>>()?, speed: None })
}

fn load(arguments: &Arguments, model: &Model, device: Device, precision: Precision) -> Result<Transcriber> {
    let mut options = arguments.libraries.options(device)?;
    options.precision = precision;
    options.threads = arguments.threads;
    arguments.npu.apply(&mut options);
    options.packed = arguments.packed.folder();
    options.vad_model = arguments.decoding.vad_model();
    Ok(Transcriber::load(model, &options)?)
}

/// What the recordings say in one way, as the device reports it that did the work.
fn transcribe(
    arguments: &Arguments,
    transcriber: &mut Transcriber,
    entries: &[Entry],
    findings: &mut Findings,
) -> Result<Column> {
    let directory = arguments.list.parent().unwrap_or(Path::new(""));
    let mut texts = vec![String::new(); entries.len()];
    let mut ran = BTreeSet::new();
    let (mut seconds, mut wall) = (0.0, 0.0);
    let languages: BTreeSet<Option<&str>> = entries.iter().map(|entry| entry.language.as_deref()).collect();
    for language in languages {
        let mut options = arguments.decoding.options()?;
        if let Some(language) = language {
            options.language = Some(language.to_owned());
        }
        let of: Vec<usize> = (0..entries.len()).filter(|&i| entries[i].language.as_deref() == language).collect();
        for group in of.chunks(GROUP) {
            let mut recordings: Vec<(usize, Audio)> = Vec::new();
            for &index in group {
                if findings.failed.contains(&index) {
                    continue;
                }
                match audio::read_file(&directory.join(&entries[index].file)) {
                    Ok(audio) => recordings.push((index, audio)),
                    Err(error) => {
                        let place = format!("{}, line {}", arguments.list.display(), entries[index].line);
                        crate::report_error(&anyhow::Error::from(error).context(place));
                        findings.failed.insert(index);
                    }
                }
            }
            let begun = Instant::now();
            let all: Vec<&Audio> = recordings.iter().map(|(_, audio)| audio).collect();
            let results = transcriber.transcribe_all(&all, &options, &mut ())?;
            wall += begun.elapsed().as_secs_f64();
            for (&(index, _), result) in recordings.iter().zip(results) {
                seconds += result.duration;
                ran.insert(format!("{} {}", result.run.device, result.run.precision));
                texts[index] = result.text;
                findings.languages.entry(index).or_insert(result.language);
            }
        }
    }
    let name = ran.into_iter().collect::<Vec<_>>().join(" and ");
    let count = entries.len() - findings.failed.len();
    if count > 0 {
        say(&format!("{name}: {count} recordings, {seconds:.0} s of audio, {:.1} times real time", seconds / wall));
    }
    Ok(Column { name, texts, speed: Some(seconds / wall) })
}
