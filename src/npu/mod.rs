//! `undertone npu`: what an NPU would do, a file for each of its commands.

mod plan;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::given::Given;

/// Look at what an NPU would do
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Plan(plan::Arguments),
}

/// Carries it out.
///
/// # Errors
///
/// Those of the command.
pub fn run(arguments: &Arguments, given: &Given<'_>) -> Result<ExitCode> {
    match &arguments.command {
        Command::Plan(arguments) => plan::run(arguments, given),
    }
}
