//! `undertone npu`: what an NPU would do, and whether this machine's does it; a file for each of its commands.

mod bring_up;
mod plan;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::given::Given;

/// Try this machine's NPU step by step, and look at what an NPU would do
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    BringUp(bring_up::Arguments),
    Plan(plan::Arguments),
}

/// Carries it out.
///
/// # Errors
///
/// Those of the command.
pub fn run(arguments: &Arguments, given: &Given<'_>) -> Result<ExitCode> {
    match &arguments.command {
        Command::BringUp(arguments) => bring_up::run(arguments, given),
        Command::Plan(arguments) => plan::run(arguments, given),
    }
}
