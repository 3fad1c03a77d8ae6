//! Why a graph could not be read.

use crate::{graph::DataType, runtime::OrtError};

/// Why a graph could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A function of ONNX Runtime failed.
    #[error(transparent)]
    Ort(#[from] OrtError),
    /// ONNX Runtime listed a node before one that it depends on.
    #[error("graph \"{graph}\": node {node} is listed before the node that makes its operand {value}")]
    Order { graph: String, node: String, value: String },
    /// A constant's size is not what its shape and type make it.
    #[error("constant {name}: {bytes} bytes for shape {shape:?} of {dtype}")]
    Size { name: String, bytes: usize, shape: Vec<usize>, dtype: DataType },
}
