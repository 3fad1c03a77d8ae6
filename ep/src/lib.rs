//! A plugin execution provider for ONNX Runtime that runs Whisper graphs with the arithmetic of AMD NPUs.

pub mod graph;
pub mod options;

pub use options::{Claim, DeviceChoice, Options, OptionsError};
