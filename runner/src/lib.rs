//! Audio to text with exported Whisper models, through ONNX Runtime and (if wanted) Undertone's execution provider.
//!
//! The crate does not depend on the execution provider's code: it loads its library through ONNX Runtime, as any other
//! program would.
//!
//! The front, in the order of use: [`Model::open`], [`Transcriber::load`], [`Transcriber::transcribe`]. Behind it, and
//! usable alone: [`audio`] and [`mel`] (sound to features), [`engine`] (ONNX Runtime and the execution provider),
//! [`decoder`] (the exported graphs), [`decode`] with [`rules`], [`choice`] and [`search`] (one window), [`seek`] and
//! [`cuts`] (many), [`mod@format`] (subtitles).
//!
//! With device `auto`, an execution provider that cannot be loaded or fails is replaced by ONNX Runtime's CPU provider,
//! and `run.fallback` of the result says why: show it as a warning. With every other device it is an error.

pub mod audio;
pub mod bench;
pub mod choice;
pub mod decode;
pub mod decoder;
pub mod engine;
pub mod format;
pub mod language;
pub mod mel;
pub mod model;
pub mod normalise;
pub mod npu;
pub mod options;
pub mod rules;
pub mod speech_model;
pub mod tokenizer;

mod batch;
mod cuts;
mod ep_library;
mod fallback;
mod features;
mod json;
mod kv_cache;
mod native;
mod observer;
mod packed;
mod recording;
mod result;
mod sampling;
mod scratch;
mod search;
mod seek;
mod text;
mod time;
mod timestamps;
mod transcribe;
mod voice;
mod writer;

pub use audio::Audio;
pub use engine::{Engine, EngineError, EpDevice, OpenGraph};
pub use model::{Layout, Model, ModelError};
pub use npu::NpuReport;
pub use observer::{Observer, Progress};
pub use options::{Claim, Device, EngineOptions, Padding, Precision, Simulation, Target, Task, TranscribeOptions};
pub use result::{RunReport, Segment, Transcription, Warning};
pub use transcribe::{TranscribeError, Transcriber};
