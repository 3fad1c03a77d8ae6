//! The arithmetic that Undertone claims from Whisper graphs, and the devices that carry it out.
//!
//! ```
//! use undertone_kernels::{
//!     Context, Counters, Device, LinearSpec, Precision, Scratch, Serial, WeightLayout, host::HostDevice,
//! };
//!
//! // Rows of two values by a matrix [2, 3], in int8.
//! let spec = LinearSpec::new(2, 3, Precision::Int8);
//! let weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
//! let layer = HostDevice::new().linear(&spec, &weights, WeightLayout::InputsByOutputs, None)?;
//!
//! let (counters, mut scratch, mut y) = (Counters::new(), Scratch::default(), [0.0; 3]);
//! let mut context = Context { pool: &Serial, counters: &counters, scratch: &mut scratch };
//! layer.run(&mut context, 1, &[1.0, 10.0], None, &mut y)?;
//! for (y, exact) in y.iter().zip([41.0, 52.0, 63.0]) {
//!     assert!((y - exact).abs() < 0.5, "{y}, not {exact}: more than int8 loses");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An operator is described by a *spec* ([`LinearSpec`], [`AttentionSpec`], [`Conv1dSpec`]). A [`Device`] turns a spec
//! and its weights into a prepared kernel, once; the kernel then runs any number of times, from any number of threads,
//! without allocating beyond its [`Scratch`]. Work that is never given to an NPU (layer norm, soft-max, element-wise,
//! moving data) is methods of the host device, and plain functions in [`host`].
//!
//! This crate knows nothing of ONNX: shapes and slices in, slices out. Every fast path is held against the slow obvious
//! one in [`mod@reference`].

mod attention;
mod blob;
mod blocks;
mod context;
mod conv;
mod device;
pub mod host;
mod linear;
pub mod npu;
pub mod numbers;
mod parallel;
pub mod reader;
pub mod reference;
mod rows;
mod scratch;
mod strides;
pub mod team;
pub mod trace;

pub use attention::{Attention, AttentionArgs, AttentionSpec, CachedArgs, Heads, HeadsMut, Mask};
pub use blob::{Blob, Memory, Unfit};
pub use blocks::{BlockForm, BlockWeights};
pub use context::{Context, Counters, DeviceKind, Failed, Unsupported};
pub use conv::{Conv1d, Conv1dSpec};
pub use device::Device;
pub use linear::{Activation, Linear, LinearSpec, WeightLayout};
pub use parallel::{Parallel, ScopedThreads, Serial};
pub use rows::{Norm, Product, Rows, SelfAttention};
pub use scratch::{Buffer, Scratch};
pub use undertone_boundary::options::Precision;
