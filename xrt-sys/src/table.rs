//! What the shim library exports: one versioned table of C functions over opaque handles. Both sides are Rust, and both
//! use these types; nothing of C++ and no allocation crosses, and no function unwinds.
//!
//! Every function gives `true` when it did what it says; on `false` it has filled in the [`Failure`] and done nothing
//! else that the caller would have to undo. A handle is owned by the caller until it is given to its `_free` function,
//! and must not be used on two threads at once unless the function takes it as `*const`.

use std::ffi::c_char;

/// Version of the table. It changes whenever a field does.
pub const VERSION: u32 = 2;

/// Symbol of the function that gives the table: `extern "C" fn() -> *const Table`.
pub const SYMBOL: &str = "undertone_xrt_table";

/// The function behind [`SYMBOL`].
pub type TableFunction = unsafe extern "C" fn() -> *const Table;

/// Bytes of a failure's text.
pub const TEXT: usize = 1024;

/// An exception of XRT; `code` is its error number (`errno`), or 0.
pub const EXCEPTION: u32 = 0;
/// A command that ended in another state than completed; `code` is the state ([`crate::CommandState`]).
pub const COMMAND: u32 = 1;
/// The time limit passed.
pub const TIMEOUT: u32 = 2;
/// A panic in the shim.
pub const PANIC: u32 = 3;
/// An argument that makes no sense.
pub const ARGUMENT: u32 = 4;

/// Why a function gave `false`.
#[repr(C)]
pub struct Failure {
    /// One of [`EXCEPTION`], [`COMMAND`], [`TIMEOUT`], [`PANIC`], [`ARGUMENT`].
    pub kind: u32,
    /// Error number or command state.
    pub code: i32,
    /// Bytes used in `text`.
    pub length: u32,
    /// What XRT said, in UTF-8.
    pub text: [u8; TEXT],
}

impl Failure {
    /// Nothing said yet.
    pub const fn empty() -> Self {
        Self { kind: EXCEPTION, code: 0, length: 0, text: [0; TEXT] }
    }

    /// Sets the text, cut to what there is room for at a character's end.
    pub fn say(&mut self, kind: u32, code: i32, text: &str) {
        let mut length = text.len().min(TEXT);
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        self.text[..length].copy_from_slice(&text.as_bytes()[..length]);
        (self.kind, self.code, self.length) = (kind, code, length as u32);
    }

    /// The text, without white space around it.
    pub fn text(&self) -> String {
        let length = (self.length as usize).min(TEXT);
        String::from_utf8_lossy(&self.text[..length]).trim().to_owned()
    }
}

/// A device that is open.
#[repr(C)]
pub struct DeviceHandle([u8; 0]);

/// A hardware context with its kernel and its run list.
#[repr(C)]
pub struct ContextHandle([u8; 0]);

/// A buffer object.
#[repr(C)]
pub struct BufferHandle([u8; 0]);

/// A command: a kernel's run with its arguments.
#[repr(C)]
pub struct RunHandle([u8; 0]);

/// Handles that exist now.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Devices.
    pub devices: u64,
    /// Hardware contexts.
    pub contexts: u64,
    /// Buffer objects.
    pub buffers: u64,
    /// Runs.
    pub runs: u64,
}

/// Memory for an instruction stream.
pub const INSTRUCTIONS: u32 = u32::MAX;

/// The table.
#[repr(C)]
pub struct Table {
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of this struct.
    pub bytes: u32,
    /// XRT's version that the shim was built against, NUL-terminated.
    pub built_against: *const c_char,
    /// How many devices XRT sees.
    pub device_count: unsafe extern "C" fn(count: *mut u32, failure: *mut Failure) -> bool,
    /// Opens a device.
    pub device_open: unsafe extern "C" fn(index: u32, device: *mut *mut DeviceHandle, failure: *mut Failure) -> bool,
    /// A device's PCI address (`which` 0) or name (1), into `capacity` bytes at `text`.
    pub device_text: unsafe extern "C" fn(
        device: *const DeviceHandle,
        which: u32,
        text: *mut u8,
        capacity: usize,
        length: *mut usize,
        failure: *mut Failure,
    ) -> bool,
    /// Closes a device. Everything made from it keeps XRT's own reference.
    pub device_free: unsafe extern "C" fn(device: *mut DeviceHandle),
    /// Registers a container (the `length` bytes of an xclbin file), and opens a hardware context and its kernel
    /// `MLIR_AIE…`.
    pub context_open: unsafe extern "C" fn(
        device: *const DeviceHandle,
        xclbin: *const u8,
        length: usize,
        context: *mut *mut ContextHandle,
        failure: *mut Failure,
    ) -> bool,
    /// Closes a hardware context. No run of it may be executing, unless its time limit had passed.
    pub context_free: unsafe extern "C" fn(context: *mut ContextHandle),
    /// A buffer for an argument (0, 1, 2) or for [`INSTRUCTIONS`]; mapped: `address` stays valid until `buffer_free`.
    pub buffer_new: unsafe extern "C" fn(
        context: *const ContextHandle,
        memory: u32,
        bytes: usize,
        buffer: *mut *mut BufferHandle,
        address: *mut *mut u8,
        failure: *mut Failure,
    ) -> bool,
    /// Makes the first bytes visible to the device (`to_device`) or to the host.
    pub buffer_sync:
        unsafe extern "C" fn(buffer: *const BufferHandle, to_device: bool, bytes: usize, failure: *mut Failure) -> bool,
    /// Gives a buffer back.
    pub buffer_free: unsafe extern "C" fn(buffer: *mut BufferHandle),
    /// A command of the context's kernel.
    pub run_new:
        unsafe extern "C" fn(context: *const ContextHandle, run: *mut *mut RunHandle, failure: *mut Failure) -> bool,
    /// Sets the arguments: an instruction stream of `words` 32-bit words, and three buffers.
    pub run_set: unsafe extern "C" fn(
        run: *mut RunHandle,
        instructions: *const BufferHandle,
        words: u32,
        arguments: *const [*const BufferHandle; 3],
        failure: *mut Failure,
    ) -> bool,
    /// Gives a command back. It must not be executing, unless its time limit had passed.
    pub run_free: unsafe extern "C" fn(run: *mut RunHandle),
    /// Executes `count` commands, one after another, and waits at most `milliseconds` (at least 1) for the last. After
    /// a [`TIMEOUT`] the context takes no more commands.
    pub execute: unsafe extern "C" fn(
        context: *mut ContextHandle,
        runs: *const *mut RunHandle,
        count: usize,
        milliseconds: u32,
        failure: *mut Failure,
    ) -> bool,
    /// The same for one command that is started by itself, not in a list. One that did not end within its limit keeps
    /// what belongs to it when it is given back, until the process ends: XRT ends a process that gives such a run back.
    pub execute_alone: unsafe extern "C" fn(
        context: *mut ContextHandle,
        run: *mut RunHandle,
        milliseconds: u32,
        failure: *mut Failure,
    ) -> bool,
    /// Handles that exist now in this process.
    pub live: unsafe extern "C" fn() -> Live,
}

// SAFETY: the one pointer is to a constant string, and functions are shared by nature.
#[allow(unsafe_code, reason = "the table is a constant")]
unsafe impl Sync for Table {}
// SAFETY: as above.
#[allow(unsafe_code, reason = "the table is a constant")]
unsafe impl Send for Table {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut failure = Failure::empty();
        failure.say(COMMAND, 5, &"ü".repeat(TEXT));
        assert_eq!((failure.kind, failure.code), (COMMAND, 5));
        assert_eq!(failure.text(), "ü".repeat(TEXT / 2));
        failure.say(EXCEPTION, 0, &format!("x{}", "ü".repeat(TEXT)));
        assert_eq!(failure.text().chars().count(), TEXT.div_ceil(2));
        failure.say(EXCEPTION, 0, "");
        assert_eq!(failure.text(), "");
    }
}
