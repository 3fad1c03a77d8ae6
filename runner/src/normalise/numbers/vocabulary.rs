//! The words that numbers are said with.

use std::collections::HashMap;

/// What a word is to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// `zero`, `oh`.
    Zero,
    /// From 1 to 19.
    Ones(u8),
    /// The same as an ordinal or in the plural, with that ending: the number's end.
    OnesEnding(u8, &'static str),
    /// From 20 to 90.
    Tens(u8),
    /// Likewise.
    TensEnding(u8, &'static str),
    /// A hundred and more, by the count of its zeros.
    Power(usize),
    /// Likewise.
    PowerEnding(usize, &'static str),
    /// Stands before a number and becomes this sign: `minus`.
    Sign(char),
    /// Stands behind a number and becomes this sign before it: `dollars`.
    Currency(char),
    /// `per`, of `per cent`.
    Per,
    /// `percent`.
    Percent,
    /// `and`, as in `two hundred and six`.
    And,
    /// The next digit is said once, and is there so often: `double`.
    Repeat(usize),
    /// `point`.
    Point,
}

/// Signs that stand before digits.
pub(super) const SIGNS: [char; 6] = ['-', '+', '£', '€', '$', '¢'];

const ZEROS: [&str; 3] = ["o", "oh", "zero"];
#[rustfmt::skip] // in the order of the numbers, ten to a line
const ONES: [&str; 19] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
];
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
/// From a thousand on, each a thousand times the one before it.
#[rustfmt::skip] // several to a line
const THOUSANDS: [&str; 11] = [
    "thousand", "million", "billion", "trillion", "quadrillion", "quintillion", "sextillion", "septillion", "octillion",
    "nonillion", "decillion",
];
/// Ordinals that are not the number's word with `th`.
const ORDINALS: [(&str, u8, &str); 6] = [
    ("zeroth", 0, "th"),
    ("first", 1, "st"),
    ("second", 2, "nd"),
    ("third", 3, "rd"),
    ("fifth", 5, "th"),
    ("twelfth", 12, "th"),
];
const OTHERS: [(&str, Meaning); 19] = [
    ("minus", Meaning::Sign('-')),
    ("negative", Meaning::Sign('-')),
    ("plus", Meaning::Sign('+')),
    ("positive", Meaning::Sign('+')),
    ("pound", Meaning::Currency('£')),
    ("pounds", Meaning::Currency('£')),
    ("euro", Meaning::Currency('€')),
    ("euros", Meaning::Currency('€')),
    ("dollar", Meaning::Currency('$')),
    ("dollars", Meaning::Currency('$')),
    ("cent", Meaning::Currency('¢')),
    ("cents", Meaning::Currency('¢')),
    ("per", Meaning::Per),
    ("percent", Meaning::Percent),
    ("and", Meaning::And),
    ("double", Meaning::Repeat(2)),
    ("triple", Meaning::Repeat(3)),
    ("point", Meaning::Point),
    ("sixes", Meaning::OnesEnding(6, "s")),
];

/// All of them.
#[derive(Debug, Clone)]
pub(super) struct Vocabulary(HashMap<String, Meaning>);

impl Vocabulary {
    pub(super) fn new() -> Self {
        let mut all: HashMap<String, Meaning> = HashMap::new();
        all.extend(ZEROS.map(|word| (word.to_owned(), Meaning::Zero)));
        all.extend(OTHERS.map(|(word, meaning)| (word.to_owned(), meaning)));
        all.extend(ORDINALS.map(|(word, n, ending)| (word.to_owned(), Meaning::OnesEnding(n, ending))));
        for (n, word) in (1..).zip(ONES) {
            all.insert(word.to_owned(), Meaning::Ones(n));
            if word != "six" {
                all.insert(format!("{word}s"), Meaning::OnesEnding(n, "s"));
            }
            let regular = n > 3 && !ORDINALS.iter().any(|(_, other, _)| *other == n);
            if regular {
                let ordinal = format!("{word}{}", if word.ends_with('t') { "h" } else { "th" });
                all.insert(ordinal, Meaning::OnesEnding(n, "th"));
            }
        }
        for (n, word) in (2..).map(|n| n * 10).zip(TENS) {
            let stem = word.trim_end_matches('y');
            all.insert(word.to_owned(), Meaning::Tens(n));
            all.insert(format!("{stem}ies"), Meaning::TensEnding(n, "s"));
            all.insert(format!("{stem}ieth"), Meaning::TensEnding(n, "th"));
        }
        let thousands = (1..).map(|power| 3 * power).zip(THOUSANDS);
        for (zeros, word) in std::iter::once((2, "hundred")).chain(thousands) {
            all.insert(word.to_owned(), Meaning::Power(zeros));
            all.insert(format!("{word}s"), Meaning::PowerEnding(zeros, "s"));
            all.insert(format!("{word}th"), Meaning::PowerEnding(zeros, "th"));
        }
        Self(all)
    }

    pub(super) fn meaning(&self, word: &str) -> Option<Meaning> {
        self.0.get(word).copied()
    }

    /// Whether a half more can be counted of it: `three and a half`, `a million and a half`.
    pub(super) fn is_counted(&self, word: &str) -> bool {
        let meaning = self.meaning(word);
        matches!(meaning, Some(Meaning::Zero | Meaning::Ones(_) | Meaning::Tens(_) | Meaning::Power(_)))
    }
}
