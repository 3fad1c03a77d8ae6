//! Memory that is reused from call to call.

use bytemuck::{Pod, Zeroable};

/// A cache line: what keeps memory aligned for the widest vector loads.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

impl Line {
    pub const ZERO: Self = Self([0; 64]);
}

/// Asks Linux for large pages: small ones cost a look into their tables every few kilobytes. What has not been touched
/// yet gets them, if the system is set up so.
#[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
pub(crate) fn ask_for_large_pages<T>(memory: *mut T, bytes: usize) {
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    {
        const MADV_HUGEPAGE: i32 = 14;
        const PAGE: usize = 2 << 20;
        unsafe extern "C" {
            fn madvise(address: *mut std::ffi::c_void, length: usize, advice: i32) -> i32;
        }
        let skipped = memory.addr().next_multiple_of(PAGE) - memory.addr();
        if skipped < bytes {
            // SAFETY: whole pages of memory that the caller owns; the advice changes nothing that a program can see.
            // Where it is refused, the pages stay small.
            unsafe {
                madvise(memory.wrapping_byte_add(skipped).cast(), (bytes - skipped) / PAGE * PAGE, MADV_HUGEPAGE)
            };
        }
    }
}

/// Bytes aligned to 64 that grow to their largest use and then stay.
#[derive(Default)]
pub struct Buffer(Vec<Line>);

impl Buffer {
    /// A copy of some bytes.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::default();
        buffer.reserve(bytes.len());
        buffer.bytes_mut(bytes.len()).copy_from_slice(bytes);
        buffer
    }

    /// Makes room for `len` bytes; contents are kept, new ones are zero.
    pub fn reserve(&mut self, len: usize) {
        let lines = len.div_ceil(size_of::<Line>());
        if self.0.len() < lines {
            self.0.resize(lines, Line::ZERO);
        }
    }

    /// As [`Buffer::reserve`]; `false` if the system has no such memory, where that would end the process.
    pub fn try_reserve(&mut self, len: usize) -> bool {
        let more = len.div_ceil(size_of::<Line>()).saturating_sub(self.0.len());
        let had = self.0.try_reserve_exact(more).is_ok();
        if had {
            self.reserve(len);
        }
        had
    }

    /// The first `len` bytes.
    ///
    /// # Panics
    /// If there is no room for so many.
    pub fn bytes(&self, len: usize) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..len]
    }

    /// The first `len` bytes, to be written.
    ///
    /// # Panics
    /// If there is no room for so many.
    pub fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.0)[..len]
    }

    /// The first `len` fp32 values, to be written; there is room for them after this.
    pub fn floats_mut(&mut self, len: usize) -> &mut [f32] {
        self.reserve(len * size_of::<f32>());
        &mut bytemuck::cast_slice_mut(&mut self.0)[..len]
    }
}

/// Working memory of one run. It grows to the largest need and then stays, so that a warm run does not allocate.
///
/// Contents are unspecified at each [`Scratch::bytes`]: a kernel writes before it reads.
#[derive(Default)]
pub struct Scratch {
    memory: Buffer,
    /// Working memory of a kernel within the kernel.
    rest: Option<Box<Scratch>>,
}

impl Scratch {
    /// `len` bytes, aligned to 64. What was there before is garbage.
    pub fn bytes(&mut self, len: usize) -> &mut [u8] {
        self.bytes_and_rest(len).0
    }

    /// The first `len` bytes as they were left.
    ///
    /// # Panics
    /// If there were never that many.
    pub fn written(&self, len: usize) -> &[u8] {
        self.memory.bytes(len)
    }

    /// As [`Scratch::bytes`], and other working memory beside it for a kernel that this kernel calls.
    pub fn bytes_and_rest(&mut self, len: usize) -> (&mut [u8], &mut Scratch) {
        self.memory.reserve(len);
        (self.memory.bytes_mut(len), self.rest.get_or_insert_default())
    }

    /// As [`Scratch::bytes`], `len` fp32 values.
    pub fn floats(&mut self, len: usize) -> &mut [f32] {
        self.floats_and_rest(len).0
    }

    /// As [`Scratch::bytes_and_rest`], `len` fp32 values.
    pub fn floats_and_rest(&mut self, len: usize) -> (&mut [f32], &mut Scratch) {
        (self.memory.floats_mut(len), self.rest.get_or_insert_default())
    }
}
