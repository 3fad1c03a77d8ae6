//! Memory that kernels reuse from call to call.

/// A cache line: what keeps memory aligned for the widest vector loads.
#[derive(Clone, Copy)]
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

/// Working memory of one run. It grows to the largest need and then stays, so that a warm run does not allocate.
///
/// Contents are unspecified at each [`Scratch::bytes`]: a kernel writes before it reads.
#[derive(Default)]
pub struct Scratch {
    lines: Vec<Line>,
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
        assert!(len <= size_of_val(&self.lines[..]), "{len} bytes of {} lines", self.lines.len());
        // SAFETY: `Line` is 64 plain bytes without padding, and the vector holds at least `len` of them.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.lines.as_ptr().cast(), len)
        }
    }

    /// As [`Scratch::bytes`], and other working memory beside it for a kernel that this kernel calls.
    pub fn bytes_and_rest(&mut self, len: usize) -> (&mut [u8], &mut Scratch) {
        let lines = len.div_ceil(size_of::<Line>());
        if self.lines.len() < lines {
            self.lines.resize(lines, Line::ZERO);
        }
        // SAFETY: `Line` is 64 plain bytes without padding, and the vector holds at least `len` of them.
        #[allow(unsafe_code)]
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) };
        (bytes, self.rest.get_or_insert_default())
    }

    /// As [`Scratch::bytes`], `len` fp32 values.
    pub fn floats(&mut self, len: usize) -> &mut [f32] {
        self.floats_and_rest(len).0
    }

    /// As [`Scratch::bytes_and_rest`], `len` fp32 values.
    pub fn floats_and_rest(&mut self, len: usize) -> (&mut [f32], &mut Scratch) {
        let (bytes, rest) = self.bytes_and_rest(len * size_of::<f32>());
        // SAFETY: every bit pattern is a float, and lines are aligned for them, so that nothing is left over at either
        // end.
        #[allow(unsafe_code)]
        let (_, floats, _) = unsafe { bytes.align_to_mut() };
        (floats, rest)
    }
}
