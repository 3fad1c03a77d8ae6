//! Numbers of any size as their digits: a thousand decillions is more than any machine word holds.

use std::sync::LazyLock;

use regex::Regex;

use super::super::pattern;

static DIGIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"\p{Nd}"));

/// What has been said of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A quantity: digits, without zeros before them.
    Whole(String),
    /// What was said digit by digit, or has a point: `007`, `2.`, `2.50`.
    Spelt(String),
}

impl Value {
    pub(super) fn zero() -> Self {
        Self::Whole("0".to_owned())
    }

    /// Ten to the power of `zeros`.
    pub(super) fn power(zeros: usize) -> Self {
        Self::Whole(format!("1{}", "0".repeat(zeros)))
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Whole(text) | Self::Spelt(text) => text,
        }
    }

    /// Times ten to the power of `zeros`; of a quantity only what is below a thousand, since the rest has had its power
    /// (`one million two thousand`). `None` where that is not whole.
    pub(super) fn times(&self, zeros: usize) -> Option<Self> {
        match self {
            Self::Spelt(text) => shifted(text, zeros).map(Self::Whole),
            Self::Whole(digits) => {
                let (before, below) = digits.split_at(digits.len().saturating_sub(3));
                let before = format!("{before}000");
                let product = sum(&before, &format!("{below}{}", "0".repeat(zeros)));
                Some(Self::Whole(product))
            }
        }
    }
}

/// Whether a quantity's last `count` digits are zeros; 0 has only such.
pub(super) fn ends_in_zeros(digits: &str, count: usize) -> bool {
    digits[digits.len().saturating_sub(count)..].bytes().all(|digit| digit == b'0')
}

/// `digits` in the place of a quantity's last ones, which are zeros.
pub(super) fn with_last_digits(whole: &str, digits: &str) -> String {
    format!("{}{digits}", &whole[..whole.len().saturating_sub(digits.len())])
}

/// A number in digits, with or without a point. Digits of any script, as in Python.
pub(super) fn arabic(word: &str) -> Option<Value> {
    let (whole, part) = word.split_once('.').unwrap_or((word, "0"));
    let (whole, part) = (plain_digits(whole)?, plain_digits(part)?);
    if whole.is_empty() || part.is_empty() {
        return None;
    }
    Some(if ends_in_zeros(&part, part.len()) {
        Value::Whole(without_first_zeros(&whole))
    } else {
        Value::Spelt(word.to_owned())
    })
}

/// The number of `text` times ten to the power of `zeros`, if `text` is a number and the product is whole.
fn shifted(text: &str, zeros: usize) -> Option<String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let (whole, part) = (plain_digits(whole)?, plain_digits(part)?);
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let part = part.trim_end_matches('0');
    let more = zeros.checked_sub(part.len())?;
    Some(without_first_zeros(&format!("{whole}{part}{}", "0".repeat(more))))
}

/// The same in ASCII's digits; `None` if there is something else.
fn plain_digits(text: &str) -> Option<String> {
    let digit =
        |letter: char| if letter.is_ascii() { letter.is_ascii_digit().then_some(letter) } else { digit_of(letter) };
    text.chars().map(digit).collect()
}

/// A digit of any script. Each script's ten stand one after another (The Unicode Standard, section 4.6).
fn digit_of(letter: char) -> Option<char> {
    let is_digit = |letter: char| DIGIT.is_match(letter.encode_utf8(&mut [0; 4]));
    if !is_digit(letter) {
        return None;
    }
    let before = (0..u32::from(letter)).rev().map_while(char::from_u32).take_while(|&letter| is_digit(letter)).count();
    char::from_digit((before % 10) as u32, 10)
}

fn without_first_zeros(digits: &str) -> String {
    let rest = digits.trim_start_matches('0');
    if rest.is_empty() { "0".to_owned() } else { rest.to_owned() }
}

/// The sum of two numbers.
fn sum(a: &str, b: &str) -> String {
    let length = a.len().max(b.len());
    let mut carry = 0;
    let mut digits: Vec<u8> = (0..length)
        .map(|place| {
            let of = |number: &str| number.len().checked_sub(place + 1).map_or(0, |at| number.as_bytes()[at] - b'0');
            let both = of(a) + of(b) + carry;
            carry = both / 10;
            b'0' + both % 10
        })
        .collect();
    digits.push(b'0' + carry);
    without_first_zeros(&digits.iter().rev().map(|&digit| char::from(digit)).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(digits: &str) -> Option<Value> {
        Some(Value::Whole(digits.to_owned()))
    }

    fn spelt(text: &str) -> Option<Value> {
        Some(Value::Spelt(text.to_owned()))
    }

    #[test]
    fn numbers_in_digits() {
        for (word, expected) in [
            ("007", whole("7")),
            ("3.00", whole("3")),
            ("3.50", spelt("3.50")),
            ("0", whole("0")),
            ("٣٤", whole("34")),
            ("𝟗", whole("9")),
            ("3.", None),
            (".5", None),
            ("1.2.3", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(arabic(word), expected, "{word}");
        }
    }

    #[test]
    fn products_are_whole_or_none() {
        for (text, zeros, expected) in [
            ("2.5", 6, whole("2500000")),
            ("2.5", 0, None),
            ("007", 3, whole("7000")),
            ("0.0010", 2, None),
            (".5", 2, whole("50")),
            ("1.2.3", 6, None),
            (".", 6, None),
        ] {
            assert_eq!(Value::Spelt(text.to_owned()).times(zeros), expected, "{text}");
        }
        for (digits, zeros, expected) in
            [("43260", 2, "69000"), ("1000", 3, "1000"), ("0", 3, "0"), ("2", 33, "2000000000000000000000000000000000")]
        {
            assert_eq!(Value::Whole(digits.to_owned()).times(zeros), whole(expected), "{digits}");
        }
    }

    proptest! {
        #[test]
        fn sums_and_products_as_a_machine_computes_them(a in 0..u64::MAX / 2, b in 0..u64::MAX / 2, zeros in 2usize..16) {
            prop_assert_eq!(sum(&a.to_string(), &b.to_string()), (a + b).to_string());
            let (a, power) = (u128::from(a), 10u128.pow(zeros as u32));
            let product = a / 1000 * 1000 + a % 1000 * power;
            prop_assert_eq!(Value::Whole(a.to_string()).times(zeros), Some(Value::Whole(product.to_string())));
        }
    }
}
