//! The structs of ONNX Runtime's plugin EP interface that `ort-sys` does not define, laid out as in
//! `onnxruntime_ep_c_api.h`; and nothing else: no behaviour lives here.
//!
//! Every struct starts with, or is reached through, a version number, and later versions only append members. The
//! structs that ONNX Runtime reads from us therefore end in a tail of NULL pointers: a member that a later version
//! appended is read as "not implemented". The struct that we read from ONNX Runtime stops after the last function that
//! we call, which every version from [`OLDEST_VERSION`] on has.

#![allow(non_snake_case, reason = "the names are those of the C header")]
#![allow(missing_docs, reason = "the members are documented by the C header")]

/// Declares types that are only ever seen through a pointer.
macro_rules! opaque {
    ($($name:ident),* $(,)?) => {
        $(
            #[repr(C)]
            #[derive(Debug)]
            pub struct $name {
                _opaque: [u8; 0],
            }
        )*
    };
}

mod ep;
mod ep_api;
mod factory;
mod node_compute_info;
mod profiler;

pub use ep::{OrtEp, OrtEpDataLayout};
pub use ep_api::OrtEpApi;
pub use factory::OrtEpFactory;
pub use node_compute_info::{OrtNodeComputeInfo, OrtNodeFusionOptions};
pub use profiler::{
    ORT_PROFILING_EVENT_CATEGORY_KERNEL, OrtEpApiOfProfiling, OrtEpProfilerImpl, OrtProfilingEvent,
    OrtProfilingEventsContainer, PROFILING_VERSION,
};

/// First ONNX Runtime (1.*N*) whose plugin interface can compile nodes.
pub const OLDEST_VERSION: u32 = 23;
/// Newest ONNX Runtime (1.*N*) that this EP was tested with. A newer one is asked for this version's interface.
pub const NEWEST_VERSION: u32 = 32;

/// A member that a later version may append; always NULL here.
pub type Later = Option<unsafe extern "system" fn()>;
/// How many members later versions may append to one struct before this file has to know them (1.28 has appended
/// twelve).
pub const LATER_MEMBERS: usize = 48;
/// A tail of members that are not implemented.
pub const NO_LATER_MEMBERS: [Later; LATER_MEMBERS] = [None; LATER_MEMBERS];

opaque! {
    OrtDataTransferImpl,
    OrtEpGraphSupportInfo,
    OrtMemoryDevice,
    OrtNodeComputeContext,
    OrtSyncStreamImpl,
}
