//! Devices, contexts, buffers and runs as values that give themselves back.
#![allow(unsafe_code, reason = "calls through the shim's table")]

use std::{ptr, slice, sync::Arc, time::Duration};

use crate::{
    Error, Library,
    table::{self, BufferHandle, ContextHandle, DeviceHandle, Failure, RunHandle},
};

pub use crate::table::Live;

/// Calls a function of the table: what it gave, or its failure as an error.
fn call(doing: &'static str, limit: Duration, function: impl FnOnce(*mut Failure) -> bool) -> Result<(), Error> {
    let mut failure = Failure::empty();
    if function(&mut failure) { Ok(()) } else { Err(Error::new(doing, limit, &failure)) }
}

impl Library {
    /// How many devices XRT sees.
    ///
    /// # Errors
    /// If XRT can't look.
    pub fn device_count(&self) -> Result<u32, Error> {
        let mut count = 0;
        // SAFETY: both pointers are to locals.
        call("counting devices", Duration::ZERO, |failure| unsafe {
            (self.loaded.table.device_count)(&mut count, failure)
        })?;
        Ok(count)
    }

    /// Opens a device by its number, from 0.
    ///
    /// # Errors
    /// If there is none of that number, or it can't be opened.
    pub fn open(&self, index: u32) -> Result<Device, Error> {
        let mut handle = ptr::null_mut();
        // SAFETY: both pointers are to locals.
        call("opening the device", Duration::ZERO, |failure| unsafe {
            (self.loaded.table.device_open)(index, &mut handle, failure)
        })?;
        Ok(Device { inner: Arc::new(DeviceInner { handle, library: self.clone() }) })
    }

    /// Handles that exist now in this process.
    pub fn live(&self) -> Live {
        // SAFETY: it only reads counters.
        unsafe { (self.loaded.table.live)() }
    }
}

/// A device that is open. Cheap to clone; stays open while anything made from it lives.
#[derive(Clone)]
pub struct Device {
    inner: Arc<DeviceInner>,
}

struct DeviceInner {
    handle: *mut DeviceHandle,
    library: Library,
}

// SAFETY: XRT's device may be used on any thread; all that takes the handle here takes it as `*const`.
unsafe impl Send for DeviceInner {}
// SAFETY: as above.
unsafe impl Sync for DeviceInner {}

impl Drop for DeviceInner {
    fn drop(&mut self) {
        // SAFETY: this was the last owner.
        unsafe { (self.library.loaded.table.device_free)(self.handle) }
    }
}

impl Device {
    fn table(&self) -> &'static table::Table {
        self.inner.library.loaded.table
    }

    fn text(&self, which: u32) -> Result<String, Error> {
        let mut text = [0; 256];
        let mut length = 0;
        // SAFETY: the device is open; the other pointers are to locals of the sizes given.
        call("asking the device for its name", Duration::ZERO, |failure| unsafe {
            (self.table().device_text)(self.inner.handle, which, text.as_mut_ptr(), text.len(), &mut length, failure)
        })?;
        Ok(String::from_utf8_lossy(&text[..length.min(text.len())]).into_owned())
    }

    /// Its place on the PCI bus, as `0000:c5:00.1`.
    ///
    /// # Errors
    /// If XRT does not know.
    pub fn address(&self) -> Result<String, Error> {
        self.text(0)
    }

    /// Its name, as XRT calls it.
    ///
    /// # Errors
    /// If XRT does not know.
    pub fn name(&self) -> Result<String, Error> {
        self.text(1)
    }

    /// Opens a hardware context with the design of a container (an xclbin file's bytes).
    ///
    /// # Errors
    /// If it is none, has no kernel `MLIR_AIE…`, declares fewer than five buffers, or the device has no context left.
    pub fn context(&self, xclbin: &[u8]) -> Result<Context, Error> {
        let mut handle = ptr::null_mut();
        // SAFETY: the device is open; the container is as long as given; the rest are locals.
        call("opening a hardware context", Duration::ZERO, |failure| unsafe {
            (self.table().context_open)(self.inner.handle, xclbin.as_ptr(), xclbin.len(), &mut handle, failure)
        })?;
        Ok(Context { handle, device: self.clone() })
    }
}

/// What a buffer is for, which says where it has to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// An instruction stream.
    Instructions,
    /// An argument of the design: 0, 1 or 2.
    Argument(u32),
}

/// A hardware context: a design on the array.
pub struct Context {
    handle: *mut ContextHandle,
    device: Device,
}

// SAFETY: XRT's objects may move between threads; what changes one takes `&mut`.
unsafe impl Send for Context {}
// SAFETY: what takes `&self` gives the handle as `*const`, which the table allows on several threads.
unsafe impl Sync for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the only owner. `execute` waited for its commands or their time limit had passed.
        unsafe { (self.device.table().context_free)(self.handle) }
    }
}

impl Context {
    /// Memory, zeroed and mapped.
    ///
    /// # Errors
    /// If there is not that much, or none can be locked.
    pub fn buffer(&self, memory: Memory, bytes: usize) -> Result<Buffer, Error> {
        let memory = match memory {
            Memory::Instructions => table::INSTRUCTIONS,
            Memory::Argument(index) => index,
        };
        let (mut handle, mut address) = (ptr::null_mut(), ptr::null_mut());
        // XRT has no empty buffers.
        let size = bytes.max(1);
        // SAFETY: the context is open; the other pointers are to locals.
        call("taking memory", Duration::ZERO, |failure| unsafe {
            (self.device.table().buffer_new)(self.handle, memory, size, &mut handle, &mut address, failure)
        })?;
        let mut buffer = Buffer { handle, address, bytes, device: self.device.clone() };
        buffer.bytes_mut().fill(0);
        Ok(buffer)
    }

    /// A command without arguments yet.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn run(&self) -> Result<Run, Error> {
        let mut handle = ptr::null_mut();
        // SAFETY: the context is open; the other pointers are to locals.
        call("making a run", Duration::ZERO, |failure| unsafe {
            (self.device.table().run_new)(self.handle, &mut handle, failure)
        })?;
        Ok(Run { handle, device: self.device.clone() })
    }

    /// Executes commands of this context, one after another in one run list, and waits for the last.
    ///
    /// # Errors
    /// [`Error::Command`] if one failed (those after it were not executed); [`Error::Timeout`] if they took longer than
    /// the limit: then the context takes no more commands, and the commands' buffers must not be used until the context
    /// is gone.
    pub fn execute(&mut self, runs: &mut [&mut Run], limit: Duration) -> Result<(), Error> {
        let handles: Vec<*mut RunHandle> = runs.iter().map(|run| run.handle).collect();
        // SAFETY: the context and all runs are borrowed mutably for the call; the list is as long as given.
        call("executing", limit, |failure| unsafe {
            (self.device.table().execute)(self.handle, handles.as_ptr(), handles.len(), milliseconds(limit), failure)
        })
    }

    /// Executes one command that is started by itself, not in a run list, and waits for it.
    ///
    /// # Errors
    /// As [`Context::execute`]. After [`Error::Timeout`] the run and what belongs to it stay until the process ends.
    pub fn execute_alone(&mut self, run: &mut Run, limit: Duration) -> Result<(), Error> {
        // SAFETY: the context and the run are borrowed mutably for the call.
        call("executing", limit, |failure| unsafe {
            (self.device.table().execute_alone)(self.handle, run.handle, milliseconds(limit), failure)
        })
    }
}

/// A time limit as the table takes it.
fn milliseconds(limit: Duration) -> u32 {
    u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// Memory that the device reaches too.
pub struct Buffer {
    handle: *mut BufferHandle,
    address: *mut u8,
    bytes: usize,
    device: Device,
}

// SAFETY: a mapping is memory as any other; what writes it takes `&mut`.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the only owner; no slice of it is borrowed any more.
        unsafe { (self.device.table().buffer_free)(self.handle) }
    }
}

impl Buffer {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped, that long, initialised by `Context::buffer`, and nobody on the host writes while it is
        // borrowed.
        unsafe { slice::from_raw_parts(self.address, self.bytes) }
    }

    /// Its bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.address, self.bytes) }
    }

    /// Makes what was written visible to the device.
    ///
    /// # Errors
    /// If the device is gone.
    pub fn sync_to_device(&self) -> Result<(), Error> {
        self.sync(true)
    }

    /// Makes what the device wrote visible here.
    ///
    /// # Errors
    /// If the device is gone.
    pub fn sync_from_device(&mut self) -> Result<(), Error> {
        self.sync(false)
    }

    fn sync(&self, to_device: bool) -> Result<(), Error> {
        if self.bytes == 0 {
            return Ok(());
        }
        // SAFETY: the buffer is alive and has that many bytes.
        call("syncing a buffer", Duration::ZERO, |failure| unsafe {
            (self.device.table().buffer_sync)(self.handle, to_device, self.bytes, failure)
        })
    }
}

/// A command: a stream and its three buffers.
pub struct Run {
    handle: *mut RunHandle,
    device: Device,
}

// SAFETY: XRT's runs may move between threads; what changes one takes `&mut`.
unsafe impl Send for Run {}
// SAFETY: nothing takes `&self`.
unsafe impl Sync for Run {}

impl Drop for Run {
    fn drop(&mut self) {
        // SAFETY: the only owner; `Context::execute` waited for it or its time limit had passed.
        unsafe { (self.device.table().run_free)(self.handle) }
    }
}

impl Run {
    /// Sets what it executes: a stream of `words` 32-bit words, over three buffers in the order of the design's
    /// arguments.
    ///
    /// # Errors
    /// If the kernel takes no such arguments.
    pub fn set(&mut self, instructions: &Buffer, words: u32, arguments: [&Buffer; 3]) -> Result<(), Error> {
        let arguments = arguments.map(|buffer| buffer.handle.cast_const());
        // SAFETY: the run is borrowed mutably, the buffers are alive. XRT keeps references of its own to them.
        call("setting a run's arguments", Duration::ZERO, |failure| unsafe {
            (self.device.table().run_set)(self.handle, instructions.handle, words, &arguments, failure)
        })
    }
}
