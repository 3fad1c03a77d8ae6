//! `OrtEp`: what ONNX Runtime asks of the EP of one session, with the members of 1.23 and, of 1.24 and 1.25, those up to
//! the profiler.

use std::ffi::{c_char, c_int};

use ort_sys::{OrtAllocator, OrtGraph, OrtMemoryInfo, OrtNode, OrtRunOptions, OrtStatusPtr};

use super::{
    LATER_MEMBERS, Later, OrtEpGraphSupportInfo, OrtEpProfilerImpl, OrtMemoryDevice, OrtNodeComputeInfo,
    OrtSyncStreamImpl,
};

/// `OrtEpDataLayout`, a C enum.
pub type OrtEpDataLayout = c_int;

/// The EP of one session.
#[repr(C)]
pub struct OrtEp {
    pub ort_version_supported: u32,
    pub GetName: unsafe extern "system" fn(this: *const OrtEp) -> *const c_char,
    pub GetCapability: unsafe extern "system" fn(
        this: *mut OrtEp,
        graph: *const OrtGraph,
        support: *mut OrtEpGraphSupportInfo,
    ) -> OrtStatusPtr,
    pub Compile: unsafe extern "system" fn(
        this: *mut OrtEp,
        graphs: *mut *const OrtGraph,
        fused_nodes: *mut *const OrtNode,
        count: usize,
        infos: *mut *mut OrtNodeComputeInfo,
        ep_context_nodes: *mut *mut OrtNode,
    ) -> OrtStatusPtr,
    pub ReleaseNodeComputeInfos:
        unsafe extern "system" fn(this: *mut OrtEp, infos: *mut *mut OrtNodeComputeInfo, count: usize),
    pub GetPreferredDataLayout:
        Option<unsafe extern "system" fn(this: *mut OrtEp, layout: *mut OrtEpDataLayout) -> OrtStatusPtr>,
    pub ShouldConvertDataLayoutForOp: Option<
        unsafe extern "system" fn(
            this: *mut OrtEp,
            domain: *const c_char,
            op_type: *const c_char,
            layout: OrtEpDataLayout,
            should_convert: *mut c_int,
        ) -> OrtStatusPtr,
    >,
    pub SetDynamicOptions: Option<
        unsafe extern "system" fn(
            this: *mut OrtEp,
            keys: *const *const c_char,
            values: *const *const c_char,
            count: usize,
        ) -> OrtStatusPtr,
    >,
    pub OnRunStart: Option<unsafe extern "system" fn(this: *mut OrtEp, options: *const OrtRunOptions) -> OrtStatusPtr>,
    pub OnRunEnd: Option<
        unsafe extern "system" fn(this: *mut OrtEp, options: *const OrtRunOptions, sync_stream: bool) -> OrtStatusPtr,
    >,
    pub CreateAllocator: Option<
        unsafe extern "system" fn(
            this: *mut OrtEp,
            memory_info: *const OrtMemoryInfo,
            allocator: *mut *mut OrtAllocator,
        ) -> OrtStatusPtr,
    >,
    pub CreateSyncStreamForDevice: Option<
        unsafe extern "system" fn(
            this: *mut OrtEp,
            device: *const OrtMemoryDevice,
            stream: *mut *mut OrtSyncStreamImpl,
        ) -> OrtStatusPtr,
    >,
    pub GetCompiledModelCompatibilityInfo:
        Option<unsafe extern "system" fn(this: *mut OrtEp, graph: *const OrtGraph) -> *const c_char>,
    pub GetKernelRegistry: Later,
    pub IsConcurrentRunSupported: Later,
    pub Sync: Later,
    pub CreateProfiler:
        Option<unsafe extern "system" fn(this: *mut OrtEp, profiler: *mut *mut OrtEpProfilerImpl) -> OrtStatusPtr>,
    pub later: [Later; LATER_MEMBERS],
}
