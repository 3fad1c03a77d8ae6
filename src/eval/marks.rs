//! Where a transcript differs from what was said: runs of words that are the same, and of words that are not.

use undertone_runner::normalise::{Edit, edits};

use super::score::{Recording, Version};

/// Words that are the same, around a difference, before the rest is left out.
const AROUND: usize = 5;

/// A run of words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run<'a> {
    /// The same in both.
    Same(Vec<&'a str>),
    /// What was said, and what stands for it.
    Other { said: Vec<&'a str>, heard: Vec<&'a str> },
}

/// The runs of a transcript.
pub fn runs<'a>(recording: &'a Recording, version: &'a Version) -> Vec<Run<'a>> {
    let words = |text: &'a str| -> Vec<&'a str> { text.split_whitespace().collect() };
    let mut runs: Vec<Run<'a>> = Vec::new();
    for edit in edits(&words(&recording.normalised), &words(&version.normalised)) {
        let (one, other) = match edit {
            Edit::Same(word) => {
                match runs.last_mut() {
                    Some(Run::Same(words)) => words.push(word),
                    _ => runs.push(Run::Same(vec![word])),
                }
                continue;
            }
            Edit::Substituted(one, other) => (Some(one), Some(other)),
            Edit::Deleted(one) => (Some(one), None),
            Edit::Inserted(other) => (None, Some(other)),
        };
        if !matches!(runs.last(), Some(Run::Other { .. })) {
            runs.push(Run::Other { said: Vec::new(), heard: Vec::new() });
        }
        if let Some(Run::Other { said, heard }) = runs.last_mut() {
            said.extend(one);
            heard.extend(other);
        }
    }
    runs
}

/// Between words, if the recording's language has anything there.
pub fn between(recording: &Recording) -> &'static str {
    if recording.by_letter { "" } else { " " }
}

/// The transcript in a line: `[-left out-]`, `{+put in+}`, and both for what was replaced. Where much is the same, `…`
/// stands for it.
pub fn line(recording: &Recording, version: &Version) -> String {
    let between = between(recording);
    let runs = runs(recording, version);
    let last = runs.len().saturating_sub(1);
    let text = |(place, run): (usize, &Run<'_>)| match run {
        Run::Same(words) => {
            let (before, after) = (if place == 0 { 0 } else { AROUND }, if place == last { 0 } else { AROUND });
            if last == 0 || words.len() <= before + after + 1 {
                return words.join(between);
            }
            [&words[..before], &["…"], &words[words.len() - after..]].concat().join(between)
        }
        Run::Other { said, heard } => {
            let part = |words: &[&str], open: &str, close: &str| match words {
                [] => String::new(),
                words => format!("{open}{}{close}", words.join(between)),
            };
            part(said, "[-", "-]") + &part(heard, "{+", "+}")
        }
    };
    runs.iter().enumerate().map(text).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::super::score::Report;
    use super::super::score::tests::{column, entry, normalisers};
    use super::*;

    fn line_of(language: &str, said: &str, heard: &str) -> String {
        let report = Report::new(&[entry(language, said)], &[column("a", &[heard])], &normalisers());
        line(&report.recordings[0], &report.recordings[0].versions[0])
    }

    #[test]
    fn words_are_marked_with_a_few_around_them() {
        assert_eq!(
            line_of("de", "der grüne Löwe ist da", "der graue Löwe ist nicht da"),
            "der [-grüne-]{+graue+} löwe ist {+nicht+} da"
        );
        assert_eq!(line_of("de", "a b c d", "a d"), "a [-b c-] d");
        let said = "1 2 3 4 5 6 7 x 1 2 3 4 5 6 7 8 9 0 1 2 3 y 1";
        let marked = "… 3 4 5 6 7 [-x-]{+z+} 1 2 3 4 5 … 9 0 1 2 3 [-y-] 1";
        assert_eq!(line_of("de", said, &said.replace('x', "z").replace("y ", "")), marked);
        assert_eq!(line_of("de", "a b", "a b"), "a b");
        assert_eq!(line_of("ja", "今日は晴れ。", "今日も晴"), "今日[-は-]{+も+}晴[-れ-]");
        assert_eq!(line_of("en", "", "Thank you."), "{+thank you+}");
    }
}
