//! Voice activity: when somebody speaks, by Silero's model through ONNX Runtime ([`silero`]), and what follows from it:
//! stretches of speech with faster-whisper's options ([`VadOptions`], [`SpeechProbabilities::segments`]), and a
//! recording without the silence between them ([`timeline`]). People far from the microphone are heard too ([`faint`]).
//!
//! The model is part of the library: it has 1.3 MB, its licence is MIT, and so the text of a long recording never
//! depends on whether there was a network at first. `cuts` decides with it where long recordings are cut; `voice` finds
//! pauses by loudness where there is no ONNX Runtime to run it.

pub(crate) mod detector;
pub(crate) mod faint;
mod options;
mod segments;
mod silero;
pub(crate) mod timeline;

pub use options::{VadModel, VadOptions, VoiceOptions};
pub use segments::{PIECE, SpeechProbabilities};
pub use silero::{Silero, VadError};
