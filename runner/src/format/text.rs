//! Texts in the shape that line-based formats can hold.

use std::borrow::Cow;

/// The text without blanks around it, line breaks as blanks: an empty line would end a subtitle.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    without_line_breaks(text.trim())
}

/// Line breaks as blanks.
pub(super) fn without_line_breaks(text: &str) -> Cow<'_, str> {
    if text.contains(['\n', '\r']) { Cow::Owned(text.replace(['\n', '\r'], " ")) } else { Cow::Borrowed(text) }
}

/// `-->` separates the times of a subtitle and may not stand in its text. Repeated, because `--->` holds it once more.
pub(super) fn without_arrow(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains("-->") {
        text = text.replace("-->", "->");
    }
    text
}

/// Seconds as whole milliseconds. Negative times and what is no number are 0.
pub(super) fn milliseconds(seconds: f64) -> u64 {
    // A float that is too large, negative or NaN saturates.
    (seconds * 1000.0).round() as u64
}
