//! Text to tokens and back, and the ids of Whisper's special tokens, all read from the model's own files.
//!
//! The crate `tokenizers` does the byte-pair encoding. The special tokens are kept out of it: text that merely looks
//! like one (`<|endoftext|>`) is encoded as text, and what is decoded is text only.

mod decode;
mod files;
mod special;

use std::path::{Path, PathBuf};

use crate::model::Model;
use files::Files;
use special::{Configs, special_tokens};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

pub use crate::timestamps::{TIMESTAMP_STEP, TIMESTAMPS};
pub use special::SpecialTokens;

/// Vocabularies from this size on are multilingual (`whisper/model.py`); used where the files do not say.
const SMALLEST_MULTILINGUAL: u64 = 51865;

/// Why a model's tokenizer could not be loaded or used: one line that names the file and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "a field is what its message says of it")]
pub enum TokenizerError {
    /// A file cannot be read.
    #[error("{}: cannot be read ({source}); fetch it from the model's repository", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// A file is not what its name says.
    #[error("{}: is not a valid {what} ({reason}); fetch it again from the model's repository", path.display())]
    Invalid { path: PathBuf, what: &'static str, reason: String },
    /// A special token that Whisper needs is not in the file.
    #[error(
        "{}: has no token {token}; it is not the tokenizer of a Whisper model: fetch it again from the model's \
         repository", path.display()
    )]
    MissingToken {
        path: PathBuf,
        /// As it is written in the file.
        token: &'static str,
    },
    /// The tokenizer and another file of the model disagree.
    #[error("{}: {reason}; the files are of different models: fetch them again from one repository", path.display())]
    Disagreement {
        /// The file that disagrees with the tokenizer's.
        path: PathBuf,
        reason: String,
    },
    /// Text that cannot be encoded, or tokens that cannot be decoded.
    #[error("the tokenizer failed: {0}; this is a defect of the model's tokenizer.json")]
    Failed(String),
}

/// A model's tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    /// Without added tokens.
    text: tokenizers::Tokenizer,
    /// The ids of the special tokens.
    pub special: SpecialTokens,
}

impl Tokenizer {
    /// Reads a model's directory: `tokenizer.json`, or `vocab.json` with `merges.txt` and `added_tokens.json`; and what
    /// `config.json` and `generation_config.json` say of tokens, where they are.
    ///
    /// What is odd but clear is read, and said at level `debug`: a first merge that was lost, tokens without a name, a
    /// vocabulary that is larger than the tokenizer.
    ///
    /// # Errors
    /// A file that is missing, damaged, or belongs to another model: [`TokenizerError`] says which value in which file.
    pub fn load(directory: &Path) -> Result<Self, TokenizerError> {
        Self::with_configs(directory, Configs::read(directory)?)
    }

    /// [`Self::load`] of the model's directory, knowing from its configuration what a missing `config.json` does not
    /// say.
    pub fn of(model: &Model) -> Result<Self, TokenizerError> {
        Self::with_configs(model.directory(), Configs::read(model.directory())?.or(model.config()))
    }

    fn with_configs(directory: &Path, configs: Configs) -> Result<Self, TokenizerError> {
        let files = Files::read(directory)?;
        let special = special_tokens(&files, &configs)?;
        let invalid = |reason: String| TokenizerError::Invalid { path: files.path.clone(), what: "tokenizer", reason };
        let mut present = vec![false; special.eot as usize];
        for &id in files.vocabulary.values() {
            if let Some(seen) = present.get_mut(id as usize) {
                *seen = true;
            }
        }
        if let Some(id) = present.iter().position(|seen| !seen) {
            let count = present.iter().filter(|seen| **seen).count();
            return Err(invalid(format!("it has {count} of {} text tokens: {id} is not there", special.eot)));
        }
        let model = BPE::builder().vocab_and_merges(files.vocabulary, files.merges).build();
        let mut text = tokenizers::Tokenizer::new(model.map_err(|error| invalid(error.to_string()))?);
        // Whisper's is GPT-2's: words keep the blank before them.
        text.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        let mut tokenizer = Self { text, special };
        tokenizer.special.blank = tokenizer.encode(" ").ok().and_then(|tokens| tokens.first().copied());
        tokenizer.special.non_speech = non_speech(&tokenizer);
        Ok(tokenizer)
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

/// Marks that stand for no speech, alone or after a blank.
///
/// Source: openai/whisper, `whisper/tokenizer.py`.
const NO_SPEECH_MARKS: &str = "\" # ( ) * + / : ; < = > @ [ \\ ] ^ _ ` { | } ~ 「 」 『 』 \
    << >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪";
/// Signs of music; where they are several tokens, their first is no speech's either.
const MUSIC: &str = "♩ ♪ ♫ ♬ ♭ ♮ ♯";

/// The tokens that openai/whisper suppresses unless it is told otherwise.
fn non_speech(tokenizer: &Tokenizer) -> Vec<u32> {
    let encode = |text: &str| tokenizer.encode(text).unwrap_or_default();
    // A hyphen or an apostrophe may stand within words, but not begin one.
    let mut tokens: Vec<u32> = [" -", " '"].iter().filter_map(|text| encode(text).first().copied()).collect();
    let marks = NO_SPEECH_MARKS.split_whitespace().map(|mark| (mark, false));
    for (mark, music) in marks.chain(MUSIC.split_whitespace().map(|mark| (mark, true))) {
        for found in [encode(mark), encode(&format!(" {mark}"))] {
            if let Some(&first) = found.first().filter(|_| music || found.len() == 1) {
                tokens.push(first);
            }
        }
    }
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}
