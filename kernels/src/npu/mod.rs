//! The NPU: what it is, what runs on it, what that costs, and the two arrays that carry it out: a simulated one and,
//! through XRT, a real one. Nothing here has run on hardware; `docs/npu.md` says what was checked instead.
//!
//! A [`Design`] describes a compiled array: its kernels, tile sizes, where its streams enter and leave. A [`Problem`]
//! is the shape of what is computed at once. Data is packed into the design's tile objects ([`layout`]), an instruction
//! stream for the shape says how they move, and an [`Array`] executes the stream over three buffers.

mod access;
mod array;
mod attention;
mod bundle;
mod chain;
pub mod cost;
mod design;
mod device;
mod engine;
mod fetched;
mod hardware;
mod kernels;
pub mod ladder;
pub mod layout;
mod linear;
mod open;
mod placed;
mod placement;
mod plain_file;
#[cfg_attr(windows, allow(dead_code, reason = "most of it looks at what Linux shows"))]
mod probe;
mod problem;
mod question;
mod rates;
pub mod sim;
#[cfg_attr(windows, allow(dead_code, reason = "most of it looks at what Linux shows"))]
mod software;
mod statistics;
pub mod stream;
mod target;
mod trial;
mod trust;
mod unavailable;
#[cfg(any(windows, test))]
mod windows;
#[cfg(feature = "xrt")]
pub mod xrt;

pub use access::Transfer;
pub use array::{Array, ArrayError, Buffer, Job, OpenTrial, RunReport};
pub use bundle::{Bundle, BundleError, Bundles, Objects, TrialBundle};
pub use design::{
    Argument, CONSTANT_BYTES, Channel, Design, DesignError, Direction, HEAD_WIDTH, Kernels, Operator, Problem,
    STACK_BYTES, Tile,
};
pub use device::{Commands, Npu, NpuDevice, Settings, simulator};
pub use fetched::bundles_in;
pub use hardware::hardware;
pub use open::OpenNpu;
pub use placed::PlacedDevice;
pub use placement::Placement;
pub use probe::{Finding, PciNpu, Probe, probe, probe_below};
pub use rates::Rates;
pub use software::{Origin, Software};
pub use target::{MicroTile, Target};
pub use trial::{Lane, Trial, TrialKind};
pub use unavailable::Unavailable;
