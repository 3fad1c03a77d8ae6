//! The options that say what windows are told before they are decoded. Their names are those of openai/whisper and
//! faster-whisper.

use clap::Args;
use undertone_runner::{Prompt, PromptOptions};

use crate::spelling::switch;

/// The heading of these options in the help.
const HEADING: &str = "What the model is told";

/// What windows are told.
#[derive(Args, Clone)]
pub struct PromptChoice {
    /// What seems to have been said before: names and a style of writing that the model takes up
    #[arg(long, help_heading = HEADING, value_name = "TEXT")]
    initial_prompt: Option<String>,
    /// Put the initial prompt before every window of 30 s, not only before the first
    #[arg(long, help_heading = HEADING, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false, hide_default_value = true, value_parser = switch())]
    carry_initial_prompt: bool,
    /// Words that are likely to come, put before every window
    #[arg(long, help_heading = HEADING, value_name = "TEXT")]
    hotwords: Option<String>,
    /// What the text begins with; it is not written again
    #[arg(long, help_heading = HEADING, value_name = "TEXT")]
    prefix: Option<String>,
    /// Give the text before it to each window of long audio, which then goes window by window [default: True where it
    /// does: with --batch 1]
    #[arg(long, help_heading = HEADING, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = switch(), overrides_with = "no_previous_text")]
    condition_on_previous_text: Option<bool>,
    /// Decode each window without the text before it: the same as --condition-on-previous-text=False
    #[arg(long, help_heading = HEADING)]
    no_previous_text: bool,
    /// Text that came at a higher temperature than this is not given to the window after it
    #[arg(long, help_heading = HEADING, value_name = "T", default_value_t = 0.5)]
    prompt_reset_on_temperature: f32,
}

impl PromptChoice {
    /// Whether a window is given the text before it.
    pub fn previous_text(&self) -> bool {
        self.condition_on_previous_text.unwrap_or(!self.no_previous_text)
    }

    /// Whether something is said of the text before a window, which windows have only one after another, or a style that
    /// an initial prompt begins is to be kept.
    pub fn goes_from_window_to_window(&self) -> bool {
        let of_previous_text = self.condition_on_previous_text.is_some() || self.no_previous_text;
        of_previous_text || self.initial_prompt.is_some() && !self.carry_initial_prompt
    }

    /// The runner's options.
    pub fn options(&self) -> PromptOptions {
        let prompt = |text: &Option<String>| text.clone().map(Prompt::Text);
        PromptOptions {
            initial_prompt: prompt(&self.initial_prompt),
            carry_initial_prompt: self.carry_initial_prompt,
            prefix: prompt(&self.prefix),
            hotwords: prompt(&self.hotwords),
            condition_on_previous_text: self.previous_text(),
            prompt_reset_on_temperature: self.prompt_reset_on_temperature,
        }
    }
}
