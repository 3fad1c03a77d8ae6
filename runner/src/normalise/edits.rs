//! How two texts go together: which words are the same, which were replaced, left out or put in.

use super::errors::Row;

/// A step on the way from a reference to a hypothesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// The same word in both.
    Same(&'a str),
    /// A word of the reference, and the one that stands for it.
    Substituted(&'a str, &'a str),
    /// A word of the reference that is missing.
    Deleted(&'a str),
    /// A word that the reference does not have.
    Inserted(&'a str),
}

/// A shortest way from `reference` to `hypothesis` (Levenshtein), in memory that grows with their lengths alone.
///
/// Source: D. S. Hirschberg, "A linear space algorithm for computing maximal common subsequences", 1975.
pub fn edits<'a>(reference: &[&'a str], hypothesis: &[&'a str]) -> Vec<Edit<'a>> {
    let mut way = Vec::with_capacity(reference.len().max(hypothesis.len()));
    align(reference, hypothesis, &mut way);
    way
}

fn align<'a>(mut reference: &[&'a str], mut hypothesis: &[&'a str], way: &mut Vec<Edit<'a>>) {
    while let ([first, rest @ ..], [other, others @ ..]) = (reference, hypothesis)
        && first == other
    {
        way.push(Edit::Same(first));
        (reference, hypothesis) = (rest, others);
    }
    match (reference, hypothesis) {
        ([], added) => way.extend(added.iter().map(|word| Edit::Inserted(word))),
        (missing, []) => way.extend(missing.iter().map(|word| Edit::Deleted(word))),
        ([one], several) => {
            // It is somewhere among them, or one of them stands for it.
            let at = several.iter().position(|word| word == one).unwrap_or(several.len() - 1);
            way.extend(several[..at].iter().map(|word| Edit::Inserted(word)));
            way.push(if several[at] == *one { Edit::Same(one) } else { Edit::Substituted(one, several[at]) });
            way.extend(several[at + 1..].iter().map(|word| Edit::Inserted(word)));
        }
        _ => {
            let (before, after) = reference.split_at(reference.len() / 2);
            let cut = cut(before, after, hypothesis);
            align(before, &hypothesis[..cut], way);
            align(after, &hypothesis[cut..], way);
        }
    }
}

/// How many words of the hypothesis belong to `before` on a shortest way.
fn cut(before: &[&str], after: &[&str], hypothesis: &[&str]) -> usize {
    let (mut forth, mut back) = (Row::new(hypothesis.len()), Row::new(hypothesis.len()));
    before.iter().for_each(|word| forth.next(word, hypothesis.iter()));
    after.iter().rev().for_each(|word| back.next(word, hypothesis.iter().rev()));
    let length = |at: &usize| forth.0[*at] + back.0[hypothesis.len() - at];
    (0..=hypothesis.len()).min_by_key(length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::word_errors;
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn what_was_put_in_left_out_and_replaced() {
        let found = edits(&words("the green lion is above the table"), &words("the grey lion above the red table"));
        let expected = [
            Edit::Same("the"),
            Edit::Substituted("green", "grey"),
            Edit::Same("lion"),
            Edit::Deleted("is"),
            Edit::Same("above"),
            Edit::Same("the"),
            Edit::Inserted("red"),
            Edit::Same("table"),
        ];
        assert_eq!(found, expected);
        assert_eq!(edits(&[], &[]), []);
        assert_eq!(edits(&["a"], &[]), [Edit::Deleted("a")]);
        assert_eq!(edits(&[], &["a"]), [Edit::Inserted("a")]);
    }

    proptest! {
        #[test]
        fn the_way_is_a_shortest_one_from_one_text_to_the_other(a in "([abc] ){0,12}", b in "([abcd] ){0,12}") {
            let (a_words, b_words) = (words(&a), words(&b));
            let way = edits(&a_words, &b_words);
            let (mut from, mut to, mut steps) = (Vec::new(), Vec::new(), 0);
            for edit in way {
                let (one, other) = match edit {
                    Edit::Same(word) => (Some(word), Some(word)),
                    Edit::Substituted(one, other) => (Some(one), Some(other)),
                    Edit::Deleted(word) => (Some(word), None),
                    Edit::Inserted(word) => (None, Some(word)),
                };
                steps += usize::from(one != other);
                from.extend(one);
                to.extend(other);
            }
            prop_assert_eq!(from, a_words);
            prop_assert_eq!(to, b_words);
            prop_assert_eq!(steps, word_errors(&a, &b).0);
        }
    }
}
