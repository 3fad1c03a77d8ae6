//! Tokens to text. A token stands for bytes, and a letter's bytes may be spread over several: an emoji's, a Chinese
//! character's, an accented letter's. They are joined before they are read as UTF-8.

use super::{Tokenizer, TokenizerError};
use std::collections::HashMap;
use std::sync::LazyLock;
use undertone_models::vocabulary;

/// What the letters of a vocabulary's texts stand for.
static BYTES: LazyLock<HashMap<char, u8>> = LazyLock::new(vocabulary::bytes);

impl Tokenizer {
    /// The text of the tokens; timestamps and other special tokens are left out.
    ///
    /// Bytes are joined across tokens, and those that are no UTF-8 are left out: half a letter, where tokens were cut
    /// off or a model went wrong, is no text that anyone wants to see. openai/whisper writes U+FFFD there, as
    /// [`Self::decode_lossy`] does. U+FFFD that a model spells out with all its bytes is text like any other.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`], which no valid file leads to.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        Ok(self.bytes(tokens).utf8_chunks().map(|chunk| chunk.valid()).collect())
    }

    /// [`Self::decode`] with U+FFFD in the place of bytes that are no UTF-8, as openai/whisper has it: to find out
    /// whether tokens end within a letter, and for measures of a text that are to be the same as there.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_lossy(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        Ok(String::from_utf8_lossy(&self.bytes(tokens)).into_owned())
    }

    fn bytes(&self, tokens: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 * tokens.len());
        for &token in tokens {
            if let Some(added) = self.special.added_text.get(&token) {
                bytes.extend_from_slice(added.as_bytes());
            } else if self.special.is_text(token)
                && let Some(text) = self.text.id_to_token(token)
            {
                bytes.extend(vocabulary::bytes_of(&text, &BYTES));
            }
        }
        bytes
    }
}
