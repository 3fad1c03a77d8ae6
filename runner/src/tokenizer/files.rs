//! A tokenizer's files: the texts of tokens and how they merge, read from `tokenizer.json`, or from `vocab.json` with
//! `merges.txt`, with the tokens that were added to them. What is missing but follows from the rest is put back.

use super::TokenizerError;
use crate::json;
use crate::model::{TOKENIZERS, token_list};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use tokenizers::models::bpe::{Merges, Vocab};
use undertone_models::vocabulary::{BYTES, letters, written};

/// A token that stands beside the text's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) content: String,
    pub(super) id: u32,
    /// Whether it steers the model and is no text.
    pub(super) special: bool,
}

/// What the files say.
pub(super) struct Files {
    /// The main one.
    pub(super) path: PathBuf,
    /// Texts of tokens, in the letters that stand for bytes.
    pub(super) vocabulary: Vocab,
    /// Pairs that become one token, the first first.
    pub(super) merges: Merges,
    pub(super) added: Vec<Added>,
}

impl Files {
    /// Reads the files of `directory`.
    pub(super) fn read(directory: &Path) -> Result<Self, TokenizerError> {
        let [whole, vocabulary] = TOKENIZERS.map(|name| directory.join(name));
        let mut files = match token_list(directory) {
            _ if whole.is_file() => Self::from_tokenizer_json(whole)?,
            _ if vocabulary.is_file() => Self::from_vocabulary(vocabulary)?,
            Some(list) => Self::from_list(list)?,
            None => Self::from_tokenizer_json(whole)?,
        };
        if files.path.file_name().is_some_and(|name| name != TOKENIZERS[0]) {
            tracing::debug!("there is no {}: '{}' is read", TOKENIZERS[0], files.path.display());
        }
        files.add_beside(directory)?;
        files.mend();
        Ok(files)
    }

    fn from_tokenizer_json(path: PathBuf) -> Result<Self, TokenizerError> {
        let raw: Whole = parse(&path, "tokenizer")?;
        if let Some(other) = raw.model.kind.filter(|kind| kind != "BPE") {
            let reason = format!("model.type is {other}, not BPE");
            return Err(TokenizerError::Invalid { path, what: "tokenizer", reason });
        }
        let merges = raw.model.merges.unwrap_or_default().into_iter().map(|merge| merge.0).collect();
        let added = raw.added_tokens.unwrap_or_default().iter().filter_map(added).collect();
        Ok(Self { path, vocabulary: raw.model.vocab.0, merges, added })
    }

    fn from_vocabulary(path: PathBuf) -> Result<Self, TokenizerError> {
        let vocabulary: Ids = parse(&path, "vocabulary")?;
        let beside = path.with_file_name("merges.txt");
        let merges = if beside.is_file() { merges_of(&json::text(&read(&beside)?, &beside)) } else { Vec::new() };
        Ok(Self { path, vocabulary: vocabulary.0, merges, added: Vec::new() })
    }

    /// Lines of a token's bytes in base64 and its number.
    fn from_list(path: PathBuf) -> Result<Self, TokenizerError> {
        let (bytes, letters) = (read(&path)?, letters());
        let mut vocabulary = Vocab::default();
        for (number, line) in json::text(&bytes, &path).lines().enumerate() {
            let mut parts = line.split_whitespace();
            let (Some(token), Some(id)) = (parts.next(), parts.next()) else { continue };
            let token = STANDARD_NO_PAD.decode(token.trim_end_matches('=')).ok().map(|bytes| written(&bytes, &letters));
            let (Some(token), Ok(id)) = (token, id.parse()) else {
                let reason = format!("line {} is not a token in base64 with its number", number + 1);
                return Err(TokenizerError::Invalid { path, what: "list of tokens", reason });
            };
            vocabulary.insert(token, id);
        }
        Ok(Self { path, vocabulary, merges: Merges::new(), added: Vec::new() })
    }

    /// Tokens that only other files name.
    fn add_beside(&mut self, directory: &Path) -> Result<(), TokenizerError> {
        let path = directory.join("added_tokens.json");
        if !path.is_file() {
            return Ok(());
        }
        let more: Ids = parse(&path, "list of added tokens")?;
        let known = |content: &str, id: u32| self.added.iter().any(|token| token.content == content || token.id == id);
        let more: Vec<Added> = more
            .0
            .into_iter()
            .filter(|(content, id)| !known(content, *id))
            .map(|(content, id)| Added { special: looks_special(&content), content, id })
            .collect();
        if !more.is_empty() && !self.added.is_empty() {
            tracing::debug!("'{}' names {} tokens more than '{}'", path.display(), more.len(), self.path.display());
        }
        self.added.extend(more);
        Ok(())
    }

    /// Drops merges that cannot be made, and puts those back that conversions lose: they follow from the order of the
    /// tokens.
    fn mend(&mut self) {
        let before = self.merges.len();
        let (vocabulary, mut joined) = (&self.vocabulary, String::new());
        self.merges.retain(|(left, right)| {
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            vocabulary.contains_key(left) && vocabulary.contains_key(right) && vocabulary.contains_key(&joined)
        });
        let path = self.path.display();
        if self.merges.len() < before {
            tracing::debug!("{} merges of '{path}' make no token, and are left out", before - self.merges.len());
        }
        if self.merges.is_empty() {
            self.merges = merges_by_rank(&self.vocabulary);
            tracing::debug!("'{path}' comes without merges: {} follow from the tokens' order", self.merges.len());
            return;
        }
        // Many conversions took the first merge for the line with the version.
        let first = self.vocabulary.iter().find(|(_, id)| **id == BYTES as u32).map(|(text, _)| text.clone());
        let Some((left, right)) = first.as_deref().and_then(halves) else { return };
        let makes = |merge: &(String, String)| merge.0 == left && merge.1 == right;
        if !self.merges.first().is_some_and(makes) && !self.merges.iter().any(makes) {
            tracing::debug!("'{path}' lacks its first merge, '{left} {right}': put back");
            self.merges.insert(0, (left.to_owned(), right.to_owned()));
        }
    }
}

/// The two letters of a text of two.
fn halves(text: &str) -> Option<(&str, &str)> {
    let second = text.char_indices().nth(1)?.0;
    let (left, right) = text.split_at(second);
    (right.chars().count() == 1).then_some((left, right))
}

/// The merges that a vocabulary was made by: each token joins two that stand before it, and those are what the merges
/// before it leave of its letters.
fn merges_by_rank(vocabulary: &Vocab) -> Merges {
    let mut order: Vec<(u32, &str)> = vocabulary.iter().map(|(text, id)| (*id, text.as_str())).collect();
    order.sort_unstable();
    let mut merges = Merges::new();
    for (rank, text) in order.into_iter().filter(|(id, _)| *id >= BYTES as u32) {
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        let mut cuts: Vec<usize> = starts.collect();
        // Joins, again and again, the neighbours that make the earliest token before this one.
        while cuts.len() > 3 {
            let made = |at: usize| vocabulary.get(&text[cuts[at - 1]..cuts[at + 1]]).filter(|id| **id < rank);
            let best = (1..cuts.len() - 1).filter_map(|at| Some((made(at)?, at))).min();
            let Some((_, at)) = best else { break };
            cuts.remove(at);
        }
        if let [start, middle, end] = cuts[..] {
            merges.push((text[start..middle].to_owned(), text[middle..end].to_owned()));
        }
    }
    merges
}

/// `merges.txt`: a pair to a line, after one that may name the version.
fn merges_of(text: &str) -> Merges {
    let pairs =
        text.lines().filter(|line| !line.starts_with("#version")).filter_map(|line| line.trim_end().split_once(' '));
    pairs.map(|(left, right)| (left.to_owned(), right.to_owned())).collect()
}

/// Control tokens are written `<|…|>`.
fn looks_special(content: &str) -> bool {
    content.starts_with("<|") && content.ends_with("|>")
}

fn added(value: &Value) -> Option<Added> {
    let content = value.get("content")?.as_str()?.to_owned();
    let id = json::whole(value.get("id")?).and_then(|id| u32::try_from(id).ok())?;
    let special = value.get("special").and_then(Value::as_bool).unwrap_or(false) || looks_special(&content);
    Some(Added { content, id, special })
}

#[derive(Deserialize)]
struct Whole {
    model: Model,
    added_tokens: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Ids,
    merges: Option<Vec<Merge>>,
}

/// Tokens and their numbers.
struct Ids(Vocab);

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Ids;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tokens with their numbers")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ids, A::Error> {
                let mut all = Vocab::default();
                while let Some((text, Id(id))) = map.next_entry::<String, Id>()? {
                    all.insert(text, id);
                }
                Ok(Ids(all))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A token's number, also as `5.0`.
#[derive(Deserialize)]
#[serde(try_from = "f64")]
struct Id(u32);

impl TryFrom<f64> for Id {
    type Error = String;

    fn try_from(id: f64) -> Result<Self, String> {
        match id >= 0.0 && id.fract() == 0.0 && id <= f64::from(u32::MAX) {
            true => Ok(Id(id as u32)),
            false => Err(format!("{id} is no token's number")),
        }
    }
}

/// A merge: `"a b"`, or since 2024 `["a", "b"]`.
struct Merge((String, String));

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: a text with a blank, or two texts")
            }
            fn visit_str<E: de::Error>(self, line: &str) -> Result<Merge, E> {
                let (left, right) =
                    line.split_once(' ').ok_or_else(|| E::custom(format!("the merge '{line}' has no blank")))?;
                Ok(Merge((left.to_owned(), right.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Merge, A::Error> {
                let (left, right) = (parts.next_element()?, parts.next_element()?);
                let more = parts.next_element::<IgnoredAny>()?.is_some();
                match (left, right) {
                    (Some(left), Some(right)) if !more => Ok(Merge((left, right))),
                    _ => Err(A::Error::custom("a merge is not of two texts")),
                }
            }
        }
        deserializer.deserialize_any(Pair)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    std::fs::read(path).map_err(|source| TokenizerError::Read { path: path.to_owned(), source })
}

/// Reads a JSON file as people have them.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, TokenizerError> {
    let invalid = |reason: String| TokenizerError::Invalid { path: path.to_owned(), what, reason };
    json::parse(&json::text(&read(path)?, path), path).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> Files {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/reference");
        Files::read(&directory).unwrap()
    }

    #[test]
    fn merges_follow_from_the_order_of_the_tokens() {
        let files = reference();
        assert!(files.merges.len() == 50_000, "{}", files.merges.len());
        assert!(merges_by_rank(&files.vocabulary) == files.merges, "not those of the file");
    }

    #[test]
    fn both_kinds_of_files_say_the_same() {
        let files = reference();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/reference");
        let other = Files::from_vocabulary(directory.join("vocab.json")).unwrap();
        assert!(other.merges == files.merges, "the merges differ");
        for (text, id) in &files.vocabulary {
            assert_eq!(other.vocabulary.get(text), Some(id), "{text}");
        }
    }
}
