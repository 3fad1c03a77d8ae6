//! The runner's calls into C that `ort` has no safe function for: the version of an ONNX Runtime library, the
//! execution provider's counters and measurements, and which provider ONNX Runtime assigned a session's nodes to.
#![allow(unsafe_code)]

use libloading::Library;
use ort::AsPointer;
use ort::session::Session;
use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use undertone_boundary::counters::Counter;
use undertone_boundary::exports::{COUNTER, DESCRIBE, Export, MEASURE, NPU, PROFILE};

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

/// The counters that the execution provider's library exports. They are of this process and only grow.
pub(crate) struct Counters {
    library: Library,
}

impl Counters {
    /// Opens the library at `path`, which ONNX Runtime has registered before (it is the same copy in memory).
    ///
    /// # Errors
    /// The loader's words, or that the library has no counters.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        // SAFETY: ONNX Runtime has loaded this file already; this only adds a reference to it.
        let library = unsafe { Library::new(path) }.map_err(|e| e.to_string())?;
        // SAFETY: only the presence of the symbol is asked for; it is not used.
        unsafe { exported(&library, &COUNTER) }.ok_or_else(|| format!("it does not export {}", COUNTER.symbol))?;
        Ok(Self { library })
    }

    /// A counter, or `None` where the library knows none of that name.
    pub(crate) fn get(&self, counter: Counter) -> Option<u64> {
        let name = CString::new(counter.to_string()).ok()?;
        // SAFETY: the library is the execution provider's.
        let counter = unsafe { exported(&self.library, &COUNTER) }?;
        // SAFETY: `name` is zero-terminated and lives until the call returns; the function only reads it.
        let value = unsafe { counter(name.as_ptr()) };
        (value != u64::MAX).then_some(value)
    }

    /// What the library's NPUs did: JSON; `None` where the library has none to speak of.
    pub(crate) fn npu(&self) -> Option<String> {
        // SAFETY: the library is the execution provider's.
        text(unsafe { exported(&self.library, &NPU) }?())
    }

    /// What the library says it is: JSON.
    pub(crate) fn description(&self) -> Option<String> {
        // SAFETY: the library is the execution provider's.
        text(unsafe { exported(&self.library, &DESCRIBE) }?())
    }
}

/// What the execution provider's library at `path` says it is: JSON. The library is not registered with ONNX Runtime.
///
/// # Errors
/// The loader's words, or that the library is another one.
pub(crate) fn described(path: &Path) -> Result<String, String> {
    let library = Instruments::open(path)?.library;
    Counters { library }.description().ok_or_else(|| "it does not describe itself".to_owned())
}

/// The functions with which the execution provider's library measures itself.
pub(crate) struct Instruments {
    library: Library,
}

impl Instruments {
    /// Opens the library at `path`; one that ONNX Runtime has registered is the same copy in memory.
    ///
    /// # Errors
    /// The loader's words.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        // SAFETY: the caller chose this file to be loaded as the execution provider anyway.
        unsafe { Library::new(path) }.map(|library| Self { library }).map_err(|e| e.to_string())
    }

    /// The library's kernels beside the machine's limits: JSON in, JSON out. `None` where the library cannot measure them.
    pub(crate) fn measure(&self, request: &str) -> Option<String> {
        let request = CString::new(request).ok()?;
        // SAFETY: the library is the execution provider's.
        let measure = unsafe { exported(&self.library, &MEASURE) }?;
        // SAFETY: `request` is zero-terminated and lives until the call returns.
        text(unsafe { measure(request.as_ptr()) })
    }

    /// Starts (`true`) or ends noting what each step of a run takes; the end gives what was noted, as JSON.
    pub(crate) fn profile(&self, on: bool) -> Option<String> {
        // SAFETY: the library is the execution provider's.
        text(unsafe { exported(&self.library, &PROFILE) }?(on))
    }
}

/// A function of the execution provider's library; `None` where the library is older and has none of that name.
///
/// # Safety
/// `library` is the execution provider's, and the function is not called after it is dropped.
pub(crate) unsafe fn exported<F: Copy>(library: &Library, export: &Export<F>) -> Option<F> {
    // SAFETY: the execution provider exports its functions by these names with these types.
    unsafe { library.get::<F>(export.symbol) }.ok().map(|function| *function)
}

/// A copy of a string of the execution provider's, which may be valid only until this thread's next call.
fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: the functions above return NULL or a zero-terminated string that lives until the next call.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
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

/// Gives memory that was freed back to the system, where the C library keeps it: glibc does, in amounts that a loaded model makes large.
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

/// What of `session`'s model ONNX Runtime assigned to each provider.
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
