//! The `undertone` command: reads the command line, hands it to one file per subcommand, and turns an error into one
//! line on stderr and an exit code. The work itself is in the crate `undertone-runner`.

mod bench;
mod choices;
mod compare;
mod decoding;
mod devices;
mod eval;
mod fallback;
mod formats;
mod given;
mod interrupt;
mod locate;
mod machine;
mod model;
mod npu;
mod numbers;
mod output;
mod partition;
mod prompting;
mod search;
mod sound;
mod spelling;
mod steps;
mod tokens;
mod transcribe;
mod voice;
mod without_effect;
mod words;

use std::process::ExitCode;

use clap::{ArgAction, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use given::Given;

/// Speech to text with Whisper, on the CPU or an AMD NPU, through ONNX Runtime.
///
/// Results go to standard output or into files, everything else to standard error.
#[derive(Parser)]
#[command(name = "undertone", version, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    /// Say more about what happens (-v: steps, -vv: details)
    #[arg(short, long, global = true, display_order = 900, action = ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  undertone transcribe --sample                         ten seconds of a person: does all work?
  undertone transcribe speech.flac                      the text of a recording
  undertone transcribe -f srt -o subtitles a.mp3 b.m4a  one subtitle file for each
  ffmpeg -i film.mkv -f wav - | undertone transcribe -  any source, through a pipe
  undertone transcribe --device cpu speech.flac         ONNX Runtime's own CPU provider alone
  undertone model list                                  models that are here, and names of others
  undertone transcribe --model small speech.flac        with one of them, fetched once
  undertone devices                                     what this machine offers
  undertone partition base                              which part of a model runs where
  undertone npu plan base --target npu4                 what an NPU would do, and predicted times
  undertone npu fetch bundles.zip                       compiled kernels for an NPU, put in place

Exit codes:
  0    all is done
  1    something failed: lines that begin with `error:` say what, and what to do;
       with several files, the others are done
  2    the command line was not understood
  130  Ctrl-C: what was transcribed until then is kept";

#[derive(Subcommand)]
enum Command {
    Transcribe(transcribe::Arguments),
    Partition(partition::Arguments),
    Devices(devices::Arguments),
    Model(model::Arguments),
    Bench(bench::Arguments),
    Eval(eval::Arguments),
    Npu(npu::Arguments),
}

/// ONNX Runtime's own builds from 1.29 on keep an identifier of the machine and report to Microsoft that they run,
/// before their interface can be told not to. Whoever sets the variable decides.
#[allow(unsafe_code, reason = "the environment is all that the library listens to")]
fn without_telemetry() {
    const SWITCH: &str = "ORT_DISABLE_TELEMETRY";
    if std::env::var_os(SWITCH).is_none() {
        // SAFETY: this is the first thing that the program does, and it has one thread: nobody reads the environment
        // meanwhile.
        unsafe { std::env::set_var(SWITCH, "1") };
    }
}

fn main() -> ExitCode {
    without_telemetry();
    // Windows' shells leave `*.mp3` to the program.
    let matches = Arguments::command().get_matches_from(spelling::ours(wild::args_os()));
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let given = Given::of(&matches);
    output::keep_for_results();
    let level = match arguments.verbose {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .without_time()
        // Standard error may be closed: that is told to nobody, and is no reason to end.
        .log_internal_errors(false)
        .init();
    let result = match arguments.command {
        Command::Transcribe(arguments) => transcribe::run(&arguments, &given),
        Command::Partition(arguments) => partition::run(&arguments, &given),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Model(arguments) => model::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments, &given),
        Command::Eval(arguments) => eval::run(&arguments, &given),
        Command::Npu(arguments) => npu::run(&arguments, &given),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            report_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// One line on stderr: the error of a file, which its own words may not name.
fn report_error_in(file: &str, error: &anyhow::Error) {
    let line = words(error);
    output::say(&if line.contains(file) { format!("error: {line}") } else { format!("error: {file}: {line}") });
}

/// One line on stderr: the error and what caused it.
fn report_error(error: &anyhow::Error) {
    output::say(&format!("error: {}", words(error)));
}

/// An error and what caused it, in one line.
fn words(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = one_line(&cause.to_string());
        // Wrapping errors often repeat what they wrap.
        if !line.contains(&text) {
            line = if line.is_empty() { text } else { format!("{line}: {text}") };
        }
    }
    line
}

/// Lines joined: messages of libraries below (ONNX Runtime, the system) may have several.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_s_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_error_is_one_line() {
        assert_eq!(one_line("first\n  second\r\n\n"), "first; second");
    }
}
