//! What can go wrong with ONNX Runtime, the execution provider, and graphs.

use crate::options::Device;
use std::path::PathBuf;

/// What is wrong with ONNX Runtime, the execution provider, or a graph.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "a field is what its message says of it")]
pub enum EngineError {
    /// No file where ONNX Runtime should be.
    #[error("no ONNX Runtime library at '{0}'; set ORT_DYLIB_PATH to one of version 1.24 or newer")]
    NoOrt(PathBuf),
    /// The file cannot be loaded as ONNX Runtime.
    #[error("cannot load ONNX Runtime from '{path}': {reason}; set ORT_DYLIB_PATH to a library for this machine")]
    BadOrt { path: PathBuf, reason: String },
    /// An ONNX Runtime that the runner does not speak.
    #[error("ONNX Runtime {found} at '{path}' is too old; set ORT_DYLIB_PATH to version 1.24 or newer")]
    OldOrt { path: PathBuf, found: String },
    /// A library was loaded before from another path.
    #[error("this process has loaded {what} from '{loaded}' and cannot also load '{wanted}'; use one per process")]
    Another { what: &'static str, loaded: PathBuf, wanted: PathBuf },
    /// A device was asked for that needs the execution provider, and no library was named.
    #[error("device '{0}' needs the execution provider's library, and none was found; build it, or use --device cpu")]
    NoEpPath(Device),
    /// No file where the execution provider should be.
    #[error("no execution provider library at '{0}'; build it with 'cargo build --release', or use --device cpu")]
    NoEp(PathBuf),
    /// ONNX Runtime or the loader refuses the execution provider.
    #[error("cannot load the execution provider '{path}': {reason}; rebuild it for this machine, or use --device cpu")]
    BadEp { path: PathBuf, reason: String },
    /// The execution provider found no device to run on.
    #[error("the execution provider '{path}' offers no device for '{device}'; 'undertone devices' lists what there is")]
    NoDevice { path: PathBuf, device: Device },
    /// The execution provider took nothing.
    #[error(
        "device '{device}' was asked for, but the execution provider took no node of '{graph}'; 'undertone partition' \
         says why"
    )]
    NothingClaimed { device: Device, graph: PathBuf },
    /// ONNX Runtime or the execution provider refuses a graph.
    #[error("cannot open '{graph}' on device '{device}': {reason}")]
    Graph {
        graph: PathBuf,
        device: Device,
        /// ONNX Runtime's words, which hold the execution provider's.
        reason: String,
    },
    /// A run of a graph failed.
    #[error("'{graph}' cannot be run: {reason}")]
    Run {
        graph: PathBuf,
        /// ONNX Runtime's words, which hold the execution provider's.
        reason: String,
    },
    /// ONNX Runtime refuses something else.
    #[error("ONNX Runtime cannot {what}: {reason}")]
    Ort { what: &'static str, reason: String },
}
