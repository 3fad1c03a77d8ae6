//! The runner's calls into C that `ort` has no safe function for: the version of an ONNX Runtime library, and which
//! provider ONNX Runtime assigned a session's nodes to. `ep_library` calls the execution provider.
#![allow(unsafe_code)]

use libloading::Library;
use ort::AsPointer;
use ort::session::Session;
use std::ffi::CStr;
use std::path::Path;

/// The version that the ONNX Runtime library at `path` names, for example `1.32.0`.
///
/// # Errors
/// The loader's words, or that the library is not ONNX Runtime.
pub(crate) fn ort_version(path: &Path) -> Result<String, String> {
    // SAFETY: loading runs the library's initialisers; the caller chose this file to be loaded as ONNX Runtime anyway.
    let library = unsafe { Library::new(path) }.map_err(|e| e.to_string())?;
    // SAFETY: `OrtGetApiBase` has had this signature in all releases; the symbol does not outlive `library`.
    let get_base = unsafe { library.get::<unsafe extern "C" fn() -> *const ort_sys::OrtApiBase>(b"OrtGetApiBase") }
        .map_err(|_| "it does not export OrtGetApiBase".to_owned())?;
    // SAFETY: the function takes nothing and returns a static table or null.
    let base = unsafe { get_base().as_ref() }.ok_or("OrtGetApiBase returned nothing")?;
    // SAFETY: the table is static and its second field returns a static, zero-terminated string.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) };
    let version = version.to_string_lossy().into_owned();
    // Unloading would run ONNX Runtime's static destructors; it is about to be loaded for good.
    std::mem::forget(library);
    Ok(version)
}

/// What ONNX Runtime assigned to a provider.
pub(crate) struct Assigned {
    /// The provider's name.
    pub(crate) provider: String,
    /// Nodes of the model.
    pub(crate) nodes: usize,
    /// Parts of the graph that these are, each of them fused into one.
    pub(crate) parts: usize,
}

/// Gives memory that was freed back to the system, where the C library keeps it: glibc does, in amounts that a loaded
/// model makes large.
pub(crate) fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: glibc's function takes a number and may be called at any time, from any thread.
        unsafe { malloc_trim(0) };
    }
}

/// How many nodes of `session`'s model ONNX Runtime assigned to each provider.
/// The session must have been made with `session.record_ep_graph_assignment_info` = `1`.
///
/// # Errors
/// ONNX Runtime's words.
pub(crate) fn assigned_nodes(session: &Session) -> Result<Vec<Assigned>, ort::Error> {
    let api = ort::api();
    let inner = session.inner();
    let mut subgraphs = std::ptr::null();
    let mut count = 0;
    // SAFETY: the session lives through this function; the out-pointers are valid.
    check(unsafe { (api.Session_GetEpGraphAssignmentInfo)(inner.ptr(), &mut subgraphs, &mut count) })?;
    let mut assigned: Vec<Assigned> = Vec::new();
    // SAFETY: ONNX Runtime returned `count` subgraphs, owned by the session.
    for &subgraph in unsafe { slice(subgraphs, count) } {
        let mut name = std::ptr::null();
        // SAFETY: `subgraph` comes from the call above; the out-pointer is valid.
        check(unsafe { (api.EpAssignedSubgraph_GetEpName)(subgraph, &mut name) })?;
        // SAFETY: on success the name is a zero-terminated string owned by the session.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        let (mut nodes, mut nodes_count) = (std::ptr::null(), 0);
        // SAFETY: as above.
        check(unsafe { (api.EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut nodes_count) })?;
        match assigned.iter_mut().find(|known| known.provider == name) {
            Some(known) => {
                known.nodes += nodes_count;
                known.parts += 1;
            }
            None => assigned.push(Assigned { provider: name, nodes: nodes_count, parts: 1 }),
        }
    }
    Ok(assigned)
}

fn check(status: ort_sys::OrtStatusPtr) -> Result<(), ort::Error> {
    // SAFETY: `status` was returned by the call just made and is given away here, once.
    unsafe { ort::Error::result_from_status(status) }
}

/// # Safety
/// `pointer` is null or points to `length` values that outlive the result.
unsafe fn slice<'a, T>(pointer: *const T, length: usize) -> &'a [T] {
    if pointer.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(pointer, length) }
}
