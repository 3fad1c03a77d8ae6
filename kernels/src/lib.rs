//! The arithmetic that Undertone claims from Whisper graphs, and the devices that carry it out.
//!
//! An operator is described by a *spec* ([`LinearSpec`], [`AttentionSpec`], [`Conv1dSpec`]). A [`Device`] turns a spec
//! and its weights into a prepared kernel, once; the kernel then runs any number of times, from any number of threads,
//! without allocating beyond its [`Scratch`]. Work that is never given to an NPU (layer norm, soft-max, element-wise,
//! moving data) is plain functions in [`host`].
//!
//! This crate knows nothing of ONNX: shapes and slices in, slices out. Every fast path is held against the slow obvious
//! one in [`mod@reference`].

pub mod attention;
pub mod blob;
mod context;
pub mod conv;
pub mod device;
mod functions;
pub mod host;
pub mod limits;
pub mod linear;
pub mod measure;
pub mod npu;
pub mod numbers;
pub mod parallel;
pub mod reference;
pub mod rows;
pub mod scratch;
pub mod team;

pub use attention::{Attention, AttentionArgs, AttentionSpec, CachedArgs, Heads, HeadsMut, Mask};
pub use blob::{Blob, Memory, Unfit};
pub use context::{Context, Counters, DeviceKind, Failed, Unsupported};
pub use conv::{Conv1d, Conv1dSpec};
pub use device::Device;
pub use linear::{Activation, Linear, LinearSpec, WeightLayout};
pub use parallel::{Parallel, Serial};
pub use rows::{Norm, Product, Rows};
pub use scratch::Scratch;
pub use undertone_boundary::options::Precision;
