//! The trial array's core: what it answers to questions.

use crate::{KernelError, exactly, ffi};

/// Bytes of a question, and of its answer: control, then 4 KB.
pub const TRIAL_BYTES: usize = 64 + 4096;

/// Answers a question (`../src/trial.h` says which there are).
///
/// # Errors
/// If one of the two has another length than [`TRIAL_BYTES`].
pub fn trial_answer(question: &[u8], answer: &mut [u8]) -> Result<(), KernelError> {
    const KERNEL: &str = "trial_answer";
    exactly(KERNEL, "A", question.len(), TRIAL_BYTES)?;
    exactly(KERNEL, "C", answer.len(), TRIAL_BYTES)?;
    // Its words are read as such.
    let words: Vec<i32> =
        question.chunks_exact(4).map(|word| i32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    let mut said = vec![0i32; words.len()];
    ffi::trial_answer(&words, &mut said);
    answer.chunks_exact_mut(4).zip(said).for_each(|(place, word)| place.copy_from_slice(&word.to_le_bytes()));
    Ok(())
}
