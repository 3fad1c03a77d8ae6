//! How far the work is, as people see it: a bar on a terminal, or a line now and then.

use std::io::{self, IsTerminal as _};
use std::time::Instant;

use indicatif::ProgressBar;
use undertone_runner::Progress;

use crate::output::say;
use crate::steps;

/// Seconds of audio from which on a bar is worth its line.
const LONG_AUDIO: f64 = 30.0;
/// Lines until the end, at most.
const LINES: f64 = 20.0;

/// Shows how many of a group's seconds are done.
pub struct Shown {
    bar: ProgressBar,
    lines: Option<Lines>,
}

struct Lines {
    name: String,
    begun: Instant,
    /// Twentieths that were told.
    told: u64,
    /// Whether the end is told, too: nothing else says it.
    end: bool,
}

impl Shown {
    /// For work called `name` on so many seconds of audio. `lines`: lines, wherever they go; else a bar, unless the
    /// work is to be `quiet`, it does not last, or nobody looks.
    pub fn new(name: String, seconds: f64, lines: bool, quiet: bool) -> Self {
        if lines {
            let lines = Some(Lines { name, begun: Instant::now(), told: 0, end: quiet });
            return Self { bar: ProgressBar::hidden(), lines };
        }
        if quiet || seconds <= LONG_AUDIO || !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), lines: None };
        }
        let bar = ProgressBar::new(seconds as u64);
        steps::set_style(&bar, "{prefix} {wide_bar} {pos}/{len} s{speed}{left}");
        bar.set_prefix(name);
        Self { bar, lines: None }
    }

    /// Shows that so much is done.
    pub fn advance(&mut self, progress: Progress) {
        self.bar.set_position(progress.done_seconds as u64);
        if let Some(lines) = &mut self.lines
            && let Some(line) = lines.line(progress, lines.begun.elapsed().as_secs_f64())
        {
            say(&line);
        }
    }

    /// Runs `write` with the bar out of the way.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Lines {
    /// The line that is due after so many seconds of work, if one is.
    fn line(&mut self, Progress { done_seconds, total_seconds }: Progress, worked: f64) -> Option<String> {
        let share = if total_seconds > 0.0 { (done_seconds / total_seconds).clamp(0.0, 1.0) } else { 1.0 };
        // 0.3 of 0.6 may be a little less than the half.
        let due = (share * LINES + 1e-9) as u64;
        if due <= self.told || share >= 1.0 && !self.end {
            return None;
        }
        self.told = due;
        let (speed, left) = (done_seconds / worked.max(1e-9), worked / share - worked);
        Some(format!(
            "{}: {:.0} %: {done_seconds:.1} s of {total_seconds:.1} s, {speed:.1} times real time, {left:.0} s left",
            self.name,
            share * 100.0
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_twentieth_that_is_done() {
        let mut lines = Lines { name: "talk.mp3".into(), begun: Instant::now(), told: 0, end: true };
        let mut at = |done_seconds, worked| lines.line(Progress { done_seconds, total_seconds: 200.0 }, worked);
        assert_eq!(at(9.9, 1.0), None);
        assert_eq!(at(50.0, 2.0).unwrap(), "talk.mp3: 25 %: 50.0 s of 200.0 s, 25.0 times real time, 6 s left");
        assert_eq!(at(59.0, 2.5), None);
        assert_eq!(at(200.0, 8.0).unwrap(), "talk.mp3: 100 %: 200.0 s of 200.0 s, 25.0 times real time, 0 s left");
        assert_eq!(at(200.0, 8.0), None);
        let mut spoken_of = Lines { told: 0, end: false, ..lines };
        assert_eq!(spoken_of.line(Progress { done_seconds: 200.0, total_seconds: 200.0 }, 8.0), None);
    }
}
