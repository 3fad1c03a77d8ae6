//! What decoding needs of a model: encode a window, start a sequence, take one step. The seek loop and the token rules
//! stand on this trait alone, so that they are tested without ONNX Runtime; `decoder` implements it with sessions.

/// A model failed while it ran. Says where and in whose words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {stage} failed: {reason}")]
pub struct RunError {
    /// `encoder` or `decoder`, with the graph's file where there is one.
    pub stage: String,
    /// The words of the runtime or of the execution provider.
    pub reason: String,
}

/// An encoder and a decoder with a cache.
pub trait SpeechModel: Send {
    /// Encodes one window of log-mel features, `[bins, 3000]` row by row. Sequences started later attend to it.
    ///
    /// # Errors
    /// [`RunError`] where the model fails.
    fn encode(&mut self, features: &[f32]) -> Result<(), RunError>;

    /// Starts a sequence with `tokens` (not empty; earlier ones are forgotten) and returns the logits `[vocabulary]` that
    /// follow the token at `sot`, and those that follow the last token.
    ///
    /// # Errors
    /// [`RunError`] where the model fails.
    fn start(&mut self, tokens: &[u32], sot: usize) -> Result<StartLogits, RunError>;

    /// Appends one token to the sequence and writes the logits `[vocabulary]` that follow it into `logits`.
    ///
    /// # Errors
    /// [`RunError`] where the model fails.
    fn step(&mut self, token: u32, logits: &mut Vec<f32>) -> Result<(), RunError>;
}

/// Logits after the tokens that a sequence starts with.
#[derive(Debug, Clone, PartialEq)]
pub struct StartLogits {
    /// After the start-of-transcript token, `[vocabulary]`: languages and silence are read from these.
    pub sot: Vec<f32>,
    /// After the last token, `[vocabulary]`.
    pub last: Vec<f32>,
}
