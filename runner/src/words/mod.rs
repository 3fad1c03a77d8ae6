//! When each word was said: read from the cross-attention of a model that is made to write a text that is known, as
//! openai/whisper does it (`whisper/timing.py`).
//!
//! `attention` makes one matrix of the weights of the alignment heads, tokens by positions of 20 ms; `warping` finds the
//! way through it; `split` says which tokens are a word; `align` puts these together for a window. `times` gives the
//! words to the window's segments, and `silence` says where the next window begins, and what is left out as
//! hallucinated beside silence.

mod align;
mod attention;
mod median;
mod options;
mod punctuation;
mod silence;
mod split;
mod times;
mod warping;

pub(crate) use align::{Aligned, Aligner};
pub use attention::Attended;
pub use options::WordOptions;
pub(crate) use silence::{Next, Window, last_end, next_window};
pub(crate) use times::{add_words, nest};
