//! `undertone npu`: what an NPU would do, and its compiled kernels, a file for each of its commands; `release` reads
//! what `fetch` takes.

pub mod fetch;
mod plan;
mod release;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::given::Given;

/// Look at what an NPU would do, and fetch its compiled kernels
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Plan(plan::Arguments),
    Fetch(fetch::Arguments),
}

/// Carries it out.
///
/// # Errors
///
/// Those of the command.
pub fn run(arguments: &Arguments, given: &Given<'_>) -> Result<ExitCode> {
    match &arguments.command {
        Command::Plan(arguments) => plan::run(arguments, given),
        Command::Fetch(arguments) => fetch::run(arguments),
    }
}
