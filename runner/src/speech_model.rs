//! What decoding needs of a model: encode windows, start a sequence for each, take steps, let go of what is finished.
//! The seek loop and the token rules stand on this trait alone, so that they are tested without ONNX Runtime; `decoder`
//! implements it with sessions.

use crate::choice::{Ask, Scores};
use crate::words::Attended;

/// A model failed while it ran. Says where and in whose words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {stage} failed: {reason}")]
pub struct RunError {
    /// `encoder` or `decoder`, with the graph's file where there is one.
    pub stage: String,
    /// The words of the runtime or of the execution provider.
    pub reason: String,
}

/// An encoder and a decoder with a cache, for several windows at once. Windows, and the sequences over them, are
/// *rows*, in the order in which they were encoded. A row's results do not depend on the others.
pub trait SpeechModel: Send {
    /// Encodes windows of log-mel features, `[bins, 3000]` each, row by row: they are the rows of what follows, and
    /// earlier ones are forgotten. Sequences started later attend to them.
    fn encode(&mut self, windows: &[&[f32]]) -> Result<(), RunError>;

    /// Starts every row's sequence (earlier ones are forgotten) with its prompt; all are of the same length, which is
    /// not 0. Returns for each row the logits that follow the token at `sot` and those that follow the last.
    ///
    /// # Errors
    /// [`RunError`] where the model fails, or where there are not as many prompts as rows.
    fn start(&mut self, prompts: &[&[u32]], sot: usize) -> Result<Vec<StartLogits>, RunError>;

    /// Appends tokens to every row's sequence, the same number to each: `tokens` holds those of the first row, then
    /// those of the second, and so on. Writes into `scores` what may follow the last of them by each row's ask: the
    /// `count` first [`ranks`](crate::choice::ranks) of the first row, then those of the second, and so on.
    ///
    /// # Errors
    /// [`RunError`] where the model fails, or where there are not as many asks as rows.
    fn step(
        &mut self,
        tokens: &[u32],
        asks: &[Ask<'_>],
        count: usize,
        scores: &mut Vec<Scores>,
    ) -> Result<(), RunError>;

    /// [`Self::step`] for whoever wants the logits `[vocabulary]` themselves: `look` is called with each row, in order,
    /// and its own. They travel from where they are made, so this costs more than an ask.
    fn step_logits(&mut self, tokens: &[u32], look: &mut dyn FnMut(usize, &[f32])) -> Result<(), RunError>;

    /// Goes on with these of the present rows, in this order; a row may come more than once, its sequence then goes on
    /// in several ways.
    ///
    /// # Errors
    /// [`RunError`] for a row that is not there.
    fn keep(&mut self, rows: &[usize]) -> Result<(), RunError>;

    /// Goes back to these of the windows that were encoded last, in this order, also where their rows have left: they
    /// are the rows of sequences that are started next. Nothing is encoded again.
    ///
    /// # Errors
    /// [`RunError`] for a window that is not there.
    fn restart(&mut self, windows: &[usize]) -> Result<(), RunError>;

    /// Makes ready what [`Self::attend`] needs, so that what is missing is known before any work.
    ///
    /// # Errors
    /// [`RunError`] where the model's graphs do not give the scores; it says which export does.
    fn prepare_to_attend(&self) -> Result<(), RunError> {
        Err(no_scores())
    }

    /// Feeds `tokens` as a sequence of its own over one of the windows that were encoded last, and returns the scores
    /// of the cross-attention's `heads` (layer and head each): how well each token's query fits each position of the
    /// window, before the soft-max. `look` is called with each token's place and the logits `[vocabulary]` that follow
    /// it, in order. Sequences are over after this: start them anew.
    ///
    /// # Errors
    /// [`RunError`] where the model fails, where there is no such window or head, and where its graphs do not give the
    /// scores; then it says which export does.
    fn attend(
        &mut self,
        window: usize,
        tokens: &[u32],
        heads: &[[usize; 2]],
        look: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Attended, RunError> {
        let _ = (window, tokens, heads, look);
        Err(no_scores())
    }
}

fn no_scores() -> RunError {
    let reason = "it does not give the scores of its cross-attention, from which word times are read; take optimum's export, or a \
                  model that undertone has converted";
    RunError { stage: "decoder".to_owned(), reason: reason.to_owned() }
}

/// Logits after the tokens that a sequence starts with.
#[derive(Debug, Clone, PartialEq)]
pub struct StartLogits {
    /// After the start-of-transcript token, `[vocabulary]`: languages and silence are read from these.
    pub sot: Vec<f32>,
    /// After the last token, `[vocabulary]`.
    pub last: Vec<f32>,
}
