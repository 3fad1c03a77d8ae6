//! Memory that the program and the pretended device both reach.
//!
//! The real npu1 does not see what lies in the CPU's caches. Usually XRT flushes cache lines by instructions, of which
//! nothing can be seen here. But with `Debug.force_driver_sync` in its settings it asks the driver.
//! `UNDERTONE_FAKE_NPU_INCOHERENT=1` gives it such settings, and each buffer two memories, the program's and the
//! device's: only what is synced goes from one to the other, so a program that forgets to sync gets wrong results, as
//! on the silicon.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::real;

/// Bytes at a fixed address, shared with the program.
pub struct Memory {
    /// What the program maps; none for memory that was the program's own.
    file: Option<OwnedFd>,
    address: *mut u8,
    bytes: usize,
    /// The device's memory, where it is another.
    device: Option<Box<Memory>>,
}

// SAFETY: plain bytes; who may touch them when is settled by commands and their completion, as with the real device.
unsafe impl Send for Memory {}
// SAFETY: the same.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed memory that a program can map.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(bytes: usize, incoherent: bool) -> io::Result<Self> {
        // SAFETY: the name is a string.
        let fd = unsafe { libc::memfd_create(c"undertone-fake-npu".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, and nobody else's.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: a file descriptor that is open.
        if unsafe { libc::ftruncate(fd, bytes as libc::off_t) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of a file that is as long.
        let address = unsafe { real::mmap(ptr::null_mut(), bytes, access, libc::MAP_SHARED, fd, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let device = if incoherent { Some(Box::new(Memory::new(bytes, false)?)) } else { None };
        Ok(Self { file: Some(file), address: address.cast(), bytes, device })
    }

    /// Memory of the program's own.
    ///
    /// # Safety
    /// It must stay valid and writable as long as this value.
    pub unsafe fn of_program(address: u64, bytes: usize) -> Self {
        Self { file: None, address: address as *mut u8, bytes, device: None }
    }

    /// How much it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What a program maps.
    pub fn file(&self) -> Option<i32> {
        self.file.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Where it lies, if it is the program's own.
    pub fn program_address(&self) -> Option<u64> {
        self.file.is_none().then_some(self.address as u64)
    }

    /// Brings bytes from the program's memory to the device's, or back.
    pub fn sync(&self, to_device: bool, offset: usize, bytes: usize) {
        let Some(device) = &self.device else { return };
        let (from, to) = if to_device { (self, &**device) } else { (&**device, self) };
        if let (Some(from), Some(to)) = (from.place(offset, bytes), to.place(offset, bytes)) {
            // SAFETY: `place` keeps both within their mappings, which do not overlap.
            unsafe { ptr::copy_nonoverlapping(from, to, bytes) };
        }
    }

    /// A copy of bytes as the program sees them; none beyond the end.
    pub fn read(&self, offset: usize, bytes: usize) -> Option<Vec<u8>> {
        let from = self.place(offset, bytes)?;
        let mut copy = vec![0; bytes];
        // SAFETY: `place` keeps it within the mapping; the copy is as long.
        unsafe { ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), bytes) };
        Some(copy)
    }

    /// A copy of bytes as the device sees them.
    pub fn read_as_device(&self, offset: usize, bytes: usize) -> Option<Vec<u8>> {
        self.device.as_deref().unwrap_or(self).read(offset, bytes)
    }

    /// Writes a word that the program may be looking at.
    pub fn publish(&self, offset: usize, word: u32) {
        if let Some(place) = self.place(offset, 4) {
            // SAFETY: within the mapping, and aligned: mappings begin at pages and offsets of words are whole words.
            unsafe { AtomicU32::from_ptr(place.cast()) }.store(word, Ordering::SeqCst);
        }
    }

    /// Bytes for the device to work on; none beyond the end.
    ///
    /// # Safety
    /// While they are used, nobody else has a slice of the same bytes of this memory. (The program has another mapping
    /// of them, and must not look until the command is done: the same rule as on the silicon.)
    #[allow(clippy::mut_from_ref)] // The mapping is shared memory, not this value's own.
    pub unsafe fn device_bytes(&self, offset: usize, bytes: usize) -> Option<&mut [u8]> {
        let memory = self.device.as_deref().unwrap_or(self);
        let place = memory.place(offset, bytes)?;
        // SAFETY: within the mapping, which lives as long as `self`; the caller sees to it that there is one slice
        // only.
        Some(unsafe { std::slice::from_raw_parts_mut(place, bytes) })
    }

    fn place(&self, offset: usize, bytes: usize) -> Option<*mut u8> {
        let end = offset.checked_add(bytes)?;
        // SAFETY: the offset is within the mapping.
        (end <= self.bytes).then(|| unsafe { self.address.add(offset) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.file.is_some() {
            // SAFETY: the mapping that `new` made, which nothing refers to any more.
            unsafe { real::munmap(self.address.cast::<c_void>(), self.bytes) };
        }
    }
}
