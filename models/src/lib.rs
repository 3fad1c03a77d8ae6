//! Whisper models as people have them, made into a folder that the runner can open: names and repositories, fetching,
//! readers of weights (safetensors, CTranslate2, PyTorch, ggml), and an exporter to ONNX. Runs no model.

mod export;
mod external;
mod folders;
pub mod hub;
pub mod inventory;
pub mod names;
pub mod once;
pub mod packed;
pub mod pip;
pub mod protobuf;
mod provide;
pub mod vocabulary;
pub mod weights;

pub use export::{ConvertOptions, Converted, WeightFormat, convert};
pub use provide::{DEFAULT, ProvideError, Provided, Source, Step, convert_source, get, present, provide, sample};
pub use vocabulary::LANGUAGES;
pub use weights::{ConvertError, SourceKind, recognise};
