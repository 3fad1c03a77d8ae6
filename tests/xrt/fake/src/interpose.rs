//! Functions of the C library that take a file descriptor: on the device node's they are the driver's, on all others
//! the C library's.
#![allow(unsafe_code)]
// Each function is the C library's of that name, with its contract.
#![allow(missing_docs, clippy::missing_safety_doc)]

use std::collections::BTreeMap;
use std::ffi::{c_int, c_ulong, c_void};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use libc::{off_t, size_t};

use crate::objects::Bo;
use crate::world::{lock, world};
use crate::{Errno, ioctl, real};

/// The device node's descriptors; -1 stands for none. No lock: `close` is called from everywhere.
static NODES: [AtomicI32; 16] = [const { AtomicI32::new(-1) }; 16];

/// What the program mapped of buffer objects: address to length and object.
static MAPPED: Mutex<BTreeMap<usize, (usize, Arc<Bo>)>> = Mutex::new(BTreeMap::new());
/// How many those are, so that most calls of `munmap` need no lock.
static MAPPINGS: AtomicUsize = AtomicUsize::new(0);

fn is_node(fd: c_int) -> bool {
    fd >= 0 && NODES.iter().any(|node| node.load(Ordering::SeqCst) == fd)
}

/// Takes note of an opened device node.
pub fn opened(fd: c_int) {
    let free = |node: &&AtomicI32| node.compare_exchange(-1, fd, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    if let (Some(_), Some(world)) = (NODES.iter().find(free), world()) {
        world.open(fd);
    }
}

fn fail(errno: Errno) {
    // SAFETY: the C library gives each thread a place for it.
    unsafe { *libc::__errno_location() = errno };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    if let Some(node) = NODES.iter().find(|node| fd >= 0 && node.load(Ordering::SeqCst) == fd) {
        node.store(-1, Ordering::SeqCst);
        if let Some(world) = world() {
            world.close(fd);
        }
    }
    // SAFETY: the same argument.
    unsafe { real::close(fd) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    if !is_node(fd) {
        // SAFETY: the same arguments.
        return unsafe { real::ioctl(fd, request, argument) };
    }
    // SAFETY: the program gives a structure of the size that the request names, as to the kernel.
    let answer = std::panic::catch_unwind(|| unsafe { ioctl::answer(fd, request, argument) });
    match answer.unwrap_or(Err(libc::EIO)) {
        Ok(()) => 0,
        Err(errno) => {
            fail(errno);
            -1
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    if !is_node(fd) {
        // SAFETY: the same arguments.
        return unsafe { real::mmap(address, length, protection, flags, fd, offset) };
    }
    let object = world().and_then(|world| world.client(fd)).and_then(|client| client.at_offset(offset as u64));
    let Some((object, file)) = object.and_then(|object| object.memory.file().map(|file| (object, file))) else {
        fail(libc::EINVAL);
        return libc::MAP_FAILED;
    };
    // Locking it into memory is the kernel's promise, and an unprivileged test need not be able to.
    let flags = flags & !libc::MAP_LOCKED;
    // SAFETY: the program's own arguments; the file is the object's memory.
    let place = unsafe { real::mmap(address, length, protection, flags, file, object.start as off_t) };
    if place != libc::MAP_FAILED {
        object.mapped_at.store(place as u64, Ordering::SeqCst);
        lock(&MAPPED).insert(place as usize, (length, object));
        MAPPINGS.fetch_add(1, Ordering::SeqCst);
        if let Some(world) = world() {
            world.count(|counters| {
                counters.mappings += 1;
                counters.mapped_bytes += length as u64;
            });
        }
    }
    place
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: the same function where an offset has 64 bits.
    unsafe { mmap(address, length, protection, flags, fd, offset) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn munmap(address: *mut c_void, length: size_t) -> c_int {
    if MAPPINGS.load(Ordering::SeqCst) > 0 {
        let gone = lock(&MAPPED).remove(&(address as usize));
        if let Some((bytes, object)) = gone {
            MAPPINGS.fetch_sub(1, Ordering::SeqCst);
            object.mapped_at.store(0, Ordering::SeqCst);
            if let Some(world) = world() {
                world.count(|counters| {
                    counters.mappings -= 1;
                    counters.mapped_bytes -= bytes as u64;
                });
            }
        }
    }
    // SAFETY: the same arguments.
    unsafe { real::munmap(address, length) }
}

/// What is counted now, for a test in the same process: writes at most `size` bytes of JSON, gives how many there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn undertone_fake_npu_counters(out: *mut u8, size: usize) -> usize {
    let text = world().and_then(|world| serde_json::to_vec(&world.counters()).ok()).unwrap_or_default();
    // SAFETY: the caller gives room for `size` bytes.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), out, text.len().min(size)) };
    text.len()
}
