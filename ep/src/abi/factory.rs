//! `OrtEpFactory`: what ONNX Runtime asks of a library that makes EPs, with the members of 1.23.

use std::ffi::{c_char, c_int};

use ort_sys::{
    OrtAllocator, OrtEpDevice, OrtHardwareDevice, OrtKeyValuePairs, OrtLogger, OrtMemoryInfo, OrtSessionOptions,
    OrtStatusPtr,
};

use super::{LATER_MEMBERS, Later, OrtDataTransferImpl, OrtEp, OrtMemoryDevice, OrtSyncStreamImpl};

/// Makes EPs.
#[repr(C)]
pub struct OrtEpFactory {
    pub ort_version_supported: u32,
    pub GetName: unsafe extern "system" fn(this: *const OrtEpFactory) -> *const c_char,
    pub GetVendor: unsafe extern "system" fn(this: *const OrtEpFactory) -> *const c_char,
    pub GetSupportedDevices: unsafe extern "system" fn(
        this: *mut OrtEpFactory,
        devices: *const *const OrtHardwareDevice,
        device_count: usize,
        ep_devices: *mut *mut OrtEpDevice,
        ep_devices_max: usize,
        ep_device_count: *mut usize,
    ) -> OrtStatusPtr,
    pub CreateEp: unsafe extern "system" fn(
        this: *mut OrtEpFactory,
        devices: *const *const OrtHardwareDevice,
        ep_metadata: *const *const OrtKeyValuePairs,
        device_count: usize,
        session_options: *const OrtSessionOptions,
        logger: *const OrtLogger,
        ep: *mut *mut OrtEp,
    ) -> OrtStatusPtr,
    pub ReleaseEp: unsafe extern "system" fn(this: *mut OrtEpFactory, ep: *mut OrtEp),
    pub GetVendorId: unsafe extern "system" fn(this: *const OrtEpFactory) -> u32,
    pub GetVersion: unsafe extern "system" fn(this: *const OrtEpFactory) -> *const c_char,
    pub ValidateCompiledModelCompatibilityInfo: Option<
        unsafe extern "system" fn(
            this: *mut OrtEpFactory,
            devices: *const *const OrtHardwareDevice,
            device_count: usize,
            compatibility_info: *const c_char,
            model_compatibility: *mut c_int,
        ) -> OrtStatusPtr,
    >,
    pub CreateAllocator: unsafe extern "system" fn(
        this: *mut OrtEpFactory,
        memory_info: *const OrtMemoryInfo,
        options: *const OrtKeyValuePairs,
        allocator: *mut *mut OrtAllocator,
    ) -> OrtStatusPtr,
    pub ReleaseAllocator: unsafe extern "system" fn(this: *mut OrtEpFactory, allocator: *mut OrtAllocator),
    pub CreateDataTransfer: unsafe extern "system" fn(
        this: *mut OrtEpFactory,
        data_transfer: *mut *mut OrtDataTransferImpl,
    ) -> OrtStatusPtr,
    pub IsStreamAware: unsafe extern "system" fn(this: *const OrtEpFactory) -> bool,
    pub CreateSyncStreamForDevice: unsafe extern "system" fn(
        this: *mut OrtEpFactory,
        device: *const OrtMemoryDevice,
        options: *const OrtKeyValuePairs,
        stream: *mut *mut OrtSyncStreamImpl,
    ) -> OrtStatusPtr,
    pub later: [Later; LATER_MEMBERS],
}
