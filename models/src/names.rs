//! Short names of models, and where each is had from.
//!
//! A name stands for the repository that serves best: the weights as their makers published them, at half precision
//! where that is published, because that is what the converter reads and half the bytes. (The ONNX exports of the same
//! models are at full precision, or quantised in ways that the execution provider would have to undo.)

/// A model that has a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// The name: `base`.
    pub name: &'static str,
    /// Other words for it.
    pub aliases: &'static [&'static str],
    /// The Hugging Face repository.
    pub repository: &'static str,
    /// Megabytes to be downloaded, about: two bytes for each parameter.
    pub megabytes: u32,
    /// What it knows.
    pub languages: &'static str,
    /// The licence of its weights.
    pub licence: &'static str,
}

const ENGLISH: &str = "English";
const ALL: &str = "99 languages";
const ALL_3: &str = "100 languages";

const fn known(
    name: &'static str,
    aliases: &'static [&'static str],
    repository: &'static str,
    megabytes: u32,
    languages: &'static str,
) -> Known {
    // OpenAI and the makers of Distil-Whisper give all of theirs under the same.
    Known { name, aliases, repository, megabytes, languages, licence: "MIT" }
}

/// Every name, small models first.
pub const NAMES: [Known; 17] = [
    known("tiny", &[], "Systran/faster-whisper-tiny", 78, ALL),
    known("tiny.en", &[], "Systran/faster-whisper-tiny.en", 78, ENGLISH),
    known("base", &[], "Systran/faster-whisper-base", 148, ALL),
    known("base.en", &[], "Systran/faster-whisper-base.en", 148, ENGLISH),
    known("small", &[], "Systran/faster-whisper-small", 486, ALL),
    known("small.en", &[], "Systran/faster-whisper-small.en", 486, ENGLISH),
    known("medium", &[], "Systran/faster-whisper-medium", 1530, ALL),
    known("medium.en", &[], "Systran/faster-whisper-medium.en", 1530, ENGLISH),
    known("large-v1", &[], "Systran/faster-whisper-large-v1", 3090, ALL),
    known("large-v2", &[], "Systran/faster-whisper-large-v2", 3090, ALL),
    known("large-v3", &["large"], "openai/whisper-large-v3", 3090, ALL_3),
    known("large-v3-turbo", &["turbo"], "openai/whisper-large-v3-turbo", 1620, ALL_3),
    known("distil-small.en", &[], "distil-whisper/distil-small.en", 335, ENGLISH),
    known("distil-medium.en", &[], "distil-whisper/distil-medium.en", 790, ENGLISH),
    known("distil-large-v2", &[], "distil-whisper/distil-large-v2", 1510, ENGLISH),
    known("distil-large-v3", &[], "distil-whisper/distil-large-v3", 1510, ENGLISH),
    known("distil-large-v3.5", &[], "distil-whisper/distil-large-v3.5-ct2", 1510, ENGLISH),
];

/// The model of this name. Case does not count, nor does a `whisper-` in front, as people write it.
pub fn find(name: &str) -> Option<&'static Known> {
    let lower = name.to_ascii_lowercase();
    let word = lower.strip_prefix("whisper-").unwrap_or(&lower);
    NAMES.iter().find(|known| known.name == word || known.aliases.contains(&word))
}

/// The model that `repository` serves.
pub fn of_repository(repository: &str) -> Option<&'static Known> {
    NAMES.iter().find(|known| known.repository == repository)
}

/// Names that are written nearly like `word`, the nearest first, or begin like it: for a message on a name that is
/// none.
pub fn similar(word: &str) -> Vec<&'static str> {
    // Two letters that have changed places count once.
    const FAR: usize = 3;
    let word = word.to_ascii_lowercase();
    let start: String = word.chars().take(3).collect();
    let words = NAMES.iter().flat_map(|known| [&[known.name], known.aliases].concat());
    let distance = |name: &str| strsim::damerau_levenshtein(&word, name);
    let is_near = |name: &&'static str| {
        distance(name) < FAR.min(name.len().div_ceil(2)) || (!start.is_empty() && name.starts_with(&start))
    };
    let mut near: Vec<&'static str> = words.filter(is_near).collect();
    near.sort_by_key(|name| distance(name));
    near
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Repository;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_is_one_model_s_and_every_repository_is_one() {
        let words: Vec<&str> = NAMES.iter().flat_map(|known| [&[known.name], known.aliases].concat()).collect();
        assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
        for word in words {
            assert!(Repository::parse(word).is_none(), "{word} reads like a repository");
            assert!(find(word).is_some());
        }
        for known in &NAMES {
            assert!(Repository::parse(known.repository).is_some(), "{known:?}");
        }
    }

    #[test]
    fn names_as_people_write_them() {
        assert_eq!(find("whisper-base").unwrap().name, "base");
        assert_eq!(find("Turbo").unwrap().name, "large-v3-turbo");
        assert_eq!(find("large").unwrap().name, "large-v3");
        assert_eq!(find("enormous"), None);
        assert_eq!(similar("basic"), ["base", "base.en"]);
        assert_eq!(similar("bse"), ["base"]);
        assert_eq!(similar("trubo"), ["turbo"]);
        assert_eq!(similar("large-v4")[..3], ["large-v1", "large-v2", "large-v3"]);
        assert!(similar("enormous").is_empty() && similar("").is_empty());
    }
}
