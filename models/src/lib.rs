//! Whisper models as people have them, made into a folder that the runner can open: names and repositories, fetching,
//! readers of weights (safetensors, CTranslate2, PyTorch, ggml), and an exporter to ONNX. Runs no model.
//!
//! ```
//! use undertone_models::Source;
//!
//! // What a person may write for a model: a name, a repository, a path.
//! let Source::Named(known) = Source::parse("large")? else { panic!("a name") };
//! assert_eq!((known.name, known.repository), ("large-v3", "openai/whisper-large-v3"));
//! assert!(matches!(Source::parse("owner/fine-tune")?, Source::Repository(_)));
//! assert!(matches!(Source::parse("reference")?, Source::Folder(_)));
//! let error = Source::parse("trubo").unwrap_err();
//! assert!(error.to_string().contains("did you mean turbo?"));
//! # Ok::<(), undertone_models::ProvideError>(())
//! ```
//!
//! [`provide`] makes a folder of ONNX graphs of any of them; what is not on this machine is fetched, and weights are
//! converted, once:
//!
//! ```no_run
//! // Not run: it downloads 148 MB the first time.
//! let provided = undertone_models::provide("base", None, &mut |step| println!("{step:?}"))?;
//! println!("{} from {}", provided.folder.display(), provided.from);
//! # Ok::<(), undertone_models::ProvideError>(())
//! ```
//!
//! [`convert`] alone reads weights and writes ONNX graphs. [`inventory`] lists and removes what is kept.

pub mod address;
mod download;
mod export;
mod external;
mod folders;
pub mod hub;
pub mod inventory;
mod message;
pub mod names;
pub mod nodes;
pub mod once;
pub mod packed;
pub mod pip;
pub mod protobuf;
mod provide;
pub mod scores;
pub mod vocabulary;
pub mod weights;

pub use download::{DownloadError, Limits, download};
pub use export::{ConvertOptions, Converted, WeightFormat, alignment_heads, convert};
pub use provide::{
    DEFAULT, ProvideError, Provided, Source, Step, convert_source, copy_folder, get, present, provide, provide_with,
    sample, spellings,
};
pub use vocabulary::LANGUAGES;
pub use weights::{ConvertError, SourceKind, recognise};
