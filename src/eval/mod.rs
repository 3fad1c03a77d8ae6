//! `undertone eval`: word error rates over recordings whose words are known, by language, on several devices and in several
//! arithmetics, beside the transcripts of other programs. Transcribes and counts; what the counts say is the business of [`score`].

mod score;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Deserialize;
use undertone_runner::audio::{self, Audio};
use undertone_runner::{Model, TranscribeOptions, Transcriber};

use self::score::{Column, Report};
use crate::choices::{self, DeviceWord, Libraries, ModelChoice, NpuChoice, PackedChoice, PrecisionWord};
use crate::decoding::DecodingChoice;
use crate::output::{self, say};

/// Recordings that are read and transcribed together.
const GROUP: usize = 32;

/// Count the wrong words in transcripts of recordings whose words are known
#[derive(Args)]
pub struct Arguments {
    /// The recordings: a line of JSON for each, with `file` (beside this list), `text`, and `language` (a code; detected where it is
    /// missing)
    #[arg(value_name = "LIST")]
    list: PathBuf,
    /// Devices to compare, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [DeviceWord::Cpu, DeviceWord::Host])]
    devices: Vec<DeviceWord>,
    /// The arithmetics of every device but cpu, separated by commas
    #[arg(short, long, value_enum, value_delimiter = ',', default_values_t = [PrecisionWord::Int8])]
    precision: Vec<PrecisionWord>,
    /// Transcripts of another program to show beside: JSON with `results`, each with `file` and `text`
    #[arg(long, value_name = "NAME=FILE", value_parser = reference)]
    reference: Vec<(String, PathBuf)>,
    /// Take only every Nth recording of each language
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    every: u16,
    #[command(flatten)]
    decoding: DecodingChoice,
    /// Threads that compute [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = choices::threads)]
    threads: Option<usize>,
    #[command(flatten)]
    npu: NpuChoice,
    #[command(flatten)]
    model: ModelChoice,
    /// Print JSON, with each recording's text
    #[arg(long)]
    json: bool,
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

/// Transcribes the recordings in each way and prints how often each was wrong.
///
/// # Errors
///
/// If a recording, the list, a model or a device does not work.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut entries = read_list(&arguments.list)?;
    let model = arguments.model.open()?;
    let mut columns = Vec::new();
    for (index, (device, precision)) in ways(arguments).into_iter().enumerate() {
        let mut transcriber = load(arguments, &model, device, precision)?;
        if index == 0 {
            entries = chosen(entries, &transcriber, arguments.every);
            if entries.is_empty() {
                bail!("{} names no recording in a language that the model knows", arguments.list.display());
            }
            for (name, file) in &arguments.reference {
                columns.push(read_reference(name, file, &entries)?);
            }
        }
        columns.push(transcribe(arguments, &mut transcriber, &entries)?);
    }
    let report = Report::new(&entries, &columns);
    output::print(&if arguments.json { report.json(&entries, &columns) } else { report.text() })?;
    Ok(ExitCode::SUCCESS)
}

/// Each device in each arithmetic; the CPU provider has one only, the model's own.
fn ways(arguments: &Arguments) -> Vec<(DeviceWord, PrecisionWord)> {
    let of = |&device: &DeviceWord| {
        let count = if device == DeviceWord::Cpu { 1 } else { arguments.precision.len() };
        arguments.precision.iter().take(count).map(move |&precision| (device, precision))
    };
    arguments.devices.iter().flat_map(of).collect()
}

fn read_list(path: &Path) -> Result<Vec<Entry>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let entry = |(index, line): (usize, &str)| {
        let wrong = || format!("{}, line {}: is not JSON with `file` and `text`", path.display(), index + 1);
        serde_json::from_str(line).with_context(wrong)
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

fn load(arguments: &Arguments, model: &Model, device: DeviceWord, precision: PrecisionWord) -> Result<Transcriber> {
    let mut options = arguments.libraries.options(device.into())?;
    options.precision = precision.into();
    options.threads = arguments.threads;
    arguments.npu.apply(&mut options);
    options.packed = arguments.packed.folder();
    Ok(Transcriber::load(model, &options)?)
}

/// What the recordings say in one way, as the device reports it that did the work.
fn transcribe(arguments: &Arguments, transcriber: &mut Transcriber, entries: &[Entry]) -> Result<Column> {
    let directory = arguments.list.parent().unwrap_or(Path::new(""));
    let mut texts = vec![String::new(); entries.len()];
    let mut ran = BTreeSet::new();
    let (mut seconds, mut wall) = (0.0, 0.0);
    let languages: BTreeSet<Option<&str>> = entries.iter().map(|entry| entry.language.as_deref()).collect();
    for language in languages {
        let mut options = arguments.decoding.options();
        if let Some(language) = language {
            options.language = Some(language.to_owned());
        }
        let of: Vec<usize> = (0..entries.len()).filter(|&i| entries[i].language.as_deref() == language).collect();
        for group in of.chunks(GROUP) {
            let read = |&index: &usize| audio::read_file(&directory.join(&entries[index].file));
            let recordings: Vec<Audio> = group.iter().map(read).collect::<Result<_, _>>()?;
            let begun = Instant::now();
            let results = transcriber.transcribe_all(&recordings.iter().collect::<Vec<_>>(), &options, &mut ())?;
            wall += begun.elapsed().as_secs_f64();
            for (&index, result) in group.iter().zip(results) {
                seconds += result.duration;
                ran.insert(format!("{} {}", result.run.device, result.run.precision));
                texts[index] = result.text;
            }
        }
    }
    let name = ran.into_iter().collect::<Vec<_>>().join(" and ");
    say(&format!("{name}: {} recordings, {seconds:.0} s of audio, {:.1}x real time", entries.len(), seconds / wall));
    Ok(Column { name, texts, speed: Some(seconds / wall) })
}
