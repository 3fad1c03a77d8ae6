//! `undertone npu`: what an NPU would do, whether this machine's does it, and its compiled kernels, a file for each of its
//! commands; `release` reads what `fetch` takes.

mod bring_up;
pub mod fetch;
mod plan;
mod release;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::given::Given;

/// Try this machine's NPU step by step, look at what an NPU would do, and fetch its compiled kernels
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    BringUp(bring_up::Arguments),
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
        Command::BringUp(arguments) => bring_up::run(arguments, given),
        Command::Plan(arguments) => plan::run(arguments, given),
        Command::Fetch(arguments) => fetch::run(arguments),
    }
}
