//! Which options a person gave, and which are defaults or come from the environment: what clap knows of the values that
//! it filled in.

use clap::ArgMatches;
use clap::parser::ValueSource;

/// Where the values of the innermost subcommand's options come from. Options are named as the fields that hold them.
pub struct Given<'a>(&'a ArgMatches);

impl<'a> Given<'a> {
    /// Of the subcommand that was called.
    pub fn of(mut matches: &'a ArgMatches) -> Self {
        while let Some((_, inner)) = matches.subcommand() {
            matches = inner;
        }
        Self(matches)
    }

    /// Whether the option stands on the command line.
    pub fn on_command_line(&self, option: &str) -> bool {
        self.source(option) == Some(ValueSource::CommandLine)
    }

    /// Whether an environment variable gave it.
    pub fn in_environment(&self, option: &str) -> bool {
        self.source(option) == Some(ValueSource::EnvVariable)
    }

    /// Not every subcommand has every option.
    fn source(&self, option: &str) -> Option<ValueSource> {
        self.0.ids().find(|id| id.as_str() == option).and_then(|_| self.0.value_source(option))
    }
}
