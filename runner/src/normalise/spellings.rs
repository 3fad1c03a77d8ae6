//! British spellings as American ones.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::json;

/// Why a table of spellings could not be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "a field is what its message says of it")]
pub enum SpellingsError {
    /// The file cannot be read.
    #[error("{}: cannot be read ({source})", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It is something else.
    #[error("{}: is not a JSON object of words and their spellings ({reason})", path.display())]
    Invalid { path: PathBuf, reason: String },
}

/// Words, and how they are to be spelt.
///
/// openai/whisper's table of British and American spellings is `whisper/normalizers/english.json` of its source;
/// `undertone_models::spellings` fetches it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spellings(HashMap<String, String>);

impl Spellings {
    /// Leaves every word as it is.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a JSON object: word → spelling, in small letters.
    ///
    /// # Errors
    /// [`SpellingsError`].
    pub fn read(path: &Path) -> Result<Self, SpellingsError> {
        let bytes = std::fs::read(path).map_err(|source| SpellingsError::Read { path: path.to_owned(), source })?;
        json::parse(&json::text(&bytes, path), path)
            .map(Self)
            .map_err(|reason| SpellingsError::Invalid { path: path.to_owned(), reason })
    }

    /// How `word` is to be spelt.
    pub fn of<'a>(&'a self, word: &'a str) -> &'a str {
        self.0.get(word).map_or(word, String::as_str)
    }

    /// How many words are spelt anew.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<(String, String)> for Spellings {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_and_what_is_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("words.json");
        std::fs::write(&path, r#"{"mobilisation": "mobilization", "cancelation": "cancellation"}"#).unwrap();
        let table = Spellings::read(&path).unwrap();
        assert_eq!(
            (table.of("mobilisation"), table.of("cancelation"), table.of("lion")),
            ("mobilization", "cancellation", "lion")
        );
        assert_eq!((table.count(), Spellings::none().of("colour")), (2, "colour"));
        std::fs::write(&path, "[1]").unwrap();
        let error = Spellings::read(&path).unwrap_err().to_string();
        assert!(error.contains("words.json: is not a JSON object"), "{error}");
        assert!(matches!(Spellings::read(&home.path().join("none")), Err(SpellingsError::Read { .. })));
    }
}
