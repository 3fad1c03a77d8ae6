//! `libundertone_xrt.so`: XRT's C++ API as one table of C functions ([`xrt_sys::table`]). Each function is a panic
//! guard around a method of `objects`; no exception and no panic gets past it.
#![allow(unsafe_code, reason = "the C side of the table")]

mod bridge;
mod constants;
mod objects;

use std::{
    ffi::c_char,
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
};

use objects::{Buffer, Context, Device, Fault, Run};
use xrt_sys::table::{BufferHandle, ContextHandle, DeviceHandle, Failure, Live, PANIC, RunHandle, Table, VERSION};

/// The table.
#[unsafe(no_mangle)]
pub extern "C" fn undertone_xrt_table() -> *const Table {
    &TABLE
}

static TABLE: Table = Table {
    version: VERSION,
    bytes: size_of::<Table>() as u32,
    built_against: constants::BUILT_AGAINST.as_ptr().cast::<c_char>(),
    device_count,
    device_open,
    device_text,
    device_free,
    context_open,
    context_free,
    buffer_new,
    buffer_sync,
    buffer_free,
    run_new,
    run_set,
    run_free,
    execute,
    execute_alone,
    live: objects_live,
};

/// Runs a function; on a fault or a panic tells it and gives `false`.
///
/// # Safety
/// `failure` can be written.
unsafe fn guard(failure: *mut Failure, function: impl FnOnce() -> Result<(), Fault>) -> bool {
    let fault = match catch_unwind(AssertUnwindSafe(function)) {
        Ok(Ok(())) => return true,
        Ok(Err(fault)) => fault,
        Err(panic) => {
            let words = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
            Fault(PANIC, 0, words.unwrap_or_else(|| "a panic without words".into()))
        }
    };
    // SAFETY: the caller's promise.
    fault.tell(unsafe { &mut *failure });
    false
}

/// Gives a handle's object back. What its destructor throws ends in the C++ runtime, as everywhere; a panic ends here.
///
/// # Safety
/// `object` came from `Box::into_raw` and is not used any more.
unsafe fn free<T>(object: *mut T) {
    // SAFETY: the caller's promise.
    let object = unsafe { Box::from_raw(object) };
    // Nothing can be told from here; the counters would show what was left.
    drop(catch_unwind(AssertUnwindSafe(|| drop(object))));
}

unsafe extern "C" fn device_count(count: *mut u32, failure: *mut Failure) -> bool {
    // SAFETY: pointers as the table asks.
    unsafe {
        guard(failure, || {
            *count = objects::device_count()?;
            Ok(())
        })
    }
}

unsafe extern "C" fn device_open(index: u32, device: *mut *mut DeviceHandle, failure: *mut Failure) -> bool {
    // SAFETY: pointers as the table asks.
    unsafe {
        guard(failure, || {
            *device = Box::into_raw(Box::new(Device::open(index)?)).cast();
            Ok(())
        })
    }
}

unsafe extern "C" fn device_text(
    device: *const DeviceHandle,
    which: u32,
    text: *mut u8,
    capacity: usize,
    length: *mut usize,
    failure: *mut Failure,
) -> bool {
    // SAFETY: pointers as the table asks; `text` has room for `capacity` bytes.
    unsafe {
        guard(failure, || {
            let words = (*device.cast::<Device>()).text(which)?;
            let bytes = &words.as_bytes()[..words.len().min(capacity)];
            slice::from_raw_parts_mut(text, bytes.len()).copy_from_slice(bytes);
            *length = bytes.len();
            Ok(())
        })
    }
}

unsafe extern "C" fn device_free(device: *mut DeviceHandle) {
    // SAFETY: as the table asks.
    unsafe { free(device.cast::<Device>()) }
}

unsafe extern "C" fn context_open(
    device: *const DeviceHandle,
    xclbin: *const u8,
    length: usize,
    context: *mut *mut ContextHandle,
    failure: *mut Failure,
) -> bool {
    // SAFETY: pointers as the table asks; the container has `length` bytes.
    unsafe {
        guard(failure, || {
            let xclbin = slice::from_raw_parts(xclbin, length);
            *context = Box::into_raw(Box::new((*device.cast::<Device>()).context(xclbin)?)).cast();
            Ok(())
        })
    }
}

unsafe extern "C" fn context_free(context: *mut ContextHandle) {
    // SAFETY: as the table asks.
    unsafe { free(context.cast::<Context>()) }
}

unsafe extern "C" fn buffer_new(
    context: *const ContextHandle,
    memory: u32,
    bytes: usize,
    buffer: *mut *mut BufferHandle,
    address: *mut *mut u8,
    failure: *mut Failure,
) -> bool {
    // SAFETY: pointers as the table asks.
    unsafe {
        guard(failure, || {
            let (object, mapped) = (*context.cast::<Context>()).buffer(memory, bytes)?;
            *buffer = Box::into_raw(Box::new(object)).cast();
            *address = mapped;
            Ok(())
        })
    }
}

unsafe extern "C" fn buffer_sync(
    buffer: *const BufferHandle,
    to_device: bool,
    bytes: usize,
    failure: *mut Failure,
) -> bool {
    // SAFETY: pointers as the table asks.
    unsafe { guard(failure, || (*buffer.cast::<Buffer>()).sync(to_device, bytes)) }
}

unsafe extern "C" fn buffer_free(buffer: *mut BufferHandle) {
    // SAFETY: as the table asks.
    unsafe { free(buffer.cast::<Buffer>()) }
}

unsafe extern "C" fn run_new(context: *const ContextHandle, run: *mut *mut RunHandle, failure: *mut Failure) -> bool {
    // SAFETY: pointers as the table asks.
    unsafe {
        guard(failure, || {
            *run = Box::into_raw(Box::new((*context.cast::<Context>()).run()?)).cast();
            Ok(())
        })
    }
}

unsafe extern "C" fn run_set(
    run: *mut RunHandle,
    instructions: *const BufferHandle,
    words: u32,
    arguments: *const [*const BufferHandle; 3],
    failure: *mut Failure,
) -> bool {
    // SAFETY: pointers as the table asks; the run is the caller's alone.
    unsafe {
        guard(failure, || {
            let buffers = (*arguments).map(|handle| &*handle.cast::<Buffer>());
            (*run.cast::<Run>()).set(&*instructions.cast::<Buffer>(), words, buffers)
        })
    }
}

unsafe extern "C" fn run_free(run: *mut RunHandle) {
    // SAFETY: as the table asks.
    unsafe { free(run.cast::<Run>()) }
}

unsafe extern "C" fn execute(
    context: *mut ContextHandle,
    runs: *const *mut RunHandle,
    count: usize,
    milliseconds: u32,
    failure: *mut Failure,
) -> bool {
    // SAFETY: pointers as the table asks; the list has `count` handles; context and runs are the caller's alone.
    unsafe {
        guard(failure, || {
            let runs = slice::from_raw_parts(runs, count).iter().map(|&run| &*run.cast::<Run>());
            (*context.cast::<Context>()).execute(runs, milliseconds)
        })
    }
}

unsafe extern "C" fn execute_alone(
    context: *mut ContextHandle,
    run: *mut RunHandle,
    milliseconds: u32,
    failure: *mut Failure,
) -> bool {
    // SAFETY: pointers as the table asks; context and run are the caller's alone.
    unsafe { guard(failure, || (*context.cast::<Context>()).execute_alone(&mut *run.cast::<Run>(), milliseconds)) }
}

unsafe extern "C" fn objects_live() -> Live {
    objects::live()
}
