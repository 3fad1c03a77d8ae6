//! Text to tokens and back, and the ids of Whisper's special tokens, all read from the model's own files.
//!
//! Byte-pair encoding is the `tokenizers` crate's. The special tokens are kept out of it: text that merely looks like one
//! (`<|endoftext|>`) is encoded as text, and what is decoded is text only.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

/// Timestamps from 0.00 to 30.00 s.
pub const TIMESTAMPS: u32 = 1501;
/// Seconds from one timestamp to the next.
pub const TIMESTAMP_STEP: f64 = 0.02;
/// Vocabularies from this size on are multilingual (`whisper/model.py`); used where the files do not say.
const SMALLEST_MULTILINGUAL: u64 = 51865;

/// Why a model's tokenizer could not be loaded or used: one line that names the file and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file cannot be read.
    #[error("{}: cannot be read ({source}); fetch it from the model's repository", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{}: is not a valid {what} ({reason}); fetch it again from the model's repository", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A special token that Whisper needs is not in the file.
    #[error("{}: has no token {token}; it is not the tokenizer of a Whisper model: fetch it again from the model's repository", path.display())]
    MissingToken {
        /// `tokenizer.json`.
        path: PathBuf,
        /// As it is written in the file.
        token: &'static str,
    },
    /// `tokenizer.json` and another file of the model disagree.
    #[error("{}: {reason}; the files are of different models: fetch them again from one repository", path.display())]
    Disagreement {
        /// The file that disagrees with `tokenizer.json`.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// Text that cannot be encoded, or tokens that cannot be decoded.
    #[error("the tokenizer failed: {0}; this is a defect of the model's tokenizer.json")]
    Failed(String),
}

/// The ids of Whisper's special tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<|endoftext|>`; all ids below it are text.
    pub eot: u32,
    /// `<|startoftranscript|>`.
    pub sot: u32,
    /// `<|translate|>`.
    pub translate: u32,
    /// `<|transcribe|>`.
    pub transcribe: u32,
    /// `<|startoflm|>`; some conversions lack it.
    pub startoflm: Option<u32>,
    /// `<|startofprev|>`.
    pub startofprev: u32,
    /// `<|nospeech|>`, which older files call `<|nocaptions|>`.
    pub nospeech: u32,
    /// `<|notimestamps|>`.
    pub notimestamps: u32,
    /// `<|0.00|>`; [`TIMESTAMPS`] ids from here on.
    pub first_timestamp: u32,
    /// Whether the model knows languages and tasks. One that does not is prompted with `sot` alone, and `languages` is empty.
    pub multilingual: bool,
    /// Language codes (`en`, `de`, …) and their ids.
    pub languages: BTreeMap<String, u32>,
}

impl SpecialTokens {
    /// Whether a token stands for text.
    #[must_use]
    pub fn is_text(&self, token: u32) -> bool {
        token < self.eot
    }

    /// Seconds within the window, if the token is a timestamp.
    #[must_use]
    pub fn timestamp(&self, token: u32) -> Option<f64> {
        let step = token.checked_sub(self.first_timestamp)?;
        (step < TIMESTAMPS).then(|| f64::from(step) * TIMESTAMP_STEP)
    }

    /// The id of a language's token.
    #[must_use]
    pub fn language(&self, code: &str) -> Option<u32> {
        self.languages.get(code).copied()
    }

    /// The code of a language's token.
    #[must_use]
    pub fn language_code(&self, token: u32) -> Option<&str> {
        self.languages.iter().find(|(_, id)| **id == token).map(|(code, _)| code.as_str())
    }
}

/// A model's tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    /// Without added tokens.
    text: tokenizers::Tokenizer,
    /// The ids of the special tokens.
    pub special: SpecialTokens,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

#[derive(Default, Deserialize)]
struct GenerationConfig {
    is_multilingual: Option<bool>,
    lang_to_id: Option<BTreeMap<String, u32>>,
    no_timestamps_token_id: Option<u32>,
}

#[derive(Deserialize)]
struct Config {
    vocab_size: u64,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, `config.json` (its `vocab_size` must agree) and, if it is there, `generation_config.json` of a
    /// model's directory.
    ///
    /// # Errors
    /// A file that is missing, damaged, lacks a token or a merge, or belongs to another model.
    pub fn load(directory: &Path) -> Result<Self, TokenizerError> {
        let path = directory.join("tokenizer.json");
        let invalid = |reason: String| TokenizerError::Invalid { path: path.clone(), what: "tokenizer", reason };
        let bytes = read(&path)?;
        let mut parts: BTreeMap<&str, &RawValue> =
            serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        let added = parts.remove("added_tokens").ok_or_else(|| invalid("it has no added_tokens".to_owned()))?;
        let added: Vec<AddedToken> =
            serde_json::from_str(added.get()).map_err(|error| invalid(format!("added_tokens: {error}")))?;
        let text = serde_json::to_vec(&parts).map_err(|error| invalid(error.to_string()))?;
        let text = tokenizers::Tokenizer::from_bytes(text).map_err(|error| invalid(error.to_string()))?;

        let generation_path = directory.join("generation_config.json");
        let generation: GenerationConfig =
            if generation_path.is_file() { parse(&generation_path, "generation config")? } else { Default::default() };
        let config_path = directory.join("config.json");
        let config: Config = parse(&config_path, "model config")?;

        let ids: HashMap<&str, u32> = added.iter().map(|token| (token.content.as_str(), token.id)).collect();
        let special = special_tokens(&path, &text, &ids, &generation, config.vocab_size)?;
        agree(&special, &ids, &generation, &generation_path, config.vocab_size, &config_path)?;
        if text.get_vocab_size(false) < special.eot as usize {
            let present = text.get_vocab_size(false);
            return Err(invalid(format!("it has {present} of {} text tokens", special.eot)));
        }
        let tokenizer = Self { text, special };
        // A known trap: a file whose first merge was lost in conversion loads, and encodes every word wrongly.
        if tokenizer.text.token_to_id("Ġt").is_some_and(|id| tokenizer.encode(" t").ok() != Some(vec![id])) {
            return Err(invalid("its first merge, 'Ġ t', is missing".to_owned()));
        }
        Ok(tokenizer)
    }

    /// The text of the tokens; timestamps and other special tokens are left out. Bytes are joined across tokens, and those that
    /// are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`], which no valid file leads to.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        let text: Vec<u32> = tokens.iter().copied().filter(|token| self.special.is_text(*token)).collect();
        self.text.decode(&text, false).map_err(|error| TokenizerError::Failed(error.to_string()))
    }

    /// The tokens of a text, as it stands: Whisper's words begin with a blank.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`], which no valid file leads to.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.text.encode_fast(text, false).map_err(|error| TokenizerError::Failed(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// Finds the special tokens among the added ones.
fn special_tokens(
    path: &Path,
    text: &tokenizers::Tokenizer,
    added: &HashMap<&str, u32>,
    generation: &GenerationConfig,
    vocab_size: u64,
) -> Result<SpecialTokens, TokenizerError> {
    let find = |name: &str| added.get(name).copied().or_else(|| text.token_to_id(name));
    let need =
        |token: &'static str| find(token).ok_or_else(|| TokenizerError::MissingToken { path: path.to_owned(), token });
    let multilingual = generation.is_multilingual.unwrap_or(vocab_size >= SMALLEST_MULTILINGUAL);
    let sot = need("<|startoftranscript|>")?;
    let translate = need("<|translate|>")?;
    let transcribe = need("<|transcribe|>")?;
    let notimestamps = need("<|notimestamps|>")?;
    let languages = match &generation.lang_to_id {
        _ if !multilingual => BTreeMap::new(),
        Some(languages) => languages.iter().map(|(token, id)| (bare(token).to_owned(), *id)).collect(),
        // They stand between the start and the tasks.
        None => added
            .iter()
            .filter(|(_, id)| (sot + 1..translate.min(transcribe)).contains(id))
            .map(|(token, id)| (bare(token).to_owned(), *id))
            .collect(),
    };
    Ok(SpecialTokens {
        eot: need("<|endoftext|>")?,
        sot,
        translate,
        transcribe,
        startoflm: find("<|startoflm|>"),
        startofprev: need("<|startofprev|>")?,
        nospeech: find("<|nocaptions|>").map_or_else(|| need("<|nospeech|>"), Ok)?,
        notimestamps,
        // Files from before 2023 have the timestamps in the vocabulary's size, but not by name.
        first_timestamp: find("<|0.00|>").unwrap_or(notimestamps + 1),
        multilingual,
        languages,
    })
}

/// Compares the tokenizer with the model's other files.
fn agree(
    special: &SpecialTokens,
    added: &HashMap<&str, u32>,
    generation: &GenerationConfig,
    generation_path: &Path,
    vocab_size: u64,
    config_path: &Path,
) -> Result<(), TokenizerError> {
    let disagreement =
        |path: &Path, reason: String| Err(TokenizerError::Disagreement { path: path.to_owned(), reason });
    let needed = special.first_timestamp.saturating_add(TIMESTAMPS);
    let largest = added.values().copied().max().map_or(needed, |id| needed.max(id.saturating_add(1)));
    if u64::from(largest) > vocab_size {
        let reason = format!("vocab_size is {vocab_size}, but tokenizer.json needs {largest}");
        return disagreement(config_path, reason);
    }
    if let Some(id) = generation.no_timestamps_token_id.filter(|id| *id != special.notimestamps) {
        let reason = format!(
            "no_timestamps_token_id is {id}, but <|notimestamps|> is {} in tokenizer.json",
            special.notimestamps
        );
        return disagreement(generation_path, reason);
    }
    for (token, id) in generation.lang_to_id.iter().flatten() {
        if let Some(other) = added.get(token.as_str()).filter(|other| *other != id) {
            return disagreement(
                generation_path,
                format!("lang_to_id has {token} as {id}, but tokenizer.json as {other}"),
            );
        }
    }
    Ok(())
}

/// `de` from `<|de|>`.
fn bare(token: &str) -> &str {
    token.strip_prefix("<|").and_then(|rest| rest.strip_suffix("|>")).unwrap_or(token)
}

fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    std::fs::read(path).map_err(|source| TokenizerError::Read { path: path.to_owned(), source })
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, TokenizerError> {
    serde_json::from_slice(&read(path)?).map_err(|error| TokenizerError::Invalid {
        path: path.to_owned(),
        what,
        reason: error.to_string(),
    })
}
