//! Sessions with the provider in front, and as the program asked where that cannot be.

#![allow(unsafe_code, reason = "takes the place of functions of ONNX Runtime, and calls them")]

use std::{
    ffi::{CStr, CString, c_char, c_void},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ort_sys::{OrtApi, OrtEnv, OrtEpDevice, OrtPrepackedWeightsContainer, OrtSession, OrtSessionOptions, OrtStatusPtr};
use undertone_boundary::{EP_NAME, counters::Counter, exports::COUNTER};

use crate::{
    real, say,
    settings::{LIBRARY, SWITCH, Settings},
};

const FILE: &str = "libonnxruntime_ep_xdna.so";
const REGISTERED_NAME: &CStr = c"undertone-preload";

/// What the functions below need: they are called with ONNX Runtime's arguments alone.
struct Prepared {
    api: &'static OrtApi,
    settings: &'static Settings,
}

static PREPARED: OnceLock<Prepared> = OnceLock::new();
static WITH_PROVIDER: AtomicU64 = AtomicU64::new(0);
static WITHOUT: AtomicU64 = AtomicU64::new(0);

/// Before a session is made: the real functions and the settings, once.
pub fn prepare(api: &'static OrtApi, settings: &'static Settings) {
    PREPARED.get_or_init(|| {
        if settings.counters.is_some() {
            // SAFETY: the function stays, because this library is never unloaded.
            unsafe { libc::atexit(write_counters) };
        }
        Prepared { api, settings }
    });
}

/// `OrtApi::CreateSession`.
pub unsafe extern "system" fn create(
    env: *const OrtEnv,
    path: *const c_char,
    options: *const OrtSessionOptions,
    out: *mut *mut OrtSession,
) -> OrtStatusPtr {
    // SAFETY: the program's own arguments, to the function that it meant.
    with_provider(env, options, |api, options| unsafe { (api.CreateSession)(env, path, options, out) })
}

/// `OrtApi::CreateSessionFromArray`.
pub unsafe extern "system" fn create_from_array(
    env: *const OrtEnv,
    data: *const c_void,
    length: usize,
    options: *const OrtSessionOptions,
    out: *mut *mut OrtSession,
) -> OrtStatusPtr {
    // SAFETY: as in `create`.
    with_provider(env, options, |api, options| unsafe { (api.CreateSessionFromArray)(env, data, length, options, out) })
}

/// `OrtApi::CreateSessionWithPrepackedWeightsContainer`.
pub unsafe extern "system" fn create_with_container(
    env: *const OrtEnv,
    path: *const c_char,
    options: *const OrtSessionOptions,
    container: *mut OrtPrepackedWeightsContainer,
    out: *mut *mut OrtSession,
) -> OrtStatusPtr {
    // SAFETY: as in `create`.
    with_provider(env, options, |api, options| unsafe {
        (api.CreateSessionWithPrepackedWeightsContainer)(env, path, options, container, out)
    })
}

/// `OrtApi::CreateSessionFromArrayWithPrepackedWeightsContainer`.
pub unsafe extern "system" fn create_from_array_with_container(
    env: *const OrtEnv,
    data: *const c_void,
    length: usize,
    options: *const OrtSessionOptions,
    container: *mut OrtPrepackedWeightsContainer,
    out: *mut *mut OrtSession,
) -> OrtStatusPtr {
    // SAFETY: as in `create`.
    with_provider(env, options, |api, options| unsafe {
        (api.CreateSessionFromArrayWithPrepackedWeightsContainer)(env, data, length, options, container, out)
    })
}

/// Why a session goes without the provider.
#[derive(Debug, thiserror::Error)]
enum Without {
    #[error("{0}")]
    OnnxRuntime(String),
    #[error("{} is not there: build it with `cargo build --release -p onnxruntime-ep-xdna`, or name it with {LIBRARY}", .0.display())]
    NoLibrary(PathBuf),
    #[error("ONNX Runtime took the library and offers no {EP_NAME}")]
    NotOffered,
}

/// Makes a session with options like these that have the provider; where that fails, with these.
fn with_provider(
    env: *const OrtEnv,
    options: *const OrtSessionOptions,
    make: impl Fn(&OrtApi, *const OrtSessionOptions) -> OrtStatusPtr,
) -> OrtStatusPtr {
    let Some(prepared) = PREPARED.get() else {
        // No program has the table before it is prepared.
        return OrtStatusPtr::default();
    };
    let api = prepared.api;
    let attempt = std::panic::catch_unwind(|| {
        // SAFETY: the program's own environment and options.
        unsafe { options_with_provider(prepared, env, options) }
    });
    let failed = match attempt {
        Ok(Ok(own)) => {
            let result = check(api, make(api, own));
            // SAFETY: they were made for this session, which has copied them.
            unsafe { (api.ReleaseSessionOptions)(own) };
            match result {
                Ok(()) => {
                    WITH_PROVIDER.fetch_add(1, Ordering::Relaxed);
                    return OrtStatusPtr::default();
                }
                Err(error) => error,
            }
        }
        Ok(Err(error)) => error,
        Err(_) => Without::OnnxRuntime("a defect of undertone-preload".to_owned()),
    };
    let status = make(api, options);
    // An error of the model's own, or of the program's, is theirs.
    if status.0.is_null() {
        WITHOUT.fetch_add(1, Ordering::Relaxed);
        say(&format!("a session goes without {EP_NAME}, which {SWITCH} asks for: {failed}"));
    }
    status
}

/// A copy of the options, or new ones, with the provider in them.
///
/// # Safety
/// The environment is valid; the options are, or NULL.
unsafe fn options_with_provider(
    prepared: &Prepared,
    env: *const OrtEnv,
    options: *const OrtSessionOptions,
) -> Result<*mut OrtSessionOptions, Without> {
    let api = prepared.api;
    // SAFETY: as the caller promises.
    let device = unsafe { device(prepared, env)? };
    let strings = |pick: fn(&(String, String)) -> &String| -> Vec<CString> {
        prepared.settings.options.iter().filter_map(|pair| CString::new(pick(pair).as_str()).ok()).collect()
    };
    let (keys, values) = (strings(|pair| &pair.0), strings(|pair| &pair.1));
    let pointers = |strings: &[CString]| strings.iter().map(|one| one.as_ptr()).collect::<Vec<_>>();
    let (keys, values) = (&pointers(&keys), &pointers(&values));
    let mut own = ptr::null_mut();
    // SAFETY: room for a pointer; the options are valid; the arrays have as many strings as said.
    unsafe {
        check(
            api,
            if options.is_null() {
                (api.CreateSessionOptions)(&mut own)
            } else {
                (api.CloneSessionOptions)(options, &mut own)
            },
        )?;
        let status = (api.SessionOptionsAppendExecutionProvider_V2)(
            own,
            env.cast_mut(),
            &device,
            1,
            keys.as_ptr(),
            values.as_ptr(),
            keys.len(),
        );
        check(api, status).inspect_err(|_| (api.ReleaseSessionOptions)(own))?;
    }
    Ok(own)
}

/// The provider's device in this environment, which gets the library when it has none.
///
/// # Safety
/// The environment is valid.
unsafe fn device(prepared: &Prepared, env: *const OrtEnv) -> Result<*const OrtEpDevice, Without> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: as the caller promises; the path is a string.
    unsafe {
        if let Some(device) = offered(prepared.api, env)? {
            return Ok(device);
        }
        let library = library(prepared.settings)?;
        let path = CString::new(library.as_os_str().as_bytes()).map_err(|_| Without::NoLibrary(library.clone()))?;
        let register = prepared.api.RegisterExecutionProviderLibrary;
        check(prepared.api, register(env.cast_mut(), REGISTERED_NAME.as_ptr(), path.as_ptr()))?;
        offered(prepared.api, env)?.ok_or(Without::NotOffered)
    }
}

/// # Safety
/// The environment is valid.
unsafe fn offered(api: &OrtApi, env: *const OrtEnv) -> Result<Option<*const OrtEpDevice>, Without> {
    let (mut devices, mut count) = (ptr::null(), 0);
    // SAFETY: room for both; the array has as many devices as said, each with a name.
    unsafe {
        check(api, (api.GetEpDevices)(env, &mut devices, &mut count))?;
        Ok((0..count)
            .map(|index| *devices.add(index))
            .find(|device| CStr::from_ptr((api.EpDevice_EpName)(*device)).to_bytes() == EP_NAME.as_bytes()))
    }
}

/// The provider's library: the one that is named, or the one beside this library.
fn library(settings: &Settings) -> Result<PathBuf, Without> {
    let beside = || real::own_folder().unwrap_or_default().join(FILE);
    let library = settings.library.clone().unwrap_or_else(beside);
    if library.is_file() { Ok(library) } else { Err(Without::NoLibrary(library)) }
}

fn check(api: &OrtApi, status: OrtStatusPtr) -> Result<(), Without> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: an error's status has a message until it is released, and belongs to this function.
    unsafe {
        let message = CStr::from_ptr((api.GetErrorMessage)(status.0)).to_string_lossy().into_owned();
        (api.ReleaseStatus)(status.0);
        // The provider's own words, without ONNX Runtime's file and line.
        let own = message.rsplit_once(&format!("{EP_NAME}: ")).map(|(_, own)| own.to_owned());
        Err(Without::OnnxRuntime(own.unwrap_or(message)))
    }
}

/// At the process's end: how many sessions there were, and what the provider has executed.
extern "C" fn write_counters() {
    let _ = std::panic::catch_unwind(|| {
        let Some(prepared) = PREPARED.get() else { return };
        let Some(file) = &prepared.settings.counters else { return };
        let mut numbers = vec![
            ("sessions".to_owned(), WITH_PROVIDER.load(Ordering::Relaxed)),
            ("sessions_without".to_owned(), WITHOUT.load(Ordering::Relaxed)),
        ];
        if let Ok(library) = library(prepared.settings) {
            numbers.extend(counted(&library));
        }
        let lines: Vec<String> = numbers.iter().map(|(name, number)| format!("  \"{name}\": {number}")).collect();
        if let Err(error) = std::fs::write(file, format!("{{\n{}\n}}\n", lines.join(",\n"))) {
            say(&format!("cannot write {}: {error}", file.display()));
        }
    });
}

fn counted(library: &Path) -> Vec<(String, u64)> {
    let Some(counter) =
        CString::new(COUNTER.symbol).ok().and_then(|name| real::loaded_symbol(library, &name)).map(|symbol| {
            // SAFETY: the provider's library exports a function of this type by this name, and stays loaded.
            unsafe { std::mem::transmute::<*const c_void, unsafe extern "C" fn(*const c_char) -> u64>(symbol) }
        })
    else {
        return Vec::new();
    };
    let name = |counter: &Counter| CString::new(counter.word()).ok();
    Counter::ALL
        .iter()
        // SAFETY: a string.
        .filter_map(|one| Some((one.word().to_owned(), unsafe { counter(name(one)?.as_ptr()) })))
        .collect()
}
