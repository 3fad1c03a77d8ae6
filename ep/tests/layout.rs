//! The ABI structs lie in memory as `onnxruntime_ep_c_api.h` lays them out: members in its order, each a pointer wide.
//! A test with a real ONNX Runtime (the root package's `ep_*` tests) would crash on a mistake; these say where it is.

use std::mem::{offset_of, size_of};

use onnxruntime_ep_xdna::abi::{
    LATER_MEMBERS, NO_LATER_MEMBERS, OrtEp, OrtEpApi, OrtEpApiOfProfiling, OrtEpFactory, OrtEpProfilerImpl,
    OrtNodeComputeInfo, OrtNodeFusionOptions,
};

const POINTER: usize = size_of::<usize>();

/// Asserts that the members of a struct follow each other, one pointer each, after a version number.
macro_rules! assert_members {
    ($struct:ty, $first:expr, [$($member:ident),* $(,)?]) => {
        let mut place = $first;
        $(
            assert_eq!(offset_of!($struct, $member), place * POINTER, "{}", stringify!($member));
            place += 1;
        )*
        assert_eq!(size_of::<$struct>(), place * POINTER + later_size(stringify!($struct)));
    };
}

/// The tail that later versions' members are read from.
fn later_size(of: &str) -> usize {
    if of == "OrtEpApi" { 0 } else { LATER_MEMBERS * POINTER }
}

#[test]
fn factory() {
    assert_eq!(offset_of!(OrtEpFactory, ort_version_supported), 0);
    assert_members!(
        OrtEpFactory,
        1,
        [
            GetName,
            GetVendor,
            GetSupportedDevices,
            CreateEp,
            ReleaseEp,
            GetVendorId,
            GetVersion,
            ValidateCompiledModelCompatibilityInfo,
            CreateAllocator,
            ReleaseAllocator,
            CreateDataTransfer,
            IsStreamAware,
            CreateSyncStreamForDevice,
        ]
    );
    assert_eq!(offset_of!(OrtEpFactory, later), 14 * POINTER);
}

#[test]
fn ep() {
    assert_eq!(offset_of!(OrtEp, ort_version_supported), 0);
    assert_members!(
        OrtEp,
        1,
        [
            GetName,
            GetCapability,
            Compile,
            ReleaseNodeComputeInfos,
            GetPreferredDataLayout,
            ShouldConvertDataLayoutForOp,
            SetDynamicOptions,
            OnRunStart,
            OnRunEnd,
            CreateAllocator,
            CreateSyncStreamForDevice,
            GetCompiledModelCompatibilityInfo,
            GetKernelRegistry,
            IsConcurrentRunSupported,
            Sync,
            CreateProfiler,
        ]
    );
    assert_eq!(offset_of!(OrtEp, later), 17 * POINTER);
}

#[test]
fn ep_api() {
    assert_members!(OrtEpApi, 0, [CreateEpDevice, ReleaseEpDevice, EpGraphSupportInfo_AddNodesToFuse]);
}

/// The places are those of the header of 1.25; 1.24's table ends with the fiftieth.
#[test]
fn profiling() {
    assert_eq!(offset_of!(OrtEpApiOfProfiling, head), 0);
    assert_eq!(offset_of!(OrtEpApiOfProfiling, CreateProfilingEvent), 65 * POINTER);
    assert_eq!(offset_of!(OrtEpApiOfProfiling, ReleaseProfilingEvent), 66 * POINTER);
    assert_eq!(offset_of!(OrtEpApiOfProfiling, ProfilingEventsContainer_AddEvents), 72 * POINTER);
    assert_eq!(offset_of!(OrtEpProfilerImpl, ort_version_supported), 0);
    assert_members!(OrtEpProfilerImpl, 1, [Release, StartProfiling, StartEvent, StopEvent, EndProfiling]);
}

#[test]
fn compute_info() {
    assert_eq!(offset_of!(OrtNodeComputeInfo, ort_version_supported), 0);
    assert_members!(OrtNodeComputeInfo, 1, [CreateState, Compute, ReleaseState]);
}

#[test]
fn fusion_options() {
    assert_eq!(offset_of!(OrtNodeFusionOptions, ort_version_supported), 0);
    assert_eq!(offset_of!(OrtNodeFusionOptions, drop_constant_initializers), 4);
    // What a later version appends begins at the next place for a pointer.
    assert_eq!(offset_of!(OrtNodeFusionOptions, later), 8);
}

#[test]
fn members_of_later_versions_are_not_implemented() {
    assert!(NO_LATER_MEMBERS.iter().all(Option::is_none));
    assert_eq!(size_of::<Option<unsafe extern "system" fn()>>(), POINTER);
}
