//! `undertone transcribe`: audio files to text, subtitles or JSON. Reads the files, writes the results, reports; what is heard is
//! the runner's business.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use undertone_runner::audio::{self, Audio};
use undertone_runner::format::Format;
use undertone_runner::transcribe::DEFAULT_BATCH;
use undertone_runner::{Task, TranscribeOptions, Transcriber, Transcription};

use crate::choices::{self, DeviceWord, Libraries, ModelChoice, NpuChoice, PackedChoice, PrecisionWord};
use crate::output::{self, OutputDirectory};

/// Seconds of audio in a window, and from which on a progress bar is worth its line.
const LONG_AUDIO: f64 = 30.0;

/// Turn recordings into text, subtitles or JSON
#[derive(Args)]
pub struct Arguments {
    /// Audio files: WAV, FLAC, MP3, OGG, M4A, any rate and channels; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write one file for each recording here, named after it [default: results go to standard output]
    #[arg(short, long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// What to write; `all` needs --output-dir
    #[arg(short = 'f', long, value_enum, default_value_t = FormatWord::Txt)]
    output_format: FormatWord,
    /// The spoken language, such as en or de [default: detected in each file]
    #[arg(short, long, value_name = "CODE")]
    language: Option<String>,
    /// Write the words as spoken, or in English
    #[arg(long, value_enum, default_value_t = TaskWord::Transcribe)]
    task: TaskWord,
    /// What computes
    #[arg(short, long, value_enum, default_value_t = DeviceWord::Auto)]
    device: DeviceWord,
    /// The arithmetic of every device but cpu, which computes in the model's own types
    #[arg(short, long, value_enum, default_value_t = PrecisionWord::Int8)]
    precision: PrecisionWord,
    /// Threads that compute [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = choices::threads)]
    threads: Option<usize>,
    #[command(flatten)]
    npu: NpuChoice,
    #[command(flatten)]
    model: ModelChoice,
    /// Decode each window of long audio without the text before it
    #[arg(long)]
    no_previous_text: bool,
    /// Decode N windows of 30 s together, which is faster and takes more memory. Longer recordings are cut at pauses for that,
    /// and each window is decoded without the text before it: the words can differ. 1 decodes one window after another
    /// [default: up to 8 windows of different recordings together, which changes no word; long recordings window by window]
    #[arg(short, long, value_name = "N", value_parser = choices::batch)]
    batch: Option<usize>,
    /// Print no line on what ran where
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    packed: PackedChoice,
    #[command(flatten)]
    libraries: Libraries,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum FormatWord {
    /// A line for each segment
    Txt,
    /// SubRip subtitles
    Srt,
    /// WebVTT subtitles
    Vtt,
    /// Everything: segments, tokens, scores, and what ran where
    Json,
    /// One file of each
    All,
}

impl FormatWord {
    /// The formats that this choice stands for.
    fn formats(self) -> &'static [Format] {
        match self {
            Self::Txt => &[Format::Txt],
            Self::Srt => &[Format::Srt],
            Self::Vtt => &[Format::Vtt],
            Self::Json => &[Format::Json],
            Self::All => &Format::ALL,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum TaskWord {
    Transcribe,
    Translate,
}

impl From<TaskWord> for Task {
    fn from(word: TaskWord) -> Self {
        match word {
            TaskWord::Transcribe => Self::Transcribe,
            TaskWord::Translate => Self::Translate,
        }
    }
}

/// A recording that was read.
struct Input<'a> {
    file: &'a Path,
    /// What its results are called in the output directory.
    stem: &'a str,
    audio: Audio,
    audio_time: Duration,
}

/// Transcribes every file; one that fails costs the exit code, not the others.
///
/// # Errors
///
/// If nothing can be done at all: the output directory, the model or the device does not work.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let directory = arguments.output_dir.as_deref().map(OutputDirectory::open).transpose()?;
    if directory.is_none() && arguments.output_format == FormatWord::All {
        bail!("four formats at once do not go to standard output: name a directory with --output-dir");
    }
    let stems = match directory {
        Some(_) => output::stems(&arguments.files)?,
        None => vec![String::new(); arguments.files.len()],
    };
    let mut code = ExitCode::SUCCESS;
    // Loaded for the first files that can be read: a wrong file name is answered at once.
    let mut transcriber = None;
    let mut group: Vec<Input<'_>> = Vec::new();
    let mut files = arguments.files.iter().zip(&stems).peekable();
    while let Some((file, stem)) = files.next() {
        let started = Instant::now();
        match read(file) {
            Ok(audio) => group.push(Input { file, stem, audio, audio_time: started.elapsed() }),
            Err(error) => {
                crate::report_error(&error);
                code = ExitCode::FAILURE;
            }
        }
        if group.is_empty() || (files.peek().is_some() && !is_full(arguments, &group)) {
            continue;
        }
        let transcriber = match &mut transcriber {
            Some(transcriber) => transcriber,
            empty => empty.insert(load(arguments)?),
        };
        for (input, result) in transcribe(arguments, transcriber, std::mem::take(&mut group)) {
            let done = result.and_then(|result| {
                deliver(arguments, directory.as_ref(), input.stem, &result)?;
                report(arguments, input.file, &result);
                Ok(())
            });
            if let Err(error) = done {
                crate::report_error(&error);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Whether the recordings are to be transcribed before more are read: when there are windows for several batches, so that few
/// run in one that is not full, and when the last one's windows follow each other and gain nothing from others.
fn is_full(arguments: &Arguments, group: &[Input<'_>]) -> bool {
    const BATCHES: usize = 4;
    let windows = |input: &Input<'_>| (input.audio.duration() / LONG_AUDIO).ceil().max(1.0) as usize;
    let alone = arguments.batch.is_none() && !arguments.no_previous_text;
    group.iter().map(windows).sum::<usize>() >= BATCHES * arguments.batch.unwrap_or(DEFAULT_BATCH)
        || arguments.batch == Some(1)
        || group.last().is_some_and(|input| alone && windows(input) > 1)
}

fn read(file: &Path) -> Result<Audio> {
    if file.as_os_str() == "-" {
        return Ok(audio::read(io::stdin().lock(), None)?);
    }
    Ok(audio::read_file(file)?)
}

/// What messages call an input.
fn name(file: &Path) -> String {
    if file.as_os_str() == "-" { "standard input".into() } else { file.display().to_string() }
}

fn load(arguments: &Arguments) -> Result<Transcriber> {
    let model = arguments.model.open()?;
    let mut options = arguments.libraries.options(arguments.device.into())?;
    options.precision = arguments.precision.into();
    options.threads = arguments.threads;
    arguments.npu.apply(&mut options);
    options.packed = arguments.packed.folder();
    Ok(Transcriber::load(&model, &options)?)
}

/// The results of a group's recordings. If they fail together, each is tried alone.
fn transcribe<'a>(
    arguments: &Arguments,
    transcriber: &mut Transcriber,
    group: Vec<Input<'a>>,
) -> Vec<(Input<'a>, Result<Transcription>)> {
    match transcribe_together(arguments, transcriber, &group) {
        Ok(results) => group.into_iter().zip(results.into_iter().map(Ok)).collect(),
        Err(error) if group.len() == 1 => {
            let failed = Err(error.context(name(group[0].file)));
            group.into_iter().zip([failed]).collect()
        }
        Err(_) => group.into_iter().flat_map(|input| transcribe(arguments, transcriber, vec![input])).collect(),
    }
}

fn transcribe_together(
    arguments: &Arguments,
    transcriber: &mut Transcriber,
    group: &[Input<'_>],
) -> Result<Vec<Transcription>> {
    let options = TranscribeOptions {
        language: arguments.language.clone(),
        task: arguments.task.into(),
        condition_on_previous_text: !arguments.no_previous_text,
        batch: arguments.batch.unwrap_or(DEFAULT_BATCH),
        cut_at_pauses: arguments.batch.is_some_and(|windows| windows > 1),
        ..TranscribeOptions::default()
    };
    let recordings: Vec<&Audio> = group.iter().map(|input| &input.audio).collect();
    let bar = progress_bar(group);
    let begun = Instant::now();
    let results = transcriber
        .transcribe_all(&recordings, &options, &mut |progress| bar.set_position(progress.done_seconds as u64));
    bar.finish_and_clear();
    let mut results = results?;
    // The runner got decoded audio; here the work began with files.
    let elapsed = begun.elapsed() + group.iter().map(|input| input.audio_time).sum();
    let seconds: f64 = results.iter().map(|result| result.duration).sum();
    for (result, input) in results.iter_mut().zip(group) {
        result.run.audio_ms = input.audio_time.as_secs_f64() * 1000.0;
        result.run.realtime_factor = seconds / elapsed.as_secs_f64();
    }
    Ok(results)
}

/// A bar over the audio's seconds; hidden where nobody looks or nothing lasts.
fn progress_bar(group: &[Input<'_>]) -> ProgressBar {
    let seconds: f64 = group.iter().map(|input| input.audio.duration()).sum();
    if seconds <= LONG_AUDIO || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(seconds as u64);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} s, {eta} left") {
        bar.set_style(style);
    }
    bar.set_prefix(match group {
        [one] => name(one.file),
        several => format!("{} recordings", several.len()),
    });
    bar
}

fn deliver(
    arguments: &Arguments,
    directory: Option<&OutputDirectory>,
    stem: &str,
    result: &Transcription,
) -> Result<()> {
    let formats = arguments.output_format.formats();
    match directory {
        Some(directory) => {
            let file = |format: &Format| (format!("{stem}.{format}"), format.render(result));
            directory.write(&formats.iter().map(file).collect())
        }
        None => formats.iter().try_for_each(|format| output::print(&format.render(result))),
    }
}

/// What ran where, as counted by the code that ran it.
fn report(arguments: &Arguments, file: &Path, result: &Transcription) {
    let run = &result.run;
    if let Some(reason) = &run.fallback {
        eprintln!("warning: {}: not on the device asked for: {reason}", name(file));
    }
    if let Some(npu) = run.npu.as_ref().filter(|npu| npu.fell_back()) {
        eprintln!("warning: {}: not all on the NPU: {npu}", name(file));
    }
    if arguments.quiet {
        return;
    }
    let calls: Vec<String> = run
        .kernel_calls
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(device, n)| format!("{n} kernel calls on {device}"))
        .collect();
    let together = if run.recordings > 1 { format!(" for {} recordings", run.recordings) } else { String::new() };
    let calls = if calls.is_empty() { "ONNX Runtime's CPU provider alone".to_string() } else { calls.join(", ") };
    eprintln!(
        "{}: {:.1} s of audio at {:.1}x real time, language {}, device {}, {}: {calls}{together}",
        name(file),
        result.duration,
        run.realtime_factor,
        result.language,
        run.device,
        run.precision,
    );
    if let Some(npu) = &run.npu {
        tracing::info!("{npu}");
        if let Some(rates) = &npu.rates {
            tracing::info!("kernels were weighed against {rates}");
        }
        if let Some(ms) = npu.predicted_ms().filter(|_| run.windows > 0) {
            tracing::info!(
                "predicted on hardware: {:.2} ms for each of {} windows",
                ms / run.windows as f64,
                run.windows
            );
        }
    }
}
