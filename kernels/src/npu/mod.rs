//! The NPU: what it is, what runs on it, what that costs, and the two arrays that carry it out: a simulated one and,
//! through XRT, a real one. Nothing here has run on hardware; `docs/npu.md` says what was checked instead.
//!
//! A [`Design`] describes a compiled array: its kernels, tile sizes, where its streams enter and leave. A [`Problem`]
//! is the shape of what is computed at once. Data is packed into the design's tile objects ([`layout`]), an instruction
//! stream for the shape says how they move, and an [`Array`] executes the stream over three buffers.

pub mod access;
pub mod array;
mod attention;
pub mod bundle;
pub mod cost;
pub mod design;
pub mod device;
mod engine;
pub mod hardware;
mod kernels;
pub mod layout;
mod linear;
mod open;
mod placed;
pub mod placement;
pub mod probe;
mod problem;
pub mod rates;
pub mod sim;
pub mod statistics;
pub mod stream;
pub mod target;
pub mod tiling;
mod trust;
mod unavailable;
#[cfg(feature = "xrt")]
pub mod xrt;

pub use array::{Array, ArrayError, Buffer, Job, RunReport};
pub use bundle::{Bundle, BundleError, Bundles};
pub use design::{Argument, Channel, Design, DesignError, Direction, Kernels, Operator, Problem, Tile};
pub use device::{NpuDevice, Settings};
pub use hardware::hardware;
pub use open::OpenNpu;
pub use placed::PlacedDevice;
pub use probe::{Finding, PciNpu, Probe, probe};
pub use target::{MicroTile, Target};
pub use unavailable::Unavailable;
