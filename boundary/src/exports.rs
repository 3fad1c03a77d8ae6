//! The C functions that the execution provider's library exports for programs, beside ONNX Runtime's two entry points: by which name each
//! is looked up, and as what it is called.

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

    /// For the library, in a constant: compiles if the function that it exports as `symbol` has this name and this type.
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

/// For the library: `check_exports!(COUNTER => onnxruntime_ep_xdna_counter, …)` compiles if each function has the name and the type of the
/// [`Export`] before it, and is exported by its own name (`no_mangle`).
#[macro_export]
macro_rules! check_exports {
    ($($export:expr => $function:ident),+ $(,)?) => {
        $(const _: () = $export.check(stringify!($function), $function);)+
    };
}

/// A counter by name ([`crate::counters`]) of what this process has executed; `UINT64_MAX` for an unknown name.
pub const COUNTER: Export<unsafe extern "C" fn(name: *const c_char) -> u64> =
    Export::new("onnxruntime_ep_xdna_counter");

/// What the library is, as JSON. The string is static.
pub const DESCRIBE: Export<extern "C" fn() -> *const c_char> = Export::new("onnxruntime_ep_xdna_describe");

/// Its kernels beside the machine's limits, measured: JSON in and out. The string is valid until this thread's next call of a function that
/// returns one; NULL if measuring failed.
pub const MEASURE: Export<unsafe extern "C" fn(request: *const c_char) -> *const c_char> =
    Export::new("onnxruntime_ep_xdna_measure");

/// Starts (`true`) or ends noting what each step of a run takes; the end gives what was noted, as JSON. The string is valid as with
/// [`MEASURE`]; NULL for a start, or if nothing was noted.
pub const PROFILE: Export<extern "C" fn(on: bool) -> *const c_char> = Export::new("onnxruntime_ep_xdna_profile");

/// The NPUs that are open, simulated or real, and what they have done, as JSON. The string is valid as with [`MEASURE`].
pub const NPU: Export<extern "C" fn() -> *const c_char> = Export::new("onnxruntime_ep_xdna_npu");
