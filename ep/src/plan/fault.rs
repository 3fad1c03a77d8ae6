//! Why a step of a run gives nothing: whether its operands are to blame, which the program that runs the session chose,
//! or what carries it out. A program must be able to tell the two apart: after the first it may go on with other
//! inputs.

use undertone_kernels::Failed;

use super::{RunError, layout::PlanStep};

/// Why a step gives nothing.
#[derive(Debug)]
pub enum Fault {
    /// Its operation is not defined for its operands: in words, what they lack.
    Operands(String),
    /// It is defined, and was not carried out: in words, why.
    Failed(String),
}

impl Fault {
    /// As the error of a run.
    pub fn of(self, step: &PlanStep) -> RunError {
        let step = step.name.clone();
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
