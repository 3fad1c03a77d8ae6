//! What crosses the boundary between the execution provider's library and the programs that load it. Each name and each
//! type stands here once: the provider writes it, the runner and the command read it, and a field that is renamed on
//! one side compiles on neither.
//!
//! ```
//! use undertone_boundary::options::{DeviceChoice, Key, Precision};
//!
//! // A session's options are pairs of strings; both sides write and read them through these types.
//! let options = [(Key::Device.word(), DeviceChoice::Host.word()), (Key::Precision.word(), Precision::Bf16.word())];
//! assert_eq!(options, [("device", "host"), ("precision", "bf16")]);
//! assert_eq!("bf16".parse(), Ok(Precision::Bf16));
//! let error = "gpu".parse::<DeviceChoice>().unwrap_err();
//! assert_eq!(error.to_string(), "unknown device 'gpu': use one of auto, host, sim, npu");
//! ```
//!
//! Data only, and where bundles lie: nothing here opens a library, measures or counts. The C header's and Python's
//! spellings of the same names are in `docs/kv-cache.md` and `ep/python`; `tests/boundary_names.rs` compares them with
//! these.

pub mod attention_scores;
pub mod bundles;
pub mod counters;
pub mod description;
pub mod exports;
pub mod kv_cache;
pub mod npu;
pub mod options;
pub mod partition;
pub mod profile;
pub mod words;

/// What the execution provider is called, whatever name its library is registered under.
pub const EP_NAME: &str = "XdnaExecutionProvider";
