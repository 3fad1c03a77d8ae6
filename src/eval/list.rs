//! The list of recordings whose words are known: JSON Lines, or one JSON array, with the keys of this command or of
//! common data sets.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Map, Value};
use undertone_runner::language;

/// What the recording's file is called: here, by NeMo, the Hugging Face hub's audio folders, Common Voice, SpeechBrain.
const FILE_KEYS: [&str; 9] =
    ["file", "audio_filepath", "file_name", "audio", "path", "audio_path", "audio_file", "filename", "wav"];
/// Likewise its words.
const TEXT_KEYS: [&str; 6] = ["text", "sentence", "transcription", "transcript", "words", "normalized_text"];
/// Likewise its language.
const LANGUAGE_KEYS: [&str; 4] = ["language", "lang", "locale", "source_lang"];

/// A recording of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// As the list names it.
    pub file: String,
    /// Where it is.
    pub path: PathBuf,
    /// The part of the file that it is, as NeMo's lists have it.
    pub part: Option<Part>,
    /// What is said.
    pub text: String,
    /// Whisper's code, or the list's word for a language that Whisper does not know.
    pub language: Option<String>,
    /// Its line in the list, or its place in the array, from 1.
    pub line: usize,
}

/// A part of a file, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Where it begins.
    pub offset: f64,
    /// How long it is, if it does not go on to the file's end.
    pub duration: Option<f64>,
}

impl Part {
    /// What of `samples`, so many in a second, is in it.
    pub fn of(self, samples: &[f32], rate: u32) -> &[f32] {
        let index = |seconds: f64| ((seconds * f64::from(rate)).round() as usize).min(samples.len());
        let from = index(self.offset);
        let to = self.duration.map_or(samples.len(), |duration| index(self.offset + duration));
        &samples[from..to]
    }
}

/// Reads a list.
///
/// # Errors
/// If it cannot be read, is no list, or has a line without a recording or its words: with the line, and the keys that
/// it has.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let list = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {list}"))?;
    let text = text_of(&bytes).with_context(|| format!("{list}: is not text"))?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let whole = || serde_json::from_str::<Vec<Value>>(&text).ok();
    let entries: Vec<Entry> = if let Some(items) = text.trim_start().starts_with('[').then(whole).flatten() {
        let item = |(place, value): (usize, Value)| {
            entry(value, place, directory).with_context(|| format!("{list}, item {place}"))
        };
        (1..).zip(items).map(item).collect::<Result<_>>()?
    } else {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let of_line = |(line, text): (usize, &str)| {
            let value = serde_json::from_str(text).map_err(|error| anyhow!("is not JSON ({error})"));
            value.and_then(|value| entry(value, line, directory)).with_context(|| format!("{list}, line {line}"))
        };
        lines.map(of_line).collect::<Result<_>>()?
    };
    if entries.is_empty() {
        bail!("{list} is empty: it is to have a line of JSON with `file` and `text` for each recording");
    }
    Ok(entries)
}

/// Text in UTF-8, or in UTF-16 if it begins with a byte-order mark of that.
fn text_of(bytes: &[u8]) -> Result<String> {
    let wide = |word: fn([u8; 2]) -> u16, bytes: &[u8]| {
        let words: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|&pair| word(pair)).collect();
        String::from_utf16(&words)
    };
    Ok(match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => std::str::from_utf8(rest)?.to_owned(),
        [0xFF, 0xFE, rest @ ..] => wide(u16::from_le_bytes, rest)?,
        [0xFE, 0xFF, rest @ ..] => wide(u16::from_be_bytes, rest)?,
        plain => std::str::from_utf8(plain)?.to_owned(),
    })
}

fn entry(value: Value, line: usize, directory: &Path) -> Result<Entry> {
    let Value::Object(fields) = value else { bail!("is not a JSON object with `file` and `text`") };
    let missing = |what: &str, keys: &[&str]| {
        let has = fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        anyhow!("names no {what}: it has the keys {has}, and none of {}", keys.join(", "))
    };
    let file = word(&fields, &FILE_KEYS).ok_or_else(|| missing("recording", &FILE_KEYS))?;
    let text = word(&fields, &TEXT_KEYS).ok_or_else(|| missing("text", &TEXT_KEYS))?;
    let language = word(&fields, &LANGUAGE_KEYS);
    let seconds = |key: &str| fields.get(key).and_then(Value::as_f64).filter(|seconds| seconds.is_finite());
    // Without an offset a duration is only said of the whole file.
    let part = seconds("offset").map(|offset| Part {
        offset: offset.max(0.0),
        duration: seconds("duration").filter(|duration| *duration > 0.0),
    });
    Ok(Entry {
        path: directory.join(&file),
        file,
        part,
        text,
        language: language.and_then(|word| language::parse(&word).unwrap_or(Some(word))),
        line,
    })
}

/// The first of `keys` that stands for a word or a number; the hub's data sets have an object with `path` for audio.
fn word(fields: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| match fields.get(*key)? {
        Value::String(word) => Some(word.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(inner) => inner.get("path")?.as_str().map(str::to_owned),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(bytes: &[u8]) -> Result<Vec<Entry>> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("list.jsonl");
        std::fs::write(&path, bytes).unwrap();
        let entries = read(&path)?;
        assert!(entries.iter().all(|entry| entry.path == home.path().join(&entry.file)));
        Ok(entries)
    }

    fn summary(entry: &Entry) -> (&str, &str, Option<&str>, usize) {
        (&entry.file, &entry.text, entry.language.as_deref(), entry.line)
    }

    #[test]
    fn lists_as_people_have_them() {
        let plain = "{\"file\": \"a/ä.wav\", \"text\": \"Löwe\", \"language\": \"German\"}\r\n\r\n{\"file\": \"b\", \"text\": \"\"}";
        let expected = [("a/ä.wav", "Löwe", Some("de"), 1), ("b", "", None, 3)];
        let marked = format!("\u{FEFF}{plain}");
        let wide = |word: fn(u16) -> [u8; 2]| marked.encode_utf16().flat_map(word).collect::<Vec<u8>>();
        for bytes in [plain.into(), marked.clone().into_bytes(), wide(u16::to_le_bytes), wide(u16::to_be_bytes)] {
            let entries = read_bytes(&bytes).unwrap();
            assert_eq!(entries.iter().map(summary).collect::<Vec<_>>(), expected);
        }
        let array =
            read_bytes(b"\n[{\"file\": \"a\", \"text\": \"x\"},\n {\"file\": \"b\", \"text\": \"y\"}]").unwrap();
        assert_eq!(array.iter().map(summary).collect::<Vec<_>>(), [("a", "x", None, 1), ("b", "y", None, 2)]);
    }

    #[test]
    fn keys_of_other_lists() {
        for (line, expected) in [
            (r#"{"audio_filepath": "a", "text": "x", "duration": 3.5, "lang": "en-US"}"#, ("a", "x", Some("en"), 1)),
            (r#"{"file_name": "a", "transcription": "x"}"#, ("a", "x", None, 1)),
            (r#"{"path": "a", "sentence": "x", "locale": "zh-CN"}"#, ("a", "x", Some("zh"), 1)),
            (r#"{"audio": {"path": "a", "array": []}, "text": 42, "language": null}"#, ("a", "42", None, 1)),
            (r#"{"wav": "a", "words": "x", "language": "Klingon"}"#, ("a", "x", Some("Klingon"), 1)),
            (r#"{"file": "a", "text": "x", "language": "auto"}"#, ("a", "x", None, 1)),
        ] {
            let entries = read_bytes(line.as_bytes()).unwrap();
            assert_eq!((summary(&entries[0]), entries[0].part), (expected, None), "{line}");
        }
    }

    #[test]
    fn a_part_of_a_file() {
        let line = r#"{"audio_filepath": "a", "text": "x", "offset": 0.5, "duration": 0.25}"#;
        let part = read_bytes(line.as_bytes()).unwrap()[0].part.unwrap();
        assert_eq!(part, Part { offset: 0.5, duration: Some(0.25) });
        let samples: Vec<f32> = (0..8).map(|i| i as f32).collect();
        assert_eq!(part.of(&samples, 8), [4.0, 5.0]);
        assert_eq!(Part { offset: 0.75, duration: None }.of(&samples, 8), [6.0, 7.0]);
        assert_eq!(Part { offset: 9.0, duration: Some(1.0) }.of(&samples, 8), [0.0; 0]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, parts) in [
            (
                "{\"file\": \"a\", \"text\": \"x\"}\n{\"file\": \"b\"}",
                vec!["line 2", "names no text", "the keys file", "sentence"],
            ),
            (
                "{\"text\": \"x\", \"speaker\": 3}",
                vec!["line 1", "names no recording", "speaker, text", "audio_filepath"],
            ),
            ("{\"file\": \"a\", \"text\": null}", vec!["names no text"]),
            ("\nfile,text\n", vec!["line 2", "is not JSON"]),
            ("[1]", vec!["item 1", "not a JSON object"]),
            ("\n \n", vec!["is empty"]),
            ("[]", vec!["is empty"]),
        ] {
            let error = format!("{:#}", read_bytes(text.as_bytes()).unwrap_err());
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        let error = format!("{:#}", read_bytes(&[0xC3, 0x28]).unwrap_err());
        assert!(error.contains("list.jsonl: is not text"), "{error}");
    }
}
