//! Audio to text with exported Whisper models, through ONNX Runtime and (if wanted) Undertone's execution provider.
//!
//! The crate does not depend on the execution provider's code: it loads its library through ONNX Runtime, as any other
//! program would.
//!
//! The front, in the order of use (being built; these signatures stand):
//!
//! ```text
//! Model::open(source: &str, variant: Option<&str>) -> Result<Model, ModelError>      // a directory, or a Hugging Face repository name
//! Model::from_directory(directory: &Path, variant: Option<&str>) -> Result<Model, ModelError>
//! Model::graphs(&self) -> Vec<(&'static str, &Path)>                                  // ("encoder_model", path) … every graph that stands there
//! Transcriber::load(model: &Model, options: &EngineOptions) -> Result<Transcriber, TranscribeError>
//! Transcriber::transcribe(&mut self, audio: &Audio, options: &TranscribeOptions, progress: &mut dyn FnMut(Progress)) -> Result<Transcription, TranscribeError>
//! Engine::new(options: &EngineOptions) -> Result<Engine, EngineError>                 // ORT, and the EP library if device is not cpu
//! Engine::session(&self, graph: &Path) -> Result<ort::session::Session, EngineError>   // for `partition`: opens, so the EP writes options.report
//! Engine::ort_version(&self) -> &str;  Engine::devices(&self) -> Vec<EpDevice { ep, vendor, hardware, hardware_vendor }>
//! bench::run(model: &Model, configurations: &[EngineOptions], &BenchOptions { tokens, runs }) -> Result<Vec<BenchResult { device, precision, encoder_ms, decoder_ms_per_token, realtime_factor }>, TranscribeError>
//! ```
//!
//! `device = auto` goes on with the CPU provider if the execution provider cannot be loaded or fails, and
//! `run.fallback` says why: print it as a warning. Every other device is an error then.

pub mod audio;
pub mod mel;
pub mod options;
pub mod result;
pub mod tokenizer;

pub use options::{Claim, Device, EngineOptions, Precision, Task};
pub use result::{RunReport, Segment, Transcription};
