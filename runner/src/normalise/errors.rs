//! The count of what differs.

use unicode_segmentation::UnicodeSegmentation as _;

/// Words that were inserted, left out or replaced on the shortest way from `reference` to `hypothesis`, and the words
/// of the reference. Words are what blanks separate: normalise both first. The word error rate of several texts is the
/// sum of the errors / the sum of the words.
pub fn word_errors(reference: &str, hypothesis: &str) -> (usize, usize) {
    let reference: Vec<&str> = reference.split_whitespace().collect();
    let hypothesis: Vec<&str> = hypothesis.split_whitespace().collect();
    (distance(&reference, &hypothesis), reference.len())
}

/// The same of [`characters`]: for the character error rate.
pub fn character_errors(reference: &str, hypothesis: &str) -> (usize, usize) {
    let (reference, hypothesis) = (characters(reference), characters(hypothesis));
    (distance(&reference, &hypothesis), reference.len())
}

/// What a person takes for one letter each (Unicode's extended grapheme clusters), without the blanks.
pub fn characters(text: &str) -> Vec<&str> {
    text.graphemes(true).filter(|character| !character.trim().is_empty()).collect()
}

/// Levenshtein's distance.
pub(super) fn distance(reference: &[&str], hypothesis: &[&str]) -> usize {
    let (reference, hypothesis) = without_common_ends(reference, hypothesis);
    let mut row = Row::new(hypothesis.len());
    for expected in reference {
        row.next(expected, hypothesis.iter());
    }
    row.0[hypothesis.len()]
}

/// Most of two texts is the same, and costs nothing so.
fn without_common_ends<'a, 'b, 't>(mut a: &'a [&'t str], mut b: &'b [&'t str]) -> (&'a [&'t str], &'b [&'t str]) {
    while let ([first, rest @ ..], [other, others @ ..]) = (a, b)
        && first == other
    {
        (a, b) = (rest, others);
    }
    while let ([rest @ .., last], [others @ .., other]) = (a, b)
        && last == other
    {
        (a, b) = (rest, others);
    }
    (a, b)
}

/// The distances from the reference's first words to the hypothesis's first 0, 1, 2, … words.
pub(super) struct Row(pub(super) Vec<usize>);

impl Row {
    /// Of no word of the reference.
    pub(super) fn new(hypothesis: usize) -> Self {
        Self((0..=hypothesis).collect())
    }

    /// Of one word more.
    pub(super) fn next<'a, 't: 'a>(&mut self, expected: &str, hypothesis: impl Iterator<Item = &'a &'t str>) {
        let mut diagonal = self.0[0];
        self.0[0] += 1;
        for (at, word) in hypothesis.enumerate() {
            let replaced = diagonal + usize::from(*word != expected);
            diagonal = self.0[at + 1];
            self.0[at + 1] = replaced.min(diagonal + 1).min(self.0[at] + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_what_a_person_takes_for_one() {
        assert_eq!(characters(" e\u{301} 你\u{3000}好\r\n"), ["e\u{301}", "你", "好"]);
        assert_eq!(character_errors("你好世界", "你好 界吗"), (2, 4));
        assert_eq!(character_errors("", "ab"), (2, 0));
    }
}
