//! Words of others, made fit for a terminal and a report; and how long something took.

use std::time::Duration;

/// Characters that a line of the kernel's log, or a check's name, has at most.
pub(crate) const MOST_OF_A_LINE: usize = 500;
/// Characters that what a check found has at most.
pub(crate) const MOST_FOUND: usize = 4000;

/// A text that moves no cursor and colours nothing: lines and spaces stay, other control characters are replaced.
pub(crate) fn plain(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let plain = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(plain).collect()
}

/// A text's beginning, and that it went on.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A time as a person reads it: `6 ms`, `1.1 s`, `90 s`.
pub fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 0.9995 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 10.0 => format!("{} s", (seconds * 10.0).round() / 10.0),
        seconds => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_do_nothing_to_a_terminal() {
        assert_eq!(plain("a\x1b[31mred\x07\r\nb\tc\n"), "a\u{fffd}[31mred\u{fffd}\nb\tc\n");
        assert_eq!((cut("äbc", 2).as_str(), cut("äb", 2).as_str()), ("äb…", "äb"));
    }

    #[test]
    fn times_are_short() {
        let shown = [5.56e-3, 0.9, 1.0, 1.11, 60.0, 600.4].map(|seconds| time(Duration::from_secs_f64(seconds)));
        assert_eq!(shown, ["6 ms", "900 ms", "1 s", "1.1 s", "60 s", "600 s"]);
    }
}
