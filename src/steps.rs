//! What is shown while a model is fetched and converted: a bar with size, rate and time left on a terminal, a line for
//! each step elsewhere.

use std::cell::RefCell;
use std::fmt::Write;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use undertone_models::Step;

use crate::output::say;

/// Shows steps on standard error.
pub struct Steps {
    state: RefCell<State>,
    is_terminal: bool,
}

#[derive(Default)]
struct State {
    /// The step at work, and its bar.
    current: Option<(String, ProgressBar)>,
}

impl Steps {
    /// Nothing is shown before there is something to show.
    pub fn new() -> Self {
        Self { state: RefCell::default(), is_terminal: io::stderr().is_terminal() }
    }

    /// Shows one.
    pub fn show(&self, step: Step<'_>) {
        match step {
            Step::Fetching { from, done, total, .. } => self.bar(format!("fetching {from}"), done, total),
            Step::Converting { done, total } => self.bar("converting to ONNX".into(), done, total),
            Step::Notice(text) => {
                self.end();
                say(&format!("note: {text}"));
            }
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some((_, bar)) = self.state.borrow_mut().current.take() {
            bar.finish_and_clear();
        }
    }

    fn bar(&self, what: String, done: u64, total: u64) {
        if self.state.borrow().current.as_ref().is_none_or(|(current, _)| *current != what) {
            // Nothing is to be done: what is there was only looked at.
            if total > 0 && done >= total {
                return;
            }
            self.end();
            self.state.borrow_mut().current = Some((what.clone(), self.begin(&what, total)));
        }
        if let Some((_, bar)) = &self.state.borrow().current {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    fn begin(&self, what: &str, total: u64) -> ProgressBar {
        if !self.is_terminal {
            say(&format!("{what} ({})", HumanBytes(total)));
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(total);
        set_style(&bar, "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}{left}");
        bar.set_message(what.to_owned());
        bar
    }
}

/// Gives a bar its looks. `{left}` is the time left, as soon as there is something to estimate it by; `{speed}` is how
/// many times real time it is where positions are seconds of audio.
pub fn set_style(bar: &ProgressBar, template: &str) {
    let left = |state: &ProgressState, out: &mut dyn Write| {
        if let Some(text) = time_left(state.pos(), state.eta()) {
            // What cannot be shown is not missed.
            let _ = out.write_str(&text);
        }
    };
    let speed = |state: &ProgressState, out: &mut dyn Write| {
        if state.pos() > 0 {
            let _ = write!(out, ", {:.0} times real time", state.per_sec());
        }
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.with_key("left", left).with_key("speed", speed));
    }
}

fn time_left(position: u64, estimate: Duration) -> Option<String> {
    (position > 0 && !estimate.is_zero()).then(|| format!(", {:#} left", HumanDuration(estimate)))
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_left_before_anything_was_done() {
        assert_eq!(time_left(0, Duration::ZERO), None);
        assert_eq!(time_left(3, Duration::ZERO), None);
        assert_eq!(time_left(3, Duration::from_secs(75)).as_deref(), Some(", 75s left"));
    }
}
