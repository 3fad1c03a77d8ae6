//! Whisper models as people have them, made into a folder that the runner can open: names and repositories, fetching, readers of
//! weights (safetensors, CTranslate2, PyTorch, ggml), and an exporter to ONNX. Runs no model.

pub mod export;
pub mod external;
pub mod folders;
pub mod hub;
pub mod names;
pub mod once;
pub mod pip;
pub mod weights;

pub use export::{ConvertOptions, Converted, WeightFormat, convert};
pub use weights::{ConvertError, SourceKind, recognise};
