//! `OrtNodeFusionOptions` and `OrtNodeComputeInfo`: what is asked of a fused node, and what executes it.

use std::ffi::c_void;

use ort_sys::{OrtKernelContext, OrtStatusPtr};

use super::{LATER_MEMBERS, Later, OrtNodeComputeContext};

/// How a group of nodes is to be fused.
#[repr(C)]
pub struct OrtNodeFusionOptions {
    pub ort_version_supported: u32,
    pub drop_constant_initializers: bool,
    pub later: [Later; LATER_MEMBERS],
}

/// Executes one fused node.
#[repr(C)]
pub struct OrtNodeComputeInfo {
    pub ort_version_supported: u32,
    pub CreateState: unsafe extern "system" fn(
        this: *mut OrtNodeComputeInfo,
        context: *mut OrtNodeComputeContext,
        state: *mut *mut c_void,
    ) -> OrtStatusPtr,
    pub Compute: unsafe extern "system" fn(
        this: *mut OrtNodeComputeInfo,
        state: *mut c_void,
        context: *mut OrtKernelContext,
    ) -> OrtStatusPtr,
    pub ReleaseState: unsafe extern "system" fn(this: *mut OrtNodeComputeInfo, state: *mut c_void),
    pub later: [Later; LATER_MEMBERS],
}
