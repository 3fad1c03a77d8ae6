//! Why a group of nodes cannot be compiled, why a run of it fails, and why a step of a run gives nothing.

use undertone_kernels::Failed;

use crate::runtime::OrtError;

/// Why a group cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A node of the group was not claimed: the group is not one that the partition made.
    #[error("node {node}: {reason}; the group given to compile is not the one that was claimed")]
    NotClaimed { node: String, reason: String },
    /// A constant that a kernel needs is missing or of another type or shape than its node asks.
    #[error("constant {name}: {reason}")]
    Constant { name: String, reason: String },
    /// A kernel or constant that was packed before is missing or damaged.
    #[error("{0}")]
    Packed(String),
    /// No device takes the kernel.
    #[error(transparent)]
    Unsupported(#[from] undertone_kernels::Unsupported),
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A step found operands that its operation is not defined for.
    #[error("{step}: {reason}")]
    Step {
        /// The operator and the name of the step's last node.
        step: String,
        /// What is wrong, with the shapes.
        reason: String,
    },
    /// A step was not carried out, though its operation is defined for its operands.
    #[error("{step}: {reason}")]
    Failed {
        /// The operator and the name of the step's last node.
        step: String,
        /// What its device or the memory's owner says.
        reason: String,
    },
    /// An input differs from what the graph declares.
    #[error("input {index}: {reason}")]
    Input {
        /// Its place among the fused node's inputs.
        index: usize,
        reason: String,
    },
    /// ONNX Runtime refused memory or data.
    #[error("{0}")]
    Runtime(String),
}

impl From<OrtError> for RunError {
    fn from(error: OrtError) -> Self {
        RunError::Runtime(error.to_string())
    }
}

/// Why a step gives nothing. A program must be able to tell the two apart: after the first, which it caused by what it
/// fed, it may go on with other inputs.
#[derive(Debug)]
pub enum Fault {
    /// Its operation is not defined for its operands: in words, what they lack.
    Operands(String),
    /// It is defined, and was not carried out: in words, why.
    Failed(String),
}

impl Fault {
    /// As the error of a run; `step` is what a message calls the step.
    pub fn of(self, step: &str) -> RunError {
        let step = step.to_owned();
        match self {
            Fault::Operands(reason) => RunError::Step { step, reason },
            Fault::Failed(reason) => RunError::Failed { step, reason },
        }
    }
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Fault::Operands(reason)
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        Fault::Operands(reason.to_owned())
    }
}

impl From<Failed> for Fault {
    fn from(failed: Failed) -> Self {
        Fault::Failed(failed.to_string())
    }
}

impl From<RunError> for Fault {
    fn from(error: RunError) -> Self {
        Fault::Failed(error.to_string())
    }
}
