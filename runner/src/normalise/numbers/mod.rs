//! Numbers in English text as digits: `twenty nineteen` is `2019`, `two point five million dollars` is `$2500000`.
//!
//! The text is read word by word. What has been said of a number so far is a [`Value`], and a sign or a currency may
//! stand before it; a word adds to the number, ends it, or is none of it. What a word can be is in [`vocabulary`].
//!
//! Source: openai/whisper, `whisper/normalizers/english.py` (`EnglishNumberNormalizer`). Its results are the measure,
//! also where they are odd: `ninth` stays a word, since the table there has `nineth`.

mod around;
mod value;
mod vocabulary;

use super::blanks::words;
use value::{Value, arabic};
use vocabulary::{Meaning, Vocabulary};

/// Whisper's `EnglishNumberNormalizer`.
#[derive(Debug, Clone)]
pub(super) struct Numbers(Vocabulary);

impl Numbers {
    pub(super) fn new() -> Self {
        Self(Vocabulary::new())
    }

    /// The text with its numbers as digits, single blanks between its words. It is of small letters.
    pub(super) fn apply(&self, text: &str) -> String {
        let prepared = around::before(text, |word| self.0.is_counted(word));
        let words: Vec<&str> = words(&prepared).collect();
        let mut reader = Reader { vocabulary: &self.0, words: &words, sign: None, value: None, written: Vec::new() };
        let mut at = 0;
        while at < words.len() {
            at += reader.read(at);
        }
        reader.end_number();
        around::after(&reader.written.join(" "))
    }
}

/// Where the text is being read.
struct Reader<'a> {
    vocabulary: &'a Vocabulary,
    words: &'a [&'a str],
    /// Stands before whatever is written next.
    sign: Option<char>,
    /// The number that has begun.
    value: Option<Value>,
    written: Vec<String>,
}

impl Reader<'_> {
    /// Reads the word `at`; returns how many words that took.
    fn read(&mut self, at: usize) -> usize {
        let word = self.words[at];
        if self.digits(word) {
            return 1;
        }
        let meaning = |at: usize| self.words.get(at).and_then(|word| self.vocabulary.meaning(word));
        let before = at.checked_sub(1).and_then(meaning);
        let next = meaning(at + 1);
        let number_follows = next.is_some() || self.words.get(at + 1).is_some_and(|word| arabic(word).is_some());
        match meaning(at) {
            None => self.write_word(word),
            Some(Meaning::Zero) => self.spell("0"),
            Some(Meaning::Ones(n) | Meaning::Tens(n)) => self.value = Some(self.joined(n, before)),
            Some(Meaning::OnesEnding(n, ending) | Meaning::TensEnding(n, ending)) => {
                let number = self.joined(n, before);
                self.write(&format!("{}{ending}", number.text()));
            }
            Some(Meaning::Power(zeros)) => self.multiply(zeros),
            Some(Meaning::PowerEnding(zeros, ending)) => self.multiply_and_end(zeros, ending),
            Some(Meaning::Sign(sign)) => {
                self.end_number();
                if number_follows {
                    self.sign = Some(sign);
                } else {
                    self.write(word);
                }
            }
            Some(Meaning::Currency(sign)) => {
                if self.value.is_some() {
                    self.sign = Some(sign);
                    self.end_number();
                } else {
                    self.write(word);
                }
            }
            Some(Meaning::Per) if self.value.is_some() && self.words.get(at + 1) == Some(&"cent") => {
                self.end_number_with("%");
                return 2;
            }
            Some(Meaning::Per) => self.write_word(word),
            Some(Meaning::Percent) if self.value.is_some() => self.end_number_with("%"),
            Some(Meaning::Percent) => self.write(word),
            Some(Meaning::And | Meaning::Repeat(_) | Meaning::Point) if !number_follows => self.write_word(word),
            // Within a number `and` stands after a power only.
            Some(Meaning::And) if matches!(before, Some(Meaning::Power(_))) => {}
            Some(Meaning::And) => self.write_word(word),
            Some(Meaning::Repeat(times)) => {
                let Some(Meaning::Ones(digit)) =
                    next.map(|next| if next == Meaning::Zero { Meaning::Ones(0) } else { next })
                else {
                    self.write_word(word);
                    return 1;
                };
                self.spell(&digit.to_string().repeat(times));
                return 2;
            }
            Some(Meaning::Point) => {
                let digits_follow = matches!(next, None | Some(Meaning::Zero | Meaning::Ones(_) | Meaning::Tens(_)));
                if digits_follow {
                    self.spell(".");
                }
            }
        }
        1
    }

    /// Reads a number in digits, if `word` is one; a sign may stand before it.
    fn digits(&mut self, word: &str) -> bool {
        let mut letters = word.chars();
        let sign = letters.next().filter(|first| vocabulary::SIGNS.contains(first));
        let Some(number) = arabic(if sign.is_some() { letters.as_str() } else { word }) else { return false };
        match &mut self.value {
            // What follows a point, or goes on an address.
            Some(Value::Spelt(said)) if said.ends_with('.') => said.push_str(word),
            _ => {
                self.end_number();
                self.sign = sign.or(self.sign);
                self.value = Some(number);
            }
        }
        true
    }

    /// The number with `n`, which is below a hundred, behind it: added where there is room for it (`twenty one`), else
    /// as further digits (`nineteen eighty`, `one two`).
    fn joined(&self, n: u8, before: Option<Meaning>) -> Value {
        let digits = n.to_string();
        match &self.value {
            None => Value::Whole(digits),
            Some(Value::Spelt(said)) => match (before, n) {
                // The zero of the tens was only held for this.
                (Some(Meaning::Tens(_)), ..10) => Value::Spelt(format!("{}{digits}", &said[..said.len() - 1])),
                _ => Value::Spelt(format!("{said}{digits}")),
            },
            Some(Value::Whole(whole)) => {
                let one_by_one = matches!(before, Some(Meaning::Ones(_))) && n < 20;
                let room = value::ends_in_zeros(whole, if n < 10 { 1 } else { 2 });
                match room && !one_by_one {
                    true => Value::Whole(value::with_last_digits(whole, &digits)),
                    false => Value::Spelt(format!("{whole}{digits}")),
                }
            }
        }
    }

    /// Adds what is said digit by digit. A zero before it is not one of them.
    fn spell(&mut self, digits: &str) {
        let said = self.value.take().filter(|value| *value != Value::zero());
        let said = said.as_ref().map_or("", Value::text);
        self.value = Some(Value::Spelt(format!("{said}{digits}")));
    }

    fn multiply(&mut self, zeros: usize) {
        self.value = Some(match &self.value {
            None => Value::power(zeros),
            Some(value) => match value.times(zeros) {
                Some(product) => product,
                None => {
                    self.end_number();
                    Value::power(zeros)
                }
            },
        });
    }

    fn multiply_and_end(&mut self, zeros: usize, ending: &str) {
        self.multiply(zeros);
        self.end_number_with(ending);
    }

    /// Writes a word that is none of a number.
    fn write_word(&mut self, word: &str) {
        self.end_number();
        self.write(word);
    }

    fn end_number(&mut self) {
        self.end_number_with("");
    }

    fn end_number_with(&mut self, ending: &str) {
        if let Some(value) = self.value.take() {
            self.write(&format!("{}{ending}", value.text()));
        }
    }

    fn write(&mut self, text: &str) {
        let sign = self.sign.take().map(String::from).unwrap_or_default();
        self.written.push(sign + text);
        self.value = None;
    }
}

#[cfg(test)]
mod tests;
