//! Transcripts of other programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::list::Entry;
use super::work::Heard;

#[derive(Deserialize)]
struct Transcripts {
    results: Vec<Transcript>,
}

#[derive(Deserialize)]
struct Transcript {
    file: String,
    text: String,
}

/// `NAME=FILE` of the command line.
pub fn named(text: &str) -> Result<(String, PathBuf)> {
    let (name, file) = text.split_once('=').context("write it as NAME=FILE")?;
    Ok((name.to_owned(), file.into()))
}

/// Reads the texts of `entries`.
///
/// # Errors
/// If the file cannot be read, or lacks one.
pub fn read(name: &str, file: &Path, entries: &[Entry]) -> Result<Heard> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let transcripts: Transcripts =
        serde_json::from_slice(&text).with_context(|| format!("{}: is not JSON with `results`", file.display()))?;
    let by_file: BTreeMap<&str, &str> =
        transcripts.results.iter().map(|result| (result.file.as_str(), result.text.as_str())).collect();
    let text_of = |entry: &Entry| {
        let text = by_file.get(entry.file.as_str()).map(|text| (*text).to_owned());
        text.with_context(|| format!("{}: has no text of {}", file.display(), entry.file)).map(Some)
    };
    Ok(Heard { name: name.to_owned(), texts: entries.iter().map(text_of).collect::<Result<_>>()?, speed: None })
}
