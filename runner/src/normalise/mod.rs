//! Text made comparable, and the count of what differs: what error rates are made of.
//!
//! [`Basic`] and [`English`] are openai/whisper's normalisers, to the letter: rates that were computed with those can be
//! compared. [`edits`] aligns two texts, [`word_errors`] and [`character_errors`] count.
//!
//! ```
//! use undertone_runner::normalise::{English, Spellings, word_errors};
//!
//! let english = English::new(Spellings::none());
//! let said = english.apply("Mr. Park paid twenty one dollars and 5 cents.");
//! assert_eq!(said, "mister park paid $21.05");
//! assert_eq!(word_errors(&said, &english.apply("Mister Park, he paid $21.05")), (1, 4));
//! ```

mod basic;
mod blanks;
mod edits;
mod english;
mod errors;
mod numbers;
mod spellings;
mod symbols;

pub use basic::{Basic, basic};
pub use edits::{Edit, edits};
pub use english::English;
pub use errors::{character_errors, characters, word_errors};
pub use spellings::{Spellings, SpellingsError};

/// A pattern of this module.
fn pattern(text: &str) -> regex::Regex {
    // All of them are literals that the tests compile.
    regex::Regex::new(text).expect("a valid pattern")
}
