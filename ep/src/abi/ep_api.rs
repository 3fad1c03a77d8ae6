//! `OrtEpApi`: the functions that ONNX Runtime offers to EPs, up to the last one that this EP calls.

use ort_sys::{OrtEpDevice, OrtHardwareDevice, OrtKeyValuePairs, OrtNode, OrtStatusPtr};

use super::{OrtEpFactory, OrtEpGraphSupportInfo, OrtNodeFusionOptions};

/// The head of ONNX Runtime's table; more members follow that are not called.
#[repr(C)]
pub struct OrtEpApi {
    pub CreateEpDevice: unsafe extern "system" fn(
        factory: *mut OrtEpFactory,
        hardware_device: *const OrtHardwareDevice,
        ep_metadata: *const OrtKeyValuePairs,
        ep_options: *const OrtKeyValuePairs,
        ep_device: *mut *mut OrtEpDevice,
    ) -> OrtStatusPtr,
    pub ReleaseEpDevice: unsafe extern "system" fn(device: *mut OrtEpDevice),
    pub EpGraphSupportInfo_AddNodesToFuse: unsafe extern "system" fn(
        support: *mut OrtEpGraphSupportInfo,
        nodes: *const *const OrtNode,
        node_count: usize,
        options: *const OrtNodeFusionOptions,
    ) -> OrtStatusPtr,
}
