//! The factory: what the EP is called, which devices it offers, and how a session gets its EP.
//!
//! The EP offers itself for the machine's CPU, so that it can be asked for by device. Every automatic policy of ONNX
//! Runtime (`PREFER_CPU`, `MAX_EFFICIENCY`, …) then picks it before the CPU provider, in every session of the process
//! that leaves the choice to a policy, without options; the Rust crate `ort` sets a policy by itself. Policies know no
//! way for an EP to step back, and `CreateEp` cannot tell a policy's choice from a person's. So a session that names
//! neither a device nor a precision is computed in fp32 ([`Options::parse`]). A program that wants the CPU provider
//! names it: the device of `CPUExecutionProvider`.

#![allow(unsafe_code, reason = "implements ONNX Runtime's factory callbacks")]

use std::{
    ffi::{CStr, c_char},
    path::PathBuf,
    ptr, slice,
    sync::Arc,
};

use ort_sys::{
    OrtAllocator, OrtEpDevice, OrtHardwareDevice, OrtHardwareDeviceType, OrtKeyValuePairs, OrtLogger, OrtMemoryInfo,
    OrtSessionOptions, OrtStatusPtr,
};

use crate::{
    abi::{NO_LATER_MEMBERS, OrtDataTransferImpl, OrtEp, OrtEpFactory, OrtMemoryDevice, OrtSyncStreamImpl},
    context::Writing,
    guard::{guard, guard_release},
    log::Log,
    memory::Shared,
    npu,
    options::Options,
    provider::Provider,
    report::Reporter,
    runtime::{Runtime, check, ort_call, text},
    status::{Failure, OK, StatusMaker},
    trace::file::TraceFile,
};

const VENDOR: &CStr = c"Undertone";
/// PCI vendor of the device that the EP brings: none, for the host device is whatever CPU there is.
const VENDOR_ID: u32 = 0;
const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// Makes the EPs of one registration. ONNX Runtime holds it by its first member, and so does each EP: sessions may
/// outlive the registration, and ONNX Runtime looks into the factory's table to release their EPs.
#[repr(C)]
pub struct Factory {
    table: OrtEpFactory,
    pub runtime: Runtime,
    /// What the sessions of one registration have in common.
    pub shared: Arc<Shared>,
}

impl Factory {
    /// A factory for ONNX Runtime to own until [`Factory::release`].
    pub fn into_raw(runtime: Runtime) -> *mut OrtEpFactory {
        let table = OrtEpFactory {
            ort_version_supported: runtime.version,
            GetName: get_name,
            GetVendor: get_vendor,
            GetSupportedDevices: get_supported_devices,
            CreateEp: create_ep,
            ReleaseEp: release_ep,
            GetVendorId: get_vendor_id,
            GetVersion: get_version,
            ValidateCompiledModelCompatibilityInfo: None,
            CreateAllocator: create_allocator,
            ReleaseAllocator: release_allocator,
            CreateDataTransfer: create_data_transfer,
            IsStreamAware: is_stream_aware,
            CreateSyncStreamForDevice: create_sync_stream_for_device,
            later: NO_LATER_MEMBERS,
        };
        Arc::into_raw(Arc::new(Self { table, runtime, shared: Arc::default() })).cast_mut().cast()
    }

    /// Takes back what [`Factory::into_raw`] gave away. EPs that are left keep the factory.
    ///
    /// # Safety
    /// `factory` is NULL or came from `into_raw`, and is not used again but to release EPs.
    pub unsafe fn release(factory: *mut OrtEpFactory) {
        if !factory.is_null() {
            // SAFETY: as the caller promises.
            guard_release(|| drop(unsafe { Arc::from_raw(factory.cast::<Self>()) }));
        }
    }

    /// A factory that ONNX Runtime holds, for an EP to hold, too.
    ///
    /// # Safety
    /// `factory` came from [`Factory::into_raw`] and is not yet released.
    unsafe fn share(factory: *mut OrtEpFactory) -> Arc<Self> {
        let factory = factory.cast_const().cast::<Self>();
        // SAFETY: as the caller promises, an `Arc` stands for it, and this is one more.
        unsafe {
            Arc::increment_strong_count(factory);
            Arc::from_raw(factory)
        }
    }

    /// Offers the first CPU among the machine's devices; gives how many EP devices were written.
    ///
    /// # Safety
    /// `this` is this factory, and the devices are valid.
    unsafe fn offer(
        &self,
        this: *mut OrtEpFactory,
        devices: &[*const OrtHardwareDevice],
        offered: &mut [*mut OrtEpDevice],
    ) -> Result<usize, Failure> {
        let api = self.runtime.api;
        // SAFETY: the device is valid. The type is read as a number: a later version may have types that Rust's enum
        // lacks.
        let is_cpu = |device: &&*const OrtHardwareDevice| unsafe {
            let kind: unsafe extern "system" fn(*const OrtHardwareDevice) -> i32 =
                std::mem::transmute(api.HardwareDevice_Type);
            kind(**device) == OrtHardwareDeviceType::OrtHardwareDeviceType_CPU as i32
        };
        let (Some(cpu), Some(offered)) = (devices.iter().find(is_cpu), offered.first_mut()) else { return Ok(0) };
        // SAFETY: ONNX Runtime copies the metadata and owns the new device once it is written to its array.
        unsafe {
            let mut metadata: *mut OrtKeyValuePairs = ptr::null_mut();
            (api.CreateKeyValuePairs)(&mut metadata);
            (api.AddKeyValuePair)(metadata, c"device".as_ptr(), c"host".as_ptr());
            let status = (self.runtime.ep_api.CreateEpDevice)(this, *cpu, metadata, ptr::null(), offered);
            (api.ReleaseKeyValuePairs)(metadata);
            check(api, "CreateEpDevice", status)?;
        }
        Ok(1)
    }

    /// # Safety
    /// `session_options` is valid, and `logger` is the session's.
    unsafe fn create(
        self: Arc<Self>,
        session_options: *const OrtSessionOptions,
        logger: *const OrtLogger,
    ) -> Result<*mut OrtEp, Failure> {
        // SAFETY: as the caller promises.
        let entries = unsafe { entries(self.runtime, session_options)? };
        let prefix = format!("ep.{}.", crate::NAME.to_lowercase());
        let own = entries.iter().filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?, value.as_str())));
        let mut options = Options::parse(own)?;
        let entry = |wanted: &str| entries.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
        let writing = Writing {
            enable: entry("ep.context_enable") == Some("1"),
            file_path: entry("ep.context_file_path").filter(|path| !path.is_empty()).map(PathBuf::from),
            embed: entry("ep.context_embed_mode") == Some("1"),
        };
        let npu = npu::open(&mut options)?;
        let reporter = Reporter::new(&options)?;
        let trace_file = options.trace.as_deref().map(TraceFile::open).transpose()?;
        let log = Log::new(self.runtime, logger);
        Ok(Provider::into_raw(self, options, npu, writing, reporter, trace_file, log))
    }
}

/// The session's configuration entries.
///
/// # Safety
/// `session_options` is valid.
unsafe fn entries(
    runtime: Runtime,
    session_options: *const OrtSessionOptions,
) -> Result<Vec<(String, String)>, Failure> {
    let api = runtime.api;
    // SAFETY: as the caller promises; the arrays have `count` entries and live until the pairs are released.
    unsafe {
        let mut pairs = ptr::null_mut();
        ort_call!(api, GetSessionOptionsConfigEntries(session_options, &mut pairs))?;
        let (mut keys, mut values, mut count) = (ptr::null(), ptr::null(), 0);
        (api.GetKeyValuePairs)(pairs, &mut keys, &mut values, &mut count);
        let entries = (0..count).map(|index| (text(*keys.add(index)), text(*values.add(index)))).collect();
        (api.ReleaseKeyValuePairs)(pairs);
        Ok(entries)
    }
}

/// # Safety
/// `this` came from [`Factory::into_raw`] and is not yet released.
unsafe fn factory<'a>(this: *const OrtEpFactory) -> &'a Factory {
    // SAFETY: the table is the first member.
    unsafe { &*this.cast::<Factory>() }
}

unsafe extern "system" fn get_name(_this: *const OrtEpFactory) -> *const c_char {
    crate::NAME_C.as_ptr()
}

unsafe extern "system" fn get_vendor(_this: *const OrtEpFactory) -> *const c_char {
    VENDOR.as_ptr()
}

unsafe extern "system" fn get_vendor_id(_this: *const OrtEpFactory) -> u32 {
    VENDOR_ID
}

unsafe extern "system" fn get_version(_this: *const OrtEpFactory) -> *const c_char {
    VERSION.as_ptr()
}

unsafe extern "system" fn get_supported_devices(
    this: *mut OrtEpFactory,
    devices: *const *const OrtHardwareDevice,
    device_count: usize,
    ep_devices: *mut *mut OrtEpDevice,
    ep_devices_max: usize,
    ep_device_count: *mut usize,
) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes the factory that it was given.
    let factory = unsafe { factory(this) };
    guard(StatusMaker::new(factory.runtime.api), "GetSupportedDevices", || {
        // SAFETY: the arrays have as many entries as said.
        unsafe {
            *ep_device_count = 0;
            if device_count == 0 || ep_devices_max == 0 {
                return Ok(());
            }
            let devices = slice::from_raw_parts(devices, device_count);
            let offered = slice::from_raw_parts_mut(ep_devices, ep_devices_max);
            *ep_device_count = factory.offer(this, devices, offered)?;
        }
        Ok(())
    })
}

unsafe extern "system" fn create_ep(
    this: *mut OrtEpFactory,
    _devices: *const *const OrtHardwareDevice,
    _ep_metadata: *const *const OrtKeyValuePairs,
    _device_count: usize,
    session_options: *const OrtSessionOptions,
    logger: *const OrtLogger,
    ep: *mut *mut OrtEp,
) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes the factory that it was given.
    let factory = unsafe { factory(this) };
    guard(StatusMaker::new(factory.runtime.api), "CreateEp", || {
        // SAFETY: the options are valid during the call, and `ep` is room for one pointer.
        unsafe {
            *ep = ptr::null_mut();
            *ep = Factory::share(this).create(session_options, logger)?;
        }
        Ok(())
    })
}

unsafe extern "system" fn release_ep(_this: *mut OrtEpFactory, ep: *mut OrtEp) {
    // SAFETY: ONNX Runtime gives back what `CreateEp` wrote.
    unsafe { Provider::release(ep) }
}

// The EP's tensors are in ordinary CPU memory: no allocator, no data transfer, no streams of its own. ONNX Runtime
// calls some of these at registration all the same.

unsafe extern "system" fn create_allocator(
    _this: *mut OrtEpFactory,
    _memory_info: *const OrtMemoryInfo,
    _options: *const OrtKeyValuePairs,
    allocator: *mut *mut OrtAllocator,
) -> OrtStatusPtr {
    // SAFETY: room for one pointer; NULL asks for ONNX Runtime's CPU allocator.
    unsafe { *allocator = ptr::null_mut() };
    OK
}

unsafe extern "system" fn release_allocator(_this: *mut OrtEpFactory, _allocator: *mut OrtAllocator) {}

unsafe extern "system" fn create_data_transfer(
    _this: *mut OrtEpFactory,
    data_transfer: *mut *mut OrtDataTransferImpl,
) -> OrtStatusPtr {
    // SAFETY: room for one pointer; NULL says that none is needed.
    unsafe { *data_transfer = ptr::null_mut() };
    OK
}

unsafe extern "system" fn is_stream_aware(_this: *const OrtEpFactory) -> bool {
    false
}

unsafe extern "system" fn create_sync_stream_for_device(
    _this: *mut OrtEpFactory,
    _device: *const OrtMemoryDevice,
    _options: *const OrtKeyValuePairs,
    stream: *mut *mut OrtSyncStreamImpl,
) -> OrtStatusPtr {
    // SAFETY: room for one pointer; NULL says that there are no streams.
    unsafe { *stream = ptr::null_mut() };
    OK
}
