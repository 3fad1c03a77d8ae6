//! The library's entry points and factory against a pretended ONNX Runtime: versions that do not fit, tables that are
//! missing, devices in any number, and panics. What a real ONNX Runtime does with them is tested in the root package's
//! `ep_*` tests.

#![allow(unsafe_code, reason = "plays the part of ONNX Runtime")]

use std::{
    ffi::{CStr, CString, c_char},
    ptr,
    sync::{LazyLock, atomic::AtomicUsize, atomic::Ordering},
};

use onnxruntime_ep_xdna::{
    abi::{NEWEST_VERSION, OrtEpApi, OrtEpFactory, OrtEpGraphSupportInfo, OrtNodeFusionOptions},
    exports::{
        CreateEpFactories, ReleaseEpFactory, onnxruntime_ep_xdna_counter, onnxruntime_ep_xdna_describe,
        onnxruntime_ep_xdna_profile,
    },
    guard::{guard, guard_release},
    status::{Failure, OK, StatusMaker},
};
use ort_sys::{
    OrtApi, OrtApiBase, OrtEpDevice, OrtHardwareDevice, OrtHardwareDeviceType, OrtKeyValuePairs, OrtNode, OrtStatusPtr,
    stub,
};

/// Functions that do nothing, except those that the tests need.
static API: LazyLock<OrtApi> =
    LazyLock::new(|| OrtApi { GetEpApi: get_ep_api, HardwareDevice_Type: device_type, ..stub::api() });
static API_WITHOUT_EPS: LazyLock<OrtApi> = LazyLock::new(stub::api);
static EP_API: OrtEpApi = OrtEpApi {
    CreateEpDevice: create_ep_device,
    ReleaseEpDevice: release_ep_device,
    EpGraphSupportInfo_AddNodesToFuse: add_nodes_to_fuse,
};
static EP_DEVICES_MADE: AtomicUsize = AtomicUsize::new(0);

unsafe extern "system" fn get_ep_api() -> *const ort_sys::OrtEpApi {
    (&raw const EP_API).cast()
}

/// A pretended device is its type's number, as a pointer.
fn device(kind: OrtHardwareDeviceType) -> *const OrtHardwareDevice {
    ptr::without_provenance(16 + kind as usize)
}

unsafe extern "system" fn device_type(device: *const OrtHardwareDevice) -> OrtHardwareDeviceType {
    match device.addr() - 16 {
        0 => OrtHardwareDeviceType::OrtHardwareDeviceType_CPU,
        1 => OrtHardwareDeviceType::OrtHardwareDeviceType_GPU,
        _ => OrtHardwareDeviceType::OrtHardwareDeviceType_NPU,
    }
}

unsafe extern "system" fn create_ep_device(
    _factory: *mut OrtEpFactory,
    hardware: *const OrtHardwareDevice,
    _metadata: *const OrtKeyValuePairs,
    _options: *const OrtKeyValuePairs,
    ep_device: *mut *mut OrtEpDevice,
) -> OrtStatusPtr {
    EP_DEVICES_MADE.fetch_add(1, Ordering::Relaxed);
    // SAFETY: room for one pointer.
    unsafe { *ep_device = hardware.cast_mut().cast() };
    OK
}

unsafe extern "system" fn release_ep_device(_device: *mut OrtEpDevice) {}

unsafe extern "system" fn add_nodes_to_fuse(
    _support: *mut OrtEpGraphSupportInfo,
    _nodes: *const *const OrtNode,
    _count: usize,
    _options: *const OrtNodeFusionOptions,
) -> OrtStatusPtr {
    OK
}

/// A pretended ONNX Runtime 1.*N*, or one that says that it is.
macro_rules! onnx_runtime {
    ($name:ident, says: $says:literal, has: $newest:expr, api: $api:ident) => {
        fn $name() -> OrtApiBase {
            unsafe extern "system" fn get_api(version: u32) -> *const OrtApi {
                if (1..=$newest).contains(&version) { &*$api } else { ptr::null() }
            }
            unsafe extern "system" fn get_version() -> *const c_char {
                $says.as_ptr()
            }
            OrtApiBase { GetApi: get_api, GetVersionString: get_version }
        }
    };
}

onnx_runtime!(version_1_22, says: c"1.22.1", has: 22, api: API);
onnx_runtime!(version_1_23, says: c"1.23.2", has: 23, api: API);
onnx_runtime!(version_1_40, says: c"1.40.0", has: 40, api: API);
onnx_runtime!(nightly, says: c"nightly", has: 25, api: API);
onnx_runtime!(boaster, says: c"1.31.0", has: 22, api: API);
onnx_runtime!(without_eps, says: c"1.30.0", has: 30, api: API_WITHOUT_EPS);

/// The message of a status, or `None` for no error.
fn message(status: OrtStatusPtr) -> Option<String> {
    if status.0.is_null() {
        return None;
    }
    // SAFETY: the pretended ONNX Runtime makes statuses of this kind.
    Some(unsafe { stub::Error::consume_sys(status.0) }.message().to_owned())
}

fn create(base: *const OrtApiBase, room: usize) -> Result<Vec<*mut OrtEpFactory>, String> {
    let mut factories = vec![ptr::null_mut(); room];
    let mut count = 77;
    // SAFETY: the arguments are what ONNX Runtime's interface prescribes.
    let status =
        unsafe { CreateEpFactories(c"any name".as_ptr(), base, ptr::null(), factories.as_mut_ptr(), room, &mut count) };
    if let Some(message) = message(status) {
        assert_eq!(count, 0, "{message}");
        return Err(message);
    }
    factories.truncate(count);
    Ok(factories)
}

fn release(factory: *mut OrtEpFactory) {
    // SAFETY: the factory came from `create` and is not used again.
    assert_eq!(message(unsafe { ReleaseEpFactory(factory) }), None);
}

#[test]
fn a_version_that_both_know_is_agreed_on() {
    for (base, expected) in [(version_1_23(), 23), (version_1_40(), NEWEST_VERSION), (nightly(), 25)] {
        let factories = create(&base, 4).unwrap();
        assert_eq!(factories.len(), 1);
        // SAFETY: a factory begins with its table.
        let table = unsafe { &*factories[0] };
        assert_eq!(table.ort_version_supported, expected);
        // SAFETY: the callbacks return static strings.
        let texts =
            unsafe { [table.GetName, table.GetVendor, table.GetVersion].map(|get| CStr::from_ptr(get(factories[0]))) };
        assert_eq!(
            texts,
            [c"XdnaExecutionProvider", c"Undertone", CString::new(env!("CARGO_PKG_VERSION")).unwrap().as_c_str()]
        );
        // SAFETY: as above.
        unsafe {
            assert_eq!((table.GetVendorId)(factories[0]), 0);
            assert!(!(table.IsStreamAware)(factories[0]));
        }
        release(factories[0]);
    }
}

#[test]
fn an_onnx_runtime_that_is_too_old_is_told_so() {
    for (base, version) in [(version_1_22(), "1.22.1"), (boaster(), "1.31.0"), (without_eps(), "1.30.0")] {
        let message = create(&base, 4).unwrap_err();
        assert!(message.starts_with("XdnaExecutionProvider: "), "{message}");
        assert!(message.contains(version) && message.contains("1.23 or newer"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn without_an_interface_there_is_no_factory_and_no_crash() {
    unsafe extern "system" fn no_api(_version: u32) -> *const OrtApi {
        ptr::null()
    }
    let base = OrtApiBase { GetApi: no_api, ..version_1_23() };
    assert_eq!(create(&base, 4), Ok(vec![]));
    assert_eq!(create(ptr::null(), 4), Ok(vec![]));
}

#[test]
fn no_room_for_a_factory_is_an_error() {
    let message = create(&version_1_23(), 0).unwrap_err();
    assert!(message.contains("no room for a factory"), "{message}");
    // SAFETY: missing arrays are allowed to be NULL by this test.
    let status =
        unsafe { CreateEpFactories(ptr::null(), &version_1_23(), ptr::null(), ptr::null_mut(), 4, ptr::null_mut()) };
    assert!(self::message(status).is_some());
}

#[test]
fn releasing_nothing_is_no_error() {
    release(ptr::null_mut());
}

#[test]
fn the_cpu_is_offered_once_and_nothing_else() {
    use OrtHardwareDeviceType::{
        OrtHardwareDeviceType_CPU as CPU, OrtHardwareDeviceType_GPU as GPU, OrtHardwareDeviceType_NPU as NPU,
    };
    let factory = create(&version_1_23(), 1).unwrap()[0];
    for (kinds, room, expected) in [
        (&[][..], 8, 0),
        (&[CPU][..], 8, 1),
        (&[GPU, CPU, CPU, NPU, CPU][..], 8, 1),
        (&[GPU, NPU][..], 8, 0),
        (&[CPU][..], 0, 0),
        (&[CPU; 100][..], 1, 1),
    ] {
        let devices: Vec<_> = kinds.iter().map(|kind| device(*kind)).collect();
        let mut offered = vec![ptr::null_mut(); room];
        let mut count = 77;
        // SAFETY: a factory begins with its table, and the arrays have as many entries as said.
        let status = unsafe {
            ((*factory).GetSupportedDevices)(
                factory,
                devices.as_ptr(),
                devices.len(),
                offered.as_mut_ptr(),
                room,
                &mut count,
            )
        };
        assert_eq!(message(status), None);
        assert_eq!(count, expected, "{kinds:?}");
        assert_eq!(offered.iter().filter(|device| !device.is_null()).count(), expected, "{kinds:?}");
        assert!(offered.iter().take(count).all(|offered| offered.cast_const().cast() == device(CPU)));
    }
    assert!(EP_DEVICES_MADE.load(Ordering::Relaxed) >= 3);
    release(factory);
}

#[test]
fn what_is_not_needed_is_answered_with_nothing() {
    let factory = create(&version_1_23(), 1).unwrap()[0];
    // SAFETY: a factory begins with its table; the callbacks write one pointer each.
    unsafe {
        let (mut allocator, mut transfer, mut stream) =
            (ptr::without_provenance_mut(1), ptr::without_provenance_mut(1), ptr::without_provenance_mut(1));
        let table = &*factory;
        assert_eq!(message((table.CreateAllocator)(factory, ptr::null(), ptr::null(), &mut allocator)), None);
        assert_eq!(message((table.CreateDataTransfer)(factory, &mut transfer)), None);
        assert_eq!(message((table.CreateSyncStreamForDevice)(factory, ptr::null(), ptr::null(), &mut stream)), None);
        assert!(allocator.is_null() && transfer.is_null() && stream.is_null());
        (table.ReleaseAllocator)(factory, ptr::null_mut());
        (table.ReleaseEp)(factory, ptr::null_mut());
    }
    release(factory);
}

#[test]
fn a_failure_of_onnx_runtime_comes_back_as_a_status() {
    // The pretended ONNX Runtime cannot list a session's options.
    let factory = create(&version_1_23(), 1).unwrap()[0];
    let mut ep = ptr::without_provenance_mut(1);
    // SAFETY: a factory begins with its table; `ep` is room for one pointer.
    let status =
        unsafe { ((*factory).CreateEp)(factory, ptr::null(), ptr::null(), 0, ptr::null(), ptr::null(), &mut ep) };
    let message = message(status).unwrap();
    assert!(
        message.starts_with("XdnaExecutionProvider: ONNX Runtime's GetSessionOptionsConfigEntries failed"),
        "{message}"
    );
    assert!(ep.is_null());
    release(factory);
}

#[test]
fn a_panic_becomes_a_status_with_its_message() {
    let statuses = StatusMaker::new(&API);
    let text = |body: fn() -> Result<(), Failure>| message(guard(statuses, "Compute", body));
    assert_eq!(text(|| Ok(())), None);
    for (body, expected) in [
        ((|| panic!("a plain text")) as fn() -> Result<(), Failure>, "a plain text"),
        (|| panic!("a number, {}", 7), "a number, 7"),
        (|| std::panic::panic_any(7_u8), "a panic without a message"),
        (|| panic!("before\0after"), "beforeafter"),
    ] {
        let message = text(body).unwrap();
        assert!(message.starts_with("XdnaExecutionProvider: internal error in Compute: "), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    guard_release(|| panic!("while releasing"));
}

#[test]
fn counters_and_description_are_exported() {
    let counter = |name: &CStr| {
        // SAFETY: a NUL-terminated string.
        unsafe { onnxruntime_ep_xdna_counter(name.as_ptr()) }
    };
    let products = [c"kiloflop.claimed", c"kiloflop.left"];
    for name in [c"fused_nodes_executed", c"kernel_calls.host", c"kernel_calls.sim", c"kernel_calls.npu"]
        .into_iter()
        .chain(products)
    {
        assert_eq!(counter(name), 0, "nothing was executed in this process: {name:?}");
    }
    for name in [c"", c"kernel_calls", c"\xff\xfe"] {
        assert_eq!(counter(name), u64::MAX, "{name:?}");
    }
    // SAFETY: NULL is allowed.
    assert_eq!(unsafe { onnxruntime_ep_xdna_counter(ptr::null()) }, u64::MAX);
    // SAFETY: a static NUL-terminated string.
    let description = unsafe { CStr::from_ptr(onnxruntime_ep_xdna_describe()) };
    let parsed: serde_json::Value = serde_json::from_slice(description.to_bytes()).unwrap();
    assert_eq!(parsed["name"], "XdnaExecutionProvider");
    let devices = parsed["devices"].as_array().unwrap();
    assert!(["host", "sim"].iter().all(|name| devices.iter().any(|device| device == name)), "{parsed}");
    assert_eq!(parsed["targets"], serde_json::json!(["npu1", "npu4"]));
    assert!(parsed["npu"].is_string(), "what is in the way of an NPU, or what it is");
}

#[test]
fn profiling_is_exported() {
    let json = |pointer: *const c_char| -> serde_json::Value {
        // SAFETY: a NUL-terminated string that is valid until the next call.
        serde_json::from_slice(unsafe { CStr::from_ptr(pointer) }.to_bytes()).unwrap()
    };
    assert!(onnxruntime_ep_xdna_profile(false).is_null(), "nothing was asked for");
    assert!(onnxruntime_ep_xdna_profile(true).is_null());
    let profile = json(onnxruntime_ep_xdna_profile(false));
    assert_eq!(profile, serde_json::json!({ "runs": 0, "nanoseconds": 0, "noting": 0, "steps": [] }));
}
