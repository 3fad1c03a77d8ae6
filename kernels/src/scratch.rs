//! Memory that kernels reuse from call to call.

/// A 64-byte line: what keeps scratch memory aligned for the widest vector loads.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

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

    /// As [`Scratch::bytes`], and other working memory beside it for a kernel that this kernel calls.
    pub fn bytes_and_rest(&mut self, len: usize) -> (&mut [u8], &mut Scratch) {
        let lines = len.div_ceil(size_of::<Line>());
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0; 64]));
        }
        // SAFETY: `Line` is 64 plain bytes without padding, and the vector holds at least `len` of them.
        #[allow(unsafe_code)]
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) };
        (bytes, self.rest.get_or_insert_default())
    }
}
