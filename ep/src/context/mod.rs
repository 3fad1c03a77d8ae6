//! Packed models: ONNX Runtime's *EP context* models of this EP. Instead of a group's nodes such a model holds one
//! `EPContext` node for each group, which names a *container*: a file beside the model with the groups' graphs and
//! their packed weights.
//!
//! [`container`] is the file, [`map`] how it is read, [`node`] the node. What is in a container is planned as any other
//! graph ([`crate::plan`]), but no weight is read, quantised or copied for that: packed weights and large constants are
//! used where the file is mapped.

pub mod container;
pub mod map;
pub mod node;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};
use undertone_kernels::host::HostDevice;

use crate::options::Options;

/// Whose containers can be read by whom: all of it must be equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Version and mark of the EP's code.
    pub build: String,
    /// Instruction set that the weights are packed for.
    pub instruction_set: String,
    /// The EP option `device`, resolved.
    pub device: String,
    pub precision: String,
    pub claim: String,
}

/// The EP's code, told from any other code by its sources.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "-", env!("EP_BUILD"));

impl Origin {
    /// A session of this process.
    pub fn new(options: &Options) -> Self {
        Self {
            build: BUILD.to_owned(),
            instruction_set: HostDevice::new().isa().to_string(),
            device: options.device.to_string(),
            precision: options.precision.to_string(),
            claim: options.claim.to_string(),
        }
    }

    /// Where it differs from `other`: what it is, here and there.
    fn difference<'m>(&'m self, other: &'m Self) -> Option<[&'m str; 3]> {
        [
            ["build", &self.build, &other.build],
            ["instruction set", &self.instruction_set, &other.instruction_set],
            ["device", &self.device, &other.device],
            ["precision", &self.precision, &other.precision],
            ["claim", &self.claim, &other.claim],
        ]
        .into_iter()
        .find(|[_, here, there]| here != there)
    }
}

/// Whether a session writes a packed model, from ONNX Runtime's session options of the same names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writing {
    pub enable: bool,
    /// `ep.context_file_path`: the packed model, where it is not named after the model.
    pub file_path: Option<PathBuf>,
    /// `ep.context_embed_mode`: the container is to be within the model.
    pub embed: bool,
}

/// Why a packed model cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The system refuses to read the container.
    #[error("cannot read the packed weights {}: {source}; pack the model anew", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The system refuses to write the container.
    #[error("cannot write the packed weights {}: {source}; give another path in ep.context_file_path", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    /// The container is not what was written.
    #[error("the packed weights {} are damaged ({what}); pack the model anew", path.display())]
    Damaged { path: PathBuf, what: String },
    /// The container was made by another build of this EP, or for another session.
    #[error("the packed weights {} were made for {what} {found}, and this session has {wanted}; pack the model anew", path.display())]
    Foreign {
        path: PathBuf,
        what: String,
        /// The container's.
        found: String,
        /// The session's.
        wanted: String,
    },
    /// An `EPContext` node that does not say what is needed.
    #[error("node {node} of the packed model {what}; pack the model anew")]
    Node { node: String, what: String },
    /// A packed model cannot be made of this one.
    #[error("cannot pack the model: {0}")]
    NotPackable(&'static str),
}
