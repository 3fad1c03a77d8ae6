//! The ids of Whisper's special tokens: found by name, and where a file leaves one out, by the order that all of them
//! stand in.
//!
//! Source: openai/whisper, `whisper/tokenizer.py`: after the text come end of text, start of transcript, the languages,
//! the two tasks, four more, and the timestamps.

use super::files::{Added, Files, parse};
use super::{SMALLEST_MULTILINGUAL, TIMESTAMP_STEP, TIMESTAMPS, TokenizerError};
use crate::json::whole;
use crate::model::ModelConfig;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use undertone_models::LANGUAGES;

/// The ids of Whisper's special tokens, and of tokens that a fine-tune added.
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
    /// Whether the model knows languages and tasks. One that does not is prompted with `sot` alone, and `languages` is
    /// empty.
    pub multilingual: bool,
    /// Language codes (`en`, `de`, …) and their ids.
    pub languages: BTreeMap<String, u32>,
    /// Tokens behind the timestamps that are text, with it: words that a fine-tune added.
    pub added_text: BTreeMap<u32, String>,
    /// Other tokens behind the timestamps that have a name. What has neither is padding of the vocabulary.
    pub added_control: Vec<u32>,
    /// Tokens of marks that are not speech, as openai/whisper suppresses them.
    pub non_speech: Vec<u32>,
    /// The blank.
    pub blank: Option<u32>,
}

impl SpecialTokens {
    /// Whether a token stands for text.
    pub fn is_text(&self, token: u32) -> bool {
        token < self.eot || self.added_text.contains_key(&token)
    }

    /// The ids of all timestamps.
    pub fn timestamps(&self) -> Range<u32> {
        self.first_timestamp..self.first_timestamp.saturating_add(TIMESTAMPS)
    }

    /// Seconds within the window, if the token is a timestamp.
    pub fn timestamp(&self, token: u32) -> Option<f64> {
        self.timestamps().contains(&token).then(|| f64::from(token - self.first_timestamp) * TIMESTAMP_STEP)
    }

    /// Ids behind the timestamps that no file names: a vocabulary's padding. They must not be written.
    pub fn nameless(&self) -> Vec<Range<u32>> {
        let mut named: Vec<u32> = self.added_text.keys().copied().chain(self.added_control.iter().copied()).collect();
        named.sort_unstable();
        let mut from = self.timestamps().end;
        let mut ranges = Vec::new();
        for id in named {
            if id > from {
                ranges.push(from..id);
            }
            from = from.max(id.saturating_add(1));
        }
        ranges.push(from..u32::MAX);
        ranges
    }

    /// The id of a language's token.
    pub fn language(&self, code: &str) -> Option<u32> {
        self.languages.get(code).copied()
    }
}

/// What `config.json` and `generation_config.json` say of tokens.
#[derive(Default)]
pub(super) struct Configs {
    config: PathBuf,
    generation: PathBuf,
    vocab_size: Option<u64>,
    mel_bins: Option<u64>,
    is_multilingual: Option<bool>,
    lang_to_id: Option<BTreeMap<String, u32>>,
    no_timestamps: Option<u32>,
}

impl Configs {
    /// Reads what there is of both.
    pub(super) fn read(directory: &Path) -> Result<Self, TokenizerError> {
        let [config, generation] = ["config.json", "generation_config.json"].map(|name| directory.join(name));
        let read = |path: &Path, what| if path.is_file() { parse(path, what) } else { Ok(Value::Null) };
        let (model, writing) = (read(&config, "model config")?, read(&generation, "generation config")?);
        let id = |value: &Value| whole(value).and_then(|id| u32::try_from(id).ok());
        let languages = writing["lang_to_id"].as_object();
        Ok(Self {
            vocab_size: whole(&model["vocab_size"]),
            mel_bins: whole(&model["num_mel_bins"]),
            is_multilingual: writing["is_multilingual"].as_bool(),
            lang_to_id: languages
                .filter(|all| !all.is_empty())
                .map(|all| all.iter().filter_map(|(token, value)| Some((token.clone(), id(value)?))).collect()),
            no_timestamps: id(&writing["no_timestamps_token_id"]),
            config,
            generation,
        })
    }

    /// With what the graphs say where there is no `config.json`.
    pub(super) fn or(self, config: &ModelConfig) -> Self {
        let (vocabulary, bins) = (config.vocabulary as u64, config.mel_bins as u64);
        Self { vocab_size: self.vocab_size.or(Some(vocabulary)), mel_bins: self.mel_bins.or(Some(bins)), ..self }
    }
}

/// The tokens after the languages, in their order.
const AFTER_LANGUAGES: [&str; 7] = [
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
    "<|0.00|>",
];
/// What older files call `<|nospeech|>`.
const NO_CAPTIONS: &str = "<|nocaptions|>";

/// Finds tokens by name, or by their place.
struct Finder<'a> {
    path: &'a Path,
    ids: HashMap<&'a str, u32>,
    names: HashMap<u32, &'a str>,
    sot: u32,
    /// Languages between start of transcript and the tasks.
    languages: Option<u32>,
}

impl Finder<'_> {
    fn named(&self, name: &str) -> Option<u32> {
        let old = || (name == AFTER_LANGUAGES[4]).then(|| self.ids.get(NO_CAPTIONS)).flatten();
        self.ids.get(name).or_else(old).copied()
    }

    /// The token at `place` after the languages.
    fn after(&self, place: usize) -> Result<u32, TokenizerError> {
        let name = AFTER_LANGUAGES[place];
        if let Some(id) = self.named(name) {
            return Ok(id);
        }
        let missing = || TokenizerError::MissingToken { path: self.path.to_owned(), token: name };
        let id = self.languages.map(|count| self.sot + 1 + count + place as u32).ok_or_else(missing)?;
        if self.names.contains_key(&id) {
            return Err(missing());
        }
        // The timestamps came later than the files of the first models.
        if place + 1 < AFTER_LANGUAGES.len() {
            tracing::debug!("'{}' does not name {name}: by the order of the tokens it is {id}", self.path.display());
        }
        Ok(id)
    }
}

/// Finds the special tokens.
pub(super) fn special_tokens(files: &Files, configs: &Configs) -> Result<SpecialTokens, TokenizerError> {
    let path = files.path.as_path();
    let mut ids: HashMap<&str, u32> = files.added.iter().map(|token| (token.content.as_str(), token.id)).collect();
    for name in AFTER_LANGUAGES.iter().chain(["<|endoftext|>", "<|startoftranscript|>", NO_CAPTIONS].iter()) {
        if let Some(id) = files.vocabulary.get(*name) {
            ids.entry(name).or_insert(*id);
        }
    }
    let names: HashMap<u32, &str> = ids.iter().map(|(name, id)| (*id, *name)).collect();
    let texts = files.vocabulary.iter().filter(|(text, _)| !text.starts_with("<|")).map(|(_, id)| id + 1).max();
    let missing = |token| TokenizerError::MissingToken { path: path.to_owned(), token };
    let eot = ids.get("<|endoftext|>").copied().or(texts).ok_or_else(|| missing("<|endoftext|>"))?;
    let sot = match ids.get("<|startoftranscript|>") {
        Some(&sot) => sot,
        None if !names.contains_key(&(eot + 1)) => eot + 1,
        None => return Err(missing("<|startoftranscript|>")),
    };
    let mut finder = Finder { path, ids, names, sot, languages: None };
    finder.languages = languages_between(&finder, configs);

    let [translate, transcribe] = [finder.after(0)?, finder.after(1)?];
    let multilingual = configs
        .is_multilingual
        .unwrap_or_else(|| configs.vocab_size.map_or(eot > 50_256, |size| size >= SMALLEST_MULTILINGUAL));
    let languages = match &configs.lang_to_id {
        _ if !multilingual => BTreeMap::new(),
        Some(languages) => languages.iter().map(|(token, id)| (bare(token).to_owned(), *id)).collect(),
        None => languages_by_name(&finder, sot + 1..translate.min(transcribe)),
    };
    let mut special = SpecialTokens {
        eot,
        sot,
        translate,
        transcribe,
        startoflm: finder.after(2).ok(),
        startofprev: finder.after(3)?,
        nospeech: finder.after(4)?,
        notimestamps: finder.after(5)?,
        first_timestamp: 0,
        multilingual,
        languages,
        added_text: BTreeMap::new(),
        added_control: Vec::new(),
        non_speech: Vec::new(),
        blank: None,
    };
    special.first_timestamp = finder.named("<|0.00|>").unwrap_or(special.notimestamps + 1);
    agree(&special, &finder, configs)?;
    sort_added(&mut special, &files.added, configs.vocab_size, path);
    Ok(special)
}

/// How many languages stand between start of transcript and the tasks: as the first token after them that has a name
/// says, else as the vocabulary's size does.
fn languages_between(finder: &Finder<'_>, configs: &Configs) -> Option<u32> {
    let by_name =
        AFTER_LANGUAGES.iter().enumerate().find_map(|(place, name)| Some((place as u32, finder.named(name)?)));
    if let Some((place, id)) = by_name {
        return id.checked_sub(finder.sot + 1 + place);
    }
    let beyond = finder.sot + 1 + AFTER_LANGUAGES.len() as u32 - 1 + TIMESTAMPS;
    let all = configs.vocab_size.and_then(|size| u32::try_from(size).ok()?.checked_sub(beyond));
    // A padded vocabulary does not tell.
    let known = if configs.mel_bins == Some(128) { 100 } else { 99 };
    Some(all.filter(|count| [99, 100].contains(count)).unwrap_or(known))
}

fn languages_by_name(finder: &Finder<'_>, between: Range<u32>) -> BTreeMap<String, u32> {
    let named: BTreeMap<String, u32> = finder
        .ids
        .iter()
        .filter(|(_, id)| between.contains(id))
        .map(|(token, id)| (bare(token).to_owned(), *id))
        .collect();
    if !named.is_empty() {
        return named;
    }
    LANGUAGES.iter().zip(between).map(|((code, _), id)| ((*code).to_owned(), id)).collect()
}

/// Compares the tokenizer with the model's other files: what they disagree about would be written wrongly.
fn agree(special: &SpecialTokens, finder: &Finder<'_>, configs: &Configs) -> Result<(), TokenizerError> {
    let file = finder.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let disagreement =
        |path: &Path, reason: String| Err(TokenizerError::Disagreement { path: path.to_owned(), reason });
    let needed = special.timestamps().end;
    if let Some(size) = configs.vocab_size.filter(|&size| u64::from(needed) > size) {
        return disagreement(&configs.config, format!("vocab_size is {size}, but {file} needs {needed}"));
    }
    // large-v3 has one language more: with the tokenizer of the models before it every token after the languages is
    // another.
    let large_v3 = configs.vocab_size == Some(51_866) && configs.mel_bins == Some(128);
    if large_v3 && special.notimestamps == 50_363 {
        let reason = format!("vocab_size is 51866, of 100 languages, but <|notimestamps|> is 50363 in {file}, of 99");
        return disagreement(&configs.config, reason);
    }
    if let Some(id) = configs.no_timestamps.filter(|id| *id != special.notimestamps) {
        let reason =
            format!("no_timestamps_token_id is {id}, but <|notimestamps|> is {} in {file}", special.notimestamps);
        return disagreement(&configs.generation, reason);
    }
    for (token, id) in configs.lang_to_id.iter().flatten() {
        if let Some(other) = finder.ids.get(token.as_str()).filter(|other| *other != id) {
            return disagreement(&configs.generation, format!("lang_to_id has {token} as {id}, but {file} as {other}"));
        }
    }
    Ok(())
}

/// Sorts the tokens behind the timestamps into words and others.
fn sort_added(special: &mut SpecialTokens, added: &[Added], vocab_size: Option<u64>, path: &Path) {
    let behind = |token: &&Added| token.id >= special.timestamps().end;
    let within = |token: &&Added| vocab_size.is_none_or(|size| u64::from(token.id) < size);
    let all: Vec<&Added> = added.iter().filter(behind).collect();
    let beyond = all.iter().filter(|token| !within(token)).count();
    if beyond > 0 {
        tracing::debug!("'{}' names {beyond} tokens that the model does not have", path.display());
    }
    let (control, text): (Vec<&Added>, Vec<&Added>) = all.into_iter().filter(within).partition(|token| token.special);
    if !text.is_empty() || !control.is_empty() {
        let (words, others) = (text.len(), control.len());
        tracing::debug!("'{}' adds {words} texts and {others} other tokens after the timestamps", path.display());
    }
    special.added_text = text.into_iter().map(|token| (token.id, token.content.clone())).collect();
    special.added_control = control.into_iter().map(|token| token.id).collect();
}

/// `de` from `<|de|>`.
fn bare(token: &str) -> &str {
    token.strip_prefix("<|").and_then(|rest| rest.strip_suffix("|>")).unwrap_or(token)
}
