//! The C functions that the execution provider's library exports for programs, beside ONNX Runtime's two entry points:
//! by which name each is looked up, and as what it is called.

use std::{ffi::c_char, marker::PhantomData};

/// An exported function of type `F`, a function pointer.
pub struct Export<F> {
    /// The name to look it up by.
    pub symbol: &'static str,
    kind: PhantomData<F>,
}

impl<F: Copy> Export<F> {
    pub(crate) const fn new(symbol: &'static str) -> Self {
        Self { symbol, kind: PhantomData }
    }

    /// For the library, in a constant: compiles if the function that it exports as `symbol` has this name and this
    /// type.
    pub const fn check(&self, symbol: &str, _function: F) {
        let (expected, found) = (self.symbol.as_bytes(), symbol.as_bytes());
        assert!(expected.len() == found.len(), "the exported function has another name");
        let mut at = 0;
        while at < expected.len() {
            assert!(expected[at] == found[at], "the exported function has another name");
            at += 1;
        }
    }
}

/// For the library: `check_exports!(COUNTER => onnxruntime_ep_xdna_counter, …)` compiles if each function has the name
/// and the type of the [`Export`] before it, and is exported by its own name (`no_mangle`).
///
/// ```
/// extern "C" fn onnxruntime_ep_xdna_kv_cache_new() -> u64 {
///     7
/// }
/// undertone_boundary::check_exports!(undertone_boundary::kv_cache::NEW => onnxruntime_ep_xdna_kv_cache_new);
/// ```
///
/// ```compile_fail
/// extern "C" fn another_name() -> u64 {
///     7
/// }
/// undertone_boundary::check_exports!(undertone_boundary::kv_cache::NEW => another_name);
/// ```
#[macro_export]
macro_rules! check_exports {
    ($($export:expr => $function:ident),+ $(,)?) => {
        $(const _: () = $export.check(stringify!($function), $function);)+
    };
}

/// A counter ([`crate::counters`]) of what this process has executed with the library; `UINT64_MAX` for an unknown
/// name. `name` is NULL or a NUL-terminated string.
pub const COUNTER: Export<unsafe extern "C" fn(name: *const c_char) -> u64> =
    Export::new("onnxruntime_ep_xdna_counter");

/// What the library is, as JSON ([`crate::description`]). The string is static: never free it.
pub const DESCRIBE: Export<extern "C" fn() -> *const c_char> = Export::new("onnxruntime_ep_xdna_describe");

/// With `true`, notes from now on how long every step of every run takes, and forgets what was noted before; NULL. With
/// `false`, notes no more and gives what was noted, as JSON ([`crate::profile`]); NULL if nothing was asked for. The
/// string is valid until this thread's next call of a function of the library that returns a string.
pub const PROFILE: Export<extern "C" fn(on: bool) -> *const c_char> = Export::new("onnxruntime_ep_xdna_profile");

/// The NPUs that are open, simulated or real, and what they have done, counted by what executed it, as JSON
/// ([`crate::npu`]). The string is valid as with [`PROFILE`].
pub const NPU: Export<extern "C" fn() -> *const c_char> = Export::new("onnxruntime_ep_xdna_npu");

/// What a folder of compiled NPU kernels holds that this library can use, as JSON ([`crate::bundles::Contents`]).
/// `folder` is a NUL-terminated path, or NULL for the folder that is looked into where none is named; NULL if it can't
/// be read. The string is valid as with [`PROFILE`].
pub const BUNDLES: Export<unsafe extern "C" fn(folder: *const c_char) -> *const c_char> =
    Export::new("onnxruntime_ep_xdna_bundles");
