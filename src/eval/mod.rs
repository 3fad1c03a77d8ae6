//! `undertone eval`: error rates over recordings whose words are known, by language, on several devices and in several
//! arithmetics, beside the transcripts of other programs. [`list`] reads what is known, [`work`] transcribes, [`score`]
//! counts, [`table`] and [`page`] show what came out.

mod list;
mod marks;
mod page;
mod reference;
mod score;
mod table;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use undertone_runner::normalise::{English, Spellings};
use undertone_runner::{Device, Model, Precision, Task, TranscribeOptions, Transcriber};

use self::list::Entry;
use self::score::{Normalisers, Report};
use self::table::Shown;
use self::work::Findings;
use crate::choices::{self, Libraries, ModelChoice, NpuChoice, PackedChoice};
use crate::decoding::{self, DecodingChoice};
use crate::given::Given;
use crate::interrupt;
use crate::output::{self, OutputFile, say};
use crate::steps::Steps;

/// Count the wrong words in transcripts of recordings whose words are known
#[derive(Args)]
#[command(override_usage = "undertone eval [OPTIONS] <LIST>")]
pub struct Arguments {
    /// The recordings: a line of JSON for each, with `file` (beside this list), `text`, and `language` (a code;
    /// detected where it is missing); or with the keys of NeMo, the Hugging Face hub or Common Voice
    #[arg(value_name = "LIST")]
    list: PathBuf,
    /// Devices to compare, separated by commas
    #[arg(long, value_parser = choices::device(), value_delimiter = ',', default_value = choices::DEVICES)]
    devices: Vec<Device>,
    /// The arithmetics of every device but cpu, separated by commas
    #[arg(short, long, alias = "precisions", value_parser = choices::precision(), value_delimiter = ',',
        default_values_t = [Precision::Int8])]
    precision: Vec<Precision>,
    #[command(flatten)]
    model: ModelChoice,
    #[command(flatten)]
    decoding: DecodingChoice,
    /// Transcripts of another program to show beside: JSON with `results`, each with `file` and `text`
    #[arg(long, value_name = "NAME=FILE", value_parser = reference::named)]
    reference: Vec<(String, PathBuf)>,
    /// Take only every Nth recording of each language
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    every: u16,
    /// How texts are made comparable before words are counted
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Normalizer::Whisper)]
    normalizer: Normalizer,
    /// British spellings and the American ones that English texts get: a JSON object of words, as openai/whisper's
    /// english.json [default: that one, fetched through pip when first needed]
    #[arg(long, value_name = "FILE")]
    spellings: Option<PathBuf>,
    /// Threads that compute [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = choices::threads)]
    threads: Option<usize>,
    /// Print a line for each recording, too
    #[arg(long)]
    each: bool,
    /// Show so many recordings where each way has more wrong words than the first one, with the words marked
    #[arg(long, value_name = "N", default_value_t = 5)]
    worst: usize,
    /// Print JSON, with each recording's texts
    #[arg(long)]
    json: bool,
    /// Write the tables and all recordings with their words marked to a page for the browser, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    npu: NpuChoice,
    #[command(flatten)]
    packed: PackedChoice,
    #[command(flatten)]
    libraries: Libraries,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Normalizer {
    /// As openai/whisper: English has its own, which also knows numbers, contractions and spellings; all others basic
    Whisper,
    /// Small letters without punctuation, in every language
    Basic,
}

/// Transcribes the recordings in each way and prints how often each was wrong. A recording or a way that fails costs
/// the exit code, not the others.
///
/// # Errors
/// If the list, the model, every way, or every recording does not work.
pub fn run(arguments: &Arguments, given: &Given<'_>) -> Result<ExitCode> {
    let list = arguments.list.display();
    let entries = list::read(&arguments.list)?;
    let page = arguments.html.as_deref().map(OutputFile::open).transpose()?;
    output::warn_if_lost();
    choices::warn_of_options_without_effect(given, &arguments.devices, &arguments.precision);
    arguments.npu.check(&arguments.devices)?;
    let options = arguments.decoding.options()?;
    arguments.decoding.warn_of_options_without_effect(given, &options);
    let normalisers = normalisers(arguments, &entries)?;
    let model = arguments.model.open(given)?;
    interrupt::watch();
    let mut findings = Findings::new(list.to_string());
    let (mut columns, mut failed) = (Vec::new(), Vec::new());
    let mut chosen: Option<Vec<Entry>> = None;
    for (device, precision) in ways(arguments) {
        let mut transcriber = match load(arguments, &model, device, precision) {
            Ok(transcriber) => transcriber,
            Err(error) => {
                failed.push(error.context(format!("--devices {device}")));
                continue;
            }
        };
        if chosen.is_none() {
            let entries = choose(&entries, &transcriber, arguments)?;
            for (name, file) in &arguments.reference {
                columns.push(reference::read(name, file, &entries)?);
            }
            chosen = Some(entries);
        }
        let Some(entries) = &chosen else { continue };
        let name = format!("{device} {precision}");
        columns.push(work::transcribe(&options, &mut transcriber, &name, entries, &mut findings));
        if interrupt::asked() {
            break;
        }
        if findings.failed.len() == entries.len() {
            bail!("no recording of {list} can be transcribed");
        }
    }
    let whole = failed.is_empty() && findings.failed.is_empty();
    failed.iter().for_each(crate::report_error);
    let Some(entries) = chosen else { return Ok(ExitCode::FAILURE) };
    let (entries, columns) = findings.settle(&entries, columns);
    if interrupt::asked() {
        say(&format!("stopped: {} recordings were transcribed in every way that had begun", entries.len()));
    }
    if !columns.is_empty() && !entries.is_empty() {
        show(arguments, &Report::new(&entries, &columns, &normalisers), page)?;
    }
    Ok(match interrupt::asked() {
        true => ExitCode::from(interrupt::EXIT_CODE),
        false if whole => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Prints the report, and writes the page if there is to be one.
fn show(arguments: &Arguments, report: &Report, page: Option<OutputFile>) -> Result<()> {
    let shown = Shown { each: arguments.each, worst: arguments.worst };
    output::print(&if arguments.json {
        serde_json::to_string_pretty(report).context("the report cannot be written")? + "\n"
    } else {
        table::text(report, &shown)
    })?;
    let Some(page) = page else { return Ok(()) };
    let normaliser = match report.normalizer {
        "whisper" => format!("Whisper's normalisers, {} spellings", report.spellings),
        _ => "the basic normaliser".to_owned(),
    };
    let list = arguments.list.file_name().unwrap_or_default().to_string_lossy();
    let made = format!("Made by undertone {} of {list}, with {normaliser}.", env!("CARGO_PKG_VERSION"));
    page.write(&page::html(report, arguments.model.shown(), &made))
}

/// Each device in each arithmetic; the CPU provider has one only, the model's own.
fn ways(arguments: &Arguments) -> Vec<(Device, Precision)> {
    let of = |&device: &Device| {
        let count = if device == Device::Cpu { 1 } else { arguments.precision.len() };
        arguments.precision.iter().take(count).map(move |&precision| (device, precision))
    };
    arguments.devices.iter().flat_map(of).collect()
}

/// The normalisers that were asked for. The table of spellings is had where there may be English.
fn normalisers(arguments: &Arguments, entries: &[Entry]) -> Result<Normalisers> {
    let into_english = arguments.decoding.task == Task::Translate;
    if arguments.normalizer == Normalizer::Basic {
        return Ok(Normalisers { english: None, into_english });
    }
    let is_english = |entry: &Entry| entry.language.as_deref().is_none_or(|language| language == "en");
    let spellings = match &arguments.spellings {
        Some(file) => Spellings::read(file)?,
        None if into_english || entries.iter().any(is_english) => {
            let steps = Steps::new();
            match undertone_models::spellings(&mut |step| steps.show(step)) {
                Ok(file) => Spellings::read(&file)?,
                Err(error) => {
                    say(&format!(
                        "warning: British and American spellings count as different words, since the table of them cannot be had ({error}); \
                         name one with --spellings"
                    ));
                    Spellings::none()
                }
            }
        }
        None => Spellings::none(),
    };
    Ok(Normalisers { english: Some(English::new(spellings)), into_english })
}

/// Every Nth recording of each language, of those that the model knows.
fn choose(entries: &[Entry], transcriber: &Transcriber, arguments: &Arguments) -> Result<Vec<Entry>> {
    let mut counts: BTreeMap<Option<&str>, u16> = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    let mut left_out = 0;
    let mut chosen = Vec::new();
    for entry in entries {
        let options = TranscribeOptions { language: entry.language.clone(), ..arguments.decoding.options()? };
        if let (Err(_), Some(language)) = (transcriber.check(&options), &entry.language) {
            unknown.insert(language.as_str());
            left_out += 1;
            continue;
        }
        let count = counts.entry(entry.language.as_deref()).or_default();
        if (*count).is_multiple_of(arguments.every) {
            chosen.push(entry.clone());
        }
        *count = count.wrapping_add(1);
    }
    if !unknown.is_empty() {
        let languages = unknown.into_iter().collect::<Vec<_>>().join(", ");
        say(&format!("left out: {left_out} in {languages}, which the model does not know"));
    }
    if chosen.is_empty() {
        bail!("{} names no recording in a language that the model knows", arguments.list.display());
    }
    Ok(chosen)
}

fn load(arguments: &Arguments, model: &Model, device: Device, precision: Precision) -> Result<Transcriber> {
    let mut options = arguments.libraries.options(device)?;
    choices::check_precision(device, precision)?;
    options.precision = precision;
    options.threads = arguments.threads;
    arguments.npu.apply(&mut options);
    options.packed = arguments.packed.folder();
    options.vad_model = arguments.decoding.vad_model();
    let transcriber = Transcriber::load(model, &options)?;
    transcriber.check(&arguments.decoding.options()?).map_err(decoding::named)?;
    Ok(transcriber)
}
