//! What is done to a text before its numbers are read, and after that.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::super::blanks::{is_blank, is_end, is_start, words};
use super::super::pattern;

static AND_A_HALF: LazyLock<Regex> = LazyLock::new(|| pattern(r"and[\s\x1c-\x1f]+a[\s\x1c-\x1f]+half"));
static LETTER_DIGIT: LazyLock<Regex> = LazyLock::new(|| pattern("([a-z])([0-9])"));
static DIGIT_LETTER: LazyLock<Regex> = LazyLock::new(|| pattern("([0-9])([a-z])"));
static DETACHED_ENDING: LazyLock<Regex> = LazyLock::new(|| pattern(r"([0-9])[\s\x1c-\x1f]+(st|nd|rd|th|s)"));
static MONEY_AND_CENTS: LazyLock<Regex> = LazyLock::new(|| pattern("([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})"));
static CENTS: LazyLock<Regex> = LazyLock::new(|| pattern("[€£$]0.([0-9]{1,2})"));
static ONE: LazyLock<Regex> = LazyLock::new(|| pattern("1(s?)"));

/// `three and a half` becomes `three point five`; a blank comes between a letter and a digit, and the blank before an
/// ending goes.
pub(super) fn before(text: &str, is_counted: impl Fn(&str) -> bool) -> String {
    let text = halves(text, is_counted);
    let text = LETTER_DIGIT.replace_all(&text, "$1 $2");
    let text = DIGIT_LETTER.replace_all(&text, "$1 $2");
    replace(&DETACHED_ENDING, &text, |found| format!("{}{}", &found[1], &found[2]))
}

/// Dollars and cents are joined, cents alone get their sign, and a 1 that stands alone is `one`, to be read more easily.
pub(super) fn after(text: &str) -> String {
    let two_places = |cents: &str| format!("{cents:0>2}");
    let text = replace(&MONEY_AND_CENTS, text, |found| format!("{}{}.{}", &found[1], &found[2], two_places(&found[3])));
    let text = replace(&CENTS, &text, |found| format!("¢{}", found[1].parse::<u8>().unwrap_or_default()));
    let mut written = String::with_capacity(text.len());
    let mut done = 0;
    for found in ONE.captures_iter(&text) {
        let Some(all) = found.get(0) else { continue };
        if is_start(&text, all.start()) && is_end(&text, all.end()) {
            written.push_str(&text[done..all.start()]);
            written.push_str("one");
            written.push_str(&found[1]);
            done = all.end();
        }
    }
    written + &text[done..]
}

fn halves(text: &str, is_counted: impl Fn(&str) -> bool) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut done = 0;
    for found in AND_A_HALF.find_iter(text) {
        if !is_start(text, found.start()) || !is_end(text, found.end()) {
            continue;
        }
        let segment = &text[done..found.start()];
        done = found.end();
        // Without a word before it, it is lost.
        if let Some(last) = words(segment).next_back() {
            parts.push(segment);
            parts.push(if is_counted(last) { "point five" } else { "and a half" });
        }
    }
    parts.extend(Some(&text[done..]).filter(|rest| !rest.chars().all(is_blank)));
    parts.join(" ")
}

/// Replaces what `pattern` finds where a word ends behind it.
fn replace(pattern: &Regex, text: &str, replacement: impl Fn(&Captures<'_>) -> String) -> String {
    let mut replaced = String::with_capacity(text.len());
    let (mut done, mut from) = (0, 0);
    while let Some(found) = pattern.captures_at(text, from) {
        let Some(all) = found.get(0) else { break };
        if is_end(text, all.end()) {
            replaced.push_str(&text[done..all.start()]);
            replaced.push_str(&replacement(&found));
            (done, from) = (all.end(), all.end());
        } else {
            // Another may begin within it.
            from = all.start() + text[all.start()..].chars().next().map_or(1, char::len_utf8);
        }
    }
    replaced + &text[done..]
}
