//! `undertone partition --compare`: the same graphs under several configurations, on the same inputs. What was found
//! is a [`report::Comparison`], of which each format makes its text.

mod accuracy;
mod choice;
mod energy;
mod inputs;
mod measure;
mod npy;
mod operators;
mod page;
pub mod report;
pub mod stored;
mod structure;
mod subject;
mod table;
mod trace;
mod transcript;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use undertone_runner::any_graph::{Elements, NamedTensor};
use undertone_runner::audio::{self, Audio, SAMPLE_RATE};
use undertone_runner::features::Features;
use undertone_runner::mel::{LogMel, WINDOW_SAMPLES};
use undertone_runner::tokenizer::Tokenizer;
use undertone_runner::{Claim, Device, Engine, EngineOptions, Model, Precision};

use self::choice::Choice;
use self::inputs::{Sources, Speech};
use self::report::{Comparison, FORMAT, InputSource, Machine, VERSION};
use self::stored::Stored;
use self::subject::Subject;
use crate::choices::{self, Libraries, NpuChoice};
use crate::{machine, output};

/// How a comparison is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs: everything
    Json,
    /// One page for a browser
    Html,
}

/// What a comparison is asked for.
#[derive(Args)]
pub struct CompareArguments {
    /// Run the model's graphs under each of these and compare: cpu, host:int8, host:bf16, host:f32, sim:npu1,
    /// sim:npu4:bf16, npu, …, with commas between them
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = Choice::parse, help_heading = "Comparison")]
    compare: Vec<Choice>,
    /// Recording whose features Whisper's graphs are fed [default: that of `transcribe --sample`]
    #[arg(long, value_name = "FILE", requires = "compare", help_heading = "Comparison")]
    audio: Option<PathBuf>,
    /// Inputs of any graph, by their names: .npz, or .npy with its file's name [default: made up from the graph's shapes]
    #[arg(long, value_name = "FILE", requires = "compare", value_delimiter = ',', help_heading = "Comparison")]
    inputs: Vec<PathBuf>,
    /// How the comparison is written
    #[arg(
        long,
        value_name = "FORMAT",
        requires = "shown",
        default_value = "table",
        conflicts_with = "json",
        help_heading = "Comparison"
    )]
    format: Format,
    /// Measured runs of each graph
    #[arg(long, value_name = "N", requires = "compare", default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Comparison")]
    runs: u16,
    /// Threads that compute [default: one for each core]
    #[arg(short, long, value_name = "N", requires = "compare", value_parser = choices::threads,
        help_heading = "Comparison")]
    threads: Option<usize>,
    /// List each operator in the table, not the sums of those alike
    #[arg(long, requires = "shown", help_heading = "Comparison")]
    operators: bool,
    /// Leave out the transcripts
    #[arg(long, requires = "compare", help_heading = "Comparison")]
    no_transcripts: bool,
    #[command(flatten)]
    stored: Stored,
}

/// What is compared, and with what.
pub struct Compared<'a> {
    /// What the person calls the model.
    pub name: String,
    /// Names and files of the graphs.
    pub graphs: Vec<(String, PathBuf)>,
    /// Whose they are, if they are a Whisper's.
    pub model: Option<Model>,
    /// Where `--compare` names no precision.
    pub precision: Precision,
    /// Which nodes the provider asks for; `None` where nobody said.
    pub claim: Option<Claim>,
    /// ONNX Runtime and the provider.
    pub libraries: &'a Libraries,
    /// Which NPU.
    pub npu: &'a NpuChoice,
    /// `--json`.
    pub json: bool,
}

impl CompareArguments {
    /// Whether a comparison is asked for.
    pub fn is_asked(&self) -> bool {
        !self.compare.is_empty()
    }

    /// The stored comparison that is only to be shown.
    pub fn from(&self) -> Option<&Path> {
        self.stored.from.as_deref()
    }

    /// Prints a stored comparison.
    ///
    /// # Errors
    /// If it, or the older one beside it, can't be read.
    pub fn show(&self, from: &Path, json: bool) -> Result<()> {
        let format = if json { Format::Json } else { self.format };
        let baseline = self.baseline(format)?;
        output::print(&written(&stored::read(from)?, format, self.operators, baseline.as_ref())?)
    }

    /// The older comparison, which the page alone can show.
    fn baseline(&self, format: Format) -> Result<Option<Comparison>> {
        if self.stored.baseline.is_some() && format != Format::Html {
            bail!("--baseline sets two runs beside each other on the page: add --format html");
        }
        self.stored.older()
    }

    /// Compares, and prints what was found.
    ///
    /// # Errors
    /// If a library, a graph or an input can't be read, or a configuration makes no sense. A configuration that fails
    /// is part of what is printed, unless all fail.
    pub fn run(&self, compared: &Compared<'_>) -> Result<()> {
        let format = if compared.json { Format::Json } else { self.format };
        // Better known before the work than after it.
        let baseline = self.baseline(format)?;
        let comparison = self.comparison(compared)?;
        output::print(&written(&comparison, format, self.operators, baseline.as_ref())?)?;
        let failed = |graph: &report::GraphComparison| graph.runs.iter().all(|run| run.failed.is_some());
        if comparison.graphs.iter().all(failed) {
            let reason = comparison.graphs.iter().flat_map(|graph| &graph.runs).find_map(|run| run.failed.clone());
            bail!("no configuration ran: {}", reason.unwrap_or_default());
        }
        Ok(())
    }

    fn comparison(&self, compared: &Compared<'_>) -> Result<Comparison> {
        let choices: Vec<Choice> = self.compare.iter().map(|choice| choice.or_precision(compared.precision)).collect();
        for (at, choice) in choices.iter().enumerate() {
            if choices[..at].contains(choice) {
                bail!("--compare names {choice} twice");
            }
            choices::check_precision(choice.device, choice.precision.unwrap_or(Precision::Int8))?;
        }
        let devices: Vec<Device> = choices.iter().map(|choice| choice.device).collect();
        compared.npu.check(&devices)?;
        let mut options = self.options(compared, &devices)?;
        let threads = self.threads.unwrap_or_else(machine::cores);
        options.threads = Some(threads);
        let arrays = self.inputs.iter().map(|path| npy::read(path)).collect::<Result<Vec<_>>>()?.concat();
        let audio = self.audio(compared.model.as_ref())?;
        let speech = match (&compared.model, &audio) {
            (Some(model), Some((audio, what))) => Some(speech(model, audio, what)?),
            _ => None,
        };
        let mut sources = Sources { arrays, speech, seed: SEED };
        let meter = energy::Meter::find();
        let mut bench = measure::Bench {
            options: options.clone(),
            choices: &choices,
            claim: compared.claim,
            runs: usize::from(self.runs),
            meter,
            say: &say,
        };
        let mut graphs = Vec::new();
        // What the graphs before make of the same sound is what these read.
        let whole = compared.model.as_ref().map(Model::graphs).unwrap_or_default();
        let first = whole.iter().position(|(_, path)| compared.graphs.iter().any(|(_, wanted)| same(path, wanted)));
        for (_, path) in &whole[..first.unwrap_or(0)] {
            bench.run_through(path, &mut sources)?;
        }
        for (name, path) in &compared.graphs {
            let subject = Subject::read(name.clone(), path)?;
            let compared = bench.graph(&subject, &mut sources);
            graphs.push(compared.unwrap_or_else(|error| failed(&subject, &choices, &crate::words(&error))));
        }
        let mut transcripts = Vec::new();
        if let (Some(model), Some((audio, _))) = (&compared.model, &audio)
            && !self.no_transcripts
        {
            transcripts = transcript::transcripts(model, audio, &options, &choices, &say);
        }
        let input = input_source(&graphs, sources.speech.as_ref());
        Ok(Comparison {
            format: FORMAT.to_owned(),
            version: VERSION,
            undertone: env!("CARGO_PKG_VERSION").to_owned(),
            made: made(SystemTime::now()),
            ort: Engine::new(&EngineOptions { device: Device::Cpu, ..options })?.ort_version().to_owned(),
            machine: Machine { processor: machine::processor(), threads, runs: usize::from(self.runs) },
            model: compared.name.clone(),
            input,
            configurations: choices.iter().map(Choice::describe).collect(),
            reference: "ONNX Runtime's CPU provider on the same file".to_owned(),
            graphs,
            transcripts,
            notes: Vec::new(),
        })
    }

    /// With the execution provider, unless nothing needs it.
    fn options(&self, compared: &Compared<'_>, devices: &[Device]) -> Result<EngineOptions> {
        let device = devices.iter().copied().find(|device| *device != Device::Cpu).unwrap_or(Device::Cpu);
        let mut options = compared.libraries.options(device)?;
        compared.npu.apply(&mut options);
        Ok(options)
    }

    /// The first window of the recording, and what it is of; `None` where no model hears.
    fn audio(&self, model: Option<&Model>) -> Result<Option<(Audio, String)>> {
        if model.is_none() {
            return match &self.audio {
                Some(_) => bail!("--audio: the model is no Whisper in a folder of its own; give --inputs FILE.npz"),
                None => Ok(None),
            };
        }
        let path = match &self.audio {
            Some(path) => path.clone(),
            None => sample()?,
        };
        let read = audio::read_file(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let seconds = read.duration();
        let longest = WINDOW_SAMPLES as f64 / f64::from(SAMPLE_RATE);
        let what = if seconds > longest {
            format!("the first {longest} s of {name}")
        } else {
            format!("{name}, {seconds:.1} s")
        };
        let samples = read.samples[..read.samples.len().min(WINDOW_SAMPLES)].to_vec();
        Ok(Some((Audio::from_samples(samples), what)))
    }
}

/// A graph that the reference can't run, and so nobody is compared with it.
fn failed(subject: &Subject, choices: &[Choice], reason: &str) -> report::GraphComparison {
    let run = |choice: &Choice| report::GraphRun {
        configuration: choice.to_string(),
        failed: Some(reason.to_owned()),
        ..report::GraphRun::default()
    };
    report::GraphComparison {
        name: subject.name.clone(),
        path: subject.path.clone(),
        weight_bytes: subject.nodes.constant_bytes,
        layers: subject.layers.clone(),
        nodes: structure::nodes(&subject.nodes, &subject.layer_of),
        edges: subject.nodes.edges.clone(),
        runs: choices.iter().map(run).collect(),
        ..report::GraphComparison::default()
    }
}

/// What chance begins with.
const SEED: u64 = 1;

/// A recording of a person, from where it was fetched to.
fn sample() -> Result<PathBuf> {
    let steps = crate::steps::Steps::new();
    let fetched = undertone_models::sample(&mut |step| steps.show(step));
    fetched
        .or_else(|error| {
            // The repository has speech of its own beside its model.
            let spoken = crate::locate::reference_model().map(|model| model.join("../../speech/short/000-en.flac"));
            spoken.ok().filter(|path| path.is_file()).ok_or(error)
        })
        .context("there is no recording to make features of: name one with --audio FILE")
}

/// A model's inputs from sound.
fn speech(model: &Model, audio: &Audio, what: &str) -> Result<Speech> {
    let bins = model.config().mel_bins;
    let window = Features::of(&LogMel::new(bins), &audio.samples).window(0)?;
    let shape = vec![1, bins, window.len() / bins.max(1)];
    let features = NamedTensor { name: "input_features".to_owned(), shape, elements: Elements::F32(window) };
    let special = Tokenizer::of(model)?.special;
    let mut prompt = vec![special.sot];
    prompt.extend(special.language("en"));
    if special.multilingual {
        prompt.push(special.transcribe);
    }
    prompt.push(special.notimestamps);
    Ok(Speech::new(features, prompt.into_iter().map(i64::from).collect(), what.to_owned()))
}

fn input_source(graphs: &[report::GraphComparison], speech: Option<&Speech>) -> InputSource {
    let any = |words: &[&str]| {
        let mut sources = graphs.iter().flat_map(|graph| &graph.inputs).map(|input| input.source.as_str());
        sources.any(|source| words.iter().any(|word| source.starts_with(word)))
    };
    let source = |kind: &str, what: String| InputSource { kind: kind.to_owned(), what };
    let generated = any(&["generated"]);
    match speech {
        Some(speech) => source("audio", speech.what.clone()),
        None if any(&["from a file"]) && generated => source("files", "from files, others generated".to_owned()),
        None if any(&["from a file"]) => source("files", "from files".to_owned()),
        None => source("generated", format!("generated from shapes, seed {SEED}: real ones come with --inputs")),
    }
}

/// A comparison in a format; an older one beside it on the page alone.
fn written(comparison: &Comparison, format: Format, every: bool, baseline: Option<&Comparison>) -> Result<String> {
    Ok(match format {
        Format::Table => table::text(comparison, every),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(comparison)?),
        Format::Html => page::html(comparison, baseline)?,
    })
}

/// What goes on, for whoever waits at a terminal.
fn say(line: &str) {
    if std::io::stderr().is_terminal() {
        output::say(line);
    } else {
        tracing::info!("{line}");
    }
}

/// `2026-11-28T18:00:00Z`.
fn made(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days: years that begin in March have their odd day last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let [hour, minute, second] = [of_day / 3600, of_day / 60 % 60, of_day % 60];
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The model that a graph's file belongs to, where it lies in a model's folder.
pub fn model_around(file: &Path) -> Option<Model> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Model::from_directory(folder, None).ok().filter(|model| model.graphs().iter().any(|(_, path)| same(path, file)))
}

fn same(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_everywhere() {
        let at = |seconds| made(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_795_888_805), "2026-11-28T18:00:05Z");
    }
}
