//! The kernels of the NPU's cores (`../src/*.cc`), run on the host: the same C++ sources, compiled against a header
//! that stands in for the AIE API (`../host`). Objects are the bytes that a core's DMAs would bring and take; their
//! layouts are in `../README.md`.
//!
//! Integers are as on the silicon bit for bit. What is assumed of its floating point stands in
//! `../host/aie_api/aie.hpp`; nothing here was compared with silicon.

mod attention;
pub mod counts;
mod ffi;
mod linear;
pub mod numbers;
mod shape;
mod trial;

pub use attention::{Attention, Precision};
pub use linear::{LinearSizes, linear_bf16, linear_int8, split_int8_epilogue};
pub use shape::{CONTROL_BYTES, HEAD_WIDTH, LARGEST_SIDE, Target, Tile};
pub use trial::{TRIAL_BYTES, trial_answer};

/// Something that a kernel cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// The tile cannot be computed on the target.
    #[error("{kernel} on {target:?} with tiles {}×{}×{}: {reason}", tile.m, tile.k, tile.n)]
    Tile {
        /// The kernel's name.
        kernel: &'static str,
        /// The target.
        target: Target,
        /// The tile.
        tile: Tile,
        /// What is wrong, with what would be right.
        reason: String,
    },
    /// A slice is not as long as the tile says.
    #[error("{kernel}: {argument} has {found} elements; with this tile it has {expected}")]
    Length {
        /// The kernel's name.
        kernel: &'static str,
        /// Which argument.
        argument: &'static str,
        /// Elements that it must have.
        expected: usize,
        /// Elements that it has.
        found: usize,
    },
    /// A value is out of range.
    #[error("{kernel}: {reason}")]
    Value {
        /// The kernel's name.
        kernel: &'static str,
        /// Which value, and what it may be.
        reason: String,
    },
}

/// Holds a slice against the length that it must have.
fn exactly(kernel: &'static str, argument: &'static str, found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected { Ok(()) } else { Err(KernelError::Length { kernel, argument, expected, found }) }
}
